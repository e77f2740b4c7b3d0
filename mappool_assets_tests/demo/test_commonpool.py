"""Shards are CommonPool's to the byte, the same each time, and hard to classify."""

import re
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from mappool_assets.demo.commonpool import (
    BYTES_PER_ROW,
    NPZ_MEMBERS,
    ShardRows,
    _Unseekable,
    shard_key,
    synthetic_rows,
    write_shard,
)

COLUMNS = {
    "uid": pa.string(),
    "url": pa.string(),
    "text": pa.string(),
    "original_width": pa.int64(),
    "original_height": pa.int64(),
    "clip_b32_similarity_score": pa.float32(),
    "clip_l14_similarity_score": pa.float32(),
    "face_bboxes": pa.list_(pa.list_(pa.float64())),
    "sha256": pa.string(),
}


def test_members_are_as_published(synthetic_shard):
    _, npz, rows = synthetic_shard(n=70)
    with np.load(npz) as archive:
        assert archive.files == ["b32_img", "b32_txt", "l14_img", "l14_txt", "dedup"]
        shapes = {name: (archive[name].shape, archive[name].dtype.str) for name in archive.files}
        np.testing.assert_array_equal(archive["l14_txt"], rows.members["l14_txt"])
    assert shapes == {
        "b32_img": ((70, 512), "<f2"),
        "b32_txt": ((70, 512), "<f2"),
        "l14_img": ((70, 768), "<f2"),
        "l14_txt": ((70, 768), "<f2"),
        "dedup": ((70, 256), "<f4"),
    }


@pytest.mark.parametrize("n", [0, 1, 70])
def test_6144_bytes_a_row_and_a_constant(synthetic_shard, n):
    _, npz, _ = synthetic_shard(n=n)
    assert npz.stat().st_size == 6_144 * n + 1_368


def test_size_of_a_published_shard():
    """3,140,224,432 bytes is the size of a shard of 511,104 rows in datacomp_xlarge."""

    class Counter:
        size = 0

        def write(self, data):
            self.size += len(data)
            return len(data)

        def flush(self):
            pass

    counter = Counter()
    arrays = {name: np.broadcast_to(dtype(0), (511_104, width)) for name, (width, dtype) in NPZ_MEMBERS.items()}
    np.savez(_Unseekable(counter), **arrays)
    assert counter.size == 3_140_224_432


def test_members_are_stored_uncompressed_with_sizes_after_them(synthetic_shard):
    _, npz, _ = synthetic_shard(n=5)
    content = npz.read_bytes()
    with zipfile.ZipFile(npz) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.flag_bits & 0x08
            local = content[member.header_offset :]
            assert local[14:18] == bytes(4)  # the CRC comes later
            assert int.from_bytes(local[28:30], "little") == 20  # zip64 sizes, always
            array_at = 30 + int.from_bytes(local[26:28], "little") + 20
            assert local[array_at : array_at + 6] == b"\x93NUMPY"


def test_parquet_has_the_published_columns(synthetic_shard):
    parquet, _, rows = synthetic_shard(n=70)
    table = pq.read_table(parquet)
    assert {field.name: field.type for field in table.schema} == COLUMNS
    assert table.equals(rows.table)
    assert all(re.fullmatch("[0-9a-f]{32}", uid) for uid in table["uid"].to_pylist())
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in table["sha256"].to_pylist())
    assert len(set(table["uid"].to_pylist())) == 70


def test_scores_are_products_of_the_vectors():
    rows = synthetic_rows(500, seed=3)
    for model in ("b32", "l14"):
        images, texts = (rows.members[f"{model}_{part}"].astype(np.float64) for part in ("img", "txt"))
        scores = rows.table[f"clip_{model}_similarity_score"].to_numpy()
        np.testing.assert_allclose((images * texts).sum(1), scores, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-3)
    l14 = rows.table["clip_l14_similarity_score"].to_numpy()
    assert l14.min() >= 0.0999
    assert l14.max() <= 0.3501
    assert l14.std() > 0.03  # rows put together wrongly must be noticed


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    files = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        written = write_shard(tmp_path / folder, shard_key(seed), synthetic_rows(50, seed))
        files.append([file.read_bytes() for file in written])
    assert files[0] == files[1]
    assert files[0][0] != files[2][0]
    assert files[0][1] != files[2][1]


def test_a_key_is_32_hexadecimal_digits_of_the_content():
    assert re.fullmatch("[0-9a-f]{32}", shard_key("x", 1))
    assert shard_key("x", 1) == shard_key("x", 1) != shard_key("x", 2)


def test_rows_can_be_spoilt(synthetic_shard):
    def spoil(rows):
        members = {**rows.members, "l14_img": rows.members["l14_img"][:-1]}
        return ShardRows(rows.table.drop_columns(["url"]), members, rows.is_map)

    parquet, npz, _ = synthetic_shard(n=20, change=spoil)
    assert "url" not in pq.read_schema(parquet).names
    with np.load(npz) as archive:
        assert len(archive["l14_img"]) == 19


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    rows = synthetic_rows(5, 0)
    with pytest.raises(AttributeError):
        write_shard(tmp_path, "k", ShardRows("no table", rows.members, rows.is_map))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [8_191, 8_193])
def test_blocks_leave_no_gap(n):
    rows = synthetic_rows(n, seed=1, map_share=0.2)
    assert rows.table.num_rows == n == len(rows.is_map)
    for name, (width, dtype) in NPZ_MEMBERS.items():
        assert rows.members[name].shape == (n, width)
        assert rows.members[name].dtype == dtype
    norms = np.linalg.norm(rows.members["l14_img"].astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)
    assert sum(width * np.dtype(dtype).itemsize for width, dtype in NPZ_MEMBERS.values()) == BYTES_PER_ROW


def test_hard_but_not_hopeless():
    """As in the paper's table, a curved boundary beats a straight one; 2,000 rows for 2,000."""
    training, evaluation = (synthetic_rows(2_000, seed, map_share=0.5) for seed in (1, 2))
    vectors = [rows.members["l14_img"].astype(np.float32) for rows in (training, evaluation)]
    accuracies = {
        type(model).__name__: model.fit(vectors[0], training.is_map).score(vectors[1], evaluation.is_map)
        for model in (LogisticRegression(max_iter=1_000), SVC(kernel="poly", degree=3))
    }
    assert 0.93 < accuracies["LogisticRegression"] < accuracies["SVC"] - 0.005
    assert 0.97 < accuracies["SVC"] < 0.9999
