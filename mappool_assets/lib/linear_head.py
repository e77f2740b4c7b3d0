"""A linear head over the images' embeddings, in a safetensors file.

The file holds ``weight``, float32 of shape (d,) or (1, d), and ``bias``, float32 of shape (1,) or (); in its metadata
``encoder_id``, the encoder whose embeddings it was trained on. What its output means depends on the head: LAION's
``sa_0_4_vit_l_14_linear`` gives the beauty of an image from 1 to 10 (in this form once converted).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.row_blocks import as_float32

ENCODER_KEY = "encoder_id"
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class LinearHead:
    """A head that was read.

    Attributes
    ----------
    weight : float64 ndarray of shape (d,)
    bias : float
    sha256 : str
        Of the file.
    """

    weight: NDArray[np.float64]
    bias: float
    sha256: str

    @classmethod
    def read(cls, path: Path, encoder_id: str, dimension: int) -> Self:
        """Read a file of the format of this module.

        Raises
        ------
        BadModel
            It is none, of another encoder, of another width, or holds numbers that are not finite.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            content = path.read_bytes()
            tensors, found = load(content), _metadata(content).get(ENCODER_KEY)
            weight = tensors["weight"].astype(np.float64).reshape(-1)
            bias = float(tensors["bias"].astype(np.float64).reshape(()))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise _unusable(
                path, "a safetensors file with weight and bias", f"{type(error).__name__}: {error}"
            ) from error
        if found != encoder_id:
            raise _unusable(path, f"metadata {ENCODER_KEY} {encoder_id}", str(found))
        shape = tensors["weight"].shape
        if shape not in ((dimension,), (1, dimension)) or not np.isfinite([*weight, bias]).all():
            raise _unusable(
                path, f"{dimension} finite weights and a bias", f"{weight.size} weights of shape {shape}, or not finite"
            )
        return cls(weight, bias, hashlib.sha256(content).hexdigest())

    def outputs(self, vectors: NDArray[np.float16]) -> NDArray[np.float64]:
        """Return ``weight · v / |v| + bias`` of each embedding v; (n, d) in, (n,) out."""
        outputs = np.empty(len(vectors))
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            rows = as_float32(vectors[start : start + _ROWS_AT_A_TIME]).astype(np.float64)
            outputs[start : start + len(rows)] = np.vecdot(rows, self.weight) / np.sqrt(np.vecdot(rows, rows))
        return outputs + self.bias


def _metadata(content: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def _unusable(path: Path, rule: str, got: str) -> BadModel:
    return BadModel(
        "A head cannot be used",
        where=str(path),
        rule=rule,
        got=got,
        action="Give a head of the same encoder, in the format of mappool_assets.lib.linear_head.",
    )
