"""The checks, steps, views and macros of the group web_documents, on a lake that keeps its rules and on broken ones."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.demo.crawl import MadePage, write_warc
from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.lake_sql import BatchStream
from mappool_assets.lib.media_urls.file_media_url_task import FileUrlSettings, media_url_file_tasks
from mappool_assets.lib.media_urls.media_url_task import MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.media_urls import make_media_urls
from mappool_assets.lib.media_urls.page_media import SCHEMA as PAGE_MEDIA_SCHEMA
from mappool_assets.lib.packed_documents.pack_ledger import SCHEMA as PACK_SCHEMA
from mappool_assets.lib.page_maps.page_maps import find_page_maps
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web_documents.interleaved_pages import interleaved_tasks, make_interleaved
from mappool_assets.lib.web_documents.media_links import LinkSettings, make_media_links, media_link_tasks
from mappool_assets.lib.web_documents.windows import document_text
from mappool_assets_tests import media_url_files
from mappool_assets_tests.document_runs import SENTENCES, run
from mappool_assets_tests.lib.test_page_maps import image as page_image
from mappool_assets_tests.lib.test_page_maps import write as write_page_images
from mappool_assets_tests.media_url_files import bucket_of, merged, urls_of, write_file_urls
from mappool_assets_tests.small_documents import numbered, pages, texts, write_documents

A, B = "CC-MAIN-a", "CC-MAIN-b"
CRAWL_FILE_CHECKS = (
    "documents_once",
    "documents_dropped_stored",
    "media_links_within_text",
    "media_links_complete",
    "interleaved_in_order",
    "interleaved_complete",
)
WHOLE_CHECKS = ("page_maps_complete", "page_maps_duplicates_kept_once", "media_urls_unique", "media_urls_seen_complete")
CHECKS = (*CRAWL_FILE_CHECKS, *WHOLE_CHECKS)
LEDGERS = ("page_maps",)

Rows = list[dict[str, Any]]
Change = Callable[[Rows], object]


# -- a lake that keeps the rules ------------------------------------------------------------------------------------


def page(number: int, *media: str) -> MadePage:
    """A page with a paragraph before, between and after its media."""
    sentence = SENTENCES[number % len(SENTENCES)]
    parts = [f"<p>{part} {sentence} {sentence}</p>{medium}" for part, medium in enumerate((*media, ""))]
    body = f"<html><head><title>Page {number}</title></head><body>{''.join(parts)}</body></html>"
    return MadePage(f"https://www.maps{number % 2}.example/{number}.html", body.encode())


IMAGES = [f'<img src="https://maps.example/{number}.png" alt="Map {number}">' for number in range(3)]
SOUND, FILM = '<audio src="https://sea.example/1.mp3"></audio>', '<video src="https://sea.example/1.mp4"></video>'
EMPTY = MadePage("https://maps.example/empty.html", b"")
GONE = [MadePage(f"https://maps.example/gone{number}.html", b"<p>Gone.</p>", status=404) for number in range(2)]


def made_by(outcomes: Any) -> None:
    assert [outcome.error for outcome in outcomes if outcome.error] == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake that nobody changes."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "crawl").mkdir()
    write_warc(folder / "crawl" / f"{A}.warc.gz", [page(0, IMAGES[0], SOUND, IMAGES[1]), EMPTY, page(1), *GONE])
    write_warc(folder / "crawl" / f"{B}.warc.gz", [page(2, FILM, IMAGES[0], IMAGES[2]), GONE[0]])
    lake = Lake(str(folder / "lake"))
    made_by(run(lake, folder / "crawl"))
    made_by(make_media_links(media_link_tasks(lake, [A, B], LinkSettings(tokens_a_side=12)), 1))
    made_by(make_interleaved(interleaved_tasks(lake, [A, B]), 1))
    media_url_files.make(media_url_file_tasks(lake, [A, B], FileUrlSettings(folder / "scratch"), Storage()))
    made_by(make_media_urls(media_url_tasks(lake, MergeSettings(folder / "scratch", part_bytes=256)), 1))
    twice = [page_image(0, sha=1), page_image(1, sha=1), page_image(2, sha=2, is_map=False, hashed=3, vector=1)]
    others = [page_image(3, sha=3, hashed=3, vector=1), page_image(4, sha=4, hashed=4, vector=2)]
    write_page_images(lake, twice, others)
    find_page_maps(lake, folder / "scratch")
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def rewrite(lake: Lake, table: str, change: Change, partition: str = "all") -> None:
    """Change the rows of a table, but not what its provenance says of those that were dropped."""
    name = f"web_documents/{table}"
    stored, rows = lake.read_table(name, partition), lake.read_table(name, partition).to_pylist()
    recorded = lake.provenance(name, partition)
    assert recorded is not None
    change(rows)
    written = dataclasses.replace(recorded, rows_in=len(rows), rows_kept=len(rows))
    table_of_rows = pa.Table.from_pylist(rows, schema=stored.schema.remove_metadata())
    lake.write_table(name, table_of_rows, written, partition, is_ledger=table in LEDGERS)


def offenders(lake: Lake, check: str, **bound: object) -> Rows:
    return sql_files.run(lake, f"checks/{check}", **bound).to_pylist()


def faults(lake: Lake, check: str) -> list[str]:
    return [row["fault"] for row in offenders(lake, check)]


def broken(lake: Lake) -> set[str]:
    return {check for check in CHECKS if offenders(lake, check)}


def of_files(lake: Lake, check: str) -> dict[str, int]:
    """Return how many rows a check finds in each crawl file, asked for by itself."""
    return {file: len(offenders(lake, check, shards=[file])) for file in (A, B)}


def test_what_the_assets_make_keeps_every_rule(made: Path) -> None:
    lake = Lake(str(made))
    assert broken(lake) == set()
    for check in CRAWL_FILE_CHECKS:
        assert of_files(lake, check) == {A: 0, B: 0}
    # … and there is something to find fault with.
    for view in ("documents", "dropped_pages", "media_links", "interleaved", "file_media_urls"):
        assert {row["crawl_file"] for row in rows_of(lake, f"SELECT crawl_file FROM {view}")} == {A, B}
    assert {row["dropped"] for row in rows_of(lake, "SELECT dropped FROM page_maps")} >= {None, "exact_duplicate"}
    assert len(lake.partitions("web_documents/media_urls")) > 1


@pytest.mark.parametrize("check", CRAWL_FILE_CHECKS)
def test_checks_of_some_crawl_files_open_no_others(lake: Lake, check: str) -> None:
    """The other file's tables are made unreadable, which any look at them would notice."""
    for table in ("documents", "dropped_pages", "media_links", "interleaved"):
        (Path(lake.root) / Lake.table_path(f"web_documents/{table}", B)).write_bytes(b"not parquet")
    with pytest.raises((duckdb.Error, MissingInput), match=B):
        offenders(lake, check)
    assert offenders(lake, check, shards=[A]) == []
    assert offenders(lake, check, shards=[]) == []


# -- documents ------------------------------------------------------------------------------------------------------


def test_a_page_is_there_once(lake: Lake) -> None:
    rewrite(lake, "documents", lambda rows: rows.append(rows[0]), A)
    (twice,) = offenders(lake, "documents_once")
    document = lake.read_table("web_documents/documents", A).to_pylist()[0]
    assert twice == {"crawl_file": A, "warc_offset": document["warc_offset"], "times": 2}
    rewrite(lake, "dropped_pages", lambda rows: rows.extend([rows[0]] * 2), B)
    assert [(row["crawl_file"], row["times"]) for row in offenders(lake, "documents_once")] == [(A, 2), (B, 3)]
    assert of_files(lake, "documents_once") == {A: 1, B: 1}


def test_no_page_is_both_a_document_and_dropped(lake: Lake) -> None:
    offset = lake.read_table("web_documents/documents", A).to_pylist()[0]["warc_offset"]
    rewrite(lake, "dropped_pages", lambda rows: rows[0].update(warc_offset=offset), A)
    assert [row["warc_offset"] for row in offenders(lake, "documents_once")] == [offset]
    assert of_files(lake, "documents_once") == {A: 1, B: 0}


def test_the_same_place_of_two_crawl_files_is_two_pages(lake: Lake) -> None:
    offset = lake.read_table("web_documents/documents", A).to_pylist()[0]["warc_offset"]
    rewrite(lake, "dropped_pages", lambda rows: rows[0].update(warc_offset=offset + 1), B)
    rewrite(lake, "dropped_pages", lambda rows: rows[0].update(warc_offset=offset + 1), A)
    assert offenders(lake, "documents_once") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows.pop(1), [("http_status", 2, 1)]),
        (lambda rows: rows.append({**rows[0], "warc_offset": -1}), [("no_text", 1, 2)]),
        (lambda rows: rows[0].update(reason="http_status"), [("http_status", 2, 3), ("no_text", 1, None)]),
        (lambda rows: rows[0].update(reason="other"), [("no_text", 1, None), ("other", None, 1)]),
        (lambda rows: rows[0].update(reason=None), [("no_text", 1, None), (None, None, 1)]),
        (lambda rows: rows.clear(), [("http_status", 2, None), ("no_text", 1, None)]),
    ],
)
def test_as_many_pages_are_stored_as_dropped_as_were_counted(lake: Lake, change: Change, expected: list) -> None:
    rewrite(lake, "dropped_pages", change, A)
    found = offenders(lake, "documents_dropped_stored")
    assert [(row["reason"], row["counted"], row["stored"]) for row in found] == expected
    assert {row["crawl_file"] for row in found} == {A}
    assert of_files(lake, "documents_dropped_stored") == {A: len(expected), B: 0}


def test_a_file_whose_dropped_pages_are_not_there_is_found(lake: Lake) -> None:
    lake.delete(Lake.table_path("web_documents/dropped_pages", B))
    assert [(row["crawl_file"], row["reason"]) for row in offenders(lake, "documents_dropped_stored")] == [
        (B, "http_status")
    ]


# -- media links ----------------------------------------------------------------------------------------------------


def samples(rows: Rows) -> Rows:
    return rows[0]["samples"]


@pytest.mark.parametrize(
    "changed",
    [
        {"before_start": -1},
        {"before_start": 40, "before_end": 39},
        {"before_end": 10_000},
        {"after_start": 0},
        {"after_end": 0},
        {"after_end": 10_000},
        {"before_start": None},
        {"after_end": None},
    ],
    ids=str,
)
def test_windows_lie_in_their_text_with_the_medium_between(lake: Lake, changed: dict) -> None:
    """One after the other, from nothing to the text's length; where one is not known, neither is the text."""
    rewrite(lake, "media_links", lambda rows: samples(rows)[1].update(changed), A)
    (found,) = offenders(lake, "media_links_within_text")
    (linked,) = lake.read_table("web_documents/media_links", A).to_pylist()
    assert found == {
        "crawl_file": A,
        "document_id": linked["document_id"],
        **{name: value for name, value in linked["samples"][1].items() if name not in ("kind", "url", "alt")},
        "characters": len(text_of(lake, linked["document_id"])),
    }
    assert of_files(lake, "media_links_within_text") == {A: 1, B: 0}


def test_a_window_may_end_where_the_text_does_and_not_a_character_later(lake: Lake) -> None:
    (linked,) = lake.read_table("web_documents/media_links", A).to_pylist()
    characters = len(text_of(lake, linked["document_id"]))
    rewrite(lake, "media_links", lambda rows: samples(rows)[2].update(after_end=characters), A)
    assert offenders(lake, "media_links_within_text") == []
    rewrite(lake, "media_links", lambda rows: samples(rows)[2].update(after_end=characters + 1), A)
    assert len(offenders(lake, "media_links_within_text")) == 1


def test_windows_of_no_document_are_found(lake: Lake) -> None:
    rewrite(lake, "media_links", lambda rows: rows[0].update(document_id="nobody"), A)
    assert [row["characters"] for row in offenders(lake, "media_links_within_text")] == [None] * 3
    assert of_files(lake, "media_links_within_text") == {A: 3, B: 0}


def text_of(lake: Lake, document_id: str) -> str:
    documents = {row["document_id"]: row for row in lake.read_table("web_documents/documents", A).to_pylist()}
    return document_text(documents[document_id]["items"])


NO_WINDOWS, NO_MEDIUM = "medium without windows", "windows without medium"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: samples(rows).pop(), [NO_WINDOWS]),
        (lambda rows: samples(rows).append(samples(rows)[0]), [NO_MEDIUM]),
        (lambda rows: rows.clear(), [NO_WINDOWS] * 3),
        (lambda rows: rows.append(rows[0]), [NO_MEDIUM] * 3),
        (lambda rows: rows[0].update(document_id="nobody"), [NO_WINDOWS] * 3 + [NO_MEDIUM] * 3),
        (lambda rows: samples(rows)[0].update(kind="video"), [NO_WINDOWS, NO_MEDIUM]),
        (lambda rows: samples(rows)[0].update(url="https://other.example/"), [NO_WINDOWS, NO_MEDIUM]),
        (lambda rows: samples(rows)[0].update(position=2), [NO_WINDOWS, NO_MEDIUM]),
    ],
)
def test_each_medium_of_a_document_has_its_windows(lake: Lake, change: Change, expected: list[str]) -> None:
    rewrite(lake, "media_links", change, A)
    assert sorted(faults(lake, "media_links_complete")) == expected
    assert of_files(lake, "media_links_complete") == {A: len(expected), B: 0}


def test_a_medium_that_is_there_twice_needs_windows_twice(lake: Lake) -> None:
    rewrite(lake, "documents", lambda rows: rows[0]["items"].append(rows[0]["items"][1]), A)
    assert faults(lake, "media_links_complete") == [NO_WINDOWS]


# -- interleaved pages ----------------------------------------------------------------------------------------------

FORMS = ("image_parts", "media_parts")


def swapped(parts: Rows, kinds: set[str]) -> None:
    """Exchange the first two parts of some kinds."""
    one, other = [number for number, part in enumerate(parts) if part["kind"] in kinds][:2]
    parts[one], parts[other] = parts[other], parts[one]


def first(parts: Rows, *, is_text: bool) -> dict:
    return next(part for part in parts if (part["kind"] == "text") == is_text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        lambda parts: swapped(parts, {"text"}),
        lambda parts: swapped(parts, {"image", "audio", "video"}),
        lambda parts: parts.append(parts[0]),
        lambda parts: parts.append(parts[-2]),
        lambda parts: first(parts, is_text=True).update(end=first(parts, is_text=True)["start"]),
        lambda parts: first(parts, is_text=True).update(end=first(parts[2:], is_text=True)["start"] + 1),
        lambda parts: first(parts, is_text=True).update(start=None),
        lambda parts: first(parts, is_text=True).update(end=None),
        lambda parts: first(parts, is_text=False).update(position=None),
        lambda parts: first(parts, is_text=False).update(position=-1),
    ],
)
def test_parts_stand_in_the_pages_order_and_none_overlaps(lake: Lake, form: str, change: Change) -> None:
    rewrite(lake, "interleaved", lambda rows: change(rows[0][form]), A)
    found = offenders(lake, "interleaved_in_order")
    assert {(row["crawl_file"], row["form"]) for row in found} == {(A, form.removesuffix("_parts"))}
    assert of_files(lake, "interleaved_in_order") == {A: len(found), B: 0}


def test_parts_of_two_pages_do_not_follow_each_other(lake: Lake) -> None:
    rewrite(lake, "interleaved", lambda rows: rows.append({**copy.deepcopy(rows[0]), "document_id": "another"}), A)
    assert offenders(lake, "interleaved_in_order") == []


def test_texts_may_touch(lake: Lake) -> None:
    def touch(rows: Rows) -> None:
        part = first(rows[0]["media_parts"], is_text=True)
        part["end"] = first(rows[0]["media_parts"][2:], is_text=True)["start"]

    rewrite(lake, "interleaved", touch, A)
    assert offenders(lake, "interleaved_in_order") == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda parts: parts.remove(first(parts, is_text=False)), ["not interleaved"]),
        (lambda parts: parts.append(first(parts, is_text=False)), ["without windows"]),
        (
            lambda parts: first(parts, is_text=False).update(url="https://other.example/"),
            ["not interleaved", "without windows"],
        ),
        (lambda parts: first(parts, is_text=False).update(kind="video"), ["not interleaved", "without windows"]),
        (lambda parts: first(parts, is_text=False).update(position=2), ["not interleaved", "without windows"]),
        (lambda parts: parts.remove(first(parts, is_text=True)), []),
    ],
)
def test_each_form_holds_its_media_once(lake: Lake, form: str, change: Change, expected: list[str]) -> None:
    rewrite(lake, "interleaved", lambda rows: change(rows[0][form]), A)
    found = offenders(lake, "interleaved_complete")
    assert sorted(row["fault"] for row in found) == expected
    assert {row["form"] for row in found} <= {form.removesuffix("_parts")}
    assert of_files(lake, "interleaved_complete") == {A: len(expected), B: 0}


def test_a_medium_whose_windows_are_there_twice_is_missing_once(lake: Lake) -> None:
    rewrite(lake, "media_links", lambda rows: samples(rows).append(samples(rows)[0]), A)
    assert faults(lake, "interleaved_complete") == ["not interleaved"] * len(FORMS)


def test_sounds_and_films_are_in_one_form_alone(lake: Lake) -> None:
    rewrite(lake, "interleaved", lambda rows: rows[0].update(image_parts=rows[0]["media_parts"]), A)
    assert [(row["fault"], row["form"], row["kind"]) for row in offenders(lake, "interleaved_complete")] == [
        ("without windows", "image", "audio")
    ]
    rewrite(lake, "interleaved", lambda rows: rows.clear(), A)
    assert faults(lake, "interleaved_complete") == ["not interleaved"] * 5


# -- maps on pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "partition", "change", "expected"),
    [
        ("page_images", "file-0", lambda rows: rows[2].update(is_map=True), ["map without row"]),
        ("page_images", "file-0", lambda rows: rows[0].update(is_map=False), ["row without map"]),
        ("page_images", "file-1", lambda rows: rows[0].update(sha256="0" * 64), ["map without row", "row without map"]),
        ("page_images", "file-1", lambda rows: rows.append(rows[0]), ["map without row"]),
        ("page_images", "file-1", lambda rows: rows.clear(), ["row without map"] * 2),
        ("page_maps", "all", lambda rows: rows.pop(), ["map without row"]),
        ("page_maps", "all", lambda rows: rows.append(rows[0]), ["row without map"]),
        ("page_maps", "all", lambda rows: rows[0].update(image=1), ["map without row", "row without map"]),
        ("page_maps", "all", lambda rows: rows[0].update(crawl_file="file-1"), ["map without row", "row without map"]),
        ("page_maps", "all", lambda rows: rows.clear(), ["map without row"] * 4),
    ],
)
def test_each_image_that_is_a_map_has_one_row(
    lake: Lake, table: str, partition: str, change: Change, expected: list[str]
) -> None:
    rewrite(lake, table, change, partition)
    assert sorted(faults(lake, "page_maps_complete")) == expected


def dropped(rows: Rows) -> dict:
    return next(row for row in rows if row["dropped"])


def kept(rows: Rows) -> dict:
    return next(row for row in rows if not row["dropped"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: dropped(rows).update(dropped=None, duplicate_of=None), ["kept twice"]),
        (lambda rows: dropped(rows).update(dropped=None), ["kept twice", "no such map"]),
        (lambda rows: dropped(rows).update(duplicate_of=None), ["no such map"]),
        (lambda rows: dropped(rows).update(duplicate_of="nobody"), ["no such map"]),
        (lambda rows: dropped(rows).update(duplicate_of=dropped(rows)["uid"]), ["no such map"]),
        (lambda rows: rows[-1].update(duplicate_of=kept(rows)["uid"]), ["no such map"]),
        (lambda rows: [row.update(dropped="exact_duplicate", duplicate_of="nobody") for row in rows],
         ["no such map"] * 4),
    ],
)  # fmt: skip
def test_of_duplicates_one_is_kept_and_named(lake: Lake, change: Change, expected: list[str]) -> None:
    rewrite(lake, "page_maps", change)
    assert sorted(faults(lake, "page_maps_duplicates_kept_once")) == expected


def test_maps_that_are_kept_twice_are_named(lake: Lake) -> None:
    rewrite(lake, "page_maps", lambda rows: dropped(rows).update(dropped=None, duplicate_of=None))
    same = [row for row in lake.read_table("web_documents/page_maps").to_pylist() if row["crawl_file"] == "file-0"]
    (found,) = offenders(lake, "page_maps_duplicates_kept_once")
    assert found["sha256"] == same[0]["sha256"]
    assert found["uids"].split(", ") == sorted(row["uid"] for row in same)


def test_images_are_scored_in_the_packs_that_are_there(tmp_path: Path) -> None:
    lake, nothing = Lake(str(tmp_path)), pa.table({"document_id": pa.array([], pa.string())})

    def write(crawl_file: str, scored: str, packed: str) -> None:
        images, packs = Provenance({"packed_documents": scored}, 0, 0), {"documents_sha256": packed}
        lake.write_table("web_documents/page_images", nothing, images, crawl_file)
        lake.write_table("web_documents/packed_documents", nothing, Provenance({}, 0, 0, {}, packs), crawl_file)

    write(A, "1", "1")
    write(B, "2", "2")
    assert offenders(lake, "page_maps_of_these_packs") == []
    write(B, "2", "3")
    assert offenders(lake, "page_maps_of_these_packs") == [{"crawl_file": B, "scored": "2", "packed": "3"}]
    lake.delete(Lake.table_path("web_documents/packed_documents", B))
    assert offenders(lake, "page_maps_of_these_packs") == [{"crawl_file": B, "scored": "2", "packed": None}]
    lake.delete(Lake.table_path("web_documents/page_images", B))
    assert offenders(lake, "page_maps_of_these_packs") == [], "packs whose images are not scored yet"


# -- media URLs -----------------------------------------------------------------------------------------------------


def parts_of(lake: Lake) -> list[str]:
    """Return the parts that hold something."""
    found = lake.partitions("web_documents/media_urls")
    return [part for part in found if lake.read_table("web_documents/media_urls", part).num_rows]


def test_a_media_url_is_in_its_part_once(lake: Lake) -> None:
    one, other = parts_of(lake)[:2]
    (row, *_) = lake.read_table("web_documents/media_urls", one).to_pylist()
    rewrite(lake, "media_urls", lambda rows: rows.append(row), one)
    twice = {"kind": row["kind"], "url": row["url"], "copies": 2, "parts": [one]}
    assert offenders(lake, "media_urls_unique") == [twice]
    rewrite(lake, "media_urls", lambda rows: rows.append(row), other)
    assert offenders(lake, "media_urls_unique") == [{**twice, "copies": 3, "parts": sorted([one, other])}]
    rewrite(lake, "media_urls", lambda rows: [rows.remove(row), rows.remove(row)], one)
    assert offenders(lake, "media_urls_unique") == [{**twice, "copies": 1, "parts": [other]}]


def test_one_address_may_be_two_kinds_of_media(lake: Lake) -> None:
    part = parts_of(lake)[0]
    rewrite(lake, "media_urls", lambda rows: rows.append({**rows[0], "kind": "another"}), part)
    assert offenders(lake, "media_urls_unique") == []


def test_the_parts_say_what_the_files_say(lake: Lake) -> None:
    part = parts_of(lake)[0]
    (row, *_) = lake.read_table("web_documents/media_urls", part).to_pylist()
    seen = sum(
        each["seen"]
        for file in (A, B)
        for each in lake.read_table("web_documents/file_media_urls", file).to_pylist()
        if each["kind"] == row["kind"]
    )
    rewrite(lake, "media_urls", lambda rows: rows[0].update(seen=row["seen"] + 1), part)
    assert offenders(lake, "media_urls_seen_complete") == [
        {"kind": row["kind"], "seen_in_files": seen, "seen_in_parts": seen + 1}
    ]


def test_kinds_that_only_files_or_only_parts_have_are_found(lake: Lake) -> None:
    for part in parts_of(lake):
        rewrite(lake, "media_urls", lambda rows: [r.update(kind="sound") for r in rows if r["kind"] == "audio"], part)
    assert offenders(lake, "media_urls_seen_complete") == [
        {"kind": "audio", "seen_in_files": 1, "seen_in_parts": 0},
        {"kind": "sound", "seen_in_files": 0, "seen_in_parts": 1},
    ]


# -- steps ----------------------------------------------------------------------------------------------------------

SHOWN = [
    media_url_files.Page("https://www.maps.example/1", [("image", "https://maps.example/1.png"), ("image", "https://a/")]),
    media_url_files.Page("https://maps.example/2", [("image", "https://maps.example/1.png"), ("audio", "https://a/")]),
    media_url_files.Page("http://sea.example:8080/", [("image", "https://maps.example/1.png")]),
    media_url_files.Page("https://sea.example/none", []),
]  # fmt: skip


@pytest.mark.parametrize("name", ["file_media_urls", "media_url_files", "media_urls"])
def test_a_step_asks_a_question_and_binds_all_its_values(name: str) -> None:
    first_line, *code = sql_files.statement(f"steps/{name}").splitlines()
    assert first_line.startswith("-- ")
    assert sql_files.question(f"steps/{name}").endswith("?")
    assert not any(mark in "".join(code) for mark in ("{", "%s")), "formatted, not bound"


def test_pages_are_counted_by_domain_and_parted_by_bucket(tmp_path: Path) -> None:
    rows = [(kind, url, shown.url) for shown in SHOWN for kind, url in shown.media]
    columns = dict(zip(("kind", "url", "page"), zip(*rows, strict=True), strict=True))
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in PAGE_MEDIA_SCHEMA})
    stream = BatchStream(PAGE_MEDIA_SCHEMA, iter(table.to_batches(max_chunksize=2)))
    statement = sql_files.statement("steps/file_media_urls")
    with Lake(str(tmp_path)).query_batches(statement, tables={"page_media": stream}) as reader:
        found = reader.read_all().to_pylist()
    assert {(row["kind"], row["url"], row["domain"]): row["seen"] for row in found} == urls_of(SHOWN)
    assert len(found) == len(urls_of(SHOWN))
    assert all(row["bucket"] == bucket_of(row["url"]) for row in found)


@pytest.mark.parametrize("border", [0, 14, 15, 254])
def test_files_are_merged_bucket_by_bucket(tmp_path: Path, border: int) -> None:
    lake = Lake(str(tmp_path))
    for file, shown in ((A, SHOWN[:2]), (B, SHOWN[1:])):
        write_file_urls(lake, file, shown)
    files = [Lake.sql_file("web_documents/file_media_urls", file) for file in (A, B)]
    found = []
    for first_bucket, last in ((0, border), (border + 1, 255)):
        bound = {"files": files, "first": first_bucket, "last": last}
        with lake.query_batches(sql_files.statement("steps/media_urls"), bound) as reader:
            rows = reader.read_all().to_pylist()
        assert all(first_bucket <= bucket_of(row["url"]) <= last for row in rows)
        found += rows
    counts = [(row["kind"], row["url"], row["seen"], row["domains"]) for row in found]
    assert sorted(counts) == merged([*SHOWN[:2], *SHOWN[1:]])
    assert sum(row["rows"] for row in found) == len(urls_of(SHOWN[:2])) + len(urls_of(SHOWN[1:]))


def test_files_with_media_urls_say_what_made_them_and_how_large_they_are(made: Path) -> None:
    lake, table = Lake(str(made)), "web_documents/file_media_urls"
    expected = []
    for file in (A, B):
        recorded, rows = lake.provenance(table, file), lake.read_table(table, file).to_pylist()
        assert recorded is not None
        size = sum(len(row["url"].encode()) + len(row["domain"].encode()) for row in rows)
        expected.append(
            {"crawl_file": file, "fingerprint": recorded.fingerprint, "text_bytes": size, "rows_kept": len(rows)}
        )
    assert sql_files.run(lake, "steps/media_url_files").to_pylist() == expected


# -- views and macros -----------------------------------------------------------------------------------------------


def rows_of(lake: Lake, statement: str, **bound: object) -> Rows:
    return lake.query(statement, bound).to_pylist()


@pytest.mark.parametrize(
    ("view", "partition"),
    [
        ("documents", "crawl_file"),
        ("dropped_pages", "crawl_file"),
        ("media_links", "crawl_file"),
        ("interleaved", "crawl_file"),
        ("file_media_urls", "crawl_file"),
        ("media_urls", "part"),
    ],
)
def test_a_view_is_its_tables_with_the_partition(made: Path, view: str, partition: str) -> None:
    lake, table = Lake(str(made)), f"web_documents/{view}"
    expected = [{**row, partition: key} for key in lake.partitions(table)
                for row in lake.read_table(table, key).to_pylist()]  # fmt: skip
    found = rows_of(lake, f"SELECT * FROM {view}")
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert list(found[0]) == [*lake.read_table(table, lake.partitions(table)[0]).column_names, partition]


def test_views_of_images_leave_vectors_out(made: Path) -> None:
    lake, vectors = Lake(str(made)), {"l14_img", "l14_txt"}
    images = lake.read_table("web_documents/page_images", "file-1")
    found = lake.query("SELECT * FROM page_images WHERE crawl_file = 'file-1'")
    assert found.column_names == [*(name for name in images.column_names if name not in vectors), "crawl_file"]
    assert found["sha256"].to_pylist() == images["sha256"].to_pylist()
    maps, found = lake.read_table("web_documents/page_maps"), lake.query("SELECT * FROM page_maps")
    assert found.column_names == [name for name in maps.column_names if name not in vectors]
    assert found.num_rows == maps.num_rows == 4, "a ledger: duplicates too"


def test_the_view_of_packed_documents_holds_the_others_too(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    image = {"position": 1, "url": "https://maps.example/1.png", "outcome": "http_404", "detail": "", "attempts": 1}
    rows = [
        {"document_id": f"{A}:{status}", "url": "https://maps.example/", "status": status, "images": [image]}
        for status in ("ok", "no_image_fetched")
    ]
    table = pa.Table.from_pylist(rows, schema=PACK_SCHEMA)
    recorded = Provenance({}, 2, 1, {"no_image_fetched": 1})
    lake.write_table("web_documents/packed_documents", table, recorded, A, is_ledger=True)
    statement = "SELECT crawl_file, status, images[1].outcome AS outcome FROM packed_documents ORDER BY status DESC"
    assert rows_of(lake, statement) == [
        {"crawl_file": A, "status": status, "outcome": "http_404"} for status in ("ok", "no_image_fetched")
    ]
    assert offenders(lake, "rows_accounted") == []


def test_the_crawl_files_are_those_that_were_listed(made: Path) -> None:
    assert rows_of(Lake(str(made)), "SELECT crawl_file, kind, is_listed FROM crawl_files ORDER BY ALL") == [
        {"crawl_file": file, "kind": "warc", "is_listed": True} for file in (A, B)
    ]


def test_a_view_whose_tables_are_not_there_yet_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_file_urls(lake, A, SHOWN)
    with pytest.raises(MissingInput, match="media_urls"):
        offenders(lake, "media_urls_unique")


@settings(max_examples=25)
@given(st.lists(pages, min_size=1, max_size=20))
def test_a_documents_text_in_sql_is_that_of_the_library(tmp_path_factory: pytest.TempPathFactory, documents) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("texts")))
    write_documents(lake, A, documents)
    found = rows_of(lake, "SELECT document_text(items) AS t, length(document_text(items)) AS n FROM documents")
    assert [row["t"] for row in found] == [document_text(items) for items in documents]
    assert [row["n"] for row in found] == [len(document_text(items)) for items in documents], "code points"


def test_a_page_without_text_has_an_empty_one_and_no_item_is_skipped(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    missing = [{**item, "text": item["text"] or None} for item in numbered("one", "", "two", "")]
    documents = [[], numbered(("image", "1.png")), numbered(""), missing]
    write_documents(lake, A, documents)
    expected = ["", "", "", "one\n\ntwo\n"]
    assert [document_text(items) for items in documents] == expected
    assert [row["t"] for row in rows_of(lake, "SELECT document_text(items) AS t FROM documents")] == expected


NO_LAKE = Lake("no-such-folder")


@settings(max_examples=25)
@given(texts)
def test_a_stretch_of_a_text_is_that_between_its_code_points(text: str) -> None:
    borders = list(itertools.combinations_with_replacement(range(len(text) + 1), 2))[:200]
    statement = "SELECT text_between($text, a, b) AS t FROM (SELECT unnest($first) AS a, unnest($last) AS b)"
    bound = {"text": text, "first": [start for start, _ in borders], "last": [end for _, end in borders]}
    found = rows_of(NO_LAKE, statement, **bound)
    assert [row["t"] for row in found] == [text[start:end] for start, end in borders]


def test_offsets_of_the_tables_give_the_words_around_a_medium(made: Path) -> None:
    lake = Lake(str(made))
    statement = """
        SELECT document_id, sample.url AS url,
               text_between(text, sample.before_start, sample.before_end) AS before,
               text_between(text, sample.after_start, sample.after_end) AS after
        FROM (SELECT document_id, unnest(samples) AS sample FROM media_links)
        JOIN (SELECT document_id, document_text(items) AS text FROM documents) USING (document_id)
        WHERE url LIKE '%/1.png' OR url LIKE '%.mp4'
        ORDER BY url"""
    found = rows_of(lake, statement)
    assert [row["url"].rpartition("/")[2] for row in found] == ["1.png", "1.mp4"]
    picture, film = found
    assert SENTENCES[0].endswith(picture["before"])
    assert SENTENCES[2].startswith(film["after"].removeprefix("1 "))
    assert film["after"].startswith("1 ")
