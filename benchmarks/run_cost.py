"""Dagster's own cost a shard: one run of 64 shards, against one run a shard.

Each run is a fresh process, as the daemon's launcher starts one, which loads the definitions and executes the run of
``shard_maps`` in that process, on an instance of its own in SQLite. Its wall time, less the seconds inside the filter,
is Dagster's cost with everything that the asset records: events, plots, checks. What the daemon adds to a run (its
queue looks for new ones every five seconds) is left out, in favour of one run a shard.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from harness.verdict import Claim, conclude, print_table
from harness.world import link_copies, list_into, make_lake, make_shard

MOST_SECONDS_A_SHARD = 0.3
LEAST_RATIO = 15.0
# As the workstation's instance in the repository, without what only its daemon reads.
INSTANCE_SETTINGS = "telemetry:\n  enabled: false\n"
EXECUTE = Path(__file__).parent / "harness" / "execute_run.py"


class Run(NamedTuple):
    """One run: its wall time with the process's start, and the seconds of it inside the filter."""

    shards: int
    seconds: float
    filter_seconds: float

    @property
    def cost_a_shard(self) -> float:
        """Seconds a shard outside the filter."""
        return (self.seconds - self.filter_seconds) / self.shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=64, help="in the one run")
    parser.add_argument("--single-runs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2_000, help="of each shard")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        root, pool = Path(folder), Path(folder) / "pool"
        lake = make_lake(root)
        keys = link_copies(pool, make_shard(pool, arguments.rows), arguments.shards + arguments.single_runs + 1)
        list_into(lake, str(pool))
        (root / "instance").mkdir()
        (root / "instance" / "dagster.yaml").write_text(INSTANCE_SETTINGS)
        execute(root, [keys.pop()])  # not counted: it compiles modules and makes the instance's tables
        single = [execute(root, [key]) for key in keys[arguments.shards :]]
        many = execute(root, keys[: arguments.shards])
    one = fmean(run.cost_a_shard for run in single)
    print_table(
        f"Dagster's own seconds, shards of {arguments.rows:,} rows",
        ["", "runs", "a run", "in the filter", "a shard", "× less", "25,000 shards"],
        [
            row("one run a shard", single, one, one),
            row(f"{arguments.shards} shards a run", [many], many.cost_a_shard, one),
        ],
    )
    conclude(
        Claim("run_cost_seconds", MOST_SECONDS_A_SHARD / many.cost_a_shard, 1.0),
        Claim("run_cost", one / many.cost_a_shard, LEAST_RATIO),
    )


def row(name: str, runs: Sequence[Run], cost: float, one: float) -> list[str]:
    seconds, inside = fmean(run.seconds for run in runs), fmean(run.filter_seconds for run in runs)
    hours = f"{25_000 * cost / 3600:.1f} h"
    return [name, str(len(runs)), f"{seconds:.2f}", f"{inside:.2f}", f"{cost:.3f}", f"{one / cost:.1f}", hours]


def execute(root: Path, shards: Sequence[str]) -> Run:
    """Run some shards in a fresh process and take its time."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(root / "instance"),
        "MAPPOOL_LAKE": str(root / "lake"),
        "MAPPOOL_POOL": str(root / "pool"),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(root / "bytecode"),  # compiled once, in the first run, whatever the machine's habits
        "MAPPOOL_WORKERS": "1",  # one after the other, so that the filter's seconds can be taken from the wall time
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, EXECUTE, *shards], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - began
    inside = json.loads(done.stdout.splitlines()[-1])
    assert len(inside) == len(shards), f"{len(inside)} of {len(shards)} shards were recorded"
    return Run(len(shards), seconds, sum(inside))


if __name__ == "__main__":
    main()
