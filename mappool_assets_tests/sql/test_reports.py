from __future__ import annotations

import json
from pathlib import Path

import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets_tests.small_lake import (
    SOURCE,
    THRESHOLD,
    shard_key,
    write_failure,
    write_maps,
    write_pool,
    write_training_set,
)

A, B, C, D = (shard_key(first) for first in "abcd")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def report(lake: Lake, name: str) -> list[dict]:
    return sql_files.run(lake, f"reports/{name}").to_pylist()


def test_the_funnel_adds_up_all_partitions(lake: Lake) -> None:
    write_maps(lake, A, rows=3)
    write_maps(lake, B, rows=7)
    write_training_set(lake, [("s1", "p1", "training")])
    assert report(lake, "funnel") == [
        {
            "table": "mappool/shard_maps",
            "partitions": 2,
            "rows_in": 20,
            "rows_kept": 10,
            "rows_dropped": 10,
            "dropped_by_reason": "not_a_map 8, null_url 2",
        },
        {
            "table": "mappool/training_set",
            "partitions": 1,
            "rows_in": 1,
            "rows_kept": 1,
            "rows_dropped": 0,
            "dropped_by_reason": "",
        },
    ]


def test_lineage_tells_what_made_each_partition(lake: Lake) -> None:
    write_maps(lake, A)
    write_maps(lake, B, threshold=0.5)
    rows = report(lake, "lineage")
    assert [(row["table"], row["partition"]) for row in rows] == [("mappool/shard_maps", A), ("mappool/shard_maps", B)]
    for row in rows:
        made = lake.provenance(row["table"], row["partition"])
        assert made is not None
        assert row["fingerprint"] == made.fingerprint
        assert json.loads(row["inputs"]) == made.inputs
        assert json.loads(row["rows_dropped"]) == made.rows_dropped
        assert (row["rows_in"], row["rows_kept"]) == (made.rows_in, made.rows_kept)


def test_the_backlog_says_why_and_keeps_addresses_out_of_what_is_published(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "", C: "", D: ""}, unlisted=[C])
    write_maps(lake, D)
    write_failure(lake, B)
    rows = {row["shard"]: row for row in report(lake, "backlog")}
    assert {shard: row["reason"] for shard, row in rows.items()} == {
        A: "not scored yet",
        B: "BadShard: A member is missing",
        C: "no longer listed at the source",
    }
    assert (rows[B]["where"], rows[B]["action"]) == (f"/home/me/{B}.npz", "Fetch it again.")


def test_the_backlog_before_any_shard_is_scored_is_the_whole_pool(lake: Lake) -> None:
    write_pool(lake, {A: "part_1", B: "part_2"})
    assert [row["shard"] for row in report(lake, "backlog")] == [A, B]


def test_the_corpus_takes_the_sources_part_or_the_keys_first_character(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "", C: "part_17"})
    write_maps(lake, A)
    write_maps(lake, C, rows=0)
    write_maps(lake, D)  # scored once, of another pool
    rows = report(lake, "corpus")
    assert [(row["shard"], row["part"], row["rows_kept"]) for row in rows] == [(C, "part_17", 0), (A, "part_a", 3)]
    assert {(row["source"], row["revision"], row["classifier_id"], row["threshold"]) for row in rows} == {
        (SOURCE, "0123abcd", "svm-1", THRESHOLD)
    }


def test_maps_of_files_that_changed_since_are_not_of_the_listed_revision(lake: Lake) -> None:
    write_pool(lake, {A: ""})
    maps = write_maps(lake, A)
    made = lake.provenance("mappool/shard_maps", A)
    assert made is not None
    changed = Provenance({**made.inputs, "npz_version": "0"}, made.rows_in, made.rows_kept, made.rows_dropped)
    lake.write_table("mappool/shard_maps", maps, changed, A)
    assert report(lake, "corpus")[0]["revision"] is None
