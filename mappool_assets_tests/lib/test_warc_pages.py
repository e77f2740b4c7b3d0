"""Pages come out of WARC files as they were stored, each with its place; what gives no page is told, with a reason."""

import dataclasses

import boto3
import pytest
from warcio.archiveiterator import ArchiveIterator

from mappool_assets.demo.crawl import MadePage, write_warc, write_wat
from mappool_assets.lib.crawl.warc_pages import CrawlPage, WarcLimits, read_pages
from mappool_assets.lib.crawl.warc_records import read_records
from mappool_assets.lib.errors import BadShard, SourceChanged, SourceUnavailable
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import LocalFile, open_ranged
from mappool_assets_tests.crawl_bytes import (
    REAL,
    http,
    made_warc,
    member,
    needs_real_files,
    only_page_of,
    page_of,
    pages_in,
    record,
    refusal_of,
)
from mappool_assets_tests.range_server import From, reset_after, serve, status
from mappool_assets_tests.s3_server import serve_s3

BODIES = [b"<p>one</p>", b"", "<p>zwei – ß</p>".encode(), bytes(range(256)) * 40, b"<p>\x1f\x8b\x08 WARC/1.0\r\n" * 99]
QUICK = Storage(attempts=3, first_wait_seconds=0.01, read_deadline_seconds=0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made.warc.gz"


# -- sound files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_pages_come_out_as_they_went_in_each_with_its_place(tmp_path, name):
    content, expected = made_warc(tmp_path / name, BODIES)
    assert pages_in(tmp_path / name) == expected
    for page in expected:
        (tmp_path / f"cut-{name}").write_bytes(content[page.offset : page.offset + page.length])
        assert pages_in(tmp_path / f"cut-{name}") == [dataclasses.replace(page, offset=0)]


@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_reading_goes_on_at_any_page(tmp_path, name):
    _, expected = made_warc(tmp_path / name, BODIES)
    for number, page in enumerate(expected):
        assert pages_in(tmp_path / name, page.offset) == expected[number:]
    assert pages_in(tmp_path / name, (tmp_path / name).stat().st_size) == []


@pytest.mark.parametrize("kinds", [{"response"}, {"metadata"}, {"warcinfo", "request", "response", "metadata"}])
@pytest.mark.parametrize("source", ["made", pytest.param("real", marks=needs_real_files), "wat"])
def test_records_are_those_that_warcio_reads(path, source, kinds):
    write = write_wat if source == "wat" else write_warc
    write(path, [MadePage(f"https://made.example/{n}", body) for n, body in enumerate(BODIES)])
    if source == "real":
        path = REAL / "whirlwind.warc.gz"
    with path.open("rb") as file:
        records = ArchiveIterator(file, no_record_parse=True)
        expected = []
        for r in records:
            content = r.raw_stream.read()
            if r.rec_type in kinds:
                place = (records.get_record_offset(), records.get_record_length())
                expected.append((r.rec_type, r.rec_headers["WARC-Target-URI"], *place, content))
    with LocalFile(str(path)) as file:
        found = list(read_records(file, WarcLimits(), kinds))
    assert [(r.kind, r.url, r.offset, r.length, r.block) for r in found] == expected


@needs_real_files
def test_a_page_of_common_crawl():
    (page,) = pages_in(REAL / "whirlwind.warc.gz")
    assert page.url == "https://an.wikipedia.org/wiki/Escopete"
    assert (page.offset, page.length, page.status) == (1023, 17351, 200)
    assert (page.date, page.content_type) == ("2024-05-18T01:58:10Z", "text/html; charset=UTF-8")
    assert (page.truncated, page.x_robots_tag) == (None, ())
    assert len(page.body) == 72_848
    assert page.body.rstrip().endswith(b"</html>")


def test_a_remote_file_is_read_as_a_local_one_though_connections_break(tmp_path):
    made_warc(tmp_path / "made.warc.gz", BODIES)
    expected = pages_in(tmp_path / "made.warc.gz")
    with serve(tmp_path) as server, open_ranged(f"{server.url}/made.warc.gz", QUICK) as file:
        server.faults += [reset_after(100), status(503, Retry_After="0")]
        assert list(read_pages(file, WarcLimits())) == expected
    with serve_s3("crawl") as endpoint:
        boto3.client("s3", endpoint_url=endpoint).upload_file(str(tmp_path / "made.warc.gz"), "crawl", "made.warc.gz")
        with open_ranged("s3://crawl/made.warc.gz", Storage(s3_endpoint=endpoint)) as file:
            assert list(read_pages(file, WarcLimits())) == expected


def test_a_server_that_is_down_ends_the_reading_and_no_page_is_made_up(tmp_path):
    made_warc(tmp_path / "made.warc.gz", BODIES)
    with serve(tmp_path) as server, open_ranged(f"{server.url}/made.warc.gz", QUICK) as file:
        server.always = From("made.warc.gz", 1, status(503), lasting=True)
        with pytest.raises(SourceUnavailable, match="503"):
            list(read_pages(file, WarcLimits()))


def test_a_file_that_is_written_to_meanwhile_is_an_error(path):
    content, _ = made_warc(path, BODIES)
    with LocalFile(str(path)) as file:
        pages = read_pages(file, WarcLimits())
        next(pages)
        path.open("ab").write(content)
        with pytest.raises(SourceChanged):
            list(pages)


@pytest.mark.parametrize("content", [b"", member(b""), b"no crawl at all" * 99, bytes(99), member(b"a text") * 3])
@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_a_file_without_a_single_record_is_an_error_and_not_an_empty_one(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadShard, match=f"{len(content)} bytes without one"):
        pages_in(tmp_path / name)


# -- what is a page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "detected", "body", "is_page"),
    [
        (b"text/html; charset=x", None, b"text", True),
        (b"TEXT/HTML", None, b"text", True),
        (b"application/xhtml+xml", b"application/xhtml+xml", b"text", True),
        (b"text/plain", b"text/html", b"text", True),
        (b"text/html", b"text/plain", b"text", True),
        (b"text/html", b"application/xml", b"text", True),
        (None, None, b"\xef\xbb\xbf \n<p>", True),
        (b"nonsense", None, b"<p>", True),
        (None, b"text/html", b"text", True),
        (b"text/html", b"application/pdf", b"<p>", False),
        (b"image/png", None, b"<p>", False),
        (b"application/json", b"text/plain", b"<p>", False),
        (None, None, b"text", False),
        (None, None, b"", False),
    ],
)
def test_html_is_what_the_crawler_detected_or_else_what_the_server_states_or_else_what_begins_with_a_tag(
    path, stated, detected, body, is_page
):
    types = [b"Content-Type: " + stated] if stated else [b"Server: made"]
    found = only_page_of(
        path,
        member(record(http(body, *types), *([b"WARC-Identified-Payload-Type: " + detected] if detected else []))),
    )
    assert isinstance(found, CrawlPage) if is_page else found.reason == "not_html"


@pytest.mark.parametrize("code", [b"301", b"404", b"206", b"500", b"204"])
def test_only_status_200_is_a_page(path, code):
    refused = refusal_of(path, http(b"<p>", status=b"HTTP/1.1 " + code + b" Text"))
    assert (refused.reason, refused.detail, refused.url) == ("http_status", code.decode(), "https://made.example/")


@pytest.mark.parametrize("line", [b"HTTP/1.0 200", b"HTTP/1.1 200 ", b"HTTP/2 200 OK", b"HTTP/1.1 \t200 \xff\xfe"])
def test_status_lines_of_all_kinds_are_read(path, line):
    assert page_of(path, http(b"<p>", status=line)).body == b"<p>"


@pytest.mark.parametrize("block", [b"", b"20240101 1.2.3.4", b"HTTP/1.1 OK\r\n\r\n<p>", b"<html>HTTP/1.1 200 OK\r\n"])
def test_what_is_no_answer_of_a_web_server_is_told(path, block):
    assert refusal_of(path, block, b"Content-Type: text/dns").reason == "not_http"


def test_a_revisit_is_told_and_other_records_are_passed_over(path):
    refused = refusal_of(path, http(b""), b"WARC-Refers-To-Target-URI: https://first.example/", kind=b"revisit")
    assert (refused.reason, refused.detail) == ("revisit", "https://first.example/")
    kinds = (b"resource", b"conversion", b"request", b"metadata", b"warcinfo", b"strange")
    path.write_bytes(b"".join(member(record(http(b"<p>"), kind=kind)) for kind in kinds))
    assert pages_in(path) == []


def test_a_page_needs_an_address_and_one_in_angle_brackets_is_one(path):
    assert page_of(path, http(b"<p>"), url=b"<https://made.example/a>").url == "https://made.example/a"
    assert refusal_of(path, http(b"<p>"), url=b"").reason == "no_url"


def test_headers_may_be_repeated_folded_of_any_bytes_and_end_as_they_like(path):
    robots = (b"X-Robots-Tag: noai", b"x-robots-tag:\r\n\tbot:\r\n  noindex", b"X-ROBOTS-TAG: caf\xe9", b"X: \xc3\xa9")
    types = (b"Content-Type: image/png", b"Content-Type: text/html; charset=\xff", b"Content-Type: */*", b"nonsense")
    page = page_of(path, http(b"<p>", *robots, *types), b"WARC-Truncated:\r\n LENGTH", b"warc-date: then")
    assert page.x_robots_tag == ("noai", "bot: noindex", "café")
    assert page.content_type == "text/html; charset=ÿ"
    assert (page.truncated, page.date) == ("length", "then")
    assert page_of(path, http(b"<p>\r\n\r\n").replace(b"\r\n", b"\n")).body == b"<p>\n\n"
    assert page_of(path, b"HTTP/1.1 200 OK\nContent-Type: text/html\n\r\n<p>").body == b"<p>"
    assert page_of(path, b"HTTP/1.1 200 OK\r\nContent-Type: text/html").body == b""
    lone = member(record(http(b"<p>a\r\n\r\nb").replace(b"\r\n", b"\n")).replace(b"\r\n", b"\n"))
    assert only_page_of(path, lone).body == b"<p>a\n\nb"


def test_a_body_is_what_was_stored_whatever_length_http_states(path):
    for length in (b"0", b"3", b"99999999", b"-1", b"many"):
        assert page_of(path, http(b"<p>body</p>", b"Content-Type: text/html", b"Content-Length: " + length)).body == (
            b"<p>body</p>"
        )
