"""Crawl files to documents: every page is a row of one table or the other, whatever the others do."""

import dataclasses
from collections import Counter
from pathlib import Path

import boto3
import pytest

from mappool_assets.demo.crawl import MadePage, write_warc, write_wat
from mappool_assets.lib.crawl.crawl_files import list_crawl
from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
from mappool_assets.lib.crawl.warc_pages import CrawlPage, WarcLimits, read_pages
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.web_documents import document_rows
from mappool_assets.lib.web_documents.document_task import DROPPED_TABLE, TABLE, document_tasks
from mappool_assets.lib.web_documents.documents import FAILURES_TABLE, make_documents
from mappool_assets.lib.web_documents.natural_language import LanguageSettings
from mappool_assets.lib.web_documents.page_documents import DocumentSettings, make_document
from mappool_assets.lib.web_documents.page_items import PageSettings, parse_page
from mappool_assets_tests.document_runs import QUICK, good_page, made, run
from mappool_assets_tests.range_server import serve
from mappool_assets_tests.s3_server import serve_s3

KEY = "crawl-00000"


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "crawl"


def write(folder, pages):
    folder.mkdir(exist_ok=True)
    return write_warc(folder / f"{KEY}.warc.gz", pages)


def rows(lake, table=TABLE):
    return lake.read_table(table, KEY).to_pylist()


def stored(lake):
    return {table: lake.read_bytes(lake.table_path(table, KEY)) for table in (TABLE, DROPPED_TABLE)}


# -- rows -----------------------------------------------------------------------------------------------------------


def test_a_document_holds_what_its_page_holds(lake, folder):
    page = MadePage(
        "https://maps.example/a/page.html?x=1",
        b"""<html><head><title>The old map</title><link rel=canonical href="/a/page.html"></head><body>
        <h1>The old map of the valley</h1><p>It shows a road that follows the river from the mountains to the sea.</p>
        <img src="../map.jpg" alt="The map" width=640 height=480 srcset="../small.jpg 320w, ../large.jpg 1280w">
        <p>Nobody knows who drew it, but it hangs in the town hall, where everybody can see it.</p>
        <video src="film.mp4" title="A film"></video><p><a href="bells.mp3">The bells of the church</a></p>
        </body></html>""",
        headers=(("Content-Type", "text/html"), ("X-Robots-Tag", "NoImageAI")),
        truncated="length",
    )
    ((offset, length),) = write(folder, [page])
    report = made(run(lake, folder))
    (row,) = rows(lake)
    items = row.pop("items")
    assert row == {
        "document_id": f"{KEY}:{offset}",
        "url": page.url,
        "canonical_url": "https://maps.example/a/page.html",
        "title": "The old map",
        "language": "en",
        "language_score": row["language_score"],
        "charset": "utf-8",
        "fetched_at": "2024-05-18T01:58:10Z",
        "warc_file": KEY,
        "warc_offset": offset,
        "warc_length": length,
        "truncated": "length",
        "robots": ["noimageai"],
        "words": row["words"],
        "texts": sum(item["kind"] == "text" for item in items),
        "images": 1,
        "audios": 1,
        "videos": 1,
    }
    assert 0.5 <= row["language_score"] <= 1
    assert row["words"] == sum(len((item["text"] or "").split()) for item in items)
    assert [item["position"] for item in items] == list(range(len(items)))
    image = next(item for item in items if item["kind"] == "image")
    assert image == {
        "position": 2,
        "kind": "image",
        "text": None,
        "url": "https://maps.example/map.jpg",
        "alt": "The map",
        "candidates": [
            {"url": "https://maps.example/small.jpg", "descriptor": "320w"},
            {"url": "https://maps.example/large.jpg", "descriptor": "1280w"},
        ],
        "width": 640,
        "height": 480,
    }
    assert items[0] == {**dict.fromkeys(image), "position": 0, "kind": "text", "text": "The old map of the valley",
                        "candidates": []}  # fmt: skip
    assert report.items == dict(Counter(item["kind"] for item in items))
    assert report.languages == {"en": 1}
    assert report.sample == [("The old map", "en")]


def test_columns_are_those_of_rows_made_one_by_one(lake, folder):
    """The table is made of flat columns; the slow way are dictionaries."""
    write(folder, [good_page(number, paragraphs=1 + number % 5) for number in range(12)])
    made(run(lake, folder))
    with open_ranged(str(folder / f"{KEY}.warc.gz"), Storage()) as file:
        pages = list(read_pages(file, WarcLimits()))
    for page, row in zip(pages, rows(lake), strict=True):
        parsed = parse_page(page.body, page.url, page.content_type, page.x_robots_tag, PageSettings())
        expected = [
            {
                **item._asdict(),
                "position": position,
                "candidates": [{"url": url, "descriptor": descriptor} for url, descriptor in item.candidates],
            }
            for position, item in enumerate(parsed.items)
        ]
        assert row["items"] == expected
        counts = Counter(item.kind for item in parsed.items)
        assert [row[name] for name in ("texts", "images", "audios", "videos")] == [
            counts[kind] for kind in ("text", "image", "audio", "video")
        ]


def test_rows_do_not_depend_on_the_row_groups(lake, folder, monkeypatch, tmp_path):
    write(folder, [good_page(n) if n % 3 else MadePage(f"https://e.example/{n}", b"") for n in range(30)])
    made(run(lake, folder))
    other = Lake(str(tmp_path / "other"))
    monkeypatch.setattr(document_rows, "ROW_GROUP_CHARACTERS", 2000)
    made(run(other, folder))
    for table in (TABLE, DROPPED_TABLE):
        assert other.read_table(table, KEY) == lake.read_table(table, KEY)
    with other.open_table(TABLE, KEY) as file:
        assert file.num_row_groups > 5
    with lake.open_table(TABLE, KEY) as file:
        assert file.num_row_groups == 1


def test_robots_are_obeyed_unless_told_otherwise(lake, folder):
    tag = good_page(1)
    pages = [
        good_page(0),
        dataclasses.replace(tag, headers=(*tag.headers, ("X-Robots-Tag", "noai"))),
        dataclasses.replace(tag, headers=(*tag.headers, ("X-Robots-Tag", "otherbot: noindex"))),
        dataclasses.replace(tag, headers=(*tag.headers, ("X-Robots-Tag", "none"))),
    ]
    write(folder, pages)
    report = made(run(lake, folder))
    assert (report.rows_kept, report.rows_dropped) == (2, {"robots_noai": 1, "robots_noindex": 1})
    assert [row["robots"] for row in rows(lake)] == [[], []]
    report = made(run(lake, folder, obeys_robots=False))
    assert report.rows_kept == 4
    assert [row["robots"] for row in rows(lake)] == [[], ["noai"], [], ["nofollow", "noindex"]]


def test_settings_reach_the_pages(lake, folder):
    write(folder, [good_page(number) for number in range(8)])
    report = made(run(lake, folder, language=LanguageSettings(languages=("ru", "de"))))
    assert report.rows_dropped == {"other_language": 4}
    assert report.languages == {"de": 2, "ru": 2}
    assert {row["reason"] for row in rows(lake, DROPPED_TABLE)} == {"other_language"}


# -- damaged files ----------------------------------------------------------------------------------------------------


def test_a_corrupt_member_loses_its_page_alone(lake, folder, tmp_path):
    places = write(folder, [good_page(number) for number in range(9)])
    undamaged = Lake(str(tmp_path / "undamaged"))
    made(run(undamaged, folder))
    file = folder / f"{KEY}.warc.gz"
    data = bytearray(file.read_bytes())
    offset, length = places[4]
    data[offset + length // 2] ^= 0xFF
    file.write_bytes(data)
    report = made(run(lake, folder))
    assert report.rows_dropped == {"corrupt_record": 1}
    assert rows(lake) == [row for row in rows(undamaged) if row["warc_offset"] != offset]
    assert rows(lake, DROPPED_TABLE)[0]["warc_offset"] == offset


def test_a_file_that_ends_early_gives_what_it_has(lake, folder, tmp_path):
    places = write(folder, [good_page(number) for number in range(6)])
    whole = Lake(str(tmp_path / "whole"))
    made(run(whole, folder))
    file = folder / f"{KEY}.warc.gz"
    file.write_bytes(file.read_bytes()[: places[4][0] + 50])
    report = made(run(lake, folder))
    assert (report.rows_kept, report.rows_dropped) == (4, {"truncated_file": 1})
    assert rows(lake) == rows(whole)[:4]


def test_a_file_without_pages_is_an_empty_table(lake, folder):
    write(folder, [])
    report = made(run(lake, folder))
    assert (report.rows_in, report.rows_kept, report.rows_dropped) == (0, 0, {})
    assert rows(lake) == rows(lake, DROPPED_TABLE) == []


def test_what_is_no_crawl_file_fails_alone(lake, folder):
    write(folder, [good_page(0)])
    (folder / "noise.warc.gz").write_bytes(b"no archive" * 1000)
    outcomes = {outcome.task.key: outcome for outcome in run(lake, folder)}
    assert isinstance(outcomes["noise"].error, BadShard)
    assert outcomes[KEY].result.rows_kept == 1
    assert lake.partitions(TABLE) == lake.partitions(DROPPED_TABLE) == [KEY]
    (failure,) = lake.read_table(FAILURES_TABLE, "noise").to_pylist()
    assert failure["error"] == "BadShard"
    write_warc(folder / "noise.warc.gz", [good_page(1)])
    assert [outcome.error for outcome in run(lake, folder)] == [None, None]
    assert lake.partitions(FAILURES_TABLE) == []


# -- what is done again, and what is not ------------------------------------------------------------------------------


def test_what_was_made_from_the_same_inputs_is_left_alone(lake, folder):
    write(folder, [good_page(number) for number in range(4)] + [MadePage("https://e.example/", b"")])
    first = made(run(lake, folder))
    before = stored(lake)
    times = [Path(lake.url(lake.table_path(table, KEY))).stat().st_mtime_ns for table in (TABLE, DROPPED_TABLE)]
    second = made(run(lake, folder))
    assert second == dataclasses.replace(first, is_reused=True, bytes_read=0, sample=[])
    assert times == [Path(lake.url(lake.table_path(table, KEY))).stat().st_mtime_ns for table in (TABLE, DROPPED_TABLE)]
    forced = made(run(lake, folder, force=True))
    assert forced == first
    assert stored(lake) == before


@pytest.mark.parametrize("change", ["file", "settings", "dropped"])
def test_what_changed_is_made_again(lake, folder, change):
    write(folder, [good_page(number) for number in range(4)])
    first = made(run(lake, folder))
    settings = {}
    if change == "file":
        write(folder, [good_page(number) for number in range(5)])
    elif change == "settings":
        settings = {"page": PageSettings(drops_boilerplate=False)}
    else:
        lake.delete(lake.table_path(DROPPED_TABLE, KEY))
    again = made(run(lake, folder, **settings))
    assert not again.is_reused
    assert (again.fingerprint == first.fingerprint) == (change == "dropped")
    assert lake.partitions(DROPPED_TABLE) == [KEY]


def test_the_order_of_wanted_languages_is_no_change(lake, folder):
    write(folder, [good_page(0)])
    made(run(lake, folder, language=LanguageSettings(languages=("en", "de"))))
    assert made(run(lake, folder, language=LanguageSettings(languages=("de", "en")))).is_reused


def test_provenance_says_where_all_pages_went(lake, folder):
    write(folder, [good_page(number) for number in range(4)] + [MadePage("https://e.example/", b"")])
    report = made(run(lake, folder))
    kept, dropped = (lake.provenance(table, KEY) for table in (TABLE, DROPPED_TABLE))
    assert (kept.rows_in, kept.rows_kept, kept.rows_dropped) == (5, 4, {"no_text": 1})
    assert (dropped.rows_in, dropped.rows_kept, dropped.rows_dropped) == (1, 1, {})
    assert kept.inputs == dropped.inputs
    assert kept.origin == {"source": str(folder / f"{KEY}.warc.gz"), "crawl": "", "path": f"{KEY}.warc.gz"}
    assert kept.measures == {
        "items": report.items,
        "languages": report.languages,
        "file_bytes": (folder / f"{KEY}.warc.gz").stat().st_size,
    }


# -- where files lie --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_folder(lake, folder):
    """A file's rows as they are made from a folder."""
    write(folder, [good_page(number) for number in range(5)])
    made(run(lake, folder))
    return {table: lake.read_table(table, KEY).replace_schema_metadata() for table in (TABLE, DROPPED_TABLE)}


def test_a_crawl_file_is_read_by_http(in_folder, folder, tmp_path):
    (folder / "warc.paths").write_text(f"{KEY}.warc.gz\n")
    lake = Lake(str(tmp_path / "by_http"))
    with serve(folder) as server:
        report = made(run(lake, f"{server.url}/warc.paths"))
    assert report.bytes_read == report.file_bytes
    for table, expected in in_folder.items():
        assert lake.read_table(table, KEY).replace_schema_metadata() == expected


def test_a_crawl_file_is_read_from_a_bucket_into_a_bucket(in_folder, folder):
    with serve_s3("crawls") as endpoint:
        boto3.client("s3", endpoint_url=endpoint).upload_file(
            str(folder / f"{KEY}.warc.gz"), "crawls", f"mine/{KEY}.warc.gz"
        )
        lake = Lake("s3://crawls/lake", endpoint)
        made(run(lake, "s3://crawls/mine", storage=Storage(s3_endpoint=endpoint)))
        for table, expected in in_folder.items():
            assert lake.read_table(table, KEY).replace_schema_metadata() == expected
        assert made(run(lake, "s3://crawls/mine", storage=Storage(s3_endpoint=endpoint))).is_reused


def test_a_wat_file_is_refused_with_what_to_do(lake, folder):
    folder.mkdir()
    write_wat(folder / f"{KEY}.warc.wat.gz", [good_page(0)])
    write_crawl_files(lake, list_crawl(str(folder), Storage(), kind="wat"))
    (outcome,) = make_documents(document_tasks(lake, [KEY], DocumentSettings(), Storage()), workers=1)
    assert isinstance(outcome.error, BadSetting)
    assert "WARC" in outcome.error.action
    assert lake.partitions(TABLE) == []


def test_a_file_that_no_listing_has_fails_alone(lake, folder):
    write(folder, [good_page(0)])
    write_crawl_files(lake, list_crawl(str(folder), Storage()))
    tasks = document_tasks(lake, ["unheard-of", KEY], DocumentSettings(budget=QUICK), Storage())
    errors = {outcome.task.key: outcome.error for outcome in make_documents(tasks, workers=1)}
    assert isinstance(errors["unheard-of"], MissingInput)
    assert errors[KEY] is None


def test_a_file_that_was_replaced_since_it_was_listed_fails(lake, folder):
    write(folder, [good_page(0)])
    write_crawl_files(lake, list_crawl(str(folder), Storage()))
    tasks = document_tasks(lake, [KEY], DocumentSettings(budget=QUICK), Storage())
    write(folder, [good_page(0), good_page(1)])
    (outcome,) = make_documents(tasks, workers=1)
    assert isinstance(outcome.error, SourceChanged)
    assert lake.partitions(TABLE) == []


def test_files_are_made_by_several_workers(lake, folder):
    folder.mkdir()
    for number in range(3):
        write_warc(folder / f"{KEY}-{number}.warc.gz", [good_page(number), good_page(number + 1)])
    write_crawl_files(lake, list_crawl(str(folder), Storage()))
    keys = [f"{KEY}-{number}" for number in range(3)]
    tasks = document_tasks(lake, keys, DocumentSettings(budget=QUICK), Storage())
    assert sorted(outcome.result.shard for outcome in make_documents(tasks, workers=2)) == keys
    assert lake.partitions(TABLE) == keys


def test_make_document_is_pure(folder):
    page = good_page(3)
    crawl_page = CrawlPage(page.url, 7, 9, "", 200, "text/html", (), None, page.body)
    first, second = (make_document(crawl_page, DocumentSettings()) for _ in range(2))
    assert first == second
    assert (first.language, first.warc_offset, first.warc_length, first.fetched_at) == ("ru", 7, 9, None)
