"""Hostile pages in a crawl file: each is a row with its reason, in time; the rows of the others are as without it."""

import time
from collections import Counter

import pyarrow.compute as pc
import pytest

from mappool_assets.demo.crawl import MadePage, write_warc
from mappool_assets.lib.crawl.warc_pages import CrawlPage, WarcLimits, read_pages
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.web_documents.document_task import DROPPED_TABLE, TABLE
from mappool_assets_tests.document_runs import DocumentRun, good_page, made, run

KEY = "crawl-00000"
MOST_SECONDS = 60.0  # for a file with a few hostile pages on a busy machine; an idle one takes 5
MOST_MEGABYTES = 500

GOOD = good_page(0).body.decode()
HOSTILE = {
    "nested": ("<div>" * 100_000 + "text", "over_budget"),
    "attributes": ("<p " + " ".join(f"a{i}=1" for i in range(200_000)) + ">text</p>", "over_budget"),
    "tags": ("<p>x" * 1_200_000, "over_memory"),
    "same_address": (f'<base href="/{"x" * 1500}/">{GOOD}' + "<img src=a alt=b width=99>" * 20_000, "result_too_large"),
    "ten_megabytes": ("<p>" + " ".join(map(str, range(1_500_000))), "too_large"),
    "bomb": ("\0" * (60 << 20), "gzip_bomb"),
    "empty": ("", "no_text"),
    "only_images": ('<img src="/a.jpg" width=640><img src="/b.jpg" width=640>' * 10, "no_text"),
    "numbers": ("<p>" + "12.50 13.75 14.00 " * 100, "not_natural_language"),
    "nothing": ("<p>\0\0\0</p>" * 100, "no_text"),
    "surrogates": ("<title>&#xD800;</title><p>" + "&#xDFFF;\ud800 " * 20 + GOOD, None),
    "sizes": (f'<img src="/a.jpg" width={10**30} height=-{10**30}>' + GOOD, None),
    "no_index": ('<meta name="robots" content="noindex"><p>' + GOOD, "robots_noindex"),
    "no_ai": ('<meta name="robots" content="NoAI, noindex"><p>' + GOOD, "robots_noai"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A file with every hostile page between good ones, made twice; and a file of the same good pages alone."""
    folder = tmp_path_factory.mktemp("hostile")
    pages = [good_page(0)]
    for number, (name, (body, _)) in enumerate(HOSTILE.items(), 1):
        pages += [MadePage(f"https://hostile.example/{name}", body.encode("utf-8", "surrogatepass")), good_page(number)]
    return Hostile(folder, pages)


class Hostile:
    def __init__(self, folder, pages):
        self.pages = pages
        with_them, without = folder / "with" / f"{KEY}.warc.gz", folder / "without" / f"{KEY}.warc.gz"
        self.places = write_warc(with_them, pages)
        self.first, self.second, self.undisturbed = (Lake(str(folder / name)) for name in ("a", "b", "c"))
        began = time.perf_counter()
        self.report = made(run(self.first, with_them.parent))
        self.seconds = time.perf_counter() - began
        made(run(self.second, with_them.parent))
        content = with_them.read_bytes()
        for page, (offset, length) in reversed(list(zip(pages, self.places, strict=True))):
            if "hostile" in page.url:
                content = content[:offset] + content[offset + length :]
        without.parent.mkdir()
        without.write_bytes(content)
        made(run(self.undisturbed, without.parent))

    def dropped(self):
        return self.first.read_table(DROPPED_TABLE, KEY).to_pylist()


def test_hostile_pages_are_counted_and_the_file_goes_on(hostile):
    assert hostile.seconds < MOST_SECONDS
    reasons = {row["url"].rpartition("/")[2]: row["reason"] for row in hostile.dropped()}
    assert reasons == {name: reason for name, (_, reason) in HOSTILE.items() if reason}
    report = hostile.report
    assert report.rows_in == len(hostile.pages) == report.rows_kept + sum(report.rows_dropped.values())
    assert report.rows_dropped == dict(Counter(reasons.values()))


def test_every_row_has_the_place_of_its_page(hostile):
    places = {page.url: place for page, place in zip(hostile.pages, hostile.places, strict=True)}
    kept = hostile.first.read_table(TABLE, KEY, ["url", "warc_offset", "warc_length"]).to_pylist()
    for row in kept + hostile.dropped():
        assert (row["warc_offset"], row["warc_length"]) == places[row["url"]]
    with open_ranged(hostile.first.provenance(TABLE, KEY).origin["source"], Storage()) as file:
        for row in kept[::4]:
            page = next(iter(read_pages(file, WarcLimits(), row["warc_offset"])))
            assert isinstance(page, CrawlPage)
            assert (page.url, page.length) == (row["url"], row["warc_length"])


def test_the_rows_of_other_pages_are_as_without_the_hostile_ones(hostile):
    places = ["document_id", "warc_offset"]
    found = hostile.first.read_table(TABLE, KEY)
    found = found.filter(pc.starts_with(found["url"], "https://maps.example/")).drop_columns(places)
    expected = hostile.undisturbed.read_table(TABLE, KEY).drop_columns(places)
    assert expected.num_rows == 1 + len(HOSTILE)
    assert found.replace_schema_metadata() == expected.replace_schema_metadata()


def test_the_same_bytes_come_again(hostile):
    for table in (TABLE, DROPPED_TABLE):
        path = Lake.table_path(table, KEY)
        assert hostile.first.read_bytes(path) == hostile.second.read_bytes(path)


def test_memory_is_bounded(tmp_path):
    """By a margin of all that a page may take: the largest pages that are kept are there, and one that is not."""
    cyrillic = "На старой карте долины показана дорога, которая идёт вдоль реки до самого моря. " * 60_000
    images = "".join(f'<img src="/{number}.jpg" alt="A map">' for number in range(60_000))
    bodies = [GOOD + "<p>" + cyrillic, GOOD + images, "<p>x" * 1_200_000]
    kind = (("Content-Type", "text/html; charset=windows-1251"),)
    pages = [
        MadePage(f"https://large.example/{number}", body.encode("windows-1251", "replace"), kind)
        for number, body in enumerate(bodies * 2)
    ]
    write_warc(tmp_path / "crawl" / f"{KEY}.warc.gz", pages)
    report = DocumentRun(Lake(str(tmp_path / "lake")), tmp_path / "crawl").finish()
    assert (report["rows_kept"], report["rows_dropped"]) == (4, {"over_memory": 2})
    assert report["own_megabytes"] + report["child_megabytes"] < MOST_MEGABYTES
