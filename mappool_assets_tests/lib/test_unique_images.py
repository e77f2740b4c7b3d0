"""The step from fetched images to unique ones, on lakes whose duplicates are known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mappool_assets.lib import scratch_folder, sql_files
from mappool_assets.lib.duplicates import image_embeddings, image_places, unique_images
from mappool_assets.lib.duplicates.unique_images import TABLE, DuplicateSettings, find_unique_images
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.image_web import image_web
from mappool_assets_tests.small_images import write_images
from mappool_assets_tests.small_lake import shard_key, write_maps

A, B, C = (shard_key(first) for first in "abc")
LONG = DuplicateSettings(hash_distance=2, similarity=0.98)
FAR = [0x0F0F_0F0F_0F0F_0F0F ^ (0xFFFF << 16 * n) for n in range(4)]  # hashes that are far from each other
MIRRORS = [0x00FF_00FF_00FF_00FF ^ (0xFFFF << 16 * n) for n in range(4)]


def vectors(*rows):
    unit = np.array(rows, np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return pa.FixedSizeListArray.from_arrays(pa.array(unit.astype(np.float16).ravel()), unit.shape[1])


@pytest.fixture
def lake(tmp_path):
    """Three shards in which A's first image has a copy of each kind, and A's second none."""
    lake = Lake(str(tmp_path / "lake"))
    write_maps(
        lake, A, 3, columns={"uid": ["a0", "a1", "a2"], "map_score": [0.5, 0.5, 0.5], "text": ["one", "two", "one"],
                             "l14_img": vectors([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])},
    )  # fmt: skip
    write_images(
        lake, A, ["ok", "ok", "http_404"],
        columns={"sha256": ["s0", "s1", None], "width": [40, 20, None], "height": [30, 20, None],
                 "bytes": [900, 500, None], "perceptual_hash": [FAR[0], FAR[1], None],
                 "perceptual_hash_mirrored": [MIRRORS[0], MIRRORS[1], None]},
    )  # fmt: skip
    write_maps(
        lake, B, 5, columns={"uid": [f"b{n}" for n in range(5)], "map_score": [0.4, 0.5, 0.5, 0.5, 0.9],
                             "text": ["three"] * 4 + ["one"],
                             "l14_img": vectors([1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [9, 1, 0, 0], [0, 1, 1, 1])},
    )  # fmt: skip
    write_images(
        lake, B,
        columns={"sha256": ["s0", "b1", "b2", "b3", "b1"], "width": [40, 20, 20, 39, 20],
                 "height": [30, 20, 20, 30, 20], "bytes": [900, 100, 90, 80, 100],
                 "perceptual_hash": [FAR[0], FAR[0] ^ 0b101, MIRRORS[0] ^ 0b1, FAR[3], FAR[0] ^ 0b101],
                 "perceptual_hash_mirrored": [MIRRORS[0], MIRRORS[2], MIRRORS[3], MIRRORS[3], MIRRORS[2]]},
    )  # fmt: skip
    return lake


def rows(lake):
    return {row["uid"]: row for row in lake.read_table(TABLE).to_pylist()}


def check_rules(lake):
    for name in sql_files.names("checks"):
        if "unique_images" in name:
            assert sql_files.run(lake, name).to_pylist() == [], name
    assert sql_files.run(lake, "checks/rows_accounted", table=TABLE).num_rows == 0


def test_each_kind_of_duplicate_is_attached_to_the_image_that_is_kept(lake, tmp_path):
    made = find_unique_images(lake, tmp_path / "scratch", settings=LONG)
    found = rows(lake)
    assert list(found) == ["a0", "a1", "b0", "b1", "b2", "b3", "b4"]
    assert {uid: row["relation"] for uid, row in found.items()} == {
        "a0": None,
        "a1": None,
        "b0": "exact",  # the score decides, as bytes and pixels are the same
        "b1": "perceptual",  # the bytes of b4, which is preferred for its score and perceptual to a0
        "b2": "mirrored",
        "b3": "embedding",
        "b4": "perceptual",
    }
    assert {row["representative_uid"] for uid, row in found.items() if uid != "a1"} == {"a0"}
    assert {row["representative_shard"] for row in found.values()} == {A}
    assert [found[uid]["group_size"] for uid in ("a0", "a1", "b4")] == [6, 1, 6]
    assert [found[uid]["hash_distance"] for uid in found] == [None, None, None, 2, 1, None, 2]
    assert found["b3"]["similarity"] == pytest.approx(9 / 82**0.5, abs=1e-3)
    assert {found[uid]["similarity"] for uid in found if uid != "b3"} == {None}
    assert (made.rows_in, made.rows_kept) == (7, 2)
    assert made.rows_dropped == {
        "exact_duplicate": 1,
        "perceptual_duplicate": 2,
        "mirrored_duplicate": 1,
        "embedding_duplicate": 1,
    }
    assert made.measures == {
        "images_of_different_bytes": 5,
        "of_these_without_embedding": 0,
        "captions": {
            "captions": 8,
            "distinct_captions": 3,
            "repeated_captions": 2,
            "maps_with_repeated_caption": 7,
        },
    }
    check_rules(lake)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_settings_are_the_limits(lake, tmp_path):
    find_unique_images(lake, tmp_path, settings=DuplicateSettings(hash_distance=1, similarity=0.999))
    assert {uid: row["relation"] for uid, row in rows(lake).items()} == {
        "a0": None, "a1": None, "b0": "exact", "b1": "exact", "b2": "mirrored", "b3": None, "b4": None,
    }  # fmt: skip
    check_rules(lake)


def test_the_same_lake_gives_the_same_bytes_and_is_not_done_again(lake, tmp_path, monkeypatch):
    find_unique_images(lake, tmp_path, settings=LONG)
    first = lake.read_bytes(Lake.table_path(TABLE))
    monkeypatch.setattr(unique_images, "find_places", None)  # would fail
    assert find_unique_images(lake, tmp_path, settings=LONG) == lake.provenance(TABLE)
    monkeypatch.undo()
    monkeypatch.setattr(image_places, "BATCH_ROWS", 2)
    monkeypatch.setattr(image_embeddings, "BATCH_VECTORS", 1)
    lake.delete(Lake.table_path(TABLE))
    find_unique_images(lake, tmp_path, settings=LONG)
    second = lake.read_table(TABLE)
    lake.delete(Lake.table_path(TABLE))
    monkeypatch.undo()
    find_unique_images(lake, tmp_path, settings=LONG)
    assert lake.read_bytes(Lake.table_path(TABLE)) == first
    assert lake.read_table(TABLE) == second


@pytest.mark.parametrize("change", ["images", "maps", "settings"])
def test_what_changed_is_done_again(lake, tmp_path, change):
    before, settings = find_unique_images(lake, tmp_path, settings=LONG), LONG
    if change == "images":
        write_maps(lake, C, 1)
        write_images(lake, C, columns={"perceptual_hash": [FAR[2]], "perceptual_hash_mirrored": [1]})
    elif change == "maps":
        write_maps(lake, C, 2, seed=1)
    else:
        settings = DuplicateSettings(hash_distance=1, similarity=LONG.similarity)
    after = find_unique_images(lake, tmp_path, settings=settings)
    assert after.fingerprint != before.fingerprint
    assert after.rows_in == before.rows_in + (change == "images")
    check_rules(lake)


def test_another_attempt_in_vain_is_no_change(tmp_path, monkeypatch):
    with image_web(tmp_path) as web:
        web.busy = {2}
        web.write_maps(range(4), shard=A)
        fetched = web.fetch(A)
        before = find_unique_images(web.lake, web.scratch)
        assert web.fetch(A).fingerprint != fetched.fingerprint
        monkeypatch.setattr(unique_images, "find_places", None)  # would fail
        assert find_unique_images(web.lake, web.scratch) == before
        monkeypatch.undo()
        web.busy = set()
        web.fetch(A)
        after = find_unique_images(web.lake, web.scratch)
        assert (before.rows_in, after.rows_in) == (3, 4)


def test_an_image_whose_embedding_is_gone_is_compared_by_hash_alone(lake, tmp_path):
    write_maps(lake, B, 1, seed=2, columns={"uid": ["b0"]})
    lake.delete(Lake.table_path("mappool/shard_maps", A))
    made = find_unique_images(lake, tmp_path, settings=LONG)
    assert made.measures["of_these_without_embedding"] == 4  # a0 and b0 share bytes; the latter's score comes first
    assert rows(lake)["b3"]["is_kept"]
    assert rows(lake)["b2"]["relation"] == "mirrored"
    check_rules(lake)


def test_a_lake_without_images_has_an_empty_table(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(MissingInput):
        find_unique_images(lake, tmp_path / "scratch")
    write_maps(lake, A, 2)
    with pytest.raises(MissingInput):
        find_unique_images(lake, tmp_path / "scratch")
    write_images(lake, A, ["timeout", "http_404"])
    made = find_unique_images(lake, tmp_path / "scratch")
    assert (made.rows_in, made.rows_kept, made.rows_dropped) == (0, 0, {})
    assert lake.read_table(TABLE).num_rows == 0
    check_rules(lake)


def test_a_failure_leaves_neither_table_nor_scratch(lake, tmp_path):
    (Path(lake.root) / Lake.table_path("mappool/shard_maps", B)).write_bytes(b"not parquet")
    with pytest.raises(Exception, match=B):
        find_unique_images(lake, tmp_path / "scratch")
    assert not lake.exists(Lake.table_path(TABLE))
    assert list((tmp_path / "scratch").glob("*")) == []


def test_what_a_killed_run_left_is_removed(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_folder.shutil, "rmtree", lambda *_, **__: None)
    find_unique_images(lake, tmp_path, settings=LONG)
    monkeypatch.undo()
    [left] = tmp_path.glob("unique_images-*")
    first = lake.read_bytes(Lake.table_path(TABLE))
    lake.delete(Lake.table_path(TABLE))
    find_unique_images(lake, tmp_path, settings=LONG)
    assert lake.read_bytes(Lake.table_path(TABLE)) == first
    assert not left.exists()


def test_progress_counts_images_shards_and_files(lake, tmp_path):
    told = []
    find_unique_images(lake, tmp_path, lambda things: lambda done, total: told.append((things, done, total)))
    assert told == [
        ("shards read", 1, 2),
        ("shards read", 2, 2),
        ("images compared by hash", 5, 5),
        ("files of embeddings compared", 1, 1),
    ]


def test_reports(lake, tmp_path):
    assert sql_files.run(lake, "reports/duplicates").num_rows == 0
    find_unique_images(lake, tmp_path, settings=LONG)
    by_kind = {row["relation"]: row for row in sql_files.run(lake, "reports/duplicates").to_pylist()}
    assert [(kind, row["images"], row["groups"]) for kind, row in by_kind.items()] == [
        ("kept", 2, 2), ("exact", 1, 1), ("perceptual", 2, 1), ("mirrored", 1, 1), ("embedding", 1, 1),
    ]  # fmt: skip
    assert sum(row["share"] for row in by_kind.values()) == pytest.approx(1)
    assert by_kind["perceptual"]["mean_hash_distance"] == 2
    [group] = sql_files.run(lake, "reports/duplicate_groups").to_pylist()
    kinds = [group[kind] for kind in ("exact", "perceptual", "mirrored", "embedding")]
    assert (group["uid"], group["group_size"], kinds) == ("a0", 6, [1, 2, 1, 1])
    assert group["url"] == f"https://maps.example/{A}/0.png"
    captions = sql_files.run(lake, "reports/caption_duplicates").to_pylist()
    assert [(row["caption"], row["maps"], row["shards"]) for row in captions] == [("three", 4, 1), ("one", 3, 2)]
    funnel = {row["table"]: row["dropped_by_reason"] for row in sql_files.run(lake, "reports/funnel").to_pylist()}
    assert funnel[TABLE].startswith("perceptual_duplicate 2, ")


# A check, the columns of rows to change by uid, and what the check then finds.
FAULTS = [
    ("complete", {"uid": {"b3": "b9"}}, ["b3", "b9"]),
    ("representative_kept", {"representative_uid": {"a1": "b2"}}, ["a1"]),
    ("representative_kept", {"is_kept": {"b3": True}}, ["b3"]),
    ("representative_kept", {"relation": {"b3": None}}, ["b3"]),
    ("representative_kept", {"group_size": {"a1": 2}}, ["a1"]),
    ("bytes_kept_once", {"sha256": {"a1": "s0"}}, ["s0"]),
    ("within_limits", {"relation": {"b3": None}}, ["b3"]),
    ("within_limits", {"relation": {"b3": "exact"}}, ["b3"]),
    ("within_limits", {"hash_distance": {"b4": 1}}, ["b4"]),
    ("within_limits", {"hash_distance": {"b2": 2}}, ["b2"]),
    ("within_limits", {"relation": {"b4": "mirrored"}}, ["b4"]),
    ("within_limits", {"similarity": {"b3": 0.97}}, ["b3"]),
    ("within_limits", {"similarity": {"b3": None}}, ["b3"]),
    ("best_kept", {"representative_shard": {"a0": B}, "representative_uid": {"a0": "b0"}, "is_kept": {"a0": False}},
     ["a0"]),
]  # fmt: skip


def test_the_checks_find_rows_that_break_a_rule(lake, tmp_path):
    made = find_unique_images(lake, tmp_path, settings=LONG)
    table = lake.read_table(TABLE)
    for check, changes, offending in FAULTS:
        changed = [
            {name: changes.get(name, {}).get(row["uid"], value) for name, value in row.items()}
            for row in table.to_pylist()
        ]
        lake.write_table(TABLE, pa.Table.from_pylist(changed, schema=table.schema), made, is_ledger=True)
        found = sql_files.run(lake, f"checks/unique_images_{check}").to_pylist()
        assert [row.get("uid", row.get("sha256")) for row in found] == offending, changes
