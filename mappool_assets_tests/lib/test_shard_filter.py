import dataclasses
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib import shard_filter
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.errors import (
    BadShard,
    MappoolError,
    MissingInput,
    SourceChanged,
)
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import filter_shard

ROWS = 600
KEY = shard_key("test")
INPUTS = {"made": "by a test"}


@pytest.fixture(scope="module")
def rows():
    return synthetic_rows(ROWS, seed=1, map_share=0.1)


def linear_classifier(rows):
    """A classifier that separates these rows: the direction from the mean of the others to that of the maps."""
    images = rows.members["l14_img"].astype(np.float32)
    direction = images[rows.is_map].mean(0) - images[~rows.is_map].mean(0)
    middle = (images[rows.is_map] @ direction).mean() / 2 + (images[~rows.is_map] @ direction).mean() / 2
    arrays = {"coefficients": direction, "intercept": np.array([-middle])}
    return MapClassifier(LOGISTIC_REGRESSION, arrays, encoder_id="test", training_set_id="test")


@pytest.fixture(scope="module")
def linear(rows):
    return linear_classifier(rows)


@pytest.fixture
def filtered(tmp_path, linear):
    """A function that writes a shard, changes it on disk, and filters it."""
    lake = Lake(str(tmp_path / "lake"))

    def run(rows, *, change=lambda parquet, npz: None, scorer=linear):
        pool = tmp_path / "pool"
        pool.mkdir(exist_ok=True)
        change(*write_shard(pool, KEY, rows))
        (shard,) = list_pool(str(pool), Storage()).shards
        return filter_shard(shard, scorer, lake, Storage(), INPUTS), lake

    yield run
    leftovers = [path for path in (tmp_path / "lake").rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert leftovers == []


def expected_maps(rows, scorer):
    """The slow, obvious way: everything in memory, no blocks, no ranges."""
    images = rows.members["l14_img"].astype(np.float32)
    scores = images @ scorer.arrays["coefficients"].astype(np.float32) + np.float32(scorer.arrays["intercept"][0])
    return np.flatnonzero(scores > 0), scores


def test_the_maps_of_a_shard_in_mappools_columns(rows, linear, filtered):
    report, lake = filtered(rows)
    kept, scores = expected_maps(rows, linear)
    assert 10 < len(kept) < ROWS - 10
    assert (report.rows_in, report.rows_kept) == (ROWS, len(kept))
    assert report.rows_dropped == {"not_a_map": ROWS - len(kept)}
    assert report.score_counts.sum() == ROWS
    maps = lake.read_table("mappool/shard_maps", KEY)
    assert maps.schema.names == [
        "uid", "url", "text", "original_width", "original_height", "sha256", "l14_img", "l14_txt",
        "clip_l14_similarity_score", "map_score",
    ]  # fmt: skip
    for name in ("uid", "url", "text", "original_width", "original_height", "sha256", "clip_l14_similarity_score"):
        assert maps[name].to_pylist() == rows.table[name].take(kept).to_pylist()
    for name in ("l14_img", "l14_txt"):
        assert maps.schema.field(name).type == pa.list_(pa.float16(), 768)
        vectors = maps[name].combine_chunks().flatten().to_numpy().reshape(-1, 768)
        np.testing.assert_array_equal(vectors, rows.members[name][kept])
    np.testing.assert_allclose(maps["map_score"].to_numpy(), scores[kept], atol=1e-5)
    made = lake.provenance("mappool/shard_maps", KEY)
    assert made.inputs == INPUTS
    assert made.rows_in == made.rows_kept + sum(made.rows_dropped.values())


def test_block_and_write_sizes_do_not_change_a_byte(rows, filtered, monkeypatch):
    contents = set()
    for block_rows, write_rows in ((ROWS, ROWS), (64, ROWS), (7, ROWS)):
        monkeypatch.setattr(shard_filter, "BLOCK_ROWS", block_rows)
        monkeypatch.setattr(shard_filter, "KEPT_ROWS_A_WRITE", write_rows)
        _, lake = filtered(rows)
        table = lake.read_table("mappool/shard_maps", KEY)
        contents.add(table.drop(["map_score"]).to_pandas().to_json())
    assert len(contents) == 1
    assert filtered(rows)[1].read_bytes(f"mappool/shard_maps/{KEY}.parquet") == filtered(rows)[1].read_bytes(
        f"mappool/shard_maps/{KEY}.parquet"
    )


def test_parquet_row_groups_may_lie_otherwise_than_blocks(rows, linear, filtered, monkeypatch):
    monkeypatch.setattr(shard_filter, "BLOCK_ROWS", 100)
    report, _ = filtered(rows, change=lambda parquet, _: pq.write_table(rows.table, parquet, row_group_size=37))
    assert report.rows_kept == len(expected_maps(rows, linear)[0])


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_shard_and_one_row(count, rows, filtered):
    few = dataclasses.replace(
        rows, table=rows.table.slice(0, count), members={n: m[:count] for n, m in rows.members.items()}
    )
    report, lake = filtered(few)
    assert report.rows_in == count
    assert lake.read_table("mappool/shard_maps", KEY).num_rows == report.rows_kept


def test_a_deflated_npz_gives_the_same(rows, filtered):
    plain, _ = filtered(rows)
    deflated, _ = filtered(rows, change=lambda _, npz: np.savez_compressed(npz, **rows.members))
    assert deflated.rows_kept == plain.rows_kept
    np.testing.assert_array_equal(deflated.score_counts, plain.score_counts)


def with_values(rows, column, values):
    """Replace values (row → value) of a column."""
    changed = rows.table[column].to_pylist()
    for row, value in values.items():
        changed[row] = value
    index = rows.table.schema.get_field_index(column)
    array = pa.array(changed, rows.table.schema.field(column).type)
    return dataclasses.replace(rows, table=rows.table.set_column(index, column, array))


def with_bytes(rows, column, values):
    """Replace strings (row → bytes) of a column, unchecked."""
    index = rows.table.schema.get_field_index(column)
    changed = [value.encode() if value is not None else None for value in rows.table[column].to_pylist()]
    for row, value in values.items():
        changed[row] = value
    array = pa.array(changed, pa.binary()).view(pa.string())
    return dataclasses.replace(rows, table=rows.table.set_column(index, column, array))


def with_vectors(rows, name, values):
    members = {**rows.members, name: rows.members[name].copy()}
    for row, value in values.items():
        members[name][row] = value
    return dataclasses.replace(rows, members=members)


def test_rows_that_break_a_rule_are_dropped_and_counted(rows, linear, filtered):
    kept, _ = expected_maps(rows, linear)
    a, b, c, d, e, f, g, h, i = (int(row) for row in kept[:9])
    uid = rows.table["uid"][int(kept[-1])].as_py()
    bad = with_values(with_values(rows, "url", {a: None, h: ""}), "text", {b: None, a: None})
    bad = with_values(bad, "uid", {int(kept[-2]): uid, g: None})
    bad = with_bytes(bad, "text", {i: b"caf\xe9"})
    bad = with_vectors(bad, "l14_img", {c: np.nan, d: 0, e: 3 * rows.members["l14_img"][e]})
    bad = with_vectors(bad, "l14_txt", {f: -rows.members["l14_txt"][f]})
    report, lake = filtered(bad)
    assert report.rows_dropped == {
        "null_uid": 1,
        "null_url": 2,
        "null_text": 1,
        "invalid_utf8": 1,
        "embedding_not_finite": 1,
        "embedding_zero": 1,
        "embedding_not_unit": 1,
        "not_a_map": ROWS - len(kept),
        "duplicate_uid": 1,
        "pair_mismatch": 1,
    }
    assert report.rows_kept == len(kept) - 10
    assert lake.read_table("mappool/shard_maps", KEY).num_rows == report.rows_kept


def swapped(rows):
    members = {**rows.members}
    members["l14_img"] = np.roll(members["l14_img"], 1, axis=0)
    members["l14_txt"] = members["l14_txt"]
    return dataclasses.replace(rows, members=members)


def fewer(rows, name):
    return dataclasses.replace(rows, members={**rows.members, name: rows.members[name][:-1]})


def rewrite_npz(**changes):
    """Save the npz with members replaced (by a function) or left out (None)."""

    def change(parquet, npz):
        with np.load(npz) as old:
            members = {name: old[name] for name in old.files}
        for name, make in changes.items():
            member = members.pop(name)
            if make is not None:
                members[name] = make(member)
        np.savez(npz, **members)

    return change


def drop_column(name):
    return lambda parquet, _: pq.write_table(pq.read_table(parquet).drop([name]), parquet)


def truncate(which):
    def change(*files):
        content = files[which].read_bytes()
        files[which].write_bytes(content[: len(content) // 2])

    return change


def flip_a_bit_of_images(parquet, npz):
    content = bytearray(npz.read_bytes())
    content[ROWS * 2048 + 40_000] ^= 1  # behind b32_img and b32_txt
    npz.write_bytes(content)


def text_as_numbers(parquet, _):
    table = pq.read_table(parquet)
    index = table.schema.get_field_index("original_width")
    pq.write_table(table.set_column(index, "original_width", pc.cast(table["url"], pa.string())), parquet)


@pytest.mark.parametrize(
    ("spoil", "change", "message"),
    [
        (lambda r: dataclasses.replace(r, table=r.table.slice(0, ROWS - 1)), None, "differ in number"),
        (lambda r: fewer(r, "l14_img"), None, "differ in number"),
        (lambda r: fewer(r, "l14_txt"), None, "differ in number"),
        (swapped, None, "do not belong together"),
        (None, rewrite_npz(l14_txt=None), "lacks a member"),
        (None, rewrite_npz(l14_img=lambda m: m.astype(np.float64)), "another form"),
        (None, rewrite_npz(l14_img=lambda m: m[:, :512], l14_txt=lambda m: m[:, :512]), "another width"),
        (None, drop_column("sha256"), "lacks columns"),
        (None, truncate(0), "parquet cannot be read"),
        (None, truncate(1), "zip"),
        (None, flip_a_bit_of_images, "damaged"),
        (None, text_as_numbers, "parquet cannot be read"),
    ],
)
def test_a_malformed_shard_is_refused_and_nothing_is_written(rows, filtered, tmp_path, spoil, change, message):
    with pytest.raises(BadShard, match=message) as caught:
        filtered(spoil(rows) if spoil else rows, change=change or (lambda parquet, npz: None))
    assert KEY in caught.value.where
    assert list((tmp_path / "lake").rglob("*.parquet")) == []


def test_an_earlier_result_survives_a_failed_attempt(rows, filtered):
    report, lake = filtered(rows)
    with pytest.raises(BadShard):
        filtered(rows, change=truncate(1))
    assert lake.read_table("mappool/shard_maps", KEY).num_rows == report.rows_kept


def test_a_file_that_changed_since_the_listing_is_refused(rows, linear, tmp_path):
    write_shard(tmp_path, KEY, rows)
    (shard,) = list_pool(str(tmp_path), Storage()).shards
    (tmp_path / f"{KEY}.npz").unlink()
    with pytest.raises(MissingInput):
        filter_shard(shard, linear, Lake(str(tmp_path / "lake")), Storage(), INPUTS)
    np.savez(tmp_path / f"{KEY}.npz", **rows.members)
    with pytest.raises(SourceChanged):
        filter_shard(shard, linear, Lake(str(tmp_path / "lake")), Storage(), INPUTS)


def test_memory_follows_the_block_not_the_shard(linear, filtered, monkeypatch):
    monkeypatch.setattr(shard_filter, "BLOCK_ROWS", 256)
    monkeypatch.setattr(shard_filter, "KEPT_ROWS_A_WRITE", 64)

    def peak(rows):
        tracemalloc.start()
        filtered(rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = synthetic_rows(1_000, seed=2), synthetic_rows(6_000, seed=2)
    monkeypatch.setattr("mappool_assets_tests.lib.test_shard_filter.write_shard", write_once(write_shard))
    for rows in (small, large):
        filtered(rows)  # imports and caches, and the shard lies on disk already
    assert peak(large) < 1.3 * peak(small) + 200_000


def write_once(write):
    """Write a shard outside the measured call: the second call for the same rows finds it."""
    written = {}

    def once(pool, key, rows):
        if written.get("rows") is not rows:
            written.update(rows=rows, files=write(pool, key, rows))
        return written["files"]

    return once


def test_every_error_names_its_shard_rule_and_next_step():
    for kind in MappoolError.__subclasses__():
        error = kind("what", where="here", rule="this", got="that", action="Do so.")
        assert str(error) == "what [here]: expected this; got that. Do so."
