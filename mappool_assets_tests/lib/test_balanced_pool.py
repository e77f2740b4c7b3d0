"""The first balancing: the same pairs whatever the sharding, as many as the law says, each row accounted for."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation import balanced_pool, pair_rows, shard_texts
from mappool_assets.lib.curation.balance_plan import plan_balance
from mappool_assets.lib.curation.balanced_pool import (
    FAILURES_TABLE,
    TABLE,
    BalanceSettings,
    balance_shards,
    balanced_pool_tasks,
)
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.matches import COUNTS_TABLE, MatchSettings, match_shards, match_tasks
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.plan_settings import PlanSettings
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import TABLE as POOL_SHARDS
from mappool_assets.lib.ranged_file.stores import local_version
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_curation import (
    balance,
    compiled_folder,
    found,
    match_and_count,
    use_compiled,
    write_entries,
    write_pairs,
)
from mappool_assets_tests.small_lake import A, B, C, folder_bytes, shard_key, write_pool

ENTRY_LIST = ["map", "old", "Rome", "old map", ",", "never"]
WEIGHTS = {"map": 8, "old": 4, "Rome": 1, "sea": 3}
T = 20.0


@pytest.fixture(scope="module")
def matching(tmp_path_factory):
    use_compiled(tmp_path_factory)
    return MatchSettings(compiled=compiled_folder(tmp_path_factory))


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    write_entries(lake, ENTRY_LIST)
    return lake


def drawn_texts(count, seed=8):
    draw = random.Random(seed)
    return [" ".join(draw.choices([*WEIGHTS], [*WEIGHTS.values()], k=draw.randint(0, 4))) for _ in range(count)]


def pairs_of(texts):
    return [
        {
            "uid": f"{number:032x}",
            "url": f"https://maps.example/{number}.png",
            "text": text,
            "sha256": None if number % 7 == 0 else f"{number:064x}",
        }
        for number, text in enumerate(texts)
    ]


def deal(lake, pairs, shards):
    """Deal the pairs out to a number of shards; return these."""
    keys = [shard_key("abcdef"[number % 6], number) for number in range(shards)]
    for number, key in enumerate(keys):
        write_pairs(lake, key, pairs[number::shards])
    return keys


def ready(lake, pairs, shards, matching):
    keys = deal(lake, pairs, shards)
    match_and_count(lake, keys, matching)
    return keys


def kept_pairs(lake, shards):
    rows = [row for shard in shards for row in lake.read_table(TABLE, shard).to_pylist()]
    return {row["uid"]: {name: row[name] for name in ("url", "text", "sha256", "entries", "first_p")} for row in rows}


def law(texts, t):
    """The slow and obvious chance of each text."""
    entries = [found(text, ENTRY_LIST) for text in texts]
    counts = Counter(entry for of_text in entries for entry in of_text)
    return [1 - math.prod(1 - min(1.0, t / counts[entry]) for entry in of_text) for of_text in entries]


def assert_accounted(lake, reports):
    for report in reports:
        assert report.rows_in == report.rows_kept + sum(report.rows_dropped.values())
        assert report.rows_in == lake.read_table(MATCHES, report.shard).num_rows
        assert report.fingerprint == lake.provenance(TABLE, report.shard).fingerprint
    assert sql_files.run(lake, "checks/rows_accounted", table=TABLE).num_rows == 0


# -- the law ----------------------------------------------------------------------------------------------------------


def test_a_pair_is_kept_where_its_draw_is_below_the_law(lake, matching):
    texts = drawn_texts(300)
    pairs = pairs_of(texts)
    (shard,) = ready(lake, pairs, 1, matching)
    (report,) = balance(lake, [shard], matching, t=T, seed=5)
    chances = law(texts, T)
    draws = keyed_uniforms(pa.array([pair["uid"] for pair in pairs]), 5, "balanced_pool")
    expected = [number for number in range(300) if draws[number] < chances[number]]
    rows = lake.read_table(TABLE, shard).to_pylist()
    assert [row["row"] for row in rows] == expected
    for row in rows:
        assert row == {
            **pairs[row["row"]],
            "row": row["row"],
            "text_id": texts.index(row["text"]),
            "entries": found(row["text"], ENTRY_LIST),
            "first_p": pytest.approx(chances[row["row"]], rel=1e-12),
        }
    without = sum(not found(text, ENTRY_LIST) for text in texts)
    assert report.rows_dropped == {"no_entry": without, "not_drawn": 300 - without - len(expected)}
    assert report.expected_size == pytest.approx(sum(chances), rel=1e-9)
    assert report.expected_sd == pytest.approx(math.sqrt(sum(p * (1 - p) for p in chances)), rel=1e-9)
    assert_accounted(lake, [report])
    made = lake.provenance(TABLE, shard)
    assert made.origin == lake.provenance(MATCHES, shard).origin
    assert made.measures["drawn"] == len(expected)


def test_the_size_over_seeds_is_the_expected_one_within_4_sd(lake, matching):
    texts = drawn_texts(200)
    (shard,) = ready(lake, pairs_of(texts), 1, matching)
    seeds, sizes = 40, []
    for seed in range(seeds):
        (report,) = balance(lake, [shard], matching, t=T, seed=seed)
        sizes.append(report.rows_kept)
    assert abs(np.mean(sizes) - report.expected_size) < 4 * report.expected_sd / math.sqrt(seeds)
    assert max(abs(size - report.expected_size) for size in sizes) < 4 * report.expected_sd
    assert len(set(sizes)) > 3


def test_what_is_drawn_at_some_t_is_drawn_at_any_higher_one(lake, matching):
    shards = ready(lake, pairs_of(drawn_texts(300)), 2, matching)
    before = set()
    for t in (0.5, 3, 10, 40, 120, 10**6):
        balance(lake, shards, matching, t=t)
        kept = kept_pairs(lake, shards)
        assert before < kept.keys()
        before = kept.keys()
    assert len(before) == sum(bool(found(text, ENTRY_LIST)) for text in drawn_texts(300)), "all that have an entry"


# -- whatever the way -------------------------------------------------------------------------------------------------


def test_the_sharding_changes_nothing(tmp_path, matching):
    pairs, results = pairs_of(drawn_texts(300)), []
    for shards in (1, 3, 7):
        lake = Lake(str(tmp_path / f"in-{shards}"))
        write_entries(lake, ENTRY_LIST)
        keys = ready(lake, pairs, shards, matching)
        reports = balance(lake, keys, matching, t=T)
        assert_accounted(lake, reports)
        results.append((kept_pairs(lake, keys), sum(report.expected_size for report in reports)))
    assert results[0][0] == results[1][0] == results[2][0]
    assert 50 < len(results[0][0]) < 250
    assert results[1][1] == pytest.approx(results[0][1], rel=1e-12)


def test_workers_order_and_batches_change_nothing(tmp_path, lake, matching, monkeypatch):
    pairs = pairs_of(drawn_texts(300))
    keys = ready(lake, pairs, 3, matching)
    balance(lake, keys, matching, t=T)
    before, rows = folder_bytes(Path(lake.root)), kept_pairs(lake, keys)
    balance(lake, keys[::-1], matching, workers=2, force=True, t=T)
    assert folder_bytes(Path(lake.root)) == before
    monkeypatch.setattr(shard_texts, "BATCH_ROWS", 7)
    balance(lake, keys, matching, force=True, t=T)
    assert folder_bytes(Path(lake.root)) == before, "also row groups are the same"
    monkeypatch.setattr(balanced_pool, "GROUP_ROWS", 11)
    for group_bytes, most in ((10**6, 11), (1500, 5)):
        monkeypatch.setattr(pair_rows, "GROUP_BYTES", group_bytes)
        balance(lake, keys, matching, force=True, t=T)
        assert kept_pairs(lake, keys) == rows
        with lake.open_table(TABLE, keys[0]) as table:
            sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        assert max(sizes) == most
    other = Lake(str(tmp_path / "other"))
    write_entries(other, ENTRY_LIST)
    keys = deal(other, pairs, 3)
    monkeypatch.setattr(shard_texts, "BATCH_ROWS", 13)  # becomes the row groups of the matches
    match_and_count(other, keys, matching)
    monkeypatch.setattr(shard_texts, "BATCH_ROWS", 5)
    balance(other, keys, matching, t=T)
    assert kept_pairs(other, keys) == rows


def test_a_lake_in_a_bucket(tmp_path, matching):
    pairs, local = pairs_of(drawn_texts(60)), Lake(str(tmp_path / "lake"))
    with serve_s3("lake") as endpoint:
        bucket = Lake("s3://lake/deep", endpoint)
        for lake in (local, bucket):
            write_entries(lake, ENTRY_LIST)
            keys = ready(lake, pairs, 2, matching)
            balance(lake, keys, matching, t=T)
            assert all(report.is_reused for report in balance(lake, keys, matching, t=T))
        for key in keys:
            path = Lake.table_path(TABLE, key)
            assert bucket.read_bytes(path) == local.read_bytes(path)


# -- what is done, and what is stale ----------------------------------------------------------------------------------


def test_what_is_done_is_recognised_and_what_changed_is_done_again(lake, matching):
    pairs = pairs_of(drawn_texts(100))
    keys = ready(lake, pairs, 2, matching)
    assert [report.is_reused for report in balance(lake, keys, matching, t=T)] == [False, False]
    again = balance(lake, keys, matching, t=T)
    assert [report.is_reused for report in again] == [True, True]
    forced = balance(lake, keys, matching, force=True, t=T)
    assert [dataclasses.replace(report, is_reused=True) for report in forced] == again
    assert not balance(lake, keys[:1], matching, t=2 * T)[0].is_reused
    assert not balance(lake, keys[:1], matching, t=2 * T, seed=1)[0].is_reused
    write_pairs(lake, keys[0], pairs[:30])
    match_and_count(lake, keys, matching)
    reports = balance(lake, keys, matching, t=T)
    assert [report.is_reused for report in reports] == [False, False], "all counts are others"
    assert sorted(report.rows_in for report in reports) == [30, 50]
    assert kept_pairs(lake, keys[:1]).keys() <= {pair["uid"] for pair in pairs[:30]}


def test_matches_that_are_not_counted_are_refused(lake, matching):
    pairs = pairs_of(drawn_texts(60))
    keys = ready(lake, pairs, 2, matching)
    balance(lake, keys, matching, t=T)
    write_pairs(lake, keys[0], pairs[:10])
    with pytest.raises(SourceChanged, match="of other texts or entries"):
        balance(lake, keys, matching, t=T)
    for _ in match_shards(match_tasks(lake, keys, matching), 1):
        pass
    with pytest.raises(SourceChanged, match="not those that are counted"):
        balance(lake, keys, matching, t=T)
    assert lake.partitions(FAILURES_TABLE) == keys[:1]
    count_entries(lake, matching)
    assert not any(report.is_reused for report in balance(lake, keys, matching, t=T))
    assert lake.partitions(FAILURES_TABLE) == []
    write_pairs(lake, C, pairs[:5])
    for _ in match_shards(match_tasks(lake, [C], matching), 1):
        pass
    with pytest.raises(SourceChanged, match="none of this shard"):
        balance(lake, [C], matching, t=T)


def test_what_the_error_says_mends_a_shard_whose_matching_was_killed_before_its_counts(lake, matching):
    """Counting again would not do: the shard's own counts are still those of its earlier matches."""
    keys = ready(lake, pairs_of(drawn_texts(60)), 1, matching)
    counts = Path(lake.url(Lake.table_path(COUNTS_TABLE, keys[0])))
    content = counts.read_bytes()
    write_pairs(lake, keys[0], pairs_of(drawn_texts(40, seed=9)))
    match_and_count(lake, keys, matching)
    counts.write_bytes(content)
    for _ in range(2):
        count_entries(lake, matching)
        with pytest.raises(SourceChanged, match="Materialise matches of this shard and entry_counts again"):
            balance(lake, keys, matching, t=T)
        with pytest.raises(SourceChanged, match="Materialise matches of this shard and entry_counts again"):
            plan_balance(lake, matching, PlanSettings())
    match_and_count(lake, keys, matching)
    assert balance(lake, keys, matching, t=T)[0].rows_in == 40
    plan_balance(lake, matching, PlanSettings())


def test_counts_of_another_list_or_rule_are_refused(lake, matching):
    keys = ready(lake, pairs_of(drawn_texts(30)), 1, matching)
    other = dataclasses.replace(matching, is_unspaced=True)
    with pytest.raises(SourceChanged, match="matched by another rule"):
        balance(lake, keys, other, t=T)
    write_entries(lake, ["of", *ENTRY_LIST])
    with pytest.raises(SourceChanged, match="matched by another rule"):
        balance(lake, keys, matching, t=T)
    assert lake.partitions(TABLE) == lake.partitions(FAILURES_TABLE) == []
    match_and_count(lake, keys, matching)
    balance(lake, keys, matching, t=T)


def test_what_is_missing(tmp_path, lake, matching):
    with pytest.raises(MissingInput, match="Nothing has been counted"):
        balance(lake, [A], matching)
    (key,) = ready(lake, pairs_of(drawn_texts(30)), 1, matching)
    write_pairs(lake, B, pairs_of(["map"]))
    outcomes = list(balance_shards(balanced_pool_tasks(lake, [B, key, C], matching, BalanceSettings()), 1))
    assert [type(outcome.error) for outcome in outcomes] == [MissingInput, type(None), MissingInput]
    assert lake.partitions(FAILURES_TABLE) == [B, C]
    assert lake.partitions(TABLE) == [key]
    for t in (0, -1, math.nan, math.inf):
        with pytest.raises(BadSetting, match="threshold"):
            BalanceSettings(t=t)


def test_inputs_replaced_while_a_task_waited(lake, matching):
    pairs = pairs_of(drawn_texts(60))
    keys = ready(lake, pairs, 2, matching)

    def error(change):
        tasks = balanced_pool_tasks(lake, keys[:1], matching, BalanceSettings(T))
        change()
        (outcome,) = balance_shards(tasks, 1)
        match_and_count(lake, keys, matching)
        return str(outcome.error)

    def match_other(shard):
        write_pairs(lake, shard, pairs[:7])
        return list(match_shards(match_tasks(lake, [shard], matching), 1))

    matches = Path(lake.url(Lake.table_path(MATCHES, keys[0])))
    content = matches.read_bytes()
    matches.unlink()
    assert "are counted" in error(lambda: matches.write_bytes(content))
    assert "of other texts" in error(lambda: match_other(keys[0]))
    assert "The counts were replaced" in error(lambda: (match_other(keys[1]), count_entries(lake, matching)))
    assert "made anew while their task waited" in error(lambda: write_pairs(lake, keys[0], pairs[:3]))
    assert lake.partitions(TABLE) == []


def test_matches_and_texts_that_do_not_belong_together(lake, matching):
    """What no run of ours leaves behind, but a hand may."""
    pairs = pairs_of(["map"] * 9)
    (key,) = ready(lake, pairs, 1, matching)
    made, maps = lake.provenance("mappool/shard_maps", key), lake.read_table("mappool/shard_maps", key)
    for rows in (maps.slice(0, 5), maps.take(list(range(8, -1, -1)))):
        of_rows = dataclasses.replace(made, rows_in=len(rows) + 5, rows_kept=len(rows))
        lake.write_table("mappool/shard_maps", rows, of_rows, key)
        with pytest.raises(BadShard, match="do not belong together"):
            balance(lake, [key], matching)
    assert lake.partitions(TABLE) == []


def test_shards_without_pairs_and_pairs_without_entries(lake, matching):
    write_pairs(lake, A, [])
    write_pairs(lake, B, pairs_of(["nothing", "", "here"]))
    match_and_count(lake, [A, B], matching)
    reports = {report.shard: report for report in balance(lake, [A, B], matching)}
    assert (reports[A].rows_in, reports[A].rows_dropped, reports[A].expected_size) == (0, {}, 0.0)
    assert (reports[B].rows_in, reports[B].rows_dropped, reports[B].expected_sd) == (3, {"no_entry": 3}, 0.0)
    assert lake.read_table(TABLE, A).num_rows == lake.read_table(TABLE, B).num_rows == 0
    assert_accounted(lake, reports.values())


# -- the pool's own files ---------------------------------------------------------------------------------------------


def write_pool_file(lake, folder, columns, rows_a_group=3):
    path = folder / f"{A}.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows_a_group)
    write_pool(lake, {A: ""})
    table = lake.read_table(POOL_SHARDS)
    for name, value in (("parquet_url", str(path)), ("parquet_version", local_version(path.stat()))):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), pa.array([value]))
    lake.write_table(POOL_SHARDS, table, lake.provenance(POOL_SHARDS))
    return path


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_pairs_of_the_whole_pool_with_nulls_and_broken_strings(lake, matching, tmp_path, kind):
    columns = {
        "uid": [b"0", b"1", None, b"3", b"4", b"5", b"6", b"7"],
        "text": [b"map", None, b"map", b"old \xff", b"old", b"Rome", b"a map", b"map"],
        "url": [b"u0", b"u1", b"u2", b"u3", None, b"\xffu5", b"u6", b"u7"],
        "sha256": [None, b"1", b"2", b"3", b"4", b"5", b"\xfe", b""],
    }
    arrays = {name: pa.array(values, pa.binary()).view(pa.string()) for name, values in columns.items()}
    if kind == "large_string":
        arrays = {name: pa.array(values, pa.large_binary()).view(pa.large_string()) for name, values in columns.items()}
    if kind == "dictionary":
        arrays = {name: array.dictionary_encode() for name, array in arrays.items()}
    path = write_pool_file(lake, tmp_path, arrays)
    pool = dataclasses.replace(matching, texts="pool")
    match_and_count(lake, [A], pool)
    (report,) = balance(lake, [A], pool)
    assert (report.rows_in, report.rows_dropped) == (6, {"no_entry": 1, "invalid_utf8": 2})
    rows = lake.read_table(TABLE, A).to_pylist()
    assert [(row["uid"], row["row"], row["url"], row["text"], row["sha256"]) for row in rows] == [
        ("0", 0, "u0", "map", None),
        ("4", 4, None, "old", "4"),
        ("7", 7, "u7", "map", ""),
    ]
    assert {row["first_p"] for row in rows} == {1.0}
    assert_accounted(lake, [report])
    assert lake.provenance(TABLE, A).inputs["texts"] == {"parquet_version": local_version(path.stat())}
    assert balance(lake, [A], pool)[0].is_reused
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChanged):
        balance(lake, [A], pool, force=True)


def test_a_file_of_the_pool_without_addresses(lake, matching, tmp_path):
    write_pool_file(lake, tmp_path, {"uid": ["1"], "text": ["map"], "sha256": ["1"]})
    pool = dataclasses.replace(matching, texts="pool")
    match_and_count(lake, [A], pool)
    with pytest.raises(BadShard, match="The parquet has no url"):
        balance(lake, [A], pool)


# -- killed -----------------------------------------------------------------------------------------------------------


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(tmp_path, matching):
    prepared = tmp_path / "prepared"
    lake = Lake(str(prepared))
    write_entries(lake, ENTRY_LIST)
    pairs = pairs_of(drawn_texts(60))
    keys = ready(lake, pairs, 2, matching)
    balance(lake, keys, matching, t=T)  # is to be replaced
    undisturbed = Lake(str(shutil.copytree(prepared, tmp_path / "undisturbed")))
    balance(undisturbed, keys, matching, t=2 * T)
    expected, steps = folder_bytes(Path(undisturbed.root)), 0
    with a_killer() as killer:
        while True:
            here = KillingLake(str(shutil.copytree(prepared, tmp_path / f"killed-{steps}")))
            killer.folders, killer.left = (here.root,), steps + 1
            try:
                balance(here, keys, matching, t=2 * T)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            balance(here, keys, matching, t=2 * T)
            assert folder_bytes(Path(here.root)) == expected
            assert not list(Path(here.root).rglob("*.tmp"))
    assert folder_bytes(Path(here.root)) == expected
    assert steps >= 4


MEMORY = """
import re, sys
from pathlib import Path
from mappool_assets.lib.curation.matches import MatchSettings
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.small_curation import balance, match_and_count

lake, matching = Lake(sys.argv[1]), MatchSettings("pool", compiled=Path(sys.argv[2]))
match_and_count(lake, [sys.argv[3]], matching)
balance(lake, [sys.argv[3]], matching)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def test_memory_is_that_of_a_batch(lake, matching, tmp_path):
    """A thousand times the same megabyte, in a file of 20 kB."""
    rows = 1000
    megabyte = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["map " * 2**18])
    numbers = [f"{number:032x}" for number in range(rows)]
    write_pool_file(lake, tmp_path, {"uid": numbers, "text": megabyte, "url": megabyte, "sha256": numbers}, rows)
    command = [sys.executable, "-c", MEMORY, lake.root, str(matching.compiled), A]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert lake.provenance(TABLE, A).rows_kept == rows
    assert peak < 600
