"""Codings of bodies are undone, lies about them are not believed, and nothing that inflates without end is followed."""

import gzip
import io
import subprocess
import sys
import zlib

import brotli
import pytest
from fastwarc.stream_io import ZstdWriter

from mappool_assets.lib.crawl.warc_pages import WarcLimits
from mappool_assets_tests.crawl_bytes import (
    deadline,
    http,
    made_warc,
    member,
    only_page_of,
    page_of,
    pages_in,
    record,
    refusal_of,
)

TEXT = b"<p>some words</p>" * 50
SMALL = WarcLimits(max_page_bytes=2_000, max_head_bytes=2_000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made.warc.gz"


# -- codings of the body --------------------------------------------------------------------------------------------


def chunked(body, size=7):
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def zstandard(body):
    stream = io.BytesIO()
    writer = ZstdWriter(stream)
    writer.write(body)
    writer.close()
    return stream.getvalue()


def bare_deflate(body):
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


CODINGS = [
    (b"Content-Encoding: gzip", gzip.compress),
    (b"Content-Encoding: X-GZIP", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:]) + b"\0\0"),
    (b"Content-Encoding: deflate", zlib.compress),
    (b"Content-Encoding: deflate", bare_deflate),
    (b"Content-Encoding: br", brotli.compress),
    (b"Content-Encoding: zstd", zstandard),
    (b"Transfer-Encoding: chunked", chunked),
    (b"Transfer-Encoding: gzip, chunked", lambda body: chunked(gzip.compress(body), 100)),
    (b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked", lambda body: chunked(gzip.compress(body))),
    (b"Content-Encoding: deflate, br", lambda body: brotli.compress(zlib.compress(body))),
    (b"Content-Encoding: identity\r\nContent-Encoding: utf-8", lambda body: body),
    (b"X-Crawler-Content-Encoding: gzip\r\nX-Crawler-Transfer-Encoding: chunked", lambda body: body),
]
HTML = b"Content-Type: text/html"


@pytest.mark.parametrize(("header", "encode"), CODINGS)
def test_codings_are_undone(path, header, encode):
    assert page_of(path, http(encode(TEXT), HTML, header)).body == TEXT
    assert page_of(path, http(b"", HTML, header)).body == b""


@pytest.mark.parametrize(("header", "encode"), CODINGS)
def test_a_header_that_lies_about_a_plain_body_is_not_believed(path, header, encode):
    for plain in (TEXT, b"words", "ünïcode".encode(), b"\xef\xbb\xbf<p>", b"24\r\n" + TEXT, b"2\r\nab"):
        assert page_of(path, http(plain, HTML, header)).body == plain


@pytest.mark.parametrize(("header", "encode"), CODINGS[:-2])
def test_a_damaged_body_is_told_unless_the_crawler_says_that_it_cut_it(path, header, encode):
    whole = b"".join(b"<p>%d %d</p>" % (n, n * n) for n in range(30_000))  # pieces come before the damage
    cut = encode(whole)
    cut = cut[: len(cut) * 3 // 4]
    refused = refusal_of(path, http(cut, HTML, header))
    assert (refused.reason, refused.url) == ("bad_encoding", "https://made.example/")
    kept = page_of(path, http(cut, HTML, header), b"WARC-Truncated: length").body
    assert len(kept) > 1_000
    assert whole.startswith(kept)


@pytest.mark.parametrize(("header", "encode"), CODINGS[:6])
def test_a_body_that_decodes_to_too_much_is_told(path, header, encode):
    block = http(encode(bytes(8 << 20)), HTML, header)
    with deadline(5):
        assert refusal_of(path, block).reason == "gzip_bomb"
    varied = encode(b"".join(b"%d " % (n * n) for n in range(400)))
    assert refusal_of(path, http(varied, HTML, header), limits=SMALL).reason == "too_large"


def test_a_body_of_a_million_empty_gzip_members_takes_no_long_time(path):
    with deadline(10):
        assert page_of(path, http(gzip.compress(b"", mtime=0) * 250_000, HTML, b"Content-Encoding: gzip")).body == b""


# -- large and bombs ------------------------------------------------------------------------------------------------


def bomb(mebibytes):
    """Return a member that stores a record of zeros: a thousandth of its size."""
    head = record(b"", b"Content-Length: %d" % (mebibytes << 20)).removesuffix(b"\r\n\r\n")
    deflate = zlib.compressobj(9, wbits=-15)
    beginning = deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)
    zeros = bytes(1 << 20)
    unit = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(head)
    for _ in range(mebibytes):
        crc = zlib.crc32(zeros, crc)
    end = deflate.compress(b"\r\n\r\n") + deflate.flush()
    size = len(head) + (mebibytes << 20) + 4
    trailer = zlib.crc32(b"\r\n\r\n", crc).to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\3" + beginning + unit * mebibytes + end + trailer


def test_a_member_that_inflates_to_a_gibibyte_is_passed_over(path):
    stored = bomb(1024)
    assert len(stored) < 5_000_000
    with deadline(15):
        refused = only_page_of(path, stored)
    assert (refused.reason, refused.url) == ("gzip_bomb", "https://made.example/")
    assert str(1 << 30)[:4] in refused.detail


def test_a_member_is_not_followed_beyond_the_limit(path):
    with deadline(10):
        refused = only_page_of(path, bomb(64), WarcLimits(max_inflated_bytes=20 << 20))
    assert refused.reason == "gzip_bomb"


@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_a_record_above_the_limit_is_told_and_one_at_the_limit_is_read(tmp_path, name):
    bodies = [b"<" * n for n in (10, 2_000, 2_001, 10_000, 20)]
    bodies[3] = bytes(n * n % 251 for n in range(10_000))
    _, expected = made_warc(tmp_path / name, bodies)
    found = pages_in(tmp_path / name, limits=SMALL)
    assert [found[n] for n in (0, 1, 4)] == [expected[n] for n in (0, 1, 4)]
    assert [(r.reason, r.url, r.offset, r.length) for r in found[2:4]] == [
        ("too_large", page.url, page.offset, page.length) for page in expected[2:4]
    ]


def test_a_large_record_of_another_kind_is_passed_over(path):
    path.write_bytes(member(record(bytes(10_000), kind=b"resource")) + member(record(http(b"<p>"))))
    assert [page.body for page in pages_in(path, limits=SMALL)] == [b"<p>"]


MEMORY = """
import re, sys
from pathlib import Path
from mappool_assets.lib.crawl.warc_pages import WarcLimits, read_pages
from mappool_assets.lib.ranged_file.stores import LocalFile
def mebibytes(figure):
    return int(re.findall(figure + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0]) // 1024
before = mebibytes("VmRSS")
with LocalFile(sys.argv[1]) as file:
    sizes = [len(getattr(page, "body", b"")) for page in read_pages(file, WarcLimits())]
# Not ru_maxrss: exec passes on the figure of the process that forked.
print(len(sizes), sum(sizes) >> 20, mebibytes("VmHWM") - before)
"""


@pytest.mark.parametrize("what", ["pages", "bombs", "magics", "plain"])
def test_memory_is_bounded_whatever_the_file(tmp_path, what):
    page = record(http(bytes(n * n % 251 for n in range(1 << 18)) * 4))
    parts = {
        "pages": (member(page, 1), 200),
        "bombs": (bomb(100), 4),
        "magics": (member(page) + b"\x1f\x8b\x08" * 100_000, 3),
        "plain": (page, 60),
    }
    part, number = parts[what]
    path = tmp_path / ("made.warc" if what == "plain" else "made.warc.gz")
    path.write_bytes(part * number)
    with deadline(30):
        command = [sys.executable, "-c", MEMORY, str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    values, mebibytes, used = (int(figure) for figure in run.stdout.split())
    pages = 0 if what == "bombs" else number
    assert (values, mebibytes) == (number + (number if what == "magics" else 0), pages)
    assert used < 100
