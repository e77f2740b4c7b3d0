"""What stands between img2dataset and the addresses."""

import threading
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.image_download.guarded_opener import (
    SMALL_BYTES,
    GuardedOpener,
    RoomForLargeFiles,
    disguised,
    failure_text,
    reason_and_detail,
    revealed,
)
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.loopback_server import running


def opened(opener, url):
    with opener.open(urllib.request.Request(url), None, timeout=10) as response:
        assert response.headers.get_all("X-Robots-Tag", []) == []
        return response.read()


def failure_of(opener, url):
    with pytest.raises(OSError, match="reason") as caught:
        opened(opener, url)
    return reason_and_detail(str(caught.value))


@given(st.text())
def test_a_disguised_address_is_revealed_unchanged_and_urllib_takes_it(url):
    assert revealed(urllib.request.Request(disguised(url)).full_url) == url


@given(st.text(), st.text())
def test_reason_and_detail_survive_as_a_text_in_ascii(reason, detail):
    text = failure_text(reason, detail)
    assert text.isascii()
    assert reason_and_detail(text) == (reason, detail)


def test_what_parquet_does_not_take_is_escaped():
    assert failure_text("connection", "half of a surrogate pair: \udcff").isascii()


@pytest.mark.parametrize("text", ["<urlopen error timed out>", "null", "[1]", '{"reason": "a"}', "3", '"a"'])
def test_any_other_text_is_kept_as_the_detail(text):
    assert reason_and_detail(text) == ("download_failed", text)


def test_no_text_is_said_to_be_none():
    reason, detail = reason_and_detail("")
    assert reason == "download_failed"
    assert detail


def test_addresses_are_asked_under_the_rules_and_only_in_disguise():
    large, too_large = bytes(SMALL_BYTES + 1), bytes(SMALL_BYTES + 3)
    opener = GuardedOpener(FetchRules(max_bytes=SMALL_BYTES + 2, allow_private_addresses=True))
    with running() as server:
        assert opened(opener, disguised(server.serve("/a", b"a file"))) == b"a file"
        assert opened(opener, disguised(server.serve("/large", large))) == large
        assert failure_of(opener, disguised(server.serve("/too-large", too_large)))[0] == "too_large"
        assert server.requests == ["/a", "/large", "/large", "/too-large", "/too-large"]
        for url in (server.url + "/a", "file:///etc/passwd"):
            reason, detail = failure_of(opener, url)
            assert reason == "download_failed"
            assert "not one of ours" in detail
        assert len(server.requests) == 5


def test_files_over_a_small_limit_are_asked_for_once():
    opener = GuardedOpener(FetchRules(max_bytes=10, allow_private_addresses=True))
    with running() as server:
        assert failure_of(opener, disguised(server.serve("/a", bytes(11))))[0] == "too_large"
        assert server.requests == ["/a"]


def test_no_more_large_files_are_held_than_there_are_places():
    room, held, done = RoomForLargeFiles(2), [], threading.Event()

    def fill_third():
        held.append(room.fill(lambda: bytes(3000)))
        done.set()

    held += [room.fill(lambda: bytes(1000)), room.fill(lambda: bytes(2000))]
    threading.Thread(target=fill_third, daemon=True).start()
    assert not done.wait(0.2)
    del held[0]
    assert done.wait(5)
    assert [len(file) for file in held] == [2000, 3000]


def test_a_file_that_could_not_be_got_takes_no_place():
    room = RoomForLargeFiles(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            room.fill(lambda: bytes(1 // 0))
    assert room.fill(lambda: b"a file") == b"a file"
