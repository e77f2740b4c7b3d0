"""Counts over all shards: added up step by step they are a full recount's, byte for byte, killed or not."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib.curation.entries import ENTRIES
from mappool_assets.lib.curation.entry_counts import COUNTED, TABLE, count_entries
from mappool_assets.lib.curation.matches import COUNTS_TABLE, MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.small_curation import use_compiled, write_entries
from mappool_assets_tests.small_lake import folder_bytes, shard_key, write_maps

ENTRY_LIST = ["map", "old", "old map", "of", ",", "", "never, found", "map"]
WORDS = ["map", "old", "of", ",", "Rome"]
SPACED = MatchSettings()
SHARDS = [shard_key(digit) for digit in "abcdef"]
BY_SQL = """
    SELECT entry_id, sum(len(list_filter(entries, LAMBDA entry: entry = entry_id)))::UBIGINT AS texts
    FROM read_parquet('lake://curation/matches/*.parquet'), read_parquet('lake://curation/entries/*.parquet')
    GROUP BY entry_id ORDER BY entry_id
"""


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory):
    use_compiled(tmp_path_factory)


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    write_entries(lake, ENTRY_LIST)
    return lake


def match(lake, shards, seed=0, settings=SPACED):
    """Write the maps of some shards and match them."""
    for shard in shards:
        draw = random.Random(f"{shard}{seed}")
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(0, 5))) for _ in range(draw.randint(0, 40))]
        write_maps(lake, shard, len(texts), columns={"text": texts}, seed=seed)
    for outcome in match_shards(match_tasks(lake, shards, settings), 1):
        assert outcome.error is None


def remove(lake, shard):
    for table in (MATCHES, COUNTS_TABLE):
        lake.delete(lake.table_path(table, shard))


def assert_a_full_recount_is_the_same(lake):
    rows = lake.read_table(TABLE)
    assert rows["entry"].to_pylist() == lake.read_table(ENTRIES)["entry"].to_pylist()
    assert rows["entry_id"].to_pylist() == list(range(rows.num_rows))
    assert rows["texts"].type == pa.uint64()
    expected = np.zeros(rows.num_rows, dtype=np.uint64)
    for shard in lake.partitions(MATCHES):
        np.add.at(expected, lake.read_table(MATCHES, shard)["entries"].combine_chunks().flatten().to_numpy(), 1)
    assert rows["texts"].to_pylist() == expected.tolist()
    before = folder_bytes(Path(lake.root))
    assert count_entries(lake, SPACED, force=True).is_recount
    assert folder_bytes(Path(lake.root)) == before


def test_a_new_shard_is_added_a_redone_one_replaced_a_removed_one_subtracted(lake):
    a, b, c = SHARDS[:3]
    match(lake, [a, b])
    report = count_entries(lake, SPACED)
    assert (report.added, report.is_recount, report.shards) == ([a, b], True, 2)
    assert_a_full_recount_is_the_same(lake)
    match(lake, [c])
    report = count_entries(lake, SPACED)
    assert (report.added, report.removed, report.replaced, report.is_recount) == ([c], [], [], False)
    assert_a_full_recount_is_the_same(lake)
    match(lake, [a], seed=1)
    report = count_entries(lake, SPACED)
    assert (report.added, report.removed, report.replaced, report.is_recount) == ([], [], [a], False)
    assert_a_full_recount_is_the_same(lake)
    remove(lake, b)
    report = count_entries(lake, SPACED)
    assert (report.added, report.removed, report.replaced, report.is_recount) == ([], [b], [], False)
    assert_a_full_recount_is_the_same(lake)
    report = count_entries(lake, SPACED)
    assert report.is_reused
    assert (report.added, report.removed, report.replaced, report.is_recount) == ([], [], [], False)


def test_only_the_new_shard_is_read(lake):
    match(lake, SHARDS[:3])
    count_entries(lake, SPACED)
    match(lake, SHARDS[3:4])
    unreadable = Path(lake.url(lake.table_path(COUNTS_TABLE, SHARDS[0])))
    content = unreadable.read_bytes()
    unreadable.write_bytes(b"PAR1" + b"\xff" * 40 + content[44:])  # the footer is as it was
    assert count_entries(lake, SPACED).added == SHARDS[3:4]
    unreadable.write_bytes(content)
    assert_a_full_recount_is_the_same(lake)


def test_any_course_of_events_ends_as_a_recount(lake):
    draw, seed = random.Random(8), 0
    match(lake, SHARDS[:2])
    count_entries(lake, SPACED)
    for _ in range(25):
        for _ in range(draw.randint(1, 3)):
            seed += 1
            shard = draw.choice(SHARDS)
            if shard in lake.partitions(COUNTS_TABLE) and draw.random() < 0.4:
                remove(lake, shard)
            else:
                match(lake, [shard], seed)
        assert not count_entries(lake, SPACED).is_recount
        assert len(lake.partitions(COUNTED)) == len(lake.partitions(COUNTS_TABLE))
    assert_a_full_recount_is_the_same(lake)
    assert lake.query(BY_SQL)["texts"].to_pylist() == lake.read_table(TABLE)["texts"].to_pylist()


def test_the_sharding_changes_nothing(tmp_path):
    draw, counts = random.Random(8), []
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(0, 5))) for _ in range(60)]
    for size in (60, 25, 7):
        lake = Lake(str(tmp_path / f"by-{size}"))
        write_entries(lake, ENTRY_LIST)
        shards = [shard_key("a", number) for number in range(-(-60 // size))]
        for number, shard in enumerate(shards):
            some = texts[number * size : (number + 1) * size]
            write_maps(lake, shard, len(some), columns={"text": some})
        assert all(outcome.error is None for outcome in match_shards(match_tasks(lake, shards, SPACED), 1))
        assert count_entries(lake, SPACED).rows == 60
        counts.append(lake.read_table(TABLE))
    assert counts[0] == counts[1] == counts[2]


def test_the_totals(lake):
    match(lake, SHARDS)
    report = count_entries(lake, SPACED)
    tables = [lake.read_table(MATCHES, shard) for shard in SHARDS]
    lengths = [len(entries) for table in tables for entries in table["entries"].to_pylist()]
    assert (report.rows, report.matched_rows, report.matches) == (len(lengths), sum(map(bool, lengths)), sum(lengths))
    measures = lake.provenance(TABLE).measures
    assert measures["shards"] == {shard: lake.provenance(MATCHES, shard).fingerprint for shard in SHARDS}
    assert (measures["rows"], measures["matches"]) == (report.rows, report.matches)
    assert sum(lake.read_table(TABLE)["texts"].to_pylist()) == report.matches


def test_shards_of_another_list_or_rule_are_left_out_and_named(lake):
    a, b, c = SHARDS[:3]
    match(lake, [a, b])
    count_entries(lake, SPACED)
    match(lake, [c], settings=MatchSettings(is_unspaced=True))
    report = count_entries(lake, SPACED)
    assert (report.left_out, report.is_reused) == ([c], True)
    report = count_entries(lake, MatchSettings(is_unspaced=True))
    assert (report.left_out, report.added, report.is_recount) == ([a, b], [c], True)
    write_entries(lake, ["of", "old map"])
    match(lake, [b])
    report = count_entries(lake, SPACED)
    assert (report.left_out, report.added, report.entries) == ([a, c], [b], 2)
    assert len(lake.partitions(COUNTED)) == 1


def test_what_was_kept_is_not_there_or_cannot_be_right(lake):
    a, b = SHARDS[:2]
    match(lake, [a, b])
    count_entries(lake, SPACED)
    for name in lake.partitions(COUNTED):
        lake.delete(lake.table_path(COUNTED, name))
    match(lake, [a], seed=1)
    report = count_entries(lake, SPACED)
    assert (report.is_recount, report.added) == (True, [a, b])
    assert_a_full_recount_is_the_same(lake)
    kept = next(name for name in lake.partitions(COUNTED) if name.startswith(a))
    rows, made = lake.read_table(COUNTED, kept), lake.provenance(COUNTED, kept)
    lake.write_table(COUNTED, rows.set_column(1, "texts", pa.array([10**6] * len(rows), pa.uint64())), made, kept)
    remove(lake, a)
    assert count_entries(lake, SPACED).is_recount
    assert_a_full_recount_is_the_same(lake)


def test_no_shards_and_no_entries(tmp_path, lake):
    report = count_entries(lake, SPACED)
    assert (report.shards, report.rows, report.entries) == (0, 0, len(ENTRY_LIST))
    assert lake.read_table(TABLE)["texts"].to_pylist() == [0] * len(ENTRY_LIST)
    with pytest.raises(MissingInput):
        count_entries(Lake(str(tmp_path / "empty")), SPACED)


@dataclass(frozen=True)
class BusyLake(Lake):
    """A lake in which a shard is matched anew between the readings of its counts: of the fingerprint, and of all."""

    read: list[str] = field(default_factory=list, compare=False)

    def open_table(self, table, partition="all"):
        self.read.append(table)
        if self.read.count(COUNTS_TABLE) == 2:
            match(Lake(self.root), [partition], seed=9)
        return super().open_table(table, partition)


def test_a_shard_matched_anew_in_the_meantime(lake):
    match(lake, SHARDS[:1])
    with pytest.raises(SourceChanged, match="A shard was matched anew"):
        count_entries(BusyLake(lake.root), SPACED)
    assert not lake.exists(lake.table_path(TABLE))
    assert count_entries(lake, SPACED).added == SHARDS[:1]
    assert_a_full_recount_is_the_same(lake)


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(tmp_path):
    def prepared(name):
        lake = KillingLake(str(tmp_path / name))
        write_entries(lake, ENTRY_LIST)
        match(lake, SHARDS[:3])
        count_entries(lake, SPACED)
        remove(lake, SHARDS[0])
        match(lake, SHARDS[1:2], seed=1)
        match(lake, SHARDS[3:5])
        return lake

    with a_killer() as killer:
        undisturbed = prepared("undisturbed")
        count_entries(undisturbed, SPACED)
        expected, steps = folder_bytes(Path(undisturbed.root)), 0
        while True:
            lake = prepared(f"killed-{steps}")
            killer.folders, killer.left = (lake.root,), steps + 1
            try:
                count_entries(lake, SPACED)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            count_entries(lake, SPACED)
            assert folder_bytes(Path(lake.root)) == expected
            assert not list(Path(lake.root).rglob("*.tmp"))
    assert folder_bytes(Path(lake.root)) == expected
    assert steps >= 8  # three kept, the table, two swept; more than one step each
