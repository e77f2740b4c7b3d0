"""Filter one shard over HTTP: bytes that the server sends, against the size of both files.

A row in 133 is a map, as in CommonPool. The claim is made with the default of ``Storage``; the table shows what other
weights of a request against superfluous bytes would send. The server answers each request after 20 ms, a network's
latency, but at the speed of loopback. The bound is meant for 200,000 rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from harness.range_server import serve
from harness.verdict import Claim, conclude, print_table
from harness.world import list_into, make_lake, make_shard, scorer

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import filter_shard

MOST_OF_THE_FILES = 0.30
LATENCY_SECONDS = 0.02
REQUEST_COSTS = {
    "default": None,
    "exact ranges": 0,
    "gaps to 64 KiB": 64 << 10,
    "gaps to 128 KiB": 128 << 10,
    "gaps to 256 KiB": 256 << 10,
    "whole l14_txt": 1 << 62,
}


class Sent(NamedTuple):
    """What the server sent for one shard, in which time, and how many of its rows were kept."""

    requests: int
    bytes_sent: int
    rows_kept: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        pool = Path(folder) / "pool"
        lake = make_lake(Path(folder))
        shard = make_shard(pool, arguments.rows)
        files_bytes = sum(path.stat().st_size for path in pool.iterdir())
        sent = {name: filtered(lake, pool, shard, Storage(request_cost_bytes=c)) for name, c in REQUEST_COSTS.items()}
    kept = {one.rows_kept for one in sent.values()}
    assert len(kept) == 1, "the choice must not change the rows"

    rows = [["whole files", 2, f"{files_bytes / 1e6:,.0f}", "100.0 %", "1.00", ""]]
    rows += [
        [
            name,
            f"{one.requests:,}",
            f"{one.bytes_sent / 1e6:,.0f}",
            f"{one.bytes_sent / files_bytes:.1%}".replace("%", " %"),
            f"{files_bytes / one.bytes_sent:.2f}",
            f"{one.seconds:.1f}",
        ]
        for name, one in sent.items()
    ]
    print_table(
        f"one shard of {arguments.rows:,} rows over HTTP, {kept.pop():,} kept",
        ["", "requests", "MB sent", "of the files", "× fewer bytes", "seconds"],
        rows,
    )
    conclude(Claim("http_bytes", files_bytes / sent["default"].bytes_sent, round(1 / MOST_OF_THE_FILES, 2)))


def filtered(lake: Lake, pool: Path, shard: str, storage: Storage) -> Sent:
    """Filter a shard from a server of its own."""
    with serve(pool, LATENCY_SECONDS) as traffic:
        list_into(lake, traffic.url)
        listed = known_shards(lake)[shard]
        before = traffic.requests, traffic.bytes_sent
        score_with, began = scorer(lake), time.perf_counter()
        report = filter_shard(listed, score_with, lake, storage, inputs={})
        seconds = time.perf_counter() - began
        return Sent(traffic.requests - before[0], traffic.bytes_sent - before[1], report.rows_kept, seconds)


if __name__ == "__main__":
    main()
