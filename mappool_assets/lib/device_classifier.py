"""A classifier's formulas on another device: blocks go there as they are, scores come back.

PyTorch is imported when a device is first used: it costs a process seconds and hundreds of megabytes, and workers that
score on the CPU, with NumPy, do without it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import Block, FloatArray, MapClassifier
from mappool_assets.lib.errors import BadEnvironment, BadSetting
from mappool_assets.lib.row_blocks import as_float32

if TYPE_CHECKING:
    import torch

# Against 2,000 support vectors of width 768 a product of 25 GFLOP, hundreds of microseconds on any device, beside
# which ten launches do not count; in memory 0.17 GB a worker, as workers of all cores share one device.
BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class DeviceClassifier(MapClassifier):
    """A classifier that scores with PyTorch on a device, by the formulas of :class:`MapClassifier`.

    Its identity is that of the classifier alone. Sums are taken in another order there, so a score may differ in its
    last bits from the CPU's (1e-5 where terms do not cancel); decisions are the same for every row further than 1e-4
    from the threshold, and rows nearer than float32's error to it are scored in float64, on the CPU, everywhere.

    Parameters
    ----------
    device : str
        ``cuda``, ``cuda:N`` or ``cpu`` (PyTorch's, slower than NumPy in blocks that fit the cache).

    Raises
    ------
    BadSetting, BadEnvironment
        See :func:`check_device`.
    """

    device: str = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)

    def _block_scores(self, embeddings: FloatArray, block_rows: int | None) -> npt.NDArray[np.float32]:
        scores = np.empty(len(embeddings), dtype=np.float32)

        def score(rows: slice, block: torch.Tensor) -> None:
            scores[rows] = self._score(block).cpu().numpy()

        for_device_blocks(embeddings, score, self.device, block_rows or BLOCK_ROWS)
        return scores

    def _operands(self, block: Block) -> Mapping[str, Block]:
        return super()._operands(block) if isinstance(block, np.ndarray) else self._device_operands

    @functools.cached_property
    def _device_operands(self) -> dict[str, torch.Tensor]:
        """The arrays in float32, moved once."""
        import torch

        operands = self._numpy_operands[np.dtype(np.float32)]
        return {name: torch.tensor(array, device=self.device) for name, array in operands.items()}


def on_device(classifier: MapClassifier, device: str) -> DeviceClassifier:
    """Return the classifier scoring on a device; parameters and errors as :class:`DeviceClassifier`."""
    values = {part.name: getattr(classifier, part.name) for part in fields(MapClassifier)}
    return DeviceClassifier(**values, device=device)


def for_device_blocks(
    embeddings: FloatArray,
    work: Callable[[slice, torch.Tensor], None],
    device: str,
    block_rows: int = BLOCK_ROWS,
) -> None:
    """Call ``work`` with each block of rows in float32 on a device, one after the other.

    Products of float32 are products of float32 meanwhile: TensorFloat-32, which keeps 11 of their 24 bits, is switched
    off, whatever the process or ``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`` chose, and left as it was found.

    Parameters
    ----------
    embeddings : array of float16, float32 or float64, shape (n, d)
        float16 travels as it is and becomes float32 there.
    work : callable
        Takes which rows they are and the rows, a float32 tensor (m, d), which it must not keep or change.
    device : str
        As PyTorch names it.
    block_rows : int
        Most rows of a block. For the SVM the device holds ``block_rows × (6 d + 8 n_support)`` bytes at a time, beside
        the classifier and what the device's runtime takes for each process.

    Raises
    ------
    BadEnvironment
        The device has not enough memory.
    """
    import torch

    with _full_float32():
        for start in range(0, len(embeddings), block_rows):
            rows = slice(start, min(start + block_rows, len(embeddings)))
            try:
                work(rows, _moved(embeddings[rows], device))
            except torch.OutOfMemoryError as error:
                raise BadEnvironment(
                    "The device that scores has not enough memory",
                    where=device,
                    rule=f"room for blocks of {block_rows:,} rows from each worker",
                    got=str(error).partition("\n")[0],
                    action="Run fewer workers (MAPPOOL_WORKERS), or score on the CPU (MAPPOOL_DEVICE=cpu).",
                ) from error


def check_device(device: str) -> None:
    """Raise unless rows can be scored on a device.

    Raises
    ------
    BadSetting
        The name is none of ``cuda``, ``cuda:N`` and ``cpu``.
    BadEnvironment
        PyTorch reaches no such CUDA device.
    """
    name = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", device)
    if name is None:
        raise BadSetting(
            "Rows cannot be scored on this device",
            where="device",
            rule="cuda, cuda:N or cpu",
            got=repr(device),
            action="Correct MAPPOOL_DEVICE.",
        )
    import torch

    found = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if device != "cpu" and int(name[1] or 0) >= found:
        raise BadEnvironment(
            "PyTorch reaches no such device",
            where=device,
            rule="an NVIDIA device with its driver, and PyTorch built for CUDA, wherever shards are filtered",
            got=f"{found} CUDA devices, and PyTorch {torch.__version__} for CUDA {torch.version.cuda or '(none)'}",
            action="Install what is missing, or score on the CPU: MAPPOOL_DEVICE=cpu, or leave it empty.",
        )


def _moved(rows: FloatArray, device: str) -> torch.Tensor:
    import torch

    if rows.dtype != np.float16:
        rows = as_float32(rows)
    # PyTorch warns of arrays that it must not write to, and takes none that runs backwards.
    is_taken = rows.flags.writeable and rows.flags.c_contiguous and min(rows.strides) > 0
    return torch.from_numpy(rows if is_taken else rows.copy()).to(device).float()


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
