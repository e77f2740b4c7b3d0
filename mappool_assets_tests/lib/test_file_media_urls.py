"""The media URLs of one crawl file, from a WAT and from documents, against counts by hand."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.demo.crawl import MadePage, write_warc, write_wat
from mappool_assets.lib.crawl.crawl_files import list_crawl
from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.media_urls.file_media_url_task import TABLE, FileUrlSettings, media_url_file_tasks
from mappool_assets.lib.media_urls.file_media_urls import LEAST_GROUP_ROWS, make_file_media_urls
from mappool_assets.lib.media_urls.media_url_task import MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.page_media import Tally, WatSettings, wat_media
from mappool_assets.lib.media_urls.wat_links import MOST_MEDIA
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import LocalFile
from mappool_assets.lib.web_documents.document_task import document_tasks
from mappool_assets.lib.web_documents.documents import make_documents
from mappool_assets.lib.web_documents.page_documents import DocumentSettings
from mappool_assets.lib.web_documents.page_items import PageSettings
from mappool_assets_tests.crawl_bytes import REAL, member, needs_real_files, record
from mappool_assets_tests.media_url_files import Page, bucket_of, failures, made, make, urls_of, wat_tasks, write_wats
from mappool_assets_tests.small_documents import numbered, write_documents

PAGES = [
    Page(
        "https://www.maps.example/1", [("image", "https://maps.example/1.png"), ("image", "https://maps.example/1.png")]
    ),
    Page("https://maps.example/2", [("image", "https://maps.example/1.png"), ("video", "https://maps.example/1.mp4")]),
    Page("http://sea.example:8080/", [("image", "https://maps.example/1.png"), ("audio", "https://sea.example/1.mp3")]),
    Page("https://sea.example/none", []),
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def many_pages(count: int, seed: int = 1) -> list[Page]:
    draw = random.Random(seed)
    return [
        Page(
            f"https://www.site{draw.randrange(40)}.example/{number}",
            [("image", f"https://cdn{draw.randrange(5)}.example/{draw.randrange(3000)}.jpg") for _ in range(30)],
        )
        for number in range(count)
    ]


def rows_of(lake: Lake, key: str) -> dict[tuple[str, str, str], int]:
    rows = lake.read_table(TABLE, key).to_pylist()
    assert [row["bucket"] for row in rows] == [bucket_of(row["url"]) for row in rows]
    found = {(row["kind"], row["url"], row["domain"]): row["seen"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_row_is_a_medium_and_a_domain_with_its_number_of_pages(lake: Lake, tmp_path: Path) -> None:
    write_wats(tmp_path / "crawl", {"one": PAGES})
    (report,) = make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    assert rows_of(lake, "one") == urls_of(PAGES) == {
        ("image", "https://maps.example/1.png", "maps.example"): 2,
        ("image", "https://maps.example/1.png", "sea.example"): 1,
        ("video", "https://maps.example/1.mp4", "maps.example"): 1,
        ("audio", "https://sea.example/1.mp3", "sea.example"): 1,
    }  # fmt: skip
    assert (report.pages, report.seen) == (4, {"audio": 1, "image": 3, "video": 1})
    # The WARC's warcinfo, requests and metadata; one image twice on a page; another page of its domain.
    assert report.rows_dropped == {"not_a_response": 9, "same_page": 1, "same_domain": 1}
    assert report.rows_in == report.rows_kept + sum(report.rows_dropped.values()) == 15


MEDIA = st.lists(st.tuples(st.sampled_from(["image", "audio", "video"]), st.integers(0, 3)), max_size=5)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 2), MEDIA), max_size=6))
def test_rows_are_those_counted_by_hand(tmp_path_factory: pytest.TempPathFactory, drawn: list) -> None:
    pages = [
        Page(
            f"https://{'www.' * (number % 2)}s{site}.example/{number}",
            [(k, f"https://m.example/{u}") for k, u in media],
        )
        for number, (site, media) in enumerate(drawn)
    ]
    folder = tmp_path_factory.mktemp("drawn")
    lake = Lake(str(folder / "lake"))
    write_wats(folder / "crawl", {"one": pages})
    make(wat_tasks(lake, folder / "crawl", folder / "scratch"))
    assert rows_of(lake, "one") == urls_of(pages)


def test_rows_lie_in_the_order_of_buckets_and_row_groups_hold_whole_ones(lake: Lake, tmp_path: Path) -> None:
    pages = many_pages(600)
    write_wats(tmp_path / "crawl", {"one": pages})
    make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    assert rows_of(lake, "one") == urls_of(pages)
    with lake.open_table(TABLE, "one") as file:
        groups = [file.read_row_group(number).to_pylist() for number in range(file.num_row_groups)]
    rows = [tuple(row[name] for name in ("bucket", "kind", "url", "domain")) for group in groups for row in group]
    assert rows == sorted(rows)
    buckets = [{row["bucket"] for row in group} for group in groups]
    assert sum(map(len, buckets)) == len(set.union(*buckets)), "none is in two"
    assert len(groups) > 3
    assert all(LEAST_GROUP_ROWS <= len(group) < 2 * LEAST_GROUP_ROWS for group in groups[:-1])


def test_same_file_same_bytes_and_nothing_is_done_twice(tmp_path: Path) -> None:
    write_wats(tmp_path / "crawl", {"one": many_pages(200)})
    lakes = [Lake(str(tmp_path / name)) for name in ("first", "second")]
    for lake, memory in zip(lakes, ("128MB", "64MB"), strict=True):
        make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch", memory=memory))
    path = Lake.table_path(TABLE, "one")
    assert lakes[0].read_bytes(path) == lakes[1].read_bytes(path)

    tasks = wat_tasks(lakes[0], tmp_path / "crawl", tmp_path / "scratch")
    (again,), (forced,) = make(tasks), make(tasks, force=True)
    assert (again.is_reused, forced.is_reused) == (True, False)
    assert lakes[0].read_bytes(path) == lakes[1].read_bytes(path)
    assert list((tmp_path / "scratch").iterdir()) == []

    write_wats(tmp_path / "crawl", {"one": many_pages(200, seed=2)})
    (changed,) = make(wat_tasks(lakes[0], tmp_path / "crawl", tmp_path / "scratch"))
    assert not changed.is_reused
    (other,) = make(wat_tasks(lakes[0], tmp_path / "crawl", tmp_path / "scratch", wat=WatSettings(obeys_robots=False)))
    assert not other.is_reused


def test_tasks_are_sent_to_workers_as_they_are(lake: Lake, tmp_path: Path) -> None:
    write_wats(tmp_path / "crawl", {"one": PAGES})
    (task,) = wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch")
    assert pickle.loads(pickle.dumps(task)) == task
    make([task])
    (part,) = media_url_tasks(lake, MergeSettings(tmp_path / "scratch"))
    assert pickle.loads(pickle.dumps(part)) == part


def test_what_is_larger_than_memory_is_spilled(lake: Lake, tmp_path: Path) -> None:
    pages = [
        Page(
            f"https://s{number % 50}.example/{number}",
            [("image", f"https://c.example/{'x' * 900}/{number}/{i}") for i in range(40)],
        )
        for number in range(1000)
    ]  # 38 MB of addresses
    write_wats(tmp_path / "crawl", {"one": pages})
    (report,) = make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch", memory="32MB"))
    assert report.rows_kept == 40_000
    assert rows_of(lake, "one") == urls_of(pages)

    (error,) = failures(
        make_file_media_urls(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch", memory="1MB"), 1, True)
    )
    assert isinstance(error, BadSetting)
    assert "1MB of memory" in str(error)
    assert list((tmp_path / "scratch").iterdir()) == []


# -- WAT files that are damaged or hostile ----------------------------------------------------------------------------


def test_damage_costs_its_own_records_and_is_counted(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "crawl" / "one.warc.wat.gz"
    places = write_wat(path, [made(page) for page in PAGES])
    content = bytearray(path.read_bytes())
    middle = places[1][0] + places[1][1] // 2
    content[middle : middle + 4] = b"\0\0\0\0"
    broken = record(b'{"HTTP-Response-Metadata"', kind=b"metadata")
    path.write_bytes(bytes(content) + member(broken) + member(record(b"x" * 3_000_000, kind=b"metadata"))[:-100])
    (report,) = make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    assert rows_of(lake, "one") == urls_of([PAGES[0], PAGES[2], PAGES[3]])
    assert report.pages == 3
    harmless = {"not_a_response": 9, "same_page": 1}
    assert report.rows_dropped == {"bad_json": 1, "corrupt_record": 1, "truncated_file": 1, **harmless}


def test_records_beyond_the_limit_and_bombs_are_not_read(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "crawl" / "one.warc.wat.gz"
    write_wat(path, [made(page) for page in PAGES[:1]])
    large = b'{"HTTP-Response-Metadata":"' + random.Random(1).randbytes(400_000).hex().encode() + b'"}'
    bomb = b'{"HTTP-Response-Metadata":"' + b"x" * 40_000_000 + b'"}'
    with path.open("ab") as file:
        for block in (large, bomb):
            file.write(member(record(block, kind=b"metadata")))
    (report,) = make(
        wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch", wat=WatSettings(max_record_bytes=300_000))
    )
    assert rows_of(lake, "one") == urls_of(PAGES[:1])
    assert (report.rows_dropped["too_large"], report.rows_dropped["gzip_bomb"]) == (1, 1)


def test_a_page_of_nothing_but_links_takes_bounded_memory(lake: Lake, tmp_path: Path) -> None:
    base = "https://m.example/" + "a" * 2000 + "/"
    links = [{"path": "IMG@/src", "url": str(number)} for number in range(15_000)]
    html = {"Head": {"Base": base}, "Links": links}
    response = {"Response-Message": {"Status": "200"}, "Headers": {}, "HTML-Metadata": html}
    envelope = {
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
        "WARC-Header-Metadata": {"WARC-Target-URI": "https://m.example/"},
    }
    stored = member(record(json.dumps({"Envelope": envelope}).encode(), kind=b"metadata"))
    path = tmp_path / "one.warc.wat.gz"
    path.write_bytes(stored * 2)
    tally = Tally()
    with LocalFile(str(path)) as file:
        sizes = [batch.nbytes for batch in wat_media(file, WatSettings(), tally)]
    assert (tally.pages, tally.media, tally.dropped["too_many"]) == (2, 2 * MOST_MEDIA, 30_000 - 2 * MOST_MEDIA)
    assert max(sizes) < 12_000_000


@pytest.mark.parametrize("content", [b"", b"no gzip", member(b"no record")])
def test_a_file_without_records_fails_and_is_told(lake: Lake, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "one.warc.wat.gz").write_bytes(content)
    tasks = wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch")
    (error,) = failures(make_file_media_urls(tasks, 1))
    assert isinstance(error, BadShard)
    assert lake.partitions(TABLE) == []
    assert lake.partitions("web_documents/file_media_url_failures") == ["one"]

    write_wats(tmp_path / "crawl", {"one": PAGES})
    make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    assert lake.partitions("web_documents/file_media_url_failures") == []


def test_another_file_than_the_one_of_the_task_is_refused(lake: Lake, tmp_path: Path) -> None:
    write_wats(tmp_path / "crawl", {"one": PAGES})
    tasks = wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch")
    write_wats(tmp_path / "crawl", {"one": PAGES[:2]})
    (error,) = failures(make_file_media_urls(tasks, 1))
    assert isinstance(error, SourceChanged)

    (tmp_path / "crawl" / "one.warc.wat.gz").unlink()
    (error,) = failures(make_file_media_urls(tasks, 1))
    assert isinstance(error, MissingInput)
    assert lake.partitions(TABLE) == []


@needs_real_files
def test_the_real_wat_holds_one_request_and_no_page(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "real.warc.wat.gz").write_bytes((REAL / "whirlwind.warc.wat.gz").read_bytes())
    (report,) = make(wat_tasks(lake, tmp_path / "crawl", tmp_path / "scratch"))
    assert (report.pages, report.rows_in, report.rows_kept, report.rows_dropped) == (0, 1, 0, {"not_a_response": 1})
    assert rows_of(lake, "real") == {}


# -- documents --------------------------------------------------------------------------------------------------------


def document_urls(lake: Lake, keys: list[str], tmp_path: Path) -> list:
    return list(
        make_file_media_urls(media_url_file_tasks(lake, keys, FileUrlSettings(tmp_path / "scratch"), Storage()), 1)
    )


def list_nothing(lake: Lake, folder: Path) -> None:
    """A listing of some other crawl file: these documents' own is not needed any more."""
    write_warc(folder / "other.warc.gz", [made(PAGES[0])])
    write_crawl_files(lake, list_crawl(str(folder), Storage()))


def test_documents_give_what_they_show(lake: Lake, tmp_path: Path) -> None:
    list_nothing(lake, tmp_path / "crawl")
    documents = [
        numbered("Some text.", ("image", "1.png"), ("image", "1.png#top"), ("video", "1.png")),
        numbered("No media."),
        numbered(),
        numbered(("image", "1.png"), "More text.", ("audio", "2.png?#")),
    ]
    write_documents(lake, "one", documents)
    (outcome,) = document_urls(lake, ["one"], tmp_path)
    assert outcome.error is None
    assert rows_of(lake, "one") == {
        ("image", "https://maps.example/1.png", "pages.example"): 2,
        ("video", "https://maps.example/1.png", "pages.example"): 1,
        ("audio", "https://maps.example/2.png?", "pages.example"): 1,
    }
    report = outcome.result
    assert (report.rows_in, report.rows_dropped, report.pages) == (5, {"same_page": 1, "same_domain": 1}, 4)

    (again,) = document_urls(lake, ["one"], tmp_path)
    assert again.result.is_reused
    write_documents(lake, "one", documents[:1])
    (changed,) = document_urls(lake, ["one"], tmp_path)
    assert not changed.result.is_reused
    assert len(rows_of(lake, "one")) == 2


def test_without_documents_there_is_nothing_to_make_urls_of(lake: Lake, tmp_path: Path) -> None:
    list_nothing(lake, tmp_path / "crawl")
    (error,) = failures(document_urls(lake, ["one"], tmp_path))
    assert isinstance(error, MissingInput)
    write_documents(lake, "one", [numbered("Text.")])
    tasks = media_url_file_tasks(lake, ["one"], FileUrlSettings(tmp_path / "scratch"), Storage())
    write_documents(lake, "one", [numbered("Other text.")])
    (error,) = failures(make_file_media_urls(tasks, 1))
    assert isinstance(error, SourceChanged)


TEXT = "The old map of the valley shows a road that follows the river to the sea, and three villages along it. " * 4
BOTH = '<img src="/1.png"><a href="talk.mp3">Talk</a><video src="film.mp4"></video><img src="1.png#top">'
IN_DOCUMENTS = '<img data-src="/late.png"><img srcset="/2x.png 2x"><video><source src="stream"></video>'
IN_WAT = '<img src="/dot.png" width="1" height="1"><p hidden><img src="/hidden.png"></p>'


def test_a_warc_and_its_wat_give_the_same_urls_but_for_what_is_stated(lake: Lake, tmp_path: Path) -> None:
    site = "https://maps.example/"
    pages = [
        MadePage(f"{site}1", f"<html><body><p>{TEXT}</p>{BOTH}</body></html>".encode()),
        MadePage(f"{site}2", f"<html><body><p>{TEXT}</p>{BOTH}{IN_DOCUMENTS}{IN_WAT}</body></html>".encode()),
        MadePage(f"{site}3", f"<html><body>{BOTH}<img src=/3.png></body></html>".encode()),  # no language
        MadePage(f"{site}4", f'<meta name="robots" content="noai"><p>{TEXT}</p>{BOTH}'.encode()),
        MadePage(f"{site}5", f"<p>{TEXT}</p>{BOTH}".encode(), status=404),
        MadePage(f"{site}6.txt", b"<img src=1.png>", (("Content-Type", "text/plain"),)),
    ]
    write_warc(tmp_path / "warc" / "one.warc.gz", pages)
    write_wat(tmp_path / "wat" / "one.warc.wat.gz", pages)
    write_crawl_files(lake, list_crawl(str(tmp_path / "warc"), Storage()))
    settings = DocumentSettings(page=PageSettings(drops_boilerplate=False))
    (documents,) = make_documents(document_tasks(lake, ["one"], settings, Storage()), 1)
    assert documents.error is None
    (outcome,) = document_urls(lake, ["one"], tmp_path)
    assert outcome.error is None
    of_documents = rows_of(lake, "one")
    make(wat_tasks(lake, tmp_path / "wat", tmp_path / "scratch"))
    of_wat = rows_of(lake, "one")

    def short(rows: dict) -> dict[str, int]:
        return {url.removeprefix(site): seen for (_, url, _), seen in rows.items()}

    shared = {"1.png": 2, "talk.mp3": 2, "film.mp4": 2}
    assert short(of_documents) == {**shared, "late.png": 1, "2x.png": 1, "stream": 1}
    assert short(of_wat) == {
        **{url: seen + 1 for url, seen in shared.items()},
        "3.png": 1,
        "dot.png": 1,
        "hidden.png": 1,
    }
