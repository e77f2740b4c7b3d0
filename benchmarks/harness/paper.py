"""From one measured shard to the whole pool, beside what MapPool's paper says of its own run."""

from __future__ import annotations

from harness.own_process import Measured
from harness.verdict import print_table
from mappool_assets.lib.workers import available_cores

# datacomp_xlarge: about 25,000 shards; the one counted has 511k rows.
SHARDS, ROWS_A_SHARD = 25_000, 511_000
# The run of MapPool's authors, in their words: 50 hours on 10 CPUs with 120 GB of memory and 500 MB/s of traffic.
PAPER_HOURS, PAPER_CPUS, PAPER_MEMORY_GB, PAPER_BYTES_A_SECOND = 50, 10, 120, 500e6

ASSUMPTIONS = """\
assumes: time, CPU and bytes grow with the rows, as measured here on one shard of generated embeddings;
         bytes are those of local reads, where gaps below 16 KiB are read over (see http_bytes for a network's);
         the network gives the paper's 500 MB/s, and reading overlaps with other workers' computing;
         hours are the longer of computing on all cores and of moving the bytes;
         ten such cores do five times what two do (two_workers measures the first step of that);
         Dagster's own cost a shard (run_cost) is left out: at 0.3 s it would add 2.1 hours."""


def against_the_paper(one: Measured, rows: int) -> None:
    """Print hours, bytes and memory of the whole pool, with what they assume."""
    scale = SHARDS * ROWS_A_SHARD / rows
    cores = available_cores()
    computing, cpu = one.seconds * scale / 3600, one.cpu_seconds * scale / 3600
    moved = one.result["bytes_read"] * scale
    moving = moved / PAPER_BYTES_A_SECOND / 3600
    peak_gb = one.peak_bytes / 1e9
    on_ten = computing * cores / PAPER_CPUS
    paper_moved = PAPER_HOURS * 3600 * PAPER_BYTES_A_SECOND
    paper_cpu = PAPER_HOURS * PAPER_CPUS
    print_table(
        f"the whole pool: {SHARDS:,} shards of {ROWS_A_SHARD:,} rows, extrapolated",
        ["", "paper, 10 CPUs", f"here, {cores} cores", f"{PAPER_CPUS} such cores", "paper ÷ ours"],
        [
            ["hours, computing", "", f"{computing:.1f}", f"{on_ten:.1f}", ""],
            ["hours, 500 MB/s", "", f"{moving:.1f}", f"{moving:.1f}", ""],
            ["hours", PAPER_HOURS, f"{max(computing, moving):.1f}", f"{max(on_ten, moving):.1f}",
             f"{PAPER_HOURS / max(on_ten, moving):.1f}"],
            ["CPU hours", paper_cpu, f"{cpu:.0f}", f"{cpu:.0f}", f"{paper_cpu / cpu:.1f}"],
            ["terabytes read", f"{paper_moved / 1e12:.0f}", f"{moved / 1e12:.1f}", f"{moved / 1e12:.1f}",
             f"{paper_moved / moved:.1f}"],
            ["memory, GB", PAPER_MEMORY_GB, f"{peak_gb * cores:.1f}", f"{peak_gb * PAPER_CPUS:.1f}",
             f"{PAPER_MEMORY_GB / (peak_gb * PAPER_CPUS):.1f}"],
        ],
    )  # fmt: skip
    print(ASSUMPTIONS)
