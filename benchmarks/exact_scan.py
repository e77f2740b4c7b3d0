"""How fast all prompts are compared with all images, exactly, and the nearest 1,000 kept of each.

    python benchmarks/exact_scan.py [--rows 100000] [--prompts 1000] [--nearest 1000] [--repeats 3]

Every method starts from the same float16 rows and float32 prompts, has a process of its own, one thread, and is
measured in CPU seconds. Rows lie in clusters on a cone, prompts on another, as CLIP's images and texts do. Recall is
against a full sort of similarities in float64.

"with floors" is the scan of a shard when others have shown what the nearest 1,000 must reach, at least: the state in
which nearly all shards of a large lake are scanned.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

DIMENSION = 768
CLUSTERS = 500
DRAW_ROWS = 10_000
BLOCK_ROWS = 16_384  # as the shards' maps are read
PRODUCT_ROWS = 1024
REFERENCE_PROMPTS = 50  # whose float64 similarities are in memory at a time
POOL_ROWS = 75_000_000  # the maps of all of CommonPool, by MapPool's figures

LEAST_RATE = 15_000  # rows a CPU second
LEAST_SHARES_OF_PRODUCT = 0.4, 0.55  # without floors, with them
LEAST_AGAINST_ARGPARTITION = 1.5
LEAST_AGAINST_FAISS = 0.6  # whose float32 rows are twice the memory, and whose last bits are the processor's

SCANS = "exact scan", "exact scan, with floors"
ARGPARTITION = "product, then argpartition"


def main() -> None:
    arguments = _arguments()
    methods = {
        SCANS[0]: prepare_scan,
        SCANS[1]: prepare_scan_with_floors,
        "bare float32 product": prepare_product,
        ARGPARTITION: prepare_argpartition,
        "faiss Flat": prepare_faiss,
    }
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as name:
        folder = Path(name)
        write_vectors(folder, arguments.rows, arguments.prompts)
        nearest = write_reference(folder, arguments.nearest)
        runs: dict[str, list[Measured]] = {method: [] for method in methods}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute of the machine hits all
            for method, prepare in methods.items():
                runs[method].append(measure(prepare, folder, arguments.nearest))
    medians = {method: sorted(measured, key=lambda run: run.cpu_seconds)[len(measured) // 2]
               for method, measured in runs.items()}  # fmt: skip
    rates = {method: arguments.rows / run.cpu_seconds for method, run in medians.items()}
    recalls = {method: recall(run.result, nearest) for method, run in medians.items() if run.result is not None}
    _print(arguments, medians, rates, recalls)
    shares = [rates[method] / rates["bare float32 product"] for method in SCANS]
    conclude(
        Claim("exact_scan_share_of_product", shares[0], LEAST_SHARES_OF_PRODUCT[0]),
        Claim("exact_scan_with_floors_share_of_product", shares[1], LEAST_SHARES_OF_PRODUCT[1]),
        Claim("exact_scan_against_faiss_flat", rates[SCANS[0]] / rates["faiss Flat"], LEAST_AGAINST_FAISS),
        Claim("exact_scan_against_argpartition", rates[SCANS[0]] / rates[ARGPARTITION], LEAST_AGAINST_ARGPARTITION),
        Claim("exact_scan_recall", min(recalls[method] for method in SCANS), 1.0),
        Claim("exact_scan", rates[SCANS[0]] / LEAST_RATE, 1.0),
    )


def write_vectors(folder: Path, rows: int, prompts: int) -> None:
    """Write ``rows.npy`` and ``prompts.npy``, drawn from seeds."""
    world = np.random.default_rng(20_240)
    of_images, of_texts = world.standard_normal((2, DIMENSION))
    clusters = world.standard_normal((CLUSTERS, DIMENSION))
    random = np.random.default_rng([1, rows])
    images = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float16, (rows, DIMENSION))
    for start in range(0, rows, DRAW_ROWS):
        size = min(DRAW_ROWS, rows - start)
        noise = random.standard_normal((size, DIMENSION))
        images[start : start + size] = _unit(of_images + 0.7 * clusters[random.integers(0, CLUSTERS, size)] + noise)
    images.flush()
    noise = np.random.default_rng([2, prompts]).standard_normal((prompts, DIMENSION))
    texts = of_texts + 0.5 * clusters[np.arange(prompts) % CLUSTERS] + 0.7 * noise
    np.save(folder / "prompts.npy", _unit(texts).astype(np.float32))


def write_reference(folder: Path, k: int) -> np.ndarray:
    """Return the k nearest rows of each prompt by a full sort in float64; write the last one's similarity."""
    rows, prompts = load(folder)
    exact = rows.astype(np.float64)
    exact /= np.sqrt(np.vecdot(exact, exact))[:, np.newaxis]
    nearest, floors = [], []
    for start in range(0, len(prompts), REFERENCE_PROMPTS):
        similarity = prompts[start : start + REFERENCE_PROMPTS].astype(np.float64) @ exact.T
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        nearest.append(order)
        floors.append(np.take_along_axis(similarity, order[:, -1:], axis=1)[:, 0])
    np.save(folder / "floors.npy", np.concatenate(floors).astype(np.float32) - np.float32(1e-3))
    return np.concatenate(nearest)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read rows and prompts into memory; limit this process to one thread."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    return np.load(folder / "rows.npy"), np.load(folder / "prompts.npy")


def prepare_scan(folder: Path, k: int) -> Callable[[], list[np.ndarray]]:
    """The scan of this project."""
    return _scan(folder, k, -np.inf)


def prepare_scan_with_floors(folder: Path, k: int) -> Callable[[], list[np.ndarray]]:
    """The same where it is known what the nearest must reach, to within the 0.001 of a floor."""
    return _scan(folder, k, np.load(folder / "floors.npy"))


def _scan(folder: Path, k: int, least: float | np.ndarray) -> Callable[[], list[np.ndarray]]:
    from mappool_assets.lib.retrieval.exact_scan import RowBlock, exact_scan

    rows, prompts = load(folder)

    def work() -> list[np.ndarray]:
        blocks = (RowBlock(block.start, rows[block]) for block in _blocks(len(rows), BLOCK_ROWS))
        found = exact_scan(prompts, blocks, k, least_similarity=least).nearest
        return np.split(found.row, np.searchsorted(found.query, np.arange(1, len(prompts))))

    return work


def prepare_product(folder: Path, k: int) -> Callable[[], None]:
    """The limit: float32 products alone, always of the same rows, so that nothing is converted, read or kept."""
    rows, prompts = load(folder)
    some = rows[:PRODUCT_ROWS].astype(np.float32)
    product = np.empty((len(prompts), len(some)), dtype=np.float32)

    def work() -> None:
        for block in _blocks(len(rows), len(some)):
            size = block.stop - block.start
            np.matmul(prompts, some[:size].T, out=product[:, :size])

    return work


def prepare_argpartition(folder: Path, k: int) -> Callable[[], list[np.ndarray]]:
    """What one writes first: all similarities, then the k best of each prompt."""
    rows, prompts = load(folder)

    def work() -> list[np.ndarray]:
        similarity = np.empty((len(prompts), len(rows)), dtype=np.float32)
        for block in _blocks(len(rows), BLOCK_ROWS):
            vectors = rows[block].astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            similarity[:, block] = prompts @ vectors.T
        best = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1)
        return list(np.take_along_axis(best, order, axis=1))

    return work


def prepare_faiss(folder: Path, k: int) -> Callable[[], list[np.ndarray]]:
    """faiss's exact index, filled with float32 rows of unit length."""
    import faiss

    rows, prompts = load(folder)
    faiss.omp_set_num_threads(1)

    def work() -> list[np.ndarray]:
        index = faiss.IndexFlatIP(DIMENSION)
        for block in _blocks(len(rows), BLOCK_ROWS):
            vectors = rows[block].astype(np.float32)
            faiss.normalize_L2(vectors)
            index.add(vectors)
        return list(index.search(prompts, k)[1])

    return work


def recall(found: list[np.ndarray], nearest: np.ndarray) -> float:
    """Return which share of the nearest rows was found."""
    hits = sum(len(np.intersect1d(*pair)) for pair in zip(found, nearest, strict=True))
    return hits / nearest.size


def _print(arguments: argparse.Namespace, medians: dict[str, Measured], rates: dict[str, float],
           recalls: dict[str, float]) -> None:  # fmt: skip
    rows = [
        [
            method,
            f"{run.cpu_seconds:.2f}",
            f"{rates[method]:,.0f}",
            f"{recalls[method]:.6f}" if method in recalls else "",
            f"{run.peak_bytes / 1e6:,.0f}",
            f"{rates['exact scan'] / rates[method]:.2f}",
        ]
        for method, run in medians.items()
    ]
    title = (
        f"{arguments.prompts:,} prompts × {arguments.rows:,} rows, the nearest {arguments.nearest:,}, "
        f"median of {arguments.repeats}; memory includes {arguments.rows * DIMENSION * 2 / 1e6:,.0f} MB of rows"
    )
    print_table(title, ["", "CPU s", "rows/CPU s", "recall", "peak MB", "scan is faster by"], rows)
    minutes = POOL_ROWS / rates["exact scan, with floors"] / 60
    print(f"{POOL_ROWS:,} rows with floors: {minutes:.0f} CPU minutes; without: ", end="")
    print(f"{POOL_ROWS / rates['exact scan'] / 60:.0f}")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _blocks(rows: int, size: int) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=1_000)
    parser.add_argument("--nearest", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
