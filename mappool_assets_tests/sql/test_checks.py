"""Each check on a lake that keeps its rule and on one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_ledger import SCHEMA, LedgerRow
from mappool_assets_tests.small_lake import shard_key, write_maps, write_pool, write_training_set

A, B, C = (shard_key(first) for first in "abc")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def offenders(lake: Lake, check: str, **bound: object) -> list[dict]:
    return sql_files.run(lake, f"checks/{check}", **bound).to_pylist()


def test_uid_twice_across_shards_and_within_one(lake: Lake) -> None:
    write_maps(lake, A)
    write_maps(lake, B)
    assert offenders(lake, "shard_maps_uid_unique") == []

    write_maps(lake, B, columns={"uid": ["one", "twice", "twice"]})
    write_maps(lake, C, columns={"uid": ["one", "two", "three"]})
    assert offenders(lake, "shard_maps_uid_unique") == [
        {"uid": "one", "copies": 2, "shards": [B, C]},
        {"uid": "twice", "copies": 2, "shards": [B]},
    ]
    assert offenders(lake, "shard_maps_uid_unique", shards=[A, C]) == []
    assert [row["uid"] for row in offenders(lake, "shard_maps_uid_unique", shards=[B])] == ["twice"]


def test_each_score_is_held_to_its_own_shards_threshold(lake: Lake) -> None:
    write_maps(lake, A, threshold=0.35)
    write_maps(lake, B, threshold=-1.0, columns={"map_score": [-0.9, -0.5, 0.1]})
    assert offenders(lake, "shard_maps_score_over_threshold") == []

    # The filter keeps what is over the threshold in float32, so float32(0.35) itself is not over 0.35.
    write_maps(lake, C, threshold=0.35, columns={"map_score": [0.35, 0.36, 0.34]})
    assert [row["uid"][-1] for row in offenders(lake, "shard_maps_score_over_threshold")] == ["0", "2"]
    assert offenders(lake, "shard_maps_score_over_threshold", shards=[A, B]) == []
    assert len(offenders(lake, "shard_maps_score_over_threshold", shards=[C])) == 2
    assert offenders(lake, "shard_maps_score_over_threshold", shards=[]) == []


@pytest.mark.parametrize("score", [None, float("nan"), float("-inf")])
def test_what_is_no_score_is_not_over_the_threshold(lake: Lake, score: float | None) -> None:
    write_maps(lake, A, columns={"map_score": pa.array([0.5, score, 0.5], pa.float32(), from_pandas=False)})
    assert [row["uid"][-1] for row in offenders(lake, "shard_maps_score_over_threshold")] == ["1"]


def test_a_shard_that_does_not_say_its_threshold_offends(lake: Lake) -> None:
    maps = write_maps(lake, A)
    lake.write_table("mappool/shard_maps", maps, Provenance({"shard": A}, 3, 3), A)
    assert len(offenders(lake, "shard_maps_score_over_threshold")) == 3


def test_splits_share_no_image(lake: Lake) -> None:
    write_training_set(lake, [("s1", "p1", "training"), ("s2", "p1", "training"), ("s3", "p3", "evaluation")])
    assert offenders(lake, "training_set_splits_disjoint") == []

    write_training_set(
        lake,
        [("s1", "p1", "training"), ("s1", "p2", "evaluation"), ("s3", "p3", "evaluation"), ("s4", "p3", "training")],
    )
    assert offenders(lake, "training_set_splits_disjoint") == [
        {"hash_kind": "phash", "hash": "p3", "splits": ["evaluation", "training"], "names": ["2.png", "3.png"]},
        {"hash_kind": "sha256", "hash": "s1", "splits": ["evaluation", "training"], "names": ["0.png", "1.png"]},
    ]


def test_every_known_shard_is_scored_or_missing(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "", C: ""})
    assert [row["shard"] for row in offenders(lake, "pool_shards_scored_or_missing")] == [A, B, C]
    write_maps(lake, A)
    assert [row["shard"] for row in offenders(lake, "pool_shards_scored_or_missing")] == [B, C]
    missing = pa.table({"shard": [B], "reason": ["not scored yet"]})
    lake.write_table("mappool/missing_shards", missing, Provenance({}, 3, 1, {"scored": 2}))
    assert [row["shard"] for row in offenders(lake, "pool_shards_scored_or_missing")] == [C]
    write_maps(lake, C, rows=0)
    assert offenders(lake, "pool_shards_scored_or_missing") == []


def test_rows_are_accounted_for_in_every_table(lake: Lake) -> None:
    rows = write_maps(lake, A)
    write_training_set(lake, [("s1", "p1", "training")])
    assert offenders(lake, "rows_accounted") == []

    lake.write_table("mappool/shard_maps", rows, Provenance({}, 9, 3, {"not_a_map": 4, "null_url": 1}), B)
    lake.write_table("mappool/classifier", pa.table({"a": [1]}), Provenance({}, 2, 1))
    assert [(row["table"], row["partition"]) for row in offenders(lake, "rows_accounted")] == [
        ("mappool/classifier", "all"),
        ("mappool/shard_maps", B),
    ]
    assert offenders(lake, "rows_accounted", table="mappool/training_set") == []
    assert offenders(lake, "rows_accounted", table="mappool/shard_maps", partitions=[A]) == []
    assert len(offenders(lake, "rows_accounted", table="mappool/shard_maps", partitions=[A, B])) == 1
    assert len(offenders(lake, "rows_accounted", table="mappool/shard_maps")) == 1


def test_a_ledger_holds_all_rows_in(lake: Lake) -> None:
    rows, made = pa.table({"a": [1, 2, 3]}), Provenance({}, 3, 1, {"http_404": 2})
    lake.write_table("mappool/map_images", rows, made, A, is_ledger=True)
    assert offenders(lake, "rows_accounted") == []
    lake.write_table("mappool/map_images", rows, Provenance({}, 3, 1, {"http_404": 1}), B, is_ledger=True)
    lake.write_table("mappool/map_images", rows.slice(0, 1), made, C)
    assert [row["partition"] for row in offenders(lake, "rows_accounted")] == [B], "C is none: it holds what was kept"


def test_every_map_has_one_status_row(lake: Lake) -> None:
    for key in (A, B, C):
        write_maps(lake, key)
    write_images(lake, A)
    write_images(lake, B)
    assert offenders(lake, "map_images_one_row_a_map") == [], "of the shards whose images were fetched"
    assert offenders(lake, "map_images_one_row_a_map", shards=[A, B]) == []
    assert len(offenders(lake, "map_images_one_row_a_map", shards=[B, C])) == 3, "of the shards that are named"
    assert offenders(lake, "map_images_one_row_a_map", shards=[]) == []

    maps = lake.read_table("mappool/shard_maps", B).to_pylist()
    write_images(lake, B, change=lambda rows: [rows[0], rows[0], rows[2]])
    assert [(row["fault"], row["uid"]) for row in offenders(lake, "map_images_one_row_a_map")] == [
        ("status row without map", maps[0]["uid"]),
        ("map without status row", maps[1]["uid"]),
    ]
    assert offenders(lake, "map_images_one_row_a_map", shards=[A]) == []


@pytest.mark.parametrize("changed", [{"url": "https://other.example/"}, {"expected_sha256": None}, {"uid": "other"}])
def test_a_status_row_is_of_its_map_as_it_is(lake: Lake, changed: dict) -> None:
    write_maps(lake, A)
    write_images(lake, A, change=lambda rows: [{**rows[0], **changed}, *rows[1:]])
    faults = [row["fault"] for row in offenders(lake, "map_images_one_row_a_map")]
    assert sorted(faults) == ["map without status row", "status row without map"]


def test_maps_without_an_expected_checksum_have_status_rows_too(lake: Lake) -> None:
    write_maps(lake, A, columns={"sha256": [None, "", "1" * 64]})
    write_images(lake, A)
    assert offenders(lake, "map_images_one_row_a_map") == []
    assert len(offenders(lake, "map_images_ok_complete")) == 0


IMAGE = {
    "status": "ok",
    "file": "00000.tar",
    "extension": "png",
    "mime": "image/png",
    "width": 1,
    "height": 1,
    "bytes": 1,
    "sha256": "0" * 64,
    "perceptual_hash": 2**64 - 1,
    "perceptual_hash_mirrored": 0,
}
NO_IMAGE = {**dict.fromkeys(IMAGE), "status": "http_404", "detail": "", "attempts": 1}


@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in IMAGE if name != "status"),
        {"attempts": 0},
        {"file": ""},
        {"mime": "text/html"},
        {"width": 0},
        {"bytes": 0},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"expected_sha256": "1" * 64},
        {"status": ""},
        {"status": "http_404"},
        {**NO_IMAGE, "status": ""},
        *({**NO_IMAGE, name: value} for name, value in IMAGE.items() if name != "status"),
    ],
    ids=str,
)
def test_an_image_is_complete_and_what_is_none_claims_none(lake: Lake, changed: dict) -> None:
    write_maps(lake, A)
    write_maps(lake, B)
    write_images(lake, A)
    write_images(
        lake, B, change=lambda rows: [{**rows[0], **NO_IMAGE}, {**rows[1], **NO_IMAGE, "attempts": 0}, rows[2]]
    )
    assert offenders(lake, "map_images_ok_complete") == []

    write_images(lake, B, change=lambda rows: [rows[0], {**rows[1], **changed}, rows[2]])
    assert [(row["shard"], row["uid"][-1]) for row in offenders(lake, "map_images_ok_complete")] == [(B, "1")]
    assert offenders(lake, "map_images_ok_complete", shards=[A]) == []


def test_the_case_of_an_expected_checksum_does_not_matter(lake: Lake) -> None:
    write_maps(lake, A, columns={"sha256": ["AB" * 32] * 3})
    write_images(lake, A, change=lambda rows: [{**row, "sha256": "ab" * 32} for row in rows])
    assert offenders(lake, "map_images_ok_complete") == []


def test_before_any_image_is_fetched_there_is_nothing_to_find(lake: Lake) -> None:
    write_maps(lake, A)
    assert offenders(lake, "map_images_one_row_a_map") == offenders(lake, "map_images_ok_complete") == []


def write_images(lake: Lake, shard: str, change: Callable[[list[dict]], list[dict]] = lambda rows: rows) -> None:
    """Write the ledger of a shard all of whose maps have an image, or of some change of it."""
    rows = [
        {**LedgerRow(m["uid"], m["url"], m["sha256"], attempts=1)._asdict(), **IMAGE, "sha256": m["sha256"] or "0" * 64}
        for m in lake.read_table("mappool/shard_maps", shard).to_pylist()
    ]
    table = pa.Table.from_pylist(change(rows), schema=SCHEMA)
    made = Provenance({}, table.num_rows, table.num_rows)
    lake.write_table("mappool/map_images", table, made, shard, is_ledger=True)


def test_a_file_with_other_rows_than_it_says_is_found(lake: Lake) -> None:
    write_maps(lake, A)
    maps = lake.read_table("mappool/shard_maps", A)
    with lake.writing(Lake.table_path("mappool/shard_maps", A)) as file:
        pq.write_table(maps.slice(0, 2).replace_schema_metadata(_metadata_of(lake, A)), file)
    assert [(row["rows_kept"], row["row_count"]) for row in offenders(lake, "rows_accounted")] == [(3, 2)]


def _metadata_of(lake: Lake, shard: str) -> dict[bytes, bytes]:
    with lake.open_table("mappool/shard_maps", shard) as file:
        return {key: value for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}


@pytest.mark.parametrize(
    "check",
    [
        "checks/shard_maps_uid_unique",
        "checks/shard_maps_score_over_threshold",
        "checks/map_images_one_row_a_map",
        "checks/map_images_ok_complete",
    ],
)
def test_checks_of_some_shards_open_no_others(lake: Lake, check: str) -> None:
    """The others are made unreadable, which any look at them would notice."""
    for key in (A, B, C):
        write_maps(lake, key)
        write_images(lake, key)
    for table in ("mappool/shard_maps", "mappool/map_images"):
        (Path(lake.root) / Lake.table_path(table, C)).write_bytes(b"not parquet")

    with pytest.raises(duckdb.Error, match=C):
        sql_files.run(lake, check)
    assert sql_files.run(lake, check, shards=[B]).num_rows == 0
    assert sql_files.run(lake, "checks/rows_accounted", table="mappool/shard_maps", partitions=[B]).num_rows == 0


def test_every_statement_asks_a_question_and_binds_all_its_values() -> None:
    names = [*sql_files.names("checks"), *sql_files.names("reports")]
    assert len(names) >= 10
    for name in names:
        first, *code = sql_files.statement(name).splitlines()
        assert first.startswith("-- ")
        assert sql_files.question(name).endswith("?")
        assert not any(mark in "".join(code) for mark in ("{", "%s")), f"{name} is formatted, not bound"


def test_parameters_are_told_from_json_paths_and_comments() -> None:
    assert sql_files.parameters("checks/shard_maps_score_over_threshold") == {"shards"}
    assert sql_files.parameters("checks/rows_accounted") == {"table", "partitions"}
    assert sql_files.parameters("reports/corpus") == set()


def test_wrong_names_are_refused(lake: Lake) -> None:
    with pytest.raises(BadSetting, match=r"reports/funnel.*got reports/funnels"):
        sql_files.statement("reports/funnels")
    with pytest.raises(BadSetting, match=r"\['shards'\].*got \['shard'\]"):
        sql_files.run(lake, "checks/shard_maps_uid_unique", shard=[A])
