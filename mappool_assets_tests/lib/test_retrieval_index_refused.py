import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from mappool_assets.lib.errors import BadModel, BadShard, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval import image_index, index_ledger
from mappool_assets.lib.retrieval.index_checks import alignment_faults, count_faults, damaged_files
from mappool_assets.lib.retrieval.index_ledger import (
    BadIndex,
    read_ledger,
    write_ledger,
)
from mappool_assets.lib.retrieval.quantiser import quantiser_from_bytes
from mappool_assets.lib.retrieval.quantiser_store import quantiser_paths
from mappool_assets.lib.retrieval.rotation import random_rotation
from mappool_assets.lib.retrieval.row_file import file_sha256
from mappool_assets_tests.small_index import (
    DIMENSION,
    build,
    by_shard,
    found_ids,
    opened,
    texts,
    write_shard,
)
from mappool_assets_tests.small_lake import shard_key, write_maps

ROWS = 600  # of each of four shards


@pytest.fixture(scope="module", autouse=True)
def _small_indexes():
    """Train quantisers for as few rows as the lakes here have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_index, "LEAST_INDEXED_ROWS", 2_000)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lake of four shards and its index; not to be changed."""
    lake = Lake(str(tmp_path_factory.mktemp("index") / "lake"))
    for number in range(4):
        write_shard(lake, number, ROWS)
    build(lake)
    return lake


@pytest.fixture
def lake(built, tmp_path):
    """A copy of that lake."""
    shutil.copytree(built.root, tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


# -- what cannot be indexed --------------------------------------------------------------------------------------


def test_a_malformed_shard_fails_alone(lake):
    write_shard(lake, 5, 40)
    null = shard_key("6", 6)
    vectors = pa.array([None, *np.eye(DIMENSION, dtype=np.float16)[:2].tolist()], pa.list_(pa.float16(), DIMENSION))
    write_maps(lake, null, 3, dimension=DIMENSION, columns={"l14_img": vectors})
    wide = shard_key("7", 7)
    write_maps(lake, wide, 3, dimension=DIMENSION + 1)
    silent = shard_key("8", 8)
    pa.parquet.write_table(pa.table({"l14_img": vectors}), Path(lake.root) / f"mappool/shard_maps/{silent}.parquet")
    garbage = shard_key("9", 9)
    (Path(lake.root) / f"mappool/shard_maps/{garbage}.parquet").write_bytes(b"PAR1 but not really PAR1")
    other = shard_key("1", 1)
    Path(lake.root, f"mappool/shard_maps/{other}.parquet").write_bytes(
        Path(lake.root, f"mappool/shard_maps/{wide}.parquet").read_bytes()
    )  # a shard that was in the index, of another width by now
    report = build(lake)
    assert report.built == [shard_key("5", 5)]
    assert set(report.failed) == {null, wide, silent, garbage, other}
    assert "1 nulls" in str(report.failed[null])
    assert f"width {DIMENSION + 1}" in str(report.failed[wide])
    assert isinstance(report.failed[silent], BadShard)
    assert report.removed == [other]  # rather than rows that are not its own any more
    assert len(opened(lake).search(texts(1, 1), 5)[0].ids) == 5
    assert {fault.shard for fault in count_faults(lake)} == set(report.failed)


def test_a_malformed_shard_does_not_stop_the_first_build(tmp_path):
    lake = Lake(str(tmp_path))
    wide, null = shard_key("0", 7), shard_key("0", 8)
    write_maps(lake, wide, 700, dimension=DIMENSION + 1)
    vectors = pa.array([None] * 20, pa.list_(pa.float16(), DIMENSION))
    write_maps(lake, null, 20, dimension=DIMENSION, columns={"l14_img": vectors})
    for number in range(4):
        write_shard(lake, number, ROWS)
    report = build(lake)
    assert report.quantiser_id
    assert set(report.failed) == {wide, null}
    assert opened(lake).dimension == DIMENSION


def test_where_no_shard_can_be_read_there_is_nothing_to_train_with(tmp_path):
    lake = Lake(str(tmp_path))
    vectors = pa.array([None] * 2500, pa.list_(pa.float16(), DIMENSION))
    write_maps(lake, shard_key("0"), 2500, dimension=DIMENSION, columns={"l14_img": vectors})
    with pytest.raises(BadShard, match="quantiser"):
        build(lake)


def test_shards_of_two_widths_are_not_in_one_index_without_lists_either(tmp_path):
    lake = Lake(str(tmp_path))
    write_shard(lake, 0, 20)
    write_maps(lake, shard_key("1", 1), 20, dimension=DIMENSION + 1)
    assert list(build(lake).failed) == [shard_key("1", 1)]
    write_maps(lake, shard_key("0", 5), 20, dimension=DIMENSION + 1)
    assert sorted(build(lake).failed) == [shard_key("0", 5), shard_key("1", 1)]
    assert len(opened(lake).search(texts(1, 1), 50)[0].ids) == 20


def test_few_rows_under_a_quantiser_are_searched_exactly(lake):
    for number in range(4):
        write_shard(lake, number, 3, draw=80 + number)
    for path in quantiser_paths(read_ledger(lake)[0].quantiser_id)[1:]:
        Path(lake.root, path).unlink()
    assert build(lake).rows == 12
    assert opened(lake).calibrated == ()
    assert opened(lake).search(texts(1, 1), 50)[0].is_exact


def test_a_failure_while_all_is_built_anew_leaves_the_index(lake):
    ledger = read_ledger(lake)
    maps = Path(lake.root) / f"mappool/shard_maps/{ledger[2].shard}.parquet"
    content = maps.read_bytes()
    maps.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])  # the footer is whole
    with pytest.raises((BadShard, OSError, pa.ArrowException)):
        build(lake, rebuild=True)
    assert read_ledger(lake) == ledger
    assert len(opened(lake).search(texts(1, 1), 5)[0].ids) == 5
    maps.write_bytes(content)
    write_maps(lake, shard_key("7", 7), 3, dimension=DIMENSION + 1)  # which the index never had
    report = build(lake, rebuild=True)
    assert list(report.failed) == [shard_key("7", 7)]
    assert report.rows == 4 * ROWS


def test_shards_of_another_classifier_are_not_indexed(lake):
    report = build(lake, classifier_id="svm-2")
    assert len(report.failed) == 4
    assert report.shards == []
    assert build(lake, classifier_id="svm-1").rows == 4 * ROWS


def test_rows_without_direction_are_counted_and_never_found(lake):
    def spoil(vectors):
        vectors = vectors.copy()
        vectors[3], vectors[4, 0], vectors[5, 1] = 0, np.nan, np.inf
        return vectors

    shard, _ = write_shard(lake, 11, 30, change=spoil)
    assert build(lake).failed == {}
    entry = by_shard(lake)[shard]
    assert (entry.rows, entry.rows_indexed) == (30, 27)
    search = opened(lake)
    selection = search.select(allowed={shard: np.ones(30, dtype=bool)})
    for mode in ("ann", "exact"):
        found = search.search(texts(1, 1), 1000, mode=mode, selection=selection)[0]
        assert sorted(found.ids % 2**32) == [row for row in range(30) if row not in (3, 4, 5)]
    assert alignment_faults(lake, search, count=10**6) == []


def test_an_empty_shard_has_a_place(lake):
    shard, _ = write_shard(lake, 12, 0)
    assert build(lake).failed == {}
    assert by_shard(lake)[shard].rows == 0
    assert len(found_ids(lake)[0]) == 20


def test_places_run_out_with_a_message(lake):
    entries = read_ledger(lake)
    full = dataclasses.replace(entries[-1], ordinal=index_ledger.MOST_SHARDS - 1)
    with pytest.raises(BadIndex, match="full"):
        index_ledger.free_place([*entries[:-1], full])
    last = dataclasses.replace(entries[-1], first_position=index_ledger.MOST_POSITIONS - ROWS)
    with pytest.raises(BadIndex, match="full"):
        index_ledger.free_place([*entries[:-1], last])
    assert (index_ledger.MOST_SHARDS - 1) * 2**32 + 2**32 - 1 < 2**53


# -- what cannot be opened ---------------------------------------------------------------------------------------


def test_an_index_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingInput, match="image_index"):
        opened(Lake(str(tmp_path)))
    assert build(Lake(str(tmp_path))).shards == []


def test_another_encoder_is_refused(lake):
    with pytest.raises(BadModel, match=r"ViT-L-14/openai.*tiny/seed0"):
        opened(lake, encoder_id="ViT-L-14/openai")
    with pytest.raises(BadModel):
        build(lake, encoder_id="ViT-L-14/openai")
    assert build(lake, encoder_id="ViT-L-14/openai", rebuild=True).rows == 4 * ROWS
    assert opened(lake, encoder_id="ViT-L-14/openai").encoder_id == "ViT-L-14/openai"


def test_an_index_of_other_maps_is_refused(lake):
    write_shard(lake, 2, ROWS, draw=51)
    with pytest.raises(BadIndex, match=shard_key("2", 2)):
        opened(lake)
    Path(lake.root, lake.table_path("mappool/shard_maps", shard_key("3", 3))).unlink()
    with pytest.raises(BadIndex, match="2 filtered again or removed"):
        opened(lake)
    build(lake)
    opened(lake)


@pytest.mark.parametrize("suffix", [".faiss", ".npy"])
def test_damaged_files_are_refused_and_made_again(lake, suffix):
    entry = read_ledger(lake)[1]
    file = Path(lake.root) / (entry.index_path if suffix == ".faiss" else entry.rows_path)
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(BadIndex, match=r"damaged|cannot be read"):
        opened(lake)
    assert [fault.shard for fault in count_faults(lake)] == [entry.shard]
    file.unlink()
    with pytest.raises(BadIndex, match=file.name):
        opened(lake)
    assert build(lake).built == [entry.shard]
    assert file.read_bytes() == content


def test_a_flipped_bit_is_found_out(lake):
    entry = read_ledger(lake)[1]
    for path, sees in ((entry.index_path, opened), (entry.rows_path, None)):
        file = Path(lake.root) / path
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
        if sees:
            with pytest.raises(BadIndex, match="sha256"):
                sees(lake)
        assert [fault.shard for fault in damaged_files(lake)] == [entry.shard]
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    assert damaged_files(lake) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"IwrqIwrqIwrq", os.urandom(5000)])
def test_what_is_no_index_file_is_refused_even_with_its_checksum_in_the_ledger(lake, content):
    entries = read_ledger(lake)
    file = Path(lake.root) / entries[1].index_path
    file.write_bytes(content)
    entries[1] = dataclasses.replace(entries[1], bytes=len(content), sha256=file_sha256(file))
    write_ledger(lake, entries)
    with pytest.raises(BadIndex, match="index file of"):
        opened(lake)


def test_an_index_file_of_another_kind_is_refused(lake):
    entries = read_ledger(lake)
    file = Path(lake.root) / entries[1].index_path
    faiss.write_index(faiss.IndexFlatIP(DIMENSION), str(file))
    entries[1] = dataclasses.replace(entries[1], bytes=file.stat().st_size, sha256=file_sha256(file))
    write_ledger(lake, entries)
    with pytest.raises(BadIndex, match="IndexFlatIP"):
        opened(lake)


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_quantiser_is_refused(lake, number):
    paths = quantiser_paths(read_ledger(lake)[0].quantiser_id)
    Path(lake.root, paths[number]).write_bytes(b"{}" + os.urandom(9))
    with pytest.raises(BadIndex, match="damaged"):
        opened(lake)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        os.urandom(100),
        save({"centroids": np.ones((2, 6), np.float32)}),
        save({"centroids": np.ones((2, 5), np.float32), "left": np.eye(2), "right": np.eye(3)}),
        save({"centroids": np.ones(6, np.float32), "left": np.eye(2), "right": np.eye(3)}),
    ],
    ids=["empty", "noise", "no rotation", "other width", "no matrix"],
)
def test_a_quantiser_with_the_right_id_that_is_none_is_refused(content):
    right_id = hashlib.sha256(content).hexdigest()[:16]
    with pytest.raises(BadIndex, match="quantiser"):
        quantiser_from_bytes(content, right_id, "here")


@pytest.mark.parametrize("dimension", [1, 7, 64, 768])
def test_a_rotation_keeps_lengths_and_products_and_can_be_taken_back(dimension):
    rotation = random_rotation(dimension, seed=1)
    assert rotation.dimension == dimension
    rows = np.random.default_rng(2).standard_normal((20, dimension)).astype(np.float32)
    turned = rotation.turned(rows)
    assert turned.shape == rows.shape
    assert np.allclose(turned @ turned.T, rows @ rows.T, atol=1e-3)
    assert np.allclose(rotation.turned_back(turned), rows, atol=1e-5)
    assert np.abs(rotation.turned(np.eye(dimension, dtype=np.float32))).mean() < 1.1 / dimension**0.5


def test_a_lake_of_two_quantisers_is_refused(lake):
    entries = read_ledger(lake)
    entries[0] = dataclasses.replace(entries[0], quantiser_id="0" * 16)
    write_ledger(lake, entries)
    with pytest.raises(BadIndex, match="one quantiser"):
        opened(lake)
