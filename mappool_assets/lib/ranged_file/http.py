"""Files on servers that answer byte ranges, the Hub's among them."""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.ranged_file.base import RangedFile, Storage, changed, missing, unavailable
from mappool_assets.lib.retry_after import TRANSIENT_STATUSES, retry_after_seconds

if TYPE_CHECKING:
    import httpx2

HUB_ADDRESS = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?")
SILENCE_SECONDS = 30.0  # longest wait for the next bytes, where the deadline is not sooner
LEAST_BYTES_PER_SECOND = 10_000  # a slower server would take hours for a shard: its bytes are no progress


class _Partial(NamedTuple):
    data: bytes
    trouble: str | None
    wait_seconds: float | None


class HttpFile(RangedFile):
    """A file on a server that answers byte ranges; on the Hub, its signed address is reused.

    A broken or dripping connection is resumed where it stopped; 429 and 5xx are retried as ``Retry-After`` says;
    an expired signed address (401, 403) is resolved anew; a changed ETag (Last-Modified where there is none) is an
    error.
    """

    requests_at_a_time = 16
    # ~20 ms at ~50 MB/s, sixteen at a time. Under 30 % of a shard with 0.75 % maps is sent; with 128 KiB 31 %.
    request_cost_bytes = 64 * 1024

    def __init__(self, url: str, address: str, storage: Storage, headers: dict[str, str] | None = None) -> None:
        import httpx2

        self._address, self._storage, self._headers = address, storage, headers or {}
        self._signed_address: str | None = None
        silence = min(SILENCE_SECONDS, storage.read_deadline_seconds)
        self._client = httpx2.Client(timeout=httpx2.Timeout(silence), follow_redirects=False, verify=_certificates())
        self._identity: tuple[int, str | None] | None = None  # size and ETag or date of the first answer
        super().__init__(url, size=0, version="")
        try:
            self._read(0, 1)
        except BaseException:
            self.close()
            raise
        assert self._identity is not None
        self.size = self._identity[0]
        self.version = (self._identity[1] or f"{self.size}").strip('"')

    def _read(self, start: int, length: int) -> bytes:
        received = bytearray()
        tries, wait = 0, self._storage.first_wait_seconds
        while True:
            began = time.perf_counter()
            part = self._attempt(start + len(received), length - len(received))
            received += part.data
            if part.trouble is None or len(received) == length:  # whole, however its connection ended
                return bytes(received)
            if len(part.data) > LEAST_BYTES_PER_SECOND * (time.perf_counter() - began):
                tries, wait = 0, self._storage.first_wait_seconds
            tries += 1
            if tries >= self._storage.attempts:
                raise unavailable(self.url, f"{part.trouble}, {tries} times in a row")
            time.sleep(wait if part.wait_seconds is None else part.wait_seconds)
            wait *= 2

    def _attempt(self, start: int, length: int) -> _Partial:
        """Ask once for a range; return what came of it and, if that is not all, why."""
        import httpx2

        received = bytearray()
        began = time.perf_counter()
        try:
            with self._open_range(start, length) as (response, address):
                if response.status_code in TRANSIENT_STATUSES:
                    return _Partial(b"", f"HTTP {response.status_code}", retry_after_seconds(response.headers))
                if response.status_code in (401, 403) and address != self._address:
                    if self._signed_address == address:  # else another thread has resolved it anew already
                        self._signed_address = None
                    return _Partial(b"", f"HTTP {response.status_code} on a signed address", 0.0)
                self._check(response, start)
                if self._identity and self._identity[0] == 0:
                    return _Partial(b"", None, None)
                for piece in response.iter_raw():
                    received += piece[: length - len(received)]
                    if len(received) == length:
                        break  # what is sent beyond the range may have no end
                    if time.perf_counter() - began > self._storage.read_deadline_seconds:
                        return _Partial(bytes(received), "no end within the deadline", 0.0)
        except httpx2.TransportError as error:
            return _Partial(bytes(received), f"{type(error).__name__}: {error}", None)
        return _Partial(bytes(received), None if len(received) == length else "a short answer", None)

    @contextlib.contextmanager
    def _open_range(self, start: int, length: int) -> Any:
        """Yield the answer and its address; redirects are followed by hand, to reuse their end without the token."""
        address = self._signed_address or self._address
        ask = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        for _ in range(5):
            same_host = urlsplit(address)[:2] == urlsplit(self._address)[:2]  # and the same scheme: no token in clear
            with self._client.stream(
                "GET", address, headers={**ask, **(self._headers if same_host else {})}
            ) as response:
                if not response.has_redirect_location:
                    yield response, address
                    return
                try:
                    address = urljoin(address, response.headers["Location"])
                    if urlsplit(address).scheme not in ("http", "https"):
                        break
                except ValueError:  # no address at all
                    break
                if response.status_code in (302, 307) and urlsplit(address).query:
                    self._signed_address = address
        raise unavailable(self.url, "redirects without end, or to what is no web address")

    def _check(self, response: httpx2.Response, start: int) -> None:
        """Hold the answer against the range asked for and the file first seen."""
        status = response.status_code
        if status in (404, 410):
            raise missing(self.url)
        if status == 200:
            raise BadSetting(
                "The server does not answer byte ranges",
                where=self.url,
                rule="status 206 to a Range request",
                got="status 200 and the whole file",
                action="Use a server that supports ranges, or copy the pool into a folder or bucket.",
            )
        if status in (401, 403):
            raise BadSetting(
                "The server refuses access",
                where=self.url,
                rule="status 206",
                got=f"status {status}",
                action="Log in (`hf auth login`) or ask for access to the repository.",
            )
        content_range = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", content_range)
        is_empty = status == 416 and found is not None and found[2] == "0"
        if found is None or not (is_empty or (status == 206 and int(found[1] or -1) == start)):
            raise changed(self.url, f"bytes from {start}", f"status {status}, Content-Range {content_range!r}")
        identity = (int(found[2]), response.headers.get("ETag") or response.headers.get("Last-Modified"))
        self._identity = self._identity or identity
        if identity != self._identity:
            raise changed(self.url, f"size and ETag {self._identity}", f"{identity}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Load the authorities' certificates once a process: 17 ms, for each of a listing's 25,000 files."""
    import httpx2

    return httpx2.create_ssl_context()


def open_on_hub(url: str, storage: Storage) -> HttpFile:
    """Open ``hf://datasets/owner/name@revision/path`` with the token from the Hub's usual places."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    found = HUB_ADDRESS.fullmatch(url)
    if found is None or found["path"] is None:
        raise BadSetting(
            "The address of a Hub file cannot be read",
            where=url,
            rule="hf://datasets/owner/name@revision/path",
            got=url,
            action="Correct the address.",
        )
    address = hf_hub_url(
        found["repo"],
        found["path"],
        repo_type="dataset",
        revision=found["revision"],
        endpoint=storage.hub_endpoint,
    )
    return HttpFile(url, address, storage, build_hf_headers())
