"""Fetch files from hostile web addresses: public addresses only, bounded in bytes, time and redirects.

Addresses are checked where the connection is made (:mod:`~mappool_assets.lib.guarded_network`), so redirects are too.
Environment variables (proxies, ``.netrc``) are ignored: a proxy would dial on our behalf, unchecked.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpcore2
import httpx2

from mappool_assets.lib.guarded_network import (
    BlockedAddress,
    GuardedBackend,
    NoSuchHost,
    PoolTransport,
    deadline_after,
    seconds_left,
)
from mappool_assets.lib.retry_after import asked_seconds

ATTEMPTS = 3  # the first try and two retries: more seldom helps with dead hosts, of which the web is full
FIRST_BACKOFF_SECONDS = 0.5  # doubled each time, where the server names no Retry-After
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
MAX_RESOLVER_THREADS = 16


@dataclass(frozen=True)
class FetchRules:
    """Bounds of one fetch.

    Attributes
    ----------
    max_bytes : int
        Largest file, after decompression. Default 32 MiB: our choice, above any image on an ordinary page.
    deadline_seconds : float
        Total time a file, with redirects, waits and retries. A third of it without a byte ends an attempt.
    max_redirects : int
        Redirects followed in one attempt.
    allow_private_addresses : bool
        Whether loopback, private and other non-global addresses may be dialled; for tests and local mirrors.
    user_agent : str
        Names us to the operators of the servers.
    """

    max_bytes: int = 32 * 1024 * 1024
    deadline_seconds: float = 30.0
    max_redirects: int = 5
    allow_private_addresses: bool = False
    user_agent: str = "mappool-assets"


class FetchRefused(Exception):
    """A file that was not fetched.

    Attributes
    ----------
    reason : str
        One of ``bad_scheme`` (not http or https), ``bad_url`` (cannot be parsed), ``blocked_address`` (not a public
        one), ``http_<code>`` (any answer but 200), ``too_large``, ``timeout``, ``connection`` (no or a broken
        answer), ``too_many_redirects``, ``bad_encoding`` (a content encoding that was not asked for and is not gzip
        or deflate, or a broken one).
    url, detail : str
        The address asked for, and a sentence for people.
    is_transient : bool
        Whether trying again may help.
    retry_after_seconds : float or None
        What the server asked us to wait.
    """

    def __init__(
        self,
        reason: str,
        url: str,
        detail: str,
        is_transient: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, url, detail, is_transient, retry_after_seconds)
        self.reason, self.url, self.detail = reason, url, detail
        self.is_transient, self.retry_after_seconds = is_transient, retry_after_seconds

    def __str__(self) -> str:
        return f"{self.url} was not fetched ({self.reason}): {self.detail}"


class WebFetcher:
    """Fetch files under :class:`FetchRules`; a context manager, safe to share between threads."""

    def __init__(self, rules: FetchRules) -> None:
        self.rules = rules
        self._resolver = ThreadPoolExecutor(MAX_RESOLVER_THREADS, thread_name_prefix="resolve")
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(rules.allow_private_addresses, self._resolver),
        )

    def __enter__(self) -> WebFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._resolver.shutdown(wait=False, cancel_futures=True)

    def get(self, url: str) -> bytes:
        """Return the body of a 200 answer.

        Raises
        ------
        FetchRefused
            The file cannot, or must not, be fetched.
        """
        with deadline_after(self.rules.deadline_seconds):
            for attempt in range(ATTEMPTS - 1):
                try:
                    return self._attempt(url)
                except FetchRefused as refusal:
                    wait = refusal.retry_after_seconds or FIRST_BACKOFF_SECONDS * 2**attempt
                    if not refusal.is_transient or wait >= seconds_left():
                        raise
                time.sleep(wait)
            return self._attempt(url)

    def _attempt(self, url: str) -> bytes:
        with _refusing(url), self._client() as client:
            request = client.build_request("GET", url)
            for _ in range(self.rules.max_redirects + 1):
                if request.url.scheme not in ("http", "https"):
                    raise FetchRefused("bad_scheme", url, f"{request.url.scheme or 'no scheme'} is not http(s)")
                response = client.send(request, stream=True)
                with contextlib.closing(response):
                    if response.next_request is None:
                        return self._body(url, response)
                request = response.next_request
            raise FetchRefused("too_many_redirects", url, f"more than {self.rules.max_redirects} redirects")

    def _client(self) -> httpx2.Client:
        """Return a client of this attempt alone (no cookies kept) over the shared connections."""
        return httpx2.Client(
            transport=PoolTransport(self._pool, stall_seconds=self.rules.deadline_seconds / ATTEMPTS),
            trust_env=False,
            headers={
                "User-Agent": self.rules.user_agent,
                "Accept": "image/*,*/*;q=0.8",
                "Accept-Encoding": "identity",
            },
        )

    def _body(self, url: str, response: httpx2.Response) -> bytes:
        if response.status_code != 200:
            raise FetchRefused(
                f"http_{response.status_code}",
                url,
                f"the server answered {response.status_code}",
                response.status_code in TRANSIENT_STATUSES,
                asked_seconds(response.headers),
            )
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self.rules.max_bytes:
            raise FetchRefused("too_large", url, f"{length} bytes, more than {self.rules.max_bytes}")
        body = bytearray()
        for chunk in _decoded(url, response, self.rules.max_bytes):
            body += chunk
            if len(body) > self.rules.max_bytes:
                raise FetchRefused("too_large", url, f"more than {self.rules.max_bytes} bytes")
        return bytes(body)


def _decoded(url: str, response: httpx2.Response, max_bytes: int) -> Iterator[bytes]:
    """Yield the body, undoing gzip or deflate (sent by some servers unasked) in steps of at most ``max_bytes``."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        yield from response.iter_raw()
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchRefused("bad_encoding", url, f"the server sent {encoding} unasked")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib header, whichever is there
    for chunk in response.iter_raw():
        yield inflate.decompress(chunk, max_bytes + 1)
        if inflate.unconsumed_tail:
            raise FetchRefused("too_large", url, f"more than {max_bytes} bytes after decompression")
    if not inflate.eof:
        raise FetchRefused("bad_encoding", url, f"the {encoding} stream is cut short")


@contextlib.contextmanager
def _refusing(url: str) -> Iterator[None]:
    """Turn what the HTTP libraries raise into :class:`FetchRefused`."""
    try:
        yield
    except BlockedAddress as error:
        raise FetchRefused("blocked_address", url, str(error)) from None
    except NoSuchHost as error:
        raise FetchRefused("connection", url, str(error)) from None
    except httpcore2.TimeoutException as error:
        raise FetchRefused("timeout", url, str(error) or "no answer in time", True) from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise FetchRefused("connection", url, str(error) or type(error).__name__, True) from None
    except zlib.error as error:
        raise FetchRefused("bad_encoding", url, str(error)) from None
    except (httpx2.InvalidURL, httpx2.HTTPError, UnicodeError, ValueError) as error:
        # HTTPError: a Location that cannot be parsed; the others: host names that no encoding takes.
        raise FetchRefused("bad_url", url, str(error)) from None
