"""Crawl files put together by hand, byte for byte, and what is read of them."""

import contextlib
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mappool_assets.demo.crawl import MadePage, write_warc
from mappool_assets.lib.crawl.warc_pages import CrawlPage, RefusedRecord, WarcLimits, read_pages
from mappool_assets.lib.ranged_file.stores import LocalFile

REAL = Path(__file__).parents[2] / "shared" / "data" / "crawl"
needs_real_files = pytest.mark.skipif(not REAL.exists(), reason="the real crawl files are not beside this checkout")


def member(content: bytes, level: int = 6) -> bytes:
    """Return a gzip member; level 0 stores the bytes as they are."""
    deflate = zlib.compressobj(level, wbits=31)
    return deflate.compress(content) + deflate.flush()


def http(body: bytes, *headers: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return an answer, with a type if no header is named."""
    return b"\r\n".join([status, *(headers or (b"Content-Type: text/html",)), b"", body])


def record(block: bytes, *headers: bytes, kind: bytes = b"response", url: bytes = b"https://made.example/") -> bytes:
    """Return a record; its length is the block's unless ``headers`` state one."""
    first = [b"WARC/1.0", b"WARC-Type: " + kind, b"WARC-Target-URI: " + url]
    if not any(header.lower().startswith(b"content-length") for header in headers):
        first.append(b"Content-Length: %d" % len(block))
    return b"\r\n".join([*first, *headers, b"", block]) + b"\r\n\r\n"


def pages_in(path: Path, start: int = 0, limits: WarcLimits | None = None) -> list[CrawlPage | RefusedRecord]:
    """Return all that is read of a file."""
    with LocalFile(str(path)) as file:
        return list(read_pages(file, limits or WarcLimits(), start))


def only_page_of(path: Path, stored: bytes, limits: WarcLimits | None = None) -> CrawlPage | RefusedRecord:
    """Return what is read of one record between two sound pages, which must come out as they are."""
    before, after = (record(http(body), url=b"https://sound.example/") for body in (b"<p>first", b"<p>last"))
    if path.name.endswith(".gz"):
        before, after = member(before), member(after)
    path.write_bytes(before + stored + after)
    first, middle, last = pages_in(path, limits=limits)
    assert (first.body, last.body) == (b"<p>first", b"<p>last")
    assert (middle.offset, middle.length) == (len(before), len(stored))
    return middle


def page_of(path: Path, block: bytes, *headers: bytes, **more: bytes) -> CrawlPage:
    """Return the page that a block gives between two sound ones."""
    found = only_page_of(path, member(record(block, *headers, **more)))
    assert isinstance(found, CrawlPage), found
    return found


def refusal_of(
    path: Path, block: bytes, *headers: bytes, limits: WarcLimits | None = None, **more: bytes
) -> RefusedRecord:
    """Return why a block gives no page between two sound ones."""
    found = only_page_of(path, member(record(block, *headers, **more)), limits)
    assert isinstance(found, RefusedRecord), found
    return found


def made_warc(path: Path, bodies: list[bytes]) -> tuple[bytes, list[CrawlPage]]:
    """Write a WARC; return its bytes, and its pages as they must be read."""
    pages = [MadePage(f"https://made.example/{number}", body) for number, body in enumerate(bodies)]
    places = write_warc(path, pages)
    stated = {"date": "2024-05-18T01:58:10Z", "status": 200, "content_type": "text/html; charset=UTF-8"}
    expected = [
        CrawlPage(page.url, offset, length, x_robots_tag=(), truncated=None, body=page.body, **stated)
        for page, (offset, length) in zip(pages, places, strict=True)
    ]
    return path.read_bytes(), expected


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Fail what takes longer, instead of waiting for it."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
