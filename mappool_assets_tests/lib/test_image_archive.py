"""Images in webdataset tars, or as files: the same bytes each time, and each found again."""

from __future__ import annotations

import contextlib
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import webdataset

from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images import image_archive
from mappool_assets.lib.map_images.image_archive import (
    FILES,
    FORMATS,
    IMAGES,
    WEBDATASET,
    ArchiveWriter,
    StoredImage,
    archive_number,
    read_archive,
    read_image,
    read_images,
    stored_files,
    sweep,
)
from mappool_assets.lib.map_images.image_ledger import SCHEMA, TABLE, LedgerRow
from mappool_assets_tests.image_web import image, uid
from mappool_assets_tests.s3_server import serve_s3
from mappool_assets_tests.small_lake import A, folder_bytes

CAPTION = "Übersichtskarte «Zürich», 1:25 000\n地図"


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "folder":
        yield Lake(str(tmp_path / "lake"))
        return
    with serve_s3("images") as endpoint:
        yield Lake("s3://images/lake", endpoint)


def record(number: int) -> dict:
    return {"uid": uid(number), "text": CAPTION, "width": 48, "map_score": 0.25}


def write(lake: Lake, numbers: range, archive_format: str = WEBDATASET, first: int = 0) -> dict[int, str]:
    """Store images and the ledger that names them; return where each lies."""
    with ArchiveWriter(lake, A, archive_format, first) as archive:
        files = {n: archive.add(uid(n), "png", image(n), CAPTION, record(n)) for n in numbers}
    rows = [LedgerRow(uid(n), "u", None, "ok", "", 1, file) for n, file in files.items()]
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=SCHEMA)
    lake.write_table(TABLE, table, Provenance({}, len(rows), len(rows)), A, is_ledger=True)
    return files


@pytest.mark.parametrize("archive_format", FORMATS)
def test_images_come_back_in_order_and_one_by_one(
    lake: Lake, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 4)
    files = write(lake, range(10), archive_format)
    assert [archive_number(file) for file in files.values()] == [0] * 4 + [1] * 4 + [2] * 2
    assert list(read_images(lake, A)) == [StoredImage(uid(n), image(n)) for n in range(10)]
    assert list(read_images(lake, A, [uid(6), uid(2), uid(99)])) == [StoredImage(uid(n), image(n)) for n in (2, 6)]
    for number in (0, 5, 9):
        assert read_image(lake, A, files[number], uid(number)) == image(number)


def test_the_members_of_a_tar_and_of_a_folder_are_the_same(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write(lake, range(3), WEBDATASET, first=7)
    write(lake, range(3), FILES, first=8)
    folder = tmp_path / IMAGES / A
    with tarfile.open(folder / "00007.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
        headers = {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname) for m in tar}
    assert headers == {(0, 0o644, 0, 0, "", "")}
    assert members == folder_bytes(folder / "00008")
    assert list(members) == [f"{uid(n)}.{end}" for n in range(3) for end in ("png", "json", "txt")]
    assert members[f"{uid(1)}.txt"].decode() == CAPTION
    assert json.loads(members[f"{uid(1)}.json"]) == record(1)
    assert list(json.loads(members[f"{uid(1)}.json"])) == sorted(record(1))


def test_same_images_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "other"):
        write(Lake(str(tmp_path / name)), range(5))
        contents.append(folder_bytes(tmp_path / name))
    assert contents[0] == contents[1]


def test_webdataset_reads_the_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 3)
    write(Lake(str(tmp_path)), range(5))
    tars = sorted(str(file) for file in (tmp_path / IMAGES / A).glob("*.tar"))
    assert len(tars) == 2
    samples = list(
        webdataset.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("__key__", "png", "txt", "json")
    )
    assert [key for key, *_ in samples] == [uid(n) for n in range(5)]
    for number, (_, picture, caption, read) in enumerate(samples):
        assert picture.size == (48, 40)
        assert (caption, read) == (CAPTION, record(number))


def test_large_images_make_small_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "BYTES_A_TAR", len(image(0)) + len(image(1)))
    files = write(Lake(str(tmp_path)), range(3))
    assert list(files.values()) == ["00000.tar", "00000.tar", "00001.tar"]
    monkeypatch.setattr(image_archive, "BYTES_A_TAR", 1)
    assert list(write(Lake(str(tmp_path)), range(2)).values()) == ["00000.tar", "00001.tar"], "one image always fits"


@pytest.mark.parametrize("archive_format", FORMATS)
def test_an_exception_leaves_no_half_archive(tmp_path: Path, archive_format: str) -> None:
    lake = Lake(str(tmp_path))
    with contextlib.suppress(KeyboardInterrupt), ArchiveWriter(lake, A, archive_format, 0) as archive:
        archive.add(uid(1), "png", image(1), "", {})
        raise KeyboardInterrupt
    left = set(folder_bytes(tmp_path))
    assert left == (
        set() if archive_format == WEBDATASET else {f"{IMAGES}/{A}/00000/{uid(1)}.{e}" for e in ("png", "json", "txt")}
    )
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", "", ".", "a\\b", "ä", "x" * 65, "a\n"])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    for archive_format in FORMATS:
        with (
            pytest.raises(ValueError, match="cannot name a file"),
            ArchiveWriter(Lake(str(tmp_path)), A, archive_format, 0) as a,
        ):
            a.add(name, "png", b"", "", {})
    assert folder_bytes(tmp_path) == {}


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"webdataset or files; got 'zip'"):
        ArchiveWriter(Lake(str(tmp_path)), A, "zip", 0)


def test_what_is_not_there_says_so(lake: Lake) -> None:
    files = write(lake, range(3))
    with pytest.raises(MissingInput, match=f"{uid(7)}; got not there"):
        read_image(lake, A, files[0], uid(7))
    lake.delete(f"{IMAGES}/{A}/{files[0]}")
    for reading in (read_images(lake, A), read_archive(lake, A, files[0], [uid(1)])):
        with pytest.raises(MissingInput, match="not where the ledger says"):
            list(reading)
    with pytest.raises(MissingInput, match="mappool/map_images first"):
        list(read_images(lake, "other"))


def test_a_damaged_tar_is_no_shorter_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write(lake, range(4))
    tar = tmp_path / IMAGES / A / "00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    with pytest.raises((MissingInput, tarfile.ReadError)):
        list(read_images(lake, A))


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_no_ledger_names_is_swept(lake: Lake, archive_format: str) -> None:
    with ArchiveWriter(lake, A, archive_format, 0) as old:
        gone = [old.add(uid(n), "png", image(n), "", {}) for n in range(3)]
    files = write(lake, range(3), archive_format, first=1)
    with lake.writing(f"{IMAGES}/{A}/.00004.tar.0123.tmp") as left, lake.writing(f"{IMAGES}/other/00000.tar") as other:
        left.touch()
        other.touch()
    each = 1 if archive_format == WEBDATASET else 3
    assert len(stored_files(lake, A)) == (2 * each if archive_format == WEBDATASET else 18) + 1
    sweep(lake, A, files.values())
    assert len(stored_files(lake, A)) == (1 if archive_format == WEBDATASET else 9)
    assert list(read_images(lake, A)) == [StoredImage(uid(n), image(n)) for n in range(3)]
    assert stored_files(lake, "other") == ["00000.tar"], "another shard's"
    with pytest.raises(MissingInput):
        read_image(lake, A, gone[0], uid(0))
    sweep(lake, A, list(files.values())[:1])
    assert len(stored_files(lake, A)) == each
    sweep(lake, A, [])
    assert stored_files(lake, A) == []
    sweep(lake, A, [])


def test_reading_holds_no_more_than_an_image(tmp_path: Path) -> None:
    """Headers that were read are let go: of 2,000 images, tarfile would keep 6 MB."""
    lake = Lake(str(tmp_path))
    write(lake, range(1))
    with ArchiveWriter(lake, A, WEBDATASET, 1) as archive:
        for number in range(2000):
            archive.add(uid(number), "png", b"x", "", {})
    tracemalloc.start()
    assert sum(1 for _ in read_archive(lake, A, "00001.tar", {uid(n) for n in range(2000)})) == 2000
    peak = tracemalloc.get_traced_memory()[1] - image_archive.READ_BUFFER_BYTES
    tracemalloc.stop()
    assert peak < 1_500_000
