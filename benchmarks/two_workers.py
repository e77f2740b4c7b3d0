"""Filter sixteen shards with two workers, against one.

A worker is a process with one core, so the one worker is held to one core; each time starts with the start of its
processes. For comparison, one worker with all cores: there matrix products are shared, what surrounds them is not.
The bound is meant for shards of 511,000 rows, the size of real ones: start-up weighs more in smaller ones. The
shards are hard links to one: each is read and filtered, from the page cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.verdict import Claim, conclude, print_table
from harness.world import link_copies, list_into, make_lake, make_shard

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets.lib.workers import available_cores

SHARDS = 16
LEAST_SPEEDUP = 1.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=511_000, help="of each shard")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    assert len(cores) >= 2, "two workers need two cores"
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        pool = Path(folder) / "pool"
        lake = make_lake(Path(folder))
        shards = link_copies(pool, make_shard(pool, arguments.rows), SHARDS)
        list_into(lake, str(pool))
        runs: dict[str, list[float]] = {"1 worker, 1 core": [], "1 worker, all cores": [], "2 workers, 2 cores": []}
        for _ in range(arguments.repeats):
            runs["1 worker, 1 core"].append(one_worker(lake, shards, cores[:1]))
            runs["1 worker, all cores"].append(one_worker(lake, shards, cores))
            runs["2 workers, 2 cores"].append(two_workers(lake, shards, cores[:2]))
    medians = {name: sorted(seconds)[len(seconds) // 2] for name, seconds in runs.items()}
    one, two = medians["1 worker, 1 core"], medians["2 workers, 2 cores"]
    rows = SHARDS * arguments.rows
    print_table(
        f"{SHARDS} shards of {arguments.rows:,} rows, {available_cores()} cores, median of {arguments.repeats}",
        ["", "seconds", "rows/s", "× faster"],
        [[name, f"{s:.1f}", f"{rows / s:,.0f}", f"{one / s:.2f}"] for name, s in medians.items()],
    )
    conclude(Claim("two_workers", one / two, LEAST_SPEEDUP))


def one_worker(lake: Lake, shards: Sequence[str], cores: Sequence[int]) -> float:
    """Return the seconds of a fresh process that filters all shards on some cores, its start included."""
    process = multiprocessing.get_context("spawn").Process(target=_filter_all, args=(lake, shards, cores))
    began = time.perf_counter()
    process.start()
    process.join()
    seconds = time.perf_counter() - began
    assert process.exitcode == 0, "the worker failed, see above"
    return seconds


def two_workers(lake: Lake, shards: Sequence[str], cores: Sequence[int]) -> float:
    """Return the seconds of a pool of two, its start included."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # inherited by the pool's processes
    began = time.perf_counter()
    _filter(lake, shards, workers=2)
    seconds = time.perf_counter() - began
    os.sched_setaffinity(0, before)
    return seconds


def _filter_all(lake: Lake, shards: Sequence[str], cores: Sequence[int]) -> None:
    os.sched_setaffinity(0, cores)
    _limit_threads(len(cores))
    _filter(lake, shards, workers=1)


def _limit_threads(threads: int) -> None:
    """Let BLAS take as many threads as there are cores, as the pool does for its processes."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)


def _filter(lake: Lake, shards: Sequence[str], workers: int) -> None:
    tasks = filter_tasks(lake, shards, Storage())
    for outcome in filter_shards(tasks, workers=workers, force=True):
        if outcome.error is not None:
            raise outcome.error


if __name__ == "__main__":
    main()
