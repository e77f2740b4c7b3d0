"""Answers ``urllib.request.urlopen`` through our :class:`~mappool_assets.lib.web.web_fetch.WebFetcher`.

img2dataset is given disguised addresses that only our opener understands: urllib cannot fetch them without it, nor
stumble over those that are malformed. Of a failure it keeps only the text: :func:`failure_text` writes one,
:func:`reason_and_detail` reads it.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import Any

from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher

SCHEME = "mappool-guarded:"
FAILED = "download_failed"  # the reason of whatever our fetcher has no reason for
SMALL_BYTES = 4 * 2**20  # few images are larger; 64 of them, of 32 threads, take 256 MiB
LARGE_FILES_BYTES = 256 * 2**20  # which is eight of the largest that are taken
LEAST_LARGE_FILES = 2
LOOK_AGAIN_SECONDS = 0.02
HELD_BY_US_ALONE = 2  # CPython's references: our list's, and that of the call which counts


class GuardedOpener:
    """An opener for ``urllib.request.install_opener``: every address is asked under our rules.

    Timeouts, agents and headers of the request are ignored: the rules have their own.

    img2dataset holds up to twice as many files as it has threads until they are written, and would hold as many large
    ones. So a file is first asked for under a smaller limit; where it proves larger, it is asked for again, with a
    deadline of its own, once there is room for it.
    """

    def __init__(self, rules: FetchRules) -> None:
        self._fetcher = WebFetcher(rules)
        self._small_bytes = min(rules.max_bytes, SMALL_BYTES)
        self._room = RoomForLargeFiles(max(LEAST_LARGE_FILES, LARGE_FILES_BYTES // rules.max_bytes))

    def open(self, request: urllib.request.Request, *_: Any, **__: Any) -> Answer:
        """Return the body of a 200 answer; raise an OSError whose text is :func:`failure_text` where there is none."""
        try:
            return Answer(self._get(revealed(request.full_url)))
        except FetchRefused as refusal:
            raise OSError(failure_text(refusal.reason, refusal.detail)) from None
        except Exception as error:
            raise OSError(failure_text(FAILED, f"{type(error).__name__}: {error}")) from error

    def _get(self, url: str) -> bytes:
        try:
            return self._fetcher.get(url, self._small_bytes)
        except FetchRefused as refusal:
            if refusal.reason != "too_large" or self._small_bytes == self._fetcher.rules.max_bytes:
                raise
        return self._room.fill(lambda: self._fetcher.get(url))


class RoomForLargeFiles:
    """Lets only so many large files be in memory, whoever still holds them.

    Parameters
    ----------
    places : int
        At least two: img2dataset holds on to the last file that it has written until it writes another.
    """

    def __init__(self, places: int) -> None:
        self._free = threading.Semaphore(places)
        self._lock = threading.Lock()
        self._handed_out: list[bytes] = []

    def fill(self, get: Callable[[], bytes]) -> bytes:
        """Wait for a place and return what ``get`` returns; the place is free again once nobody holds that."""
        while not self._free.acquire(timeout=LOOK_AGAIN_SECONDS):
            self._free_what_was_dropped()
        try:
            file = get()
        except BaseException:
            self._free.release()
            raise
        with self._lock:
            self._handed_out.append(file)
        return file

    def _free_what_was_dropped(self) -> None:
        with self._lock:
            for index in reversed(range(len(self._handed_out))):
                if sys.getrefcount(self._handed_out[index]) <= HELD_BY_US_ALONE:
                    del self._handed_out[index]
                    self._free.release()


class Answer:
    """What img2dataset reads of a response. Its headers are empty: ``X-Robots-Tag`` is the fetcher's to obey."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.headers = Message()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> bytes:
        """Return the body."""
        return self._body


def disguised(url: str) -> str:
    """Return an address that :class:`GuardedOpener` alone can open.

    >>> disguised("http://[example.org/a b")
    'mappool-guarded:http%3A%2F%2F%5Bexample.org%2Fa%20b'
    """
    return SCHEME + urllib.parse.quote(url, safe="")


def revealed(url: str) -> str:
    """Undo :func:`disguised`; ValueError for other addresses."""
    if not url.startswith(SCHEME):
        raise ValueError(f"{url} is not one of ours")
    return urllib.parse.unquote(url.removeprefix(SCHEME))


def failure_text(reason: str, detail: str) -> str:
    """Return a text that survives img2dataset: ASCII, as it writes texts of strangers to parquet."""
    return json.dumps({"reason": reason, "detail": detail})


def reason_and_detail(text: str) -> tuple[str, str]:
    """Read what :func:`failure_text` wrote, or a text of img2dataset's own.

    >>> reason_and_detail(failure_text("timeout", "no answer in time"))
    ('timeout', 'no answer in time')
    >>> reason_and_detail("No space left on device")
    ('download_failed', 'No space left on device')
    """
    try:
        failure = json.loads(text)
        return str(failure["reason"]), str(failure["detail"])
    except (ValueError, TypeError, KeyError):
        return FAILED, text or "img2dataset does not say why"
