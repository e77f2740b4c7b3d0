"""How fast texts are balanced, and how fast the t for a wanted size is found.

    python benchmarks/balancing.py [--matches 2000000] [--entries 500000] [--repeats 3]

Every method has a process of its own and is measured in CPU seconds, whatever threads it has, so as if it had one core.
One pass is the chance of each text and its draw, which is keyed by its uid here and so the same for ever; beside it
are MetaCLIP's two ways to draw, the loop of ``balancing.py`` and the mask of ``balance_sampling.py``, which only draw.
The search for t is the whole balance plan of a lake of stored matches, with its table of t, its growth over shards and
its entries.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from harness.captions import zipf_ranks
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

from mappool_assets.lib.curation.balance import entry_probabilities, expected_size, keep_probabilities
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.entry_list import ENTRIES_SCHEMA, entries_sha256
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.curation.matches import COUNTS_TABLE, TABLE, MatchSettings, match_rule
from mappool_assets.lib.curation.shard_matches import COUNTS_SCHEMA, SCHEMA
from mappool_assets.lib.curation.stored_matches import as_matches
from mappool_assets.lib.lake import Lake, Provenance

OURS, LOOP, MASK = "chance and keyed draw", "MetaCLIP's loop", "MetaCLIP's mask"
MATCHES_A_TEXT = 10.4  # as captions of 80 characters have with 500k entries
SHARDS, ROWS_A_GROUP = 20, 4096
WANTED_SHARE = 0.25  # of the texts, as 400M of MetaCLIP's 1.6B
T = 1.0  # keeps three quarters of so few matches; counts grow with the pool, and t with them

MOST_PASS_SECONDS, MOST_SEARCH_SECONDS = 0.5, 3.0

Work = Callable[[], Any]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as name:
        lake = Lake(name)
        texts = write(lake, arguments.matches, arguments.entries)
        passes = {method: repeated(arguments.repeats, PASSES[method], lake) for method in PASSES}
        search = repeated(arguments.repeats, prepare_search, lake, int(WANTED_SHARE * texts))
    rows = [
        [method, f"{run.cpu_seconds:.3f}", f"{run.result[0]:,}", f"{run.result[1]:,.0f} ± {run.result[2]:,.0f}"]
        for method, run in passes.items()
    ]
    title = f"one pass over {arguments.matches:,} matches of {texts:,} texts, t = {T:g}, median of {arguments.repeats}"
    print_table(title, ["", "CPU s", "kept", "expected"], rows)
    t, size, count, reads = search.result
    print_table(
        f"the t for {int(WANTED_SHARE * texts):,} texts, with the whole plan",
        ["", "CPU s", "t", "expected", "sizes", "passes"],
        [["stored matches", f"{search.cpu_seconds:.2f}", f"{t:,.7g}", f"{size:,.1f}", count, reads]],
    )
    conclude(
        Claim("balancing_search", MOST_SEARCH_SECONDS / search.cpu_seconds, 1.0),
        Claim("balancing", MOST_PASS_SECONDS / passes[OURS].cpu_seconds, 1.0),
    )


def repeated(repeats: int, prepare: Callable[..., Work], *arguments: Any) -> Measured:
    """Return the run of median CPU time."""
    runs = [measure(prepare, *arguments) for _ in range(repeats)]
    return sorted(runs, key=lambda run: run.cpu_seconds)[len(runs) // 2]


def write(lake: Lake, matches: int, entries: int) -> int:
    """Write a list of entries, matches in shards, and their counts; return how many texts there are."""
    listed = [f"entry {number}" for number in range(entries)]
    digest = entries_sha256(listed)
    columns = [range(entries), listed, ["given"] * entries, [["given"]] * entries]
    rows = pa.table([pa.array(*of) for of in zip(columns, ENTRIES_SCHEMA.types, strict=True)], schema=ENTRIES_SCHEMA)
    lake.write_table(ENTRIES, rows, Provenance({"list": digest}, entries, entries, measures={LIST_HASH: digest}))
    rule, draw = match_rule(digest, MatchSettings()), np.random.default_rng(8)
    texts = sum(write_shard(lake, shard, draw, matches // SHARDS, entries, rule) for shard in range(SHARDS))
    count_entries(lake, MatchSettings())
    return texts


def write_shard(
    lake: Lake, number: int, draw: np.random.Generator, matches: int, entries: int, rule: dict[str, Any]
) -> int:
    """Write one shard as matching would; return how many texts it has."""
    texts = int(matches / MATCHES_A_TEXT)
    owners = np.sort(draw.integers(0, texts, matches))
    pairs = np.unique(np.stack([owners, zipf_ranks(draw, matches, entries)], axis=1), axis=0)
    while len(pairs) < matches:  # an entry matches a text once
        missing = matches - len(pairs)
        more = np.stack([draw.integers(0, texts, missing), zipf_ranks(draw, missing, entries)], axis=1)
        pairs = np.unique(np.concatenate([pairs, more]), axis=0)
    offsets = np.searchsorted(pairs[:, 0], np.arange(texts + 1)).astype(np.int32)
    uids = [draw.bytes(16).hex() for _ in range(texts)]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(pairs[:, 1].astype(np.int32)))
    places = np.arange(texts, dtype=np.int32)
    rows = pa.table([uids, places, places, lists], schema=SCHEMA)
    found, counts = np.unique(pairs[:, 1], return_counts=True)
    counted = pa.table([found.astype(np.int32), counts.astype(np.uint64)], schema=COUNTS_SCHEMA)
    matched = int(np.count_nonzero(np.diff(offsets)))
    measures = {"rows": texts, "matched_rows": matched, "matches": matches}
    key = f"{number:032x}"
    inputs = {"shard": key, "texts": {}, **rule}
    with lake.table_writer(TABLE, SCHEMA, key) as writer:
        for start in range(0, texts, ROWS_A_GROUP):
            writer.write(rows.slice(start, ROWS_A_GROUP))
        writer.provenance = Provenance(inputs, texts, texts, measures=measures)
    lake.write_table(COUNTS_TABLE, counted, Provenance(inputs, len(counted), len(counted), measures=measures), key)
    return texts


def read(lake: Lake) -> tuple[pa.ChunkedArray, Matches, np.ndarray]:
    """Return all uids, the entries of their texts, and the counts of entries."""
    rows = pa.concat_tables([lake.read_table(TABLE, shard, ["uid", "entries"]) for shard in lake.partitions(TABLE)])
    counts = lake.read_table("curation/entry_counts")["texts"].to_numpy()
    return rows["uid"], as_matches(rows["entries"]), counts


def prepare_ours(lake: Lake) -> Work:
    uids, matches, counts = read(lake)

    def work() -> tuple[int, float, float]:
        chances = keep_probabilities(matches, entry_probabilities(counts, T))
        drawn = keyed_uniforms(uids, 0, "benchmark") < chances
        size = expected_size(chances)
        return int(np.count_nonzero(drawn)), size.mean, size.sd

    return work


def prepare_loop(lake: Lake) -> Work:
    _, matches, counts = read(lake)
    probabilities = (T / np.maximum(counts, T)).tolist()
    texts = [matches.of(text).tolist() for text in range(len(matches))]
    size = expected_size(keep_probabilities(matches, entry_probabilities(counts, T)))

    def work() -> tuple[int, float, float]:
        draw, kept = random.Random(0).random, 0
        for entries in texts:
            for entry in entries:
                if draw() < probabilities[entry]:
                    kept += 1
                    break
        return kept, size.mean, size.sd

    return work


def prepare_mask(lake: Lake) -> Work:
    _, matches, counts = read(lake)
    text_ids = np.repeat(np.arange(len(matches)), np.diff(matches.offsets))
    size = expected_size(keep_probabilities(matches, entry_probabilities(counts, T)))

    def work() -> tuple[int, float, float]:
        draw = np.random.default_rng(0)
        passed = draw.random(len(text_ids)) < (T / np.maximum(counts, T))[matches.entries]
        return len(np.unique(text_ids[passed])), size.mean, size.sd

    return work


def prepare_search(lake: Lake, wanted: int) -> Work:
    """Plan; the work returns the t, its expected size, the number of sizes worked out for the table, and the passes."""
    from mappool_assets.lib.curation.balance_plan import plan_balance
    from mappool_assets.lib.curation.plan_settings import PlanSettings

    def work() -> tuple[float, float, int, int]:
        report = plan_balance(
            lake, MatchSettings(), PlanSettings(t=T, first_t=8.5 * T, wanted_pairs=wanted), force=True
        )
        found = report.size("wanted_pairs")
        assert found is not None
        sizes = len(report.sizes) + len(report.growth)
        return found.t, found.expected_size, sizes, report.made.measures["passes"]

    return work


PASSES = {OURS: prepare_ours, MASK: prepare_mask, LOOP: prepare_loop}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matches", type=int, default=2_000_000)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
