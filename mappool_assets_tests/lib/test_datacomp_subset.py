"""The subset file is what DataComp's own recipe makes of the published uids, and its resharder finds them in it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import datacomp_subset
from mappool_assets.lib.publish.corpus import read_corpus
from mappool_assets.lib.publish.datacomp_subset import SUBSET_PATH, subset_made_from, write_datacomp_subset
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets.lib.publish.published_files import PublishedFile
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown
from mappool_assets_tests.small_lake import shard_key, write_maps, write_pool

A, B, C, D = (shard_key(first) for first in "abcd")
U16 = np.dtype("u8,u8")  # as resharder.py names it


def made_by_datacomp(uids: list[str]) -> bytes:
    """Return the file that DataComp's documentation tells to make (tools/resharder, README)."""
    processed = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids], U16)
    processed.sort()
    file = io.BytesIO()
    np.save(file, processed)
    return file.getvalue()


def loaded_by_datacomp(file: Path) -> np.ndarray:
    """Open a file with the tests of resharder.py's ``load_subset``."""
    assert file.read_bytes()[:6] == b"\x93NUMPY"
    subset = np.load(file, mmap_mode="r")
    assert subset.dtype == U16
    return subset


def copies_in(subset: np.ndarray, uid: str) -> int:
    """Count a sample's copies as resharder.py does."""
    key = np.array([divmod(int(uid, 16), 2**64)], U16)[0]
    return int(np.searchsorted(subset, key, "right") - np.searchsorted(subset, key, "left"))


def make_lake(folder: Path, uids_of: dict[str, list[str]]) -> Lake:
    lake = Lake(str(folder))
    write_pool(lake, dict.fromkeys(uids_of, ""))
    for key, uids in uids_of.items():
        write_maps(lake, key, len(uids), columns={"uid": uids})
    return lake


def write(lake: Lake, file: Path, take_down: TakeDown = NO_TAKE_DOWN) -> PublishedFile:
    return write_datacomp_subset(lake, read_corpus(lake, take_down), file)


def random_uids(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [random.bytes(16).hex() for _ in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "staged").mkdir()
    return tmp_path / "staged" / SUBSET_PATH


def test_it_is_datacomps_file_byte_for_byte(tmp_path: Path, file: Path) -> None:
    uids = random_uids(3000)
    lake = make_lake(tmp_path / "lake", {A: uids[:1000], B: [], C: uids[1000:]})
    record = write(lake, file)
    assert file.read_bytes() == made_by_datacomp(uids)
    assert record == PublishedFile(
        "datacomp_subset", 3000, file.stat().st_size, sha256_of(file), subset_made_from(read_corpus(lake))
    )
    assert [path.name for path in file.parent.iterdir()] == [SUBSET_PATH]


def test_the_resharder_finds_each_pair_once_and_no_other(tmp_path: Path, file: Path) -> None:
    uids, others = random_uids(200), random_uids(200, seed=1)
    write(make_lake(tmp_path / "lake", {A: uids}), file)
    subset = loaded_by_datacomp(file)
    assert {copies_in(subset, uid) for uid in uids} == {1}
    assert {copies_in(subset, uid) for uid in others} == {0}


# Edges of the halves, where signed or floating-point numbers would sort otherwise.
HALVES = st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
UIDS = st.tuples(HALVES, HALVES, st.booleans()).map(
    lambda uid: f"{uid[0]:016x}{uid[1]:016x}".upper() if uid[2] else f"{uid[0]:016x}{uid[1]:016x}"
)


@settings(max_examples=15, deadline=None)
@given(uids=st.lists(UIDS, max_size=20, unique_by=str.lower), cut=st.integers(0, 20))
def test_any_uids(tmp_path_factory: pytest.TempPathFactory, uids: list[str], cut: int) -> None:
    folder = tmp_path_factory.mktemp("subset")
    lake = make_lake(folder / "lake", {A: uids[:cut], B: uids[cut:]})
    write(lake, folder / SUBSET_PATH)
    assert (folder / SUBSET_PATH).read_bytes() == made_by_datacomp(uids)
    assert len(loaded_by_datacomp(folder / SUBSET_PATH)) == len(uids)


@pytest.mark.parametrize("rows_a_batch", [1, 7, 10_000])
def test_bytes_do_not_depend_on_batches_nor_on_the_lakes_files(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, rows_a_batch: int
) -> None:
    uids = random_uids(100)
    shards = {A: uids[:rows_a_batch], B: uids[rows_a_batch:]}
    monkeypatch.setattr(datacomp_subset, "ROWS_A_BATCH", rows_a_batch)
    write(make_lake(tmp_path / "lake", shards), file)
    assert file.read_bytes() == made_by_datacomp(uids)


def test_rows_taken_down_and_shards_that_are_not_published_are_not_in_it(tmp_path: Path, file: Path) -> None:
    uids = random_uids(9)
    lake = make_lake(tmp_path / "lake", {A: uids[:3], B: uids[3:6], C: uids[6:]})
    write_maps(lake, D, 2)  # of another pool
    write_pool(lake, dict.fromkeys((A, B, C), ""), unlisted=[C])
    corpus = read_corpus(lake, TakeDown(frozenset({uids[1], uids[8]})))
    record = write_datacomp_subset(lake, corpus, file)
    assert file.read_bytes() == made_by_datacomp([uids[0], *uids[2:6]])
    assert record.rows == corpus.row_count == 5


def test_shards_scored_since_the_corpus_was_read_wait_for_the_next_publish(tmp_path: Path, file: Path) -> None:
    uids = random_uids(6)
    lake = make_lake(tmp_path / "lake", {A: uids})
    write_pool(lake, {A: "", B: ""})
    corpus = read_corpus(lake)
    write_maps(lake, B)
    write_datacomp_subset(lake, corpus, file)
    assert file.read_bytes() == made_by_datacomp(uids)


def test_a_shard_filtered_again_meanwhile_is_noticed(tmp_path: Path, file: Path) -> None:
    """Also where it has as many maps as before."""
    lake = make_lake(tmp_path / "lake", {A: random_uids(3), B: random_uids(3, seed=1)})
    corpus = read_corpus(lake)
    write_maps(lake, B, 3, threshold=0.5)
    with pytest.raises(SourceChanged, match=rf"{B}.*got 1 that were made from something else.*Publish again"):
        write_datacomp_subset(lake, corpus, file)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1" * 31,
        "1" * 33,
        "g" * 32,
        "0x" + "1" * 30,
        "-" + "1" * 31,
        " " + "1" * 31,
        "1" * 31 + "\n",
        "１" * 32,
        None,
    ],
)
def test_what_is_no_uid_is_refused(tmp_path: Path, file: Path, uid: str | None) -> None:
    lake = make_lake(tmp_path / "lake", {A: random_uids(3), B: ["f" * 32, uid, "0" * 32]})  # type: ignore[list-item]
    with pytest.raises(BadShard, match=rf"{B}.*32 hex digits.*got "):
        write(lake, file)


def test_what_it_is_made_from_changes_with_the_rows_published_alone(tmp_path: Path) -> None:
    uids = random_uids(4)
    lake = make_lake(tmp_path / "lake", {A: uids[:2], B: uids[2:]})
    first = subset_made_from(read_corpus(lake))
    assert subset_made_from(read_corpus(lake, TakeDown(frozenset({"0" * 32})))) == first
    assert subset_made_from(read_corpus(lake, TakeDown(frozenset({uids[3]})))) != first
    write_maps(lake, B, 2, threshold=0.5, columns={"uid": uids[2:]})
    assert subset_made_from(read_corpus(lake)) != first


def test_its_statement_asks_a_question() -> None:
    assert "exports/datacomp_subset" in sql_files.names("exports")
    assert sql_files.question("exports/datacomp_subset").endswith("?")
