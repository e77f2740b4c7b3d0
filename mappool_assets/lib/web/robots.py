"""Whether a site allows robots to ask for an address: its robots.txt, as RFC 9309 says.

Of an origin (scheme, host, port) robots.txt is fetched once and remembered, a failure to fetch it for a minute. What
its answer means: 2xx, its rules hold; 4xx, everything is allowed (§2.3.1.3) but for 429, which is a failure as it is
to Google's crawlers; more than five redirects, as 4xx (§2.3.1.2); anything else, nothing is allowed (§2.3.1.4).
Crawl-delay is no part of the RFC and is not waited for: a list of images names few addresses of one site.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import httpx2
from protego import Protego

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retry_after import LONGEST_WAIT_SECONDS, asked_seconds
from mappool_assets.lib.web.fetch_refused import TRANSIENT_STATUSES, FetchRefused, NoConnection, refusing, retried
from mappool_assets.lib.web.guarded_network import deadline_after, seconds_left
from mappool_assets.lib.web.web_connections import WebConnections, first_bytes

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309 §2.5: at least that much is read; what follows has no effect
MAX_REDIRECTS = 5  # RFC 9309 §2.3.1.2
KEPT_SECONDS = 24 * 3600.0  # RFC 9309 §2.4: no longer
FAILURE_KEPT_SECONDS = 60.0  # our choice: a dead site costs one try a minute; one that hiccuped is left for a minute
MAX_KEPT_BYTES = 4 * 1024 * 1024  # of text in all the files kept; parsed, the worst take 80 times that (measured)
ENTRY_BYTES = 1024  # what a file counts besides its text, so that no more than 4,096 are kept

PRODUCT_TOKEN = re.compile(r"([A-Za-z_-]+)(?:[/ ][\x20-\x7e]*)?")
AGENT_LINE = re.compile(r"user(?:-|\s+)?agent(?:\s*:|\s)\s*(.*)", re.IGNORECASE)
EVERYBODY = "*"


def product_token(user_agent: str) -> str:
    """Return the name that begins a user agent, in lower case.

    Raises
    ------
    BadSetting
        The user agent does not begin with one.

    Examples
    --------
    >>> product_token("Mappool-Assets/0.1 (+https://example.org)")
    'mappool-assets'
    """
    found = PRODUCT_TOKEN.fullmatch(user_agent)
    if found is None:
        raise BadSetting(
            "The user agent does not begin with a name by which sites can address us",
            where="MAPPOOL_USER_AGENT",
            rule="letters, - and _ (RFC 9309 §2.2.1), then the end, a slash or a space; all of it printable ASCII",
            got=repr(user_agent),
            action="Begin it with a name, as in mappool-assets/1.0 (+https://example.org/about).",
        )
    return found[1].lower()


def parse_robots(body: bytes, token: str) -> Protego | None:
    """Return the rules of a robots.txt for us, None where it has none; malformed lines have no effect.

    Only the group that holds for us is parsed: each rule of a group is kept for each of its names, so that a file of
    500 KiB could otherwise take 100 GB.

    Parameters
    ----------
    body : bytes
        Of the file; of one longer than :data:`MAX_ROBOTS_BYTES`, its beginning.
    token : str
        Our product token, in lower case.
    """
    if len(body) >= MAX_ROBOTS_BYTES:
        body = body[: body.rfind(b"\n") + 1]  # half a rule says another thing than all of it
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    text = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", text)  # as addresses spell it
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    groups = [_group(line, token) for line in lines]
    ours = token if token in groups else EVERYBODY
    if ours not in groups:
        return None
    headings = {ours: f"User-agent: {EVERYBODY}"}  # of the others: without a name, so that their rules are no one's
    pairs = zip(lines, groups, strict=True)
    return Protego.parse("\n".join(line if of is None else headings.get(of, "User-agent:") for line, of in pairs))


def _group(line: str, token: str) -> str | None:
    """Return whose group a line begins: ours, everybody's, "" for another's; None for a line that begins none."""
    agent = AGENT_LINE.match(line)
    if agent is None:
        return None
    if agent[1].split()[:1] == [EVERYBODY]:
        return EVERYBODY
    named = re.match(r"[\w-]*", agent[1])  # what follows, such as a version, plays no part
    return token if named and named[0].lower() == token else ""


@dataclass(frozen=True)
class _Found:
    """What is known of an origin until a time (of ``perf_counter``): its rules, or why nothing is allowed."""

    ends: float
    weight_bytes: int
    rules: Protego | None = None  # None: everything is allowed, where there is no failure
    failure: FetchRefused | None = None


class RobotsFiles:
    """The robots.txt files of all sites that are asked; safe to share between threads.

    While one thread fetches a site's file, the others that need it wait, none beyond its own deadline.

    Parameters
    ----------
    web : WebConnections
        Fetches them, under the same guards as all else.
    token : str
        Our product token, in lower case.
    patience_seconds : float
        Longest time to fetch one, with redirects and retries.
    """

    def __init__(self, web: WebConnections, token: str, patience_seconds: float) -> None:
        self._web, self._token, self._patience_seconds = web, token, patience_seconds
        self._kept = _Kept()

    def check(self, address: httpx2.URL, url: str) -> None:
        """Refuse an address that its site's robots.txt does not allow.

        Parameters
        ----------
        address : httpx2.URL
            About to be asked for, by http or https.
        url : str
            The address that the caller named, of which this may be a redirect.

        Raises
        ------
        FetchRefused
            ``robots_txt``; ``robots_unreachable``; ``connection``, ``blocked_address`` and ``bad_url`` where no
            connection to the site can be made at all, for the file would meet the same.
        """
        robots_url = f"{address.scheme}://{address.netloc.decode('ascii')}/robots.txt"
        found = self._found(robots_url, url)
        if found.failure is not None:
            failure, wait = found.failure, max(0.0, found.ends - time.perf_counter())
            raise FetchRefused(failure.reason, url, failure.detail, failure.is_transient, wait)
        path = "http://host" + address.raw_path.decode("ascii")  # the host plays no part
        if found.rules is not None and not found.rules.can_fetch(path, self._token):
            raise FetchRefused("robots_txt", url, f"{robots_url} does not allow {self._token} to ask for {address}")

    def _found(self, robots_url: str, url: str) -> _Found:
        while True:
            pending, is_ours = self._kept.claim(robots_url)
            if is_ours:
                return self._fetch(robots_url, pending)
            try:
                found = pending.result(max(0.0, seconds_left()))
            except FutureTimeoutError:
                detail = f"{robots_url} was still being fetched at the deadline"
                raise FetchRefused("robots_unreachable", url, detail, True) from None
            if found is not None:
                return found

    def _fetch(self, robots_url: str, pending: Future[_Found | None]) -> _Found:
        """Fetch a file and tell all that wait for it; what ended with our own deadline says nothing to them."""
        for_all: _Found | None = None
        try:
            with deadline_after(min(self._patience_seconds, seconds_left())):
                found = self._outcome(robots_url)
            if found.failure is None or seconds_left() > 0:
                for_all = found
            return found
        finally:
            self._kept.settle(robots_url, pending, for_all)

    def _outcome(self, robots_url: str) -> _Found:
        try:
            body = retried(lambda: self._body(robots_url))
        except FetchRefused as refusal:
            asked = min(refusal.retry_after_seconds or 0.0, LONGEST_WAIT_SECONDS)
            ends = time.perf_counter() + max(FAILURE_KEPT_SECONDS, asked)
            if not isinstance(refusal, NoConnection):
                detail = f"nothing is allowed without {robots_url}: {refusal.detail}"
                refusal = FetchRefused("robots_unreachable", robots_url, detail, True)
            return _Found(ends, ENTRY_BYTES, failure=refusal)
        rules = parse_robots(body, self._token)
        return _Found(time.perf_counter() + KEPT_SECONDS, ENTRY_BYTES + (len(body) if rules else 0), rules)

    def _body(self, robots_url: str) -> bytes:
        """Return the file that is in force, b"" where everything is allowed."""
        hops: list[httpx2.URL] = []
        follow = self._web.following(robots_url, MAX_REDIRECTS, before=hops.append, at_redirect=lambda _: None)
        try:
            with refusing(robots_url), follow as answer:
                return _in_force(answer, robots_url)
        except NoConnection as refusal:
            if len(hops) == 1:
                raise
            raise FetchRefused(refusal.reason, robots_url, f"{hops[-1]}: {refusal.detail}", True) from None
        except FetchRefused as refusal:
            if refusal.reason == "too_many_redirects":
                return b""
            raise


def _in_force(answer: httpx2.Response, robots_url: str) -> bytes:
    if 200 <= answer.status_code < 300:
        return first_bytes(answer, MAX_ROBOTS_BYTES)
    if 400 <= answer.status_code < 500 and answer.status_code != 429:
        with contextlib.suppress(FetchRefused), refusing(robots_url):
            first_bytes(answer, MAX_ROBOTS_BYTES)  # then the same connection serves the file
        return b""
    raise FetchRefused(
        f"http_{answer.status_code}",
        robots_url,
        f"the server answered {answer.status_code}",
        answer.status_code in TRANSIENT_STATUSES,
        asked_seconds(answer.headers),
    )


class _Kept:
    """What was found of each origin, least recently used first; bounded in bytes."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, Future[_Found | None]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def claim(self, robots_url: str) -> tuple[Future[_Found | None], bool]:
        """Return what is, or will be, found; and whether it is the caller who must find it."""
        with self._lock:
            pending = self._pending.get(robots_url)
            if pending is not None and pending.done():
                found = pending.result()
                if found is None or found.ends < time.perf_counter():
                    self._forget(robots_url)
                    pending = None
            is_ours = pending is None
            if pending is None:
                pending = self._pending[robots_url] = Future()
            self._pending.move_to_end(robots_url)
            return pending, is_ours

    def settle(self, robots_url: str, pending: Future[_Found | None], found: _Found | None) -> None:
        """Tell what was found to all that wait; None: that one of them must try."""
        with self._lock:
            pending.set_result(found)
            if found is not None and self._pending.get(robots_url) is pending:
                self._bytes += found.weight_bytes
            while self._bytes > MAX_KEPT_BYTES:
                self._forget(next(iter(self._pending)))

    def _forget(self, robots_url: str) -> None:
        pending = self._pending.pop(robots_url)
        found = pending.result() if pending.done() else None
        self._bytes -= found.weight_bytes if found else 0
