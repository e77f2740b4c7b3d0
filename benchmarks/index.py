"""The image index against what it replaces: a Flat scan for a query, and HNSW, which autofaiss would choose, to build.

    python benchmarks/index.py [--rows 1000000] [--rival-rows 250000] [--queries 200]

Images and texts are those of ``harness/retrieval_data.py``. A query is answered one at a time, as for a person who
waits; its CPU time includes that its nearest rows are ranked again on the float16 rows, which a quantised index alone
does not do. Recall is against the exact scan. A build's CPU time includes reading the maps, on both sides; the index's
further training, coding, writing and measuring how to search, which is shown apart too. The rival's leaves out that
autofaiss tries with clocks for some ten seconds how to search. Memory is the most that a process ever held which
imported, opened the index and answered all queries, for ten and for a thousand images each.

Bytes are compared beside the rows: the index keeps float16 rows in files of their own (1,536 bytes each), the rival
float32 rows inside (3,072 bytes each), which are counted as its own.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness.own_process import Measured, measure, median_by_seconds
from harness.retrieval_data import DIMENSION, ENCODER_ID, image_vectors, text_vectors, write_lake, write_maps
from harness.verdict import Claim, conclude, print_table

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.retrieval.index_figures import measure_index
from mappool_assets.lib.retrieval.index_ledger import FOLDER, read_ledger
from mappool_assets.lib.retrieval.open_index import open_index
from mappool_assets.lib.retrieval.quantiser_store import IndexFigures, read_quantiser
from mappool_assets.lib.vectors import as_matrix
from mappool_assets.lib.workers import available_cores

SHARD_ROWS = 10_000
APPENDS = 3
FLAT_ROWS = 250_000  # of a Flat scan, whose time grows with the rows; a million would be 3 GB
FLAT_QUERIES = 20
QUERY_DRAWS = {"text": 900_001, "image": 900_002}
FEW, MANY = 10, 1000

LEAST_RECALL = 0.95
MOST_QUERY_MS, MOST_APPEND_SECONDS, MOST_MEMORY_BYTES = 15, 1, 600e6
LEAST_AGAINST_FLAT, LEAST_BUILD_RATIO, LEAST_BYTES_RATIO = 5, 5, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rival-rows", type=int, default=250_000)
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as name:
        folder = Path(name)
        lake = write_lake(folder, arguments.rows // SHARD_ROWS, SHARD_ROWS)
        small = linked_lake(lake, folder / "small", arguments.rival_rows // SHARD_ROWS)
        builds = {}
        for rows, of_lake in ((arguments.rival_rows, small), (arguments.rows, lake)):
            builds[f"index, {rows:,} rows"] = measure(prepare_build, of_lake)
            builds[f"of that, measuring how to search {rows:,} rows"] = measure(prepare_measuring, of_lake)
        hnsw = measure(prepare_hnsw, small)
        append = measured_append(lake, arguments.rows // SHARD_ROWS)
        found = {}
        for kind in QUERY_DRAWS:
            for k in (FEW, MANY):
                found[kind, k] = measure(prepare_queries, lake, kind, arguments.queries, k)
                found[kind, k, "exact"] = measure(prepare_exact, lake, kind, arguments.queries, k)
        flat = measure(prepare_flat, lake, arguments.queries)
        memory = measure(prepare_mixed, lake, arguments.queries).peak_bytes
        conclude(*report(arguments, builds, hnsw, append, found, flat, memory))


def linked_lake(lake: Lake, folder: Path, shards: int) -> Lake:
    """Return a lake with the first shards of another."""
    small = Lake(str(folder))
    for shard in lake.partitions("mappool/shard_maps")[:shards]:
        path = lake.table_path("mappool/shard_maps", shard)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(Path(lake.root) / path, folder / path)
    return small


def prepare_build(lake: Lake) -> Callable[[], int]:
    """Bring the index up to date; the result is its bytes beside the rows."""

    def build() -> int:
        report = build_image_index(lake, encoder_id=ENCODER_ID)
        quantiser = (Path(lake.root) / FOLDER).glob("quantiser-*")
        return report.index_bytes + sum(file.stat().st_size for file in quantiser)

    return build


def prepare_measuring(lake: Lake) -> Callable[[], IndexFigures]:
    """Measure how to search, once more."""
    shards = read_ledger(lake)
    assert shards[0].quantiser_id is not None
    quantiser = read_quantiser(lake, shards[0].quantiser_id)
    return lambda: measure_index(lake, shards, quantiser, None)


def prepare_hnsw(lake: Lake) -> Callable[[], int]:
    """Build what autofaiss chooses up to a million rows; the result is its bytes."""
    import faiss

    def build() -> int:
        index = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
        shards = lake.partitions("mappool/shard_maps")
        columns = [lake.read_table("mappool/shard_maps", shard, ["l14_img"])["l14_img"] for shard in shards]
        index.add(np.concatenate([as_matrix(column).astype(np.float32) for column in columns]))
        return len(faiss.serialize_index(index))

    return build


def measured_append(lake: Lake, first: int) -> Measured:
    """Add shards to the index, one at a time, and see that no other file of the index is touched."""
    folder, runs = Path(lake.root) / FOLDER, []
    for shard in range(first, first + APPENDS):
        write_maps(lake, f"{shard:08d}", SHARD_ROWS, draw=1 + shard)
        before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()}
        runs.append(measure(prepare_build, lake))
        after = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()}
        assert before.items() <= after.items(), "other files were touched"
        assert len(after) == len(before) + 2, "more than a shard's files were written"
    return median_by_seconds(runs)


@functools.cache
def queries(kind: str, count: int) -> np.ndarray:
    """Return unit vectors that are in no shard."""
    draw = QUERY_DRAWS[kind]
    return text_vectors(count, draw) if kind == "text" else image_vectors(count, draw).astype(np.float32)


def prepare_queries(lake: Lake, kind: str, count: int, k: int) -> Callable[[], list[np.ndarray]]:
    search, vectors = open_index(lake, encoder_id=ENCODER_ID), queries(kind, count)
    search.search(text_vectors(5, 900_003), k)
    return lambda: [search.search(vector[np.newaxis], k)[0].ids for vector in vectors]


def prepare_exact(lake: Lake, kind: str, count: int, k: int) -> Callable[[], list[np.ndarray]]:
    """Scan all rows for all queries at once."""
    from mappool_assets.lib.retrieval.index_probes import true_neighbours

    search, vectors = open_index(lake, encoder_id=ENCODER_ID), queries(kind, count)
    return lambda: list(search.ids_of(true_neighbours(search, vectors, k)))


def prepare_mixed(lake: Lake, count: int) -> Callable[[], None]:
    search = open_index(lake, encoder_id=ENCODER_ID)

    def run() -> None:
        for kind in QUERY_DRAWS:
            for k in (FEW, MANY):
                for vector in queries(kind, count):
                    search.search(vector[np.newaxis], k)

    return run


def prepare_flat(lake: Lake, count: int) -> Callable[[], None]:
    """Scan float32 rows in memory, a query at a time, as ``IndexFlat`` does."""
    import faiss

    search = open_index(lake, encoder_id=ENCODER_ID)
    flat = faiss.IndexFlatIP(DIMENSION)
    for start, rows in search.row_blocks():
        if start < FLAT_ROWS:
            flat.add(rows[: FLAT_ROWS - start].astype(np.float32))
    faiss.omp_set_num_threads(1)
    vectors = queries("text", count)[:FLAT_QUERIES]
    flat.search(vectors[:1], FEW)

    def run() -> None:
        for vector in vectors:
            flat.search(vector[np.newaxis], FEW)

    return run


def report(
    arguments: argparse.Namespace,
    builds: dict[str, Measured],
    hnsw: Measured,
    append: Measured,
    found: dict[tuple, Measured],
    flat: Measured,
    memory: int,
) -> list[Claim]:
    small, measuring, *_ = builds.values()
    building = {
        f"HNSW32, {arguments.rival_rows:,} rows": hnsw,
        **builds,
        f"a further shard of {SHARD_ROWS:,} rows, median of {APPENDS}": append,
    }
    print_table(
        f"building, {available_cores()} cores",
        ["", "CPU s", "s", "MB beside the rows", "peak MB"],
        [
            [
                name,
                f"{run.cpu_seconds:.1f}",
                f"{run.seconds:.2f}",
                f"{run.result / 1e6:.0f}" if isinstance(run.result, int) else "",
                f"{run.peak_bytes / 1e6:.0f}",
            ]
            for name, run in building.items()
        ],
    )
    without = small.cpu_seconds - measuring.cpu_seconds
    print(f"without measuring, a build is {hnsw.cpu_seconds / without:.1f} × faster than HNSW32's")
    flat_ms = 1000 * flat.cpu_seconds / min(FLAT_QUERIES, arguments.queries) * arguments.rows / FLAT_ROWS
    lines, recalls, milliseconds = [], {}, {}
    for kind in QUERY_DRAWS:
        for k in (FEW, MANY):
            exact = found[kind, k, "exact"].result
            ids = found[kind, k].result
            recalls[kind, k] = float(np.mean([np.isin(e, f).mean() for e, f in zip(exact, ids, strict=True)]))
            milliseconds[kind, k] = 1000 * found[kind, k].cpu_seconds / arguments.queries
            lines.append([f"{kind}, {k}", f"{milliseconds[kind, k]:.2f}", f"{recalls[kind, k]:.3f}"])
    print_table(
        f"a query of {arguments.rows:,} rows, one core",
        ["nearest of", "CPU ms", "recall"],
        [*lines, ["text, 10, faiss Flat", f"{flat_ms:.0f}", "1.000"]],
    )
    print(f"\nmemory of a process that answered {4 * arguments.queries} queries: {memory / 1e6:.0f} MB")
    text_ms = milliseconds["text", FEW]
    return [
        Claim("index_recall_at_10", min(recalls["text", FEW], recalls["image", FEW]) / LEAST_RECALL, 1),
        Claim("index_recall_at_1000", min(recalls["text", MANY], recalls["image", MANY]) / LEAST_RECALL, 1),
        Claim("index_query_against_15_ms", MOST_QUERY_MS / text_ms, 1),
        Claim("index_append_against_1_s", MOST_APPEND_SECONDS / append.seconds, 1),
        Claim("index_memory_against_600_mb", MOST_MEMORY_BYTES / memory, 1),
        Claim("index_bytes_against_hnsw", hnsw.result / small.result, LEAST_BYTES_RATIO),
        Claim("index_build_against_hnsw", hnsw.cpu_seconds / small.cpu_seconds, LEAST_BUILD_RATIO),
        Claim("index", flat_ms / text_ms, LEAST_AGAINST_FLAT),
    ]


if __name__ == "__main__":
    main()
