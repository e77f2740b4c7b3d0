"""The media URLs of all files, against sets and counts by hand; killed, spilled, in a store."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.media_urls.file_media_url_task import TABLE as FILES_TABLE
from mappool_assets.lib.media_urls.media_url_task import TABLE, MergeReport, MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.media_urls import FAILURES_TABLE, make_media_urls
from mappool_assets.lib.shard_runs import failure_fields
from mappool_assets_tests.killer import Killed, KillingLake, a_killer
from mappool_assets_tests.media_url_files import (
    Page,
    bucket_of,
    failures,
    make,
    merged,
    wat_tasks,
    write_file_urls,
    write_wats,
)
from mappool_assets_tests.s3_server import serve_s3

SMALL = 20_000  # bytes of a part, so that a few hundred rows are several


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def pages_of(file: int, count: int = 30) -> list[Page]:
    draw = random.Random(file)
    kinds = ("image", "image", "audio", "video")
    return [
        Page(
            f"https://www.site{draw.randrange(20)}.example/{file}/{number}",
            [(draw.choice(kinds), f"https://cdn.example/{draw.randrange(400)}") for _ in range(10)],
        )
        for number in range(count)
    ]


def merge(lake: Lake, scratch: Path, *, force: bool = False, **settings: object) -> list[MergeReport]:
    reports = []
    for outcome in make_media_urls(media_url_tasks(lake, MergeSettings(scratch, **settings)), 1, force):
        if outcome.error:
            raise outcome.error
        reports.append(outcome.result)
    return reports


def rows_of(lake: Lake) -> list[tuple[str, str, int, int]]:
    """All rows, in order; each must be in the part of its bucket, and parts in order."""
    rows = []
    for part in lake.partitions(TABLE):
        of_part = [tuple(row.values()) for row in lake.read_table(TABLE, part).to_pylist()]
        assert of_part == sorted(of_part)
        first, last = (int(edge, 16) for edge in part.split("-"))
        assert all(first <= bucket_of(url) <= last for _, url, _, _ in of_part)
        rows += of_part
    return sorted(rows)


def write_files(lake: Lake, count: int) -> list[Page]:
    pages = []
    for file in range(count):
        write_file_urls(lake, f"file-{file}", pages_of(file))
        pages += pages_of(file)
    return pages


@pytest.mark.parametrize(("part_bytes", "parts"), [(1 << 30, 1), (60_000, 4)])
def test_each_url_is_there_once_with_its_pages_and_domains(
    lake: Lake, tmp_path: Path, part_bytes: int, parts: int
) -> None:
    pages = write_files(lake, 5)
    reports = merge(lake, tmp_path / "scratch", part_bytes=part_bytes)
    expected = merged(pages)
    assert rows_of(lake) == expected
    assert len(reports) == len(lake.partitions(TABLE)) == parts
    assert sum(report.rows_kept for report in reports) == len(expected)
    assert all(report.rows_in == report.rows_kept + sum(report.rows_dropped.values()) for report in reports)
    assert sum(report.rows_in for report in reports) == sum(
        lake.provenance(FILES_TABLE, file).rows_kept for file in lake.partitions(FILES_TABLE)
    )
    for kind in ("image", "audio", "video"):
        of_kind = [seen for found, _, seen, _ in expected if found == kind]
        assert sum(report.urls.get(kind, 0) for report in reports) == len(of_kind)
        assert sum(report.seen.get(kind, 0) for report in reports) == sum(of_kind)


MEDIA = st.tuples(st.sampled_from(["image", "video"]), st.sampled_from([f"https://m.example/{i}" for i in range(5)]))
PAGES = st.lists(
    st.builds(
        Page,
        st.builds("https://{}.example/{}".format, st.sampled_from(["a", "b", "www.a"]), st.integers(0, 3)),
        st.lists(MEDIA, max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=20)
@given(pages=PAGES, cuts=st.lists(st.integers(0, 8), max_size=3), part_bytes=st.sampled_from([1 << 30, 500]))
def test_it_does_not_matter_how_pages_are_dealt_out_to_files(
    tmp_path_factory: pytest.TempPathFactory, pages: list[Page], cuts: list[int], part_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("dealt")
    lake = Lake(str(folder / "lake"))
    edges = [0, *sorted(cuts), len(pages)]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        write_file_urls(lake, f"file-{number}", pages[start:end])
    merge(lake, folder / "scratch", part_bytes=part_bytes)
    assert rows_of(lake) == merged(pages)


def test_from_wat_files_to_unique_urls(lake: Lake, tmp_path: Path) -> None:
    files = {f"file-{number}": pages_of(number, 5) for number in range(3)}
    write_wats(tmp_path / "crawl", files)
    make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    merge(lake, tmp_path / "scratch")
    assert rows_of(lake) == merged(page for pages in files.values() for page in pages)


def contents(lake: Lake) -> dict[str, bytes]:
    return {part: lake.read_bytes(lake.table_path(TABLE, part)) for part in lake.partitions(TABLE)}


def test_unchanged_files_give_nothing_to_do_and_a_new_one_all(lake: Lake, tmp_path: Path) -> None:
    pages = write_files(lake, 3)
    assert not any(report.is_reused for report in merge(lake, tmp_path / "scratch", part_bytes=SMALL))
    before = contents(lake)
    again = merge(lake, tmp_path / "scratch", part_bytes=SMALL)
    assert all(report.is_reused for report in again)
    forced = merge(lake, tmp_path / "scratch", part_bytes=SMALL, force=True)
    assert not any(report.is_reused for report in forced)
    assert [report.rows_kept for report in again] == [report.rows_kept for report in forced]
    assert contents(lake) == before, "same rows, same bytes"
    assert len(merge(lake, tmp_path / "scratch", part_bytes=SMALL, memory="64MB", threads=1)) == len(before)
    assert contents(lake) == before, "also with other means"

    write_file_urls(lake, "file-3", pages_of(3))
    assert not any(report.is_reused for report in merge(lake, tmp_path / "scratch", part_bytes=SMALL))
    assert rows_of(lake) == merged([*pages, *pages_of(3)])
    write_file_urls(lake, "file-0", pages_of(7))
    merge(lake, tmp_path / "scratch", part_bytes=SMALL)
    assert rows_of(lake) == merged([*pages_of(7), *pages_of(1), *pages_of(2), *pages_of(3)])


def test_another_number_of_parts_leaves_none_of_the_old(lake: Lake, tmp_path: Path) -> None:
    pages = write_files(lake, 4)
    for part_bytes in (1 << 30, 2 * SMALL, SMALL, 1 << 30):
        merge(lake, tmp_path / "scratch", part_bytes=part_bytes)
        assert rows_of(lake) == merged(pages)


def test_killed_at_any_step_it_never_shows_a_url_twice_and_the_next_run_completes_it(tmp_path: Path) -> None:
    pages = write_files(Lake(str(tmp_path / "lake")), 2)
    expected = dict.fromkeys(merged(pages))
    with a_killer() as killer:
        lake = KillingLake(str(tmp_path / "lake"))
        merge(lake, tmp_path / "scratch", part_bytes=1 << 30)
        killer.folders = (lake.root,)
        for step in range(1, 100):
            part_bytes = SMALL if step % 2 else 1 << 30  # each run must part anew, and remove what there was
            killer.left = step
            try:
                merge(lake, tmp_path / "scratch", part_bytes=part_bytes)
            except Killed:
                killer.left = 0
                found = rows_of(lake)
                assert len(found) == len(set(found)), step
                assert set(found) <= set(expected), step
                merge(lake, tmp_path / "scratch", part_bytes=part_bytes)
                assert rows_of(lake) == list(expected), step
            else:
                assert killer.left, "no step was left to be killed at"
                break
        else:
            pytest.fail("it never came to an end")
        assert step > 5
    assert list(Path(lake.root).rglob("*.tmp")) == []


def test_a_part_reads_the_rows_of_its_own_buckets_alone(lake: Lake, tmp_path: Path) -> None:
    """The others are made unreadable, which any look at them would notice."""
    pages = [
        Page(
            f"https://site.example/{page}", [("image", f"https://cdn.example/{page}/{number}") for number in range(50)]
        )
        for page in range(300)
    ]
    write_wats(tmp_path / "crawl", {"one": pages})
    make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    first, *_, last = media_url_tasks(lake, MergeSettings(tmp_path / "scratch", part_bytes=300_000))
    path = Path(lake.root) / lake.table_path(FILES_TABLE, "one")
    content = bytearray(path.read_bytes())
    with lake.open_table(FILES_TABLE, "one") as file:
        assert file.num_row_groups > 4
        for number in range(file.num_row_groups):
            columns = [file.metadata.row_group(number).column(column) for column in range(5)]
            if columns[0].statistics.min > first.last:
                for column in columns:
                    begin = column.dictionary_page_offset or column.data_page_offset
                    content[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(content))
    of_first, of_last = make_media_urls([first, last], 1)
    assert of_first.error is None
    assert of_first.result.rows_kept == sum(bucket_of(url) <= first.last for page in pages for _, url in page.media)
    assert of_last.error is not None


def test_what_is_larger_than_memory_is_spilled(lake: Lake, tmp_path: Path) -> None:
    urls = [f"https://cdn.example/{'x' * 60}/{number}" for number in range(100_000)]
    media = [("image", url) for url in urls]
    for file in range(2):
        write_file_urls(lake, f"file-{file}", [Page(f"https://s{file}.example/", media)])
    merge(lake, tmp_path / "scratch", memory="36MB", threads=1)  # 200,000 rows of 200 bytes in hash tables
    assert rows_of(lake) == [("image", url, 2, 2) for url in sorted(urls)]
    assert list((tmp_path / "scratch").iterdir()) == []

    before = contents(lake)
    tasks = media_url_tasks(lake, MergeSettings(tmp_path / "scratch", memory="1MB"))
    (error,) = failures(make_media_urls(tasks, 1, force=True))
    assert isinstance(error, BadSetting)
    assert "1MB of memory" in str(error)
    assert contents(lake) == before
    assert lake.partitions(FAILURES_TABLE) == ["00-ff"]
    assert len(merge(lake, tmp_path / "scratch", part_bytes=1 << 24)) == 2
    assert lake.partitions(FAILURES_TABLE) == [], "also of parts that are no more"


def test_there_are_as_many_parts_as_the_files_bytes_take_up_to_256(lake: Lake, tmp_path: Path) -> None:
    write_files(lake, 1)
    for part_bytes, parts in ((1 << 30, 1), (1, 256)):
        tasks = media_url_tasks(lake, MergeSettings(tmp_path / "scratch", part_bytes=part_bytes))
        assert [bucket for task in tasks for bucket in range(task.first, task.last + 1)] == list(range(256))
        assert len(tasks) == parts


def test_without_files_there_is_nothing_to_merge(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        media_url_tasks(lake, MergeSettings(tmp_path / "scratch"))
    write_file_urls(lake, "file-0", [])
    (report,) = merge(lake, tmp_path / "scratch")
    assert (report.rows_in, report.rows_kept, rows_of(lake)) == (0, 0, [])
    with pytest.raises(BadSetting, match="1 byte or more"):
        MergeSettings(tmp_path / "scratch", part_bytes=0)


def test_a_file_that_vanishes_fails_its_parts_alone_and_is_named(lake: Lake, tmp_path: Path) -> None:
    write_files(lake, 2)
    tasks = media_url_tasks(lake, MergeSettings(tmp_path / "scratch"))
    lake.delete(lake.table_path(FILES_TABLE, "file-1"))
    (error,) = failures(make_media_urls(tasks, 1))
    assert "file-1" in failure_fields(error)["got"]
    assert lake.partitions(TABLE) == []


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with serve_s3("maps") as endpoint:
        yield endpoint


def test_a_lake_in_a_store(s3: str, tmp_path: Path) -> None:
    lake = Lake("s3://maps/lake", s3)
    files = {f"file-{number}": pages_of(number, 5) for number in range(2)}
    pages = [page for of_file in files.values() for page in of_file]
    write_wats(tmp_path / "crawl", files)
    make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    for part_bytes in (1 << 30, 4000):
        assert not any(report.is_reused for report in merge(lake, tmp_path / "scratch", part_bytes=part_bytes))
        assert rows_of(lake) == merged(pages)
        assert all(report.is_reused for report in merge(lake, tmp_path / "scratch", part_bytes=part_bytes))
    assert len(lake.partitions(TABLE)) > 1
