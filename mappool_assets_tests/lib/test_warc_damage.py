"""Damage costs the pages it touches and no other, and each stretch of it is told: where it lies and what was found."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mappool_assets.lib.crawl.byte_window import ByteWindow
from mappool_assets.lib.crawl.frames import WarcLimits
from mappool_assets.lib.crawl.gzip_members import gzip_frames
from mappool_assets.lib.crawl.plain_records import plain_frames
from mappool_assets.lib.crawl.warc_pages import CrawlPage, RefusedRecord
from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.ranged_file.stores import LocalFile
from mappool_assets_tests.crawl_bytes import deadline, http, made_warc, member, only_page_of, pages_in, record

MAGIC = b"\x1f\x8b\x08\0"


def bodies():
    """Bodies that deflate makes short, that it stores as they are, and that look like what lies around them."""
    noise = random.Random(7)
    return [
        b"<p>plain</p>" * 200,
        noise.randbytes(700),
        MAGIC + noise.randbytes(300) + MAGIC + member(b"a member"),
        b"",
        b"WARC/1.0\r\nWARC-Type: response\r\n" * 5,
        noise.randbytes(90) + MAGIC * 9,
        b"<p>last</p>",
    ]


def stored_members():
    """Return members and what each holds; every second one is not compressed, so that its body lies bare."""
    pages = [(f"https://made.example/{number}", body) for number, body in enumerate(bodies())]
    info = member(record(b"isPartOf: made\r\n", kind=b"warcinfo"))
    return [info] + [
        member(record(http(body), url=url.encode()), level=6 * (number % 2)) for number, (url, body) in enumerate(pages)
    ], [None, *pages]


MEMBERS, PAGES = stored_members()
STARTS = [sum(map(len, MEMBERS[:number])) for number in range(len(MEMBERS) + 1)]
CONTENT = b"".join(MEMBERS)


def read(folder, content):
    """Return pages as (url, body), and what was refused."""
    path = folder / "made.warc.gz"
    path.write_bytes(content)
    try:
        found = pages_in(path)
    except BadShard:
        return [], [RefusedRecord(None, 0, len(content), "nothing", "")]
    pages = [page for page in found if isinstance(page, CrawlPage)]
    return [(page.url, page.body) for page in pages], [r for r in found if isinstance(r, RefusedRecord)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damage")


def test_members_that_look_like_others_inside_are_read_whole(folder):
    assert read(folder, CONTENT) == (PAGES[1:], [])
    nested = member(member(record(http(b"<p>forged</p>"), url=b"https://forged.example/")), level=0)
    body = b"<p>" + nested * 3
    path = folder / "made.warc.gz"
    for level in (0, 6):
        assert only_page_of(path, member(record(http(body)), level)).body == body


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=5)
)
@example([(STARTS[3] + 2, b"\0")])
@example([(0, b"\0\0")])
@example([(STARTS[n] + 10, b"\7") for n in range(1, len(STARTS) - 1)])
def test_bytes_that_are_changed_cost_only_the_pages_they_lie_in(folder, changes):
    content = bytearray(CONTENT)
    for position, data in changes:
        content[position : position + len(data)] = data[: len(content) - position]
    pages, refused = read(folder, bytes(content))
    assert all(page in PAGES for page in pages), "a page that was never stored"
    for number, page in enumerate(PAGES):
        begin, end = STARTS[number : number + 2]
        if page is None or page in pages:
            continue
        assert content[begin:end] != CONTENT[begin:end], "an untouched page is lost"
        assert any(r.offset <= begin < r.offset + r.length for r in refused), "a page is lost without a word"


@settings(max_examples=300)
@given(st.integers(0, len(CONTENT)), st.integers(0, 2_000), st.binary(max_size=400))
@example(STARTS[2] + 5, 20, b"")
@example(STARTS[2], 0, bytes(512))
@example(0, 0, b"WARC/1.0\r\n")
@example(STARTS[4] - 3, 6, MAGIC)
def test_a_stretch_that_is_lost_or_put_in_costs_only_the_pages_it_cuts(folder, begin, length, inserted):
    end = min(begin + length, len(CONTENT))
    pages, refused = read(folder, CONTENT[:begin] + inserted + CONTENT[end:])
    places = [(page, *STARTS[number : number + 2]) for number, page in enumerate(PAGES) if page is not None]
    whole = [page for page, start, stop in places if stop <= begin or start >= end]
    assert [page for page in pages if page in whole] == whole
    assert all(page in PAGES for page in pages)
    lost = [page for page, start, stop in places if page not in pages and not begin <= start < stop <= end]
    assert refused or not lost, "a page is cut without a word"


def test_a_file_that_ends_early_is_told_wherever_it_ends(folder):
    for end in range(1, len(CONTENT), 23):
        whole = [page for number, page in enumerate(PAGES[1:], 1) if STARTS[number + 1] <= end]
        pages, refused = read(folder, CONTENT[:end])
        assert pages == whole
        if end not in STARTS:
            assert len(refused) == 1
            last = max(start for start in STARTS if start < end)
            expected = ("nothing", 0) if last == 0 else ("truncated_file", last)
            assert (refused[0].reason, refused[0].offset) == expected
            assert refused[0].offset + refused[0].length == end


def test_the_damaged_pages_address_is_told_where_it_can_still_be_read(tmp_path):
    stored = bytearray(member(record(http(random.Random(3).randbytes(50_000)), url=b"https://lost.example/")))
    stored[30_000] ^= 0xFF
    refused = only_page_of(tmp_path / "made.warc.gz", bytes(stored))
    assert (refused.reason, refused.url) == ("corrupt_record", "https://lost.example/")
    assert "data check" in refused.detail


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1_000, 5_000, 1 << 20])
@pytest.mark.parametrize("frames", [gzip_frames, plain_frames])
def test_frames_do_not_depend_on_the_blocks_that_are_read(tmp_path, frames, block_bytes):
    damaged = bytearray(CONTENT if frames is gzip_frames else b"".join(record(http(body)) for body in bodies()))
    for position in (500, 1_500, len(damaged) - 40) if frames is gzip_frames else (3, damaged.index(b"Length: 7")):
        damaged[position] ^= 0xFF
    (tmp_path / "file").write_bytes(damaged)
    with LocalFile(str(tmp_path / "file")) as file, deadline(10):
        found = list(frames(ByteWindow(file, block_bytes), 0, WarcLimits()))
        expected = list(frames(ByteWindow(file), 0, WarcLimits()))
    assert found == expected
    assert [frame.offset for frame in found[1:]] == [frame.end for frame in found[:-1]]
    assert (found[0].offset, found[-1].end) == (0, len(damaged))
    assert any(frame.fault for frame in found)
    assert any(frame.fault is None for frame in found)


@given(st.data())
def test_a_window_gives_the_files_bytes_wherever_it_is_asked(folder, data):
    content = CONTENT[:300]
    (folder / "bytes").write_bytes(content)
    with LocalFile(str(folder / "bytes")) as file:
        file.requests_at_a_time = data.draw(st.sampled_from([1, 16]))  # 16: with a thread that reads ahead
        window = ByteWindow(file, data.draw(st.integers(1, 400)))
        for _ in range(5):
            offset, length = data.draw(st.tuples(st.integers(0, 300), st.integers(0, 320)))
            if data.draw(st.booleans()):
                assert window.at(offset, length) == content[offset : offset + length]
            else:
                window.slide(offset)
            assert window.data == content[window.offset : window.end]
            assert b"".join(window.pieces(offset)) == content[offset:]
        window.close()


# -- records that lie -----------------------------------------------------------------------------------------------

LIES = [b"0", b"20", b"5000", b"1000000000000000000", b"99999999999999999999999", b"-1", b"0x29", b"many", b""]


@pytest.mark.parametrize("length", LIES)
@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_a_record_that_lies_about_its_length_is_lost_alone(tmp_path, name, length):
    stored = record(http(b"<p>some words</p>"), b"Content-Length: " + length)
    with deadline(5):
        refused = only_page_of(tmp_path / name, member(stored) if name.endswith(".gz") else stored)
    assert refused.url == "https://made.example/"
    assert refused.reason == ("wrong_length" if name.endswith(".gz") else "corrupt_record")


def test_a_length_that_reaches_over_the_next_record_takes_nothing_with_it(tmp_path):
    inside = record(http(b"<p>inside</p>"))
    for stretch in (inside, inside + inside):
        lying = record(
            http(b"<p>outside</p>"), b"Content-Length: %d" % (len(http(b"<p>outside</p>")) + 4 + len(stretch))
        )
        path = tmp_path / "made.warc.gz"
        path.write_bytes(member(lying) + member(inside) + member(inside))
        refused, *pages = pages_in(path)
        assert refused.reason == "wrong_length"
        assert [page.body for page in pages] == [b"<p>inside</p>"] * 2


def test_of_two_stated_lengths_the_first_counts(tmp_path):
    block = http(b"<p>text</p>")
    stored = record(block, b"Content-Length: %d" % len(block), b"content-length: 3")
    assert only_page_of(tmp_path / "made.warc.gz", member(stored)).body == b"<p>text</p>"


@pytest.mark.parametrize("stored", [b"", b"\r\n\r\n", b"\n" * 40])
def test_members_without_content_are_no_loss(tmp_path, stored):
    path = tmp_path / "made.warc.gz"
    path.write_bytes(member(record(http(b"<p>"))) + member(stored) * 3 + member(record(http(b"<p>"))))
    assert [page.body for page in pages_in(path)] == [b"<p>", b"<p>"]


def test_records_that_share_a_member_are_told(tmp_path):
    page = record(http(b"<p>text</p>"))
    assert only_page_of(tmp_path / "made.warc.gz", member(page + page)).reason == "several_records"
    _, expected = made_warc(tmp_path / "whole.warc", [b"<p>"] * 9)
    path = tmp_path / "whole.warc.gz"
    path.write_bytes(member((tmp_path / "whole.warc").read_bytes()))
    assert [(r.reason, r.offset, r.length) for r in pages_in(path)] == [("several_records", 0, path.stat().st_size)]
    assert len(expected) == 9


@pytest.mark.parametrize(
    "head", [b"WARC/1.0\r\n", b"WARC/1.0\r\nWARC-Type: response", b"HTTP/1.1 200 OK\r\n\r\n<p>", b"x" * 70_000]
)
def test_a_member_without_a_warc_header_is_told(tmp_path, head):
    assert only_page_of(tmp_path / "made.warc.gz", member(head)).reason == "corrupt_record"


@pytest.mark.parametrize("garbage", [bytes(600), b"\x1f", MAGIC, MAGIC * 200, b"WARC/1.0\r\n", member(b"text")[:-5]])
def test_what_lies_between_two_members_is_told(tmp_path, garbage):
    with deadline(5):
        refused = only_page_of(tmp_path / "made.warc.gz", garbage)
    assert (refused.reason, refused.url) == ("corrupt_record", None)


# -- uncompressed files ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 4), st.integers(0, 60), st.binary(min_size=1, max_size=40))
def test_a_damaged_header_of_an_uncompressed_file_costs_its_own_record(folder, number, position, data):
    path = folder / "made.warc"
    content, expected = made_warc(path, [b"<p>%d</p>" % n for n in range(5)])
    begin = expected[number].offset + position
    path.write_bytes(content[:begin] + data + content[begin + len(data) :])
    others = [page for page in expected if page is not expected[number]]
    found = [page for page in pages_in(path) if isinstance(page, CrawlPage)]
    assert [page for page in found if page in others] == others


def test_a_file_is_read_as_what_it_is_whatever_its_name_says(tmp_path):
    _, expected = made_warc(tmp_path / "made.warc", [b"<p>one</p>", b"<p>two</p>"])
    _, compressed = made_warc(tmp_path / "made.warc.gz", [b"<p>one</p>", b"<p>two</p>"])
    (tmp_path / "made.warc").rename(tmp_path / "other.warc.gz")
    (tmp_path / "made.warc.gz").rename(tmp_path / "other.warc")
    assert pages_in(tmp_path / "other.warc.gz") == expected
    assert pages_in(tmp_path / "other.warc") == compressed


def test_an_uncompressed_file_that_ends_early_is_told(folder):
    path = folder / "cut.warc"
    content, expected = made_warc(path, [b"<p>one</p>", b"<p>two</p>"])
    for end in range(expected[1].offset + 1, expected[1].offset + expected[1].length - 4):
        path.write_bytes(content[:end])
        first, refused = pages_in(path)
        assert first == expected[0]
        assert (refused.offset, refused.offset + refused.length) == (expected[1].offset, end)
        assert refused.reason in ("truncated_file", "corrupt_record")
