"""The matches of shards: every row accounted for, each different text matched once, whatever the sharding."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.curation import distinct_texts, shard_matches, shard_texts
from mappool_assets.lib.curation.matcher import Matcher
from mappool_assets.lib.curation.matches import (
    COUNTS_TABLE,
    FAILURES_TABLE,
    TABLE,
    MatchSettings,
    match_shards,
    match_tasks,
)
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import TABLE as POOL_SHARDS
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import local_version
from mappool_assets_tests.killer import Killed, a_killer
from mappool_assets_tests.small_curation import found, found_unspaced, use_compiled, write_entries
from mappool_assets_tests.small_lake import A, B, C, folder_bytes, write_maps, write_pool

ENTRY_LIST = ["map", "old map", "map of", "Rome", ",", "中", "", "never, found", "map"]
TEXTS = [
    "an old map of Rome",
    "Rome, Rome",
    "map",
    "no match",
    "an old map of Rome",
    "",
    "東中西 map",
    "map",
    "a map , ",
]


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    return use_compiled(tmp_path_factory)


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    write_entries(lake, ENTRY_LIST)
    return lake


def write_texts(lake, shard, texts, **how):
    write_maps(lake, shard, len(texts), columns={"text": texts}, **how)


def match(lake, shards, compiled, workers=1, force=False, **settings):
    tasks = match_tasks(lake, shards, MatchSettings(compiled=compiled, **settings))
    return list(match_shards(tasks, workers, force))


def made(outcomes):
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.result for outcome in outcomes]


def rows_of(lake, shard):
    return lake.read_table(TABLE, shard).to_pylist()


def assert_right(lake, shard, texts, entries=ENTRY_LIST, oracle=found):
    rows = rows_of(lake, shard)
    assert [row["row"] for row in rows] == list(range(len(texts)))
    assert [row["entries"] for row in rows] == [oracle(text, entries) for text in texts]
    assert [row["text_id"] for row in rows] == [texts.index(text) for text in texts]
    counted = Counter(entry for row in rows for entry in row["entries"])
    counts = lake.read_table(COUNTS_TABLE, shard).to_pylist()
    assert counts == [{"entry_id": entry, "texts": texts} for entry, texts in sorted(counted.items())]


def test_a_row_a_text(lake, compiled):
    write_texts(lake, A, TEXTS)
    (report,) = made(match(lake, [A], compiled))
    assert_right(lake, A, TEXTS)
    maps = lake.read_table("mappool/shard_maps", A)
    assert [row["uid"] for row in rows_of(lake, A)] == maps["uid"].to_pylist()
    assert (report.rows_in, report.rows_kept, report.rows_dropped) == (9, 9, {})
    assert (report.distinct_texts, report.matched_rows) == (7, sum(bool(found(text, ENTRY_LIST)) for text in TEXTS))
    assert report.matches == sum(len(found(text, ENTRY_LIST)) for text in TEXTS)
    assert report.entries == lake.read_table(COUNTS_TABLE, A).num_rows
    provenance = lake.provenance(TABLE, A)
    assert provenance.origin == lake.provenance("mappool/shard_maps", A).origin
    assert provenance.fingerprint == lake.provenance(COUNTS_TABLE, A).fingerprint == report.fingerprint


def test_scripts_without_spaces(lake, compiled):
    entries = [entry for entry in ENTRY_LIST if entry]
    write_entries(lake, entries)
    write_texts(lake, A, TEXTS)
    made(match(lake, [A], compiled, is_unspaced=True))
    assert_right(lake, A, TEXTS, entries, found_unspaced)


def test_a_shard_without_maps_and_entries_that_nothing_matches(lake, compiled):
    write_texts(lake, A, [])
    write_texts(lake, B, ["nothing", "here"])
    assert [report.matches for report in made(match(lake, [A, B], compiled))] == [0, 0]
    assert_right(lake, A, [])
    assert_right(lake, B, ["nothing", "here"])


def test_workers_batches_and_row_groups_change_nothing(lake, compiled, tmp_path, monkeypatch):
    draw = random.Random(8)
    texts = {
        shard: [
            " ".join(draw.choices(["map", "old", "of", "Rome", "中", ", "], k=draw.randint(0, 4))) for _ in range(300)
        ]
        for shard in (A, B, C)
    }
    for shard, of_shard in texts.items():
        write_texts(lake, shard, of_shard)
    made(match(lake, [A, B, C], compiled))
    for shard, of_shard in texts.items():
        assert_right(lake, shard, of_shard)
    expected = {shard: (rows_of(lake, shard), lake.read_table(COUNTS_TABLE, shard)) for shard in texts}
    before = folder_bytes(Path(lake.root))
    made(match(lake, [C, A, B], compiled, workers=2, force=True))
    assert folder_bytes(Path(lake.root)) == before
    monkeypatch.setattr(shard_texts, "BATCH_ROWS", 7)
    monkeypatch.setattr(shard_matches, "MATCHES_A_TABLE", 5)
    made(match(lake, [A, B, C], compiled, force=True))
    assert {shard: (rows_of(lake, shard), lake.read_table(COUNTS_TABLE, shard)) for shard in texts} == expected
    other = Lake(str(tmp_path / "other"))
    write_entries(other, ENTRY_LIST)
    for shard, of_shard in texts.items():
        write_texts(other, shard, of_shard, rows_a_group=11)
    made(match(other, [A, B, C], compiled))
    assert {shard: rows_of(other, shard) for shard in texts} == {shard: rows for shard, (rows, _) in expected.items()}


def test_long_texts_that_are_stored_once_and_are_in_many_rows_come_few_at_a_time(lake, tmp_path, monkeypatch):
    """The row group takes six texts, its rows six hundred: a batch by the size of the group would hold them all."""
    monkeypatch.setattr(shard_texts, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(shard_texts, "READ_ROWS", 8)
    texts = [f"map {number % 6} " + 5_000 * "x" for number in range(600)]
    long = write_pool_shard(lake, tmp_path, texts, dictionary_pagesize_limit=2**30)
    assert pq.ParquetFile(long).metadata.row_group(0).column(1).total_uncompressed_size < 40_000

    def batches():
        listed = known_shards(lake)[A]
        with shard_texts.PoolTexts(listed, Storage()).open(lake, A) as opened:
            return list(opened)

    found_batches = batches()
    assert {len(batch) for batch in found_batches} == {8}
    assert [text for batch in found_batches for text in batch["text"].to_pylist()] == texts
    write_pool_shard(lake, tmp_path, [f"map {number:06}" for number in range(6_000)])
    assert [len(batch) for batch in batches()][:-1] == [len(batches()[0])] * (len(batches()) - 1)
    assert len(batches()[0]) > 100, "short ones are put together, though they are read as few at a time"


class CountingMatcher:
    """A matcher that notes the texts it is given."""

    def __init__(self, matcher):
        self._matcher, self.texts = matcher, []

    def match(self, texts):
        self.texts += texts.to_pylist()
        return self._matcher.match(texts)


def test_each_text_is_matched_once():
    matcher = CountingMatcher(Matcher.build(["a", "b"]))
    texts = distinct_texts.DistinctTexts(matcher)
    batches = [["a", "b", "a"], ["b", None, "c", "c"], [], [None, "a b", "a"]]
    ids, numbers, start = [], [], 0
    for batch in batches:
        rows = np.arange(start, start + len(batch), dtype=np.int32)
        of_batch = texts.add(pa.array(batch, pa.string()).dictionary_encode(), rows)
        ids += of_batch[0].tolist()
        numbers += of_batch[1].tolist()
        start += len(batch)
    assert matcher.texts == ["a", "b", None, "c", "a b"]
    assert ids == [0, 1, 0, 1, 4, 5, 5, 4, 8, 0]
    matches = texts.matches_of(np.array(numbers))
    assert [matches.of(row).tolist() for row in range(10)] == [[0], [1], [0], [1], [], [], [], [], [0, 1], [0]]
    assert texts.count == 5


def test_a_dictionary_that_has_a_text_twice():
    texts = distinct_texts.DistinctTexts(Matcher.build(["a"]))
    twice = pa.DictionaryArray.from_arrays(pa.array([1, 0, 2, 1], pa.int32()), pa.array(["a", "a", "b"]))
    assert texts.add(twice, np.arange(4, dtype=np.int32))[0].tolist() == [0, 0, 2, 0]
    assert texts.count == 2


def test_what_is_done_is_recognised_and_what_changed_is_done_again(lake, compiled):
    for shard in (A, B):
        write_texts(lake, shard, TEXTS)
    assert [report.is_reused for report in made(match(lake, [A, B], compiled))] == [False, False]
    again = made(match(lake, [A, B], compiled))
    assert [report.is_reused for report in again] == [True, True]
    forced = made(match(lake, [A], compiled, force=True))
    assert [dataclasses.replace(report, is_reused=True) for report in forced] == again[:1]
    write_texts(lake, B, TEXTS[:4], seed=1)
    assert [report.is_reused for report in made(match(lake, [A, B], compiled))] == [True, False]
    assert_right(lake, B, TEXTS[:4])
    assert not made(match(lake, [A], compiled, is_unspaced=True))[0].is_reused
    write_entries(lake, ["of", *ENTRY_LIST])
    assert not made(match(lake, [A], compiled))[0].is_reused
    assert_right(lake, A, TEXTS, ["of", *ENTRY_LIST])


def test_what_is_missing_fails_alone(lake, compiled):
    write_texts(lake, A, TEXTS)
    (of_b, of_a) = sorted(match(lake, [A, B], compiled), key=lambda outcome: outcome.error is None)
    assert isinstance(of_b.error, MissingInput)
    assert of_a.result.rows_kept == len(TEXTS)
    assert lake.partitions(FAILURES_TABLE) == [B]
    assert (lake.partitions(TABLE), lake.partitions(COUNTS_TABLE)) == ([A], [A])
    write_texts(lake, B, TEXTS)
    made(match(lake, [A, B], compiled))
    assert lake.partitions(FAILURES_TABLE) == []


def test_inputs_replaced_while_a_task_waited(lake, compiled):
    write_texts(lake, A, TEXTS)
    tasks = match_tasks(lake, [A], MatchSettings(compiled=compiled))
    write_entries(lake, ["quite", "another", "list"])
    (outcome,) = match_shards(tasks, 1)
    assert isinstance(outcome.error, SourceChanged)
    maps = lake.read_table("mappool/shard_maps", A).replace_schema_metadata()
    pq.write_table(maps, lake.url(Lake.table_path("mappool/shard_maps", A)))
    (outcome,) = match_shards(match_tasks(lake, [A], MatchSettings(compiled=compiled)), 1)
    assert "do not say what made them" in str(outcome.error)
    write_texts(lake, A, TEXTS, seed=2)
    tasks = match_tasks(lake, [A], MatchSettings(compiled=compiled))
    write_texts(lake, A, TEXTS[1:], seed=3)
    (outcome,) = match_shards(tasks, 1)
    assert isinstance(outcome.error, SourceChanged)
    assert lake.partitions(TABLE) == []


def test_no_entries_no_tasks(tmp_path):
    with pytest.raises(MissingInput, match="There is no list of entries"):
        match_tasks(Lake(str(tmp_path)), [A], MatchSettings())
    with pytest.raises(BadSetting):
        MatchSettings(texts="pages")


# -- the pool's own files ---------------------------------------------------------------------------------------------


def write_pool_shard(lake, folder, texts, uids=None, columns=None, **options):
    """Write one shard's parquet file and list it."""
    path = folder / f"{A}.parquet"
    rows = columns or {"uid": uids or [f"{number:032x}" for number in range(len(texts))], "text": texts}
    pq.write_table(pa.table(rows), path, **options)
    list_shard(lake, path)
    return path


def list_shard(lake, path):
    write_pool(lake, {A: ""})
    table = lake.read_table(POOL_SHARDS)
    for name, value in (("parquet_url", str(path)), ("parquet_version", local_version(path.stat()))):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), pa.array([value]))
    lake.write_table(POOL_SHARDS, table, lake.provenance(POOL_SHARDS))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 2}])
def test_all_texts_of_the_pool(lake, compiled, tmp_path, options, kind):
    texts = [*TEXTS, None, "map", None]
    write_pool_shard(lake, tmp_path, pa.array(texts, kind), **options)
    (report,) = made(match(lake, [A], compiled, texts="pool"))
    assert_right(lake, A, texts)
    assert report.rows_in == report.rows_kept == 12
    assert lake.provenance(TABLE, A).origin["source"]
    assert made(match(lake, [A], compiled, texts="pool"))[0].is_reused


def test_rows_that_cannot_be_stored_are_counted(lake, compiled, tmp_path):
    broken = pa.array([b"map \xff", b"map", b"old map", b"map \xff", None, b"Rome"]).view(pa.string())
    uids = pa.array([b"1", None, b"\xfe", None, b"5", b"6"]).view(pa.string())
    write_pool_shard(lake, tmp_path, broken, uids)
    (report,) = made(match(lake, [A], compiled, texts="pool"))
    assert (report.rows_in, report.rows_kept) == (6, 2)
    assert report.rows_dropped == {"null_uid": 2, "invalid_utf8": 2}
    assert [(row["uid"], row["row"], row["text_id"], row["entries"]) for row in rows_of(lake, A)] == [
        ("5", 4, 4, []),
        ("6", 5, 5, [3]),
    ]


def test_files_of_the_pool_that_cannot_be_used(lake, compiled, tmp_path):
    path = write_pool_shard(lake, tmp_path, TEXTS)

    def error():
        (outcome,) = match(lake, [A], compiled, texts="pool")
        return outcome.error

    write_pool_shard(lake, tmp_path, TEXTS, columns={"uid": ["1"], "caption": ["map"]})
    assert "no captions" in str(error())
    write_pool_shard(lake, tmp_path, TEXTS, columns={"uid": [1], "text": ["map"]})
    assert isinstance(error(), BadShard)
    write_pool_shard(lake, tmp_path, TEXTS)
    path.write_bytes(path.read_bytes()[:-20])
    list_shard(lake, path)
    assert isinstance(error(), BadShard)
    write_pool_shard(lake, tmp_path, TEXTS * 100, compression="none")
    path.write_bytes(b"PAR1" + b"\xff" * 3000 + path.read_bytes()[3004:])
    list_shard(lake, path)
    assert isinstance(error(), BadShard)
    write_pool_shard(lake, tmp_path, TEXTS)
    os.utime(path, ns=(1, 1))
    assert isinstance(error(), SourceChanged)
    path.unlink()
    assert isinstance(error(), MissingInput)
    (outcome,) = match(lake, [B], compiled, texts="pool")
    assert "No listing of the pool has this shard" in str(outcome.error)
    assert lake.partitions(TABLE) == []


# -- killed, and large ------------------------------------------------------------------------------------------------


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(lake, compiled, tmp_path):
    write_texts(lake, A, TEXTS)
    made(match(lake, [A], compiled))
    write_texts(lake, A, TEXTS[::-1], seed=1)
    undisturbed = Lake(str(tmp_path / "undisturbed"))
    write_entries(undisturbed, ENTRY_LIST)
    write_texts(undisturbed, A, TEXTS[::-1], seed=1)
    made(match(undisturbed, [A], compiled))
    expected = folder_bytes(Path(undisturbed.root))
    steps = 0
    with a_killer() as killer:
        killer.folders = (lake.root,)
        while True:
            killer.left = steps + 1
            try:
                made(match(lake, [A], compiled))
                break
            except Killed:
                steps += 1
                (task,) = match_tasks(lake, [A], MatchSettings())
                if lake.is_made_from(task.inputs, COUNTS_TABLE, A):  # only behind their matches
                    assert lake.is_made_from(task.inputs, TABLE, A)
            finally:
                killer.left = 0
            made(match(lake, [A], compiled))
            assert folder_bytes(Path(lake.root)) == expected
            made(match(lake, [A], compiled, force=True))
            write_texts(lake, A, TEXTS, seed=2)
            made(match(lake, [A], compiled))
            write_texts(lake, A, TEXTS[::-1], seed=1)
    assert steps >= 4
    assert folder_bytes(Path(lake.root)) == expected


MEMORY = """
import json, re, sys
from pathlib import Path
from mappool_assets.lib.curation.matches import MatchSettings, match_shards, match_tasks
from mappool_assets.lib.lake import Lake

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

lake, compiled = Lake(sys.argv[1]), Path(sys.argv[2])
peaks = []
for shard in sys.argv[3:]:
    (outcome,) = match_shards(match_tasks(lake, [shard], MatchSettings("pool", compiled=compiled)), 1)
    assert outcome.error is None, outcome.error
    peaks.append(peak())
print(json.dumps(peaks))
"""


def test_memory_is_that_of_a_batch(lake, compiled, tmp_path):
    """700 MB of texts, five hundred times the same megabyte among them."""
    draw = random.Random(3)
    words = [f"w{number}" for number in range(500)]
    write_entries(lake, [*words, *ENTRY_LIST])
    megabyte = " ".join(draw.choices(words, k=250_000))
    texts = [megabyte] * 500 + [f"{number} {megabyte}" for number in range(40)]
    schema = pa.schema([("uid", pa.string()), ("text", pa.string())])
    path = tmp_path / f"{A}.parquet"
    with pq.ParquetWriter(path, schema, write_batch_size=1) as writer:  # else a page has 50 texts
        for start in range(0, len(texts), 50):
            some = texts[start : start + 50]
            writer.write_table(pa.table([[f"{start + place}" for place in range(len(some))], some], schema=schema))
    list_shard(lake, path)
    command = [sys.executable, "-c", MEMORY, lake.root, str(compiled), A]
    (peak,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak < 600
    table = lake.read_table(TABLE, A)
    assert table.num_rows == 540
    assert table["entries"][0].as_py() == found(megabyte, [*words, *ENTRY_LIST])
