"""A file read by byte ranges, wherever it lies: a folder, HTTP(S), the Hugging Face Hub or S3.

Addresses: a path, ``http(s)://…``, ``s3://bucket/key``, ``hf://datasets/owner/name@<commit>/path``.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import os
import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged, SourceUnavailable
from mappool_assets.lib.lake import s3_filesystem

if TYPE_CHECKING:
    import httpx2

HUB_ADDRESS = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?")
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Storage:
    """How remote stores are reached; credentials come from the usual AWS and Hub places, never from here.

    Attributes
    ----------
    s3_endpoint, hub_endpoint : str, optional
        Addresses of stores that speak S3's or the Hub's protocol, instead of AWS and huggingface.co.
    attempts : int
        Tries without progress before a read gives up.
    first_wait_seconds : float
        Wait before the second try where the server names none; doubles each time.
    read_deadline_seconds : float
        Longest time for one range; a slower drip is cut and resumed as a broken connection is.
    """

    s3_endpoint: str | None = None
    hub_endpoint: str | None = None
    attempts: int = 6
    first_wait_seconds: float = 1.0
    read_deadline_seconds: float = 120.0


class RangedFile(ABC):
    """A file of known size from which byte ranges are read.

    Attributes
    ----------
    url : str
        Its address, for messages and lineage.
    size : int
        Bytes.
    version : str
        Changes when the content does: a checksum, an ETag, or size and modification time.
    request_cost_bytes : int
        How many superfluous bytes are as cheap as one more request (latency × bandwidth).
    bytes_read : int
        Bytes handed out so far.
    """

    request_cost_bytes: int

    def __init__(self, url: str, size: int, version: str) -> None:
        self.url, self.size, self.version = url, size, version
        self.bytes_read = 0

    def read(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``.

        Raises
        ------
        SourceChanged
            The range lies outside the file, or the file is no longer the one that was opened.
        SourceUnavailable
            The store did not answer after all retries.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise _changed(self.url, f"bytes {start}–{start + length} within {self.size}", "a range outside it")
        data = self._read(start, length) if length else b""
        if len(data) != length:
            raise _changed(self.url, f"{length} bytes from {start}", f"{len(data)} bytes")
        self.bytes_read += length
        return data

    @abstractmethod
    def _read(self, start: int, length: int) -> bytes:
        """Read a range that is known to lie within the file."""

    @abstractmethod
    def close(self) -> None:
        """Release connections and handles."""

    def __enter__(self) -> RangedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def as_stream(self, buffer_bytes: int = 1 << 16) -> io.BufferedReader:
        """Return a seekable binary stream, for libraries that want one."""
        return io.BufferedReader(_RawStream(self), buffer_bytes)


class _RawStream(io.RawIOBase):
    def __init__(self, file: RangedFile) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset} in {self._file.url}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._file.size - self._position))
        if length:
            buffer[:length] = self._file.read(self._position, length)
            self._position += length
        return length


class LocalFile(RangedFile):
    """A file on this machine."""

    request_cost_bytes = 16 * 1024  # a system call against copying from the page cache

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise _missing(path) from None
        status = os.fstat(self._descriptor)
        super().__init__(path, status.st_size, local_version(status))

    def _read(self, start: int, length: int) -> bytes:
        pieces = []
        while length and (piece := os.pread(self._descriptor, length, start)):
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def local_version(status: os.stat_result) -> str:
    """Return the version of a local file: size and modification time (ns)."""
    return f"{status.st_size}-{status.st_mtime_ns}"


class S3File(RangedFile):
    """An object in S3 or a store that speaks its protocol; retries are the AWS SDK's own."""

    request_cost_bytes = 1024 * 1024  # ~20 ms at ~50 MB/s

    def __init__(self, url: str, storage: Storage) -> None:
        import boto3
        from botocore.exceptions import ClientError

        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            head = boto3.client("s3", endpoint_url=storage.s3_endpoint).head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise _missing(url) from None
            raise _unavailable(url, str(error)) from error
        super().__init__(url, head["ContentLength"], head["ETag"].strip('"'))
        self._file = s3_filesystem(storage.s3_endpoint).open_input_file(f"{bucket}/{key}")

    def _read(self, start: int, length: int) -> bytes:
        try:
            return self._file.read_at(length, start)
        except OSError as error:
            raise _unavailable(self.url, str(error)) from error

    def close(self) -> None:
        """Close the input file."""
        self._file.close()


class _Partial(NamedTuple):
    data: bytes
    trouble: str | None
    wait_seconds: float | None


class HttpFile(RangedFile):
    """A file on a server that answers byte ranges; on the Hub, its signed address is reused.

    A broken or dripping connection is resumed where it stopped; 429 and 5xx are retried as ``Retry-After`` says;
    an expired signed address (401, 403) is resolved anew; a changed ETag is an error.
    """

    request_cost_bytes = 256 * 1024  # the Hub allows 5,000 resolver requests in 5 minutes; ~30 ms at ~10 MB/s

    def __init__(self, url: str, address: str, storage: Storage, headers: dict[str, str] | None = None) -> None:
        import httpx2

        self._address, self._storage, self._headers = address, storage, headers or {}
        self._signed_address: str | None = None
        self._client = httpx2.Client(timeout=httpx2.Timeout(30.0), follow_redirects=False)
        self._identity: tuple[int, str | None] | None = None  # size and ETag of the first answer
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
            part = self._attempt(start + len(received), length - len(received))
            received += part.data
            if part.trouble is None:
                return bytes(received)
            if part.data:
                tries, wait = 0, self._storage.first_wait_seconds
            tries += 1
            if tries >= self._storage.attempts:
                raise _unavailable(self.url, f"{part.trouble}, {tries} times in a row")
            time.sleep(wait if part.wait_seconds is None else part.wait_seconds)
            wait *= 2

    def _attempt(self, start: int, length: int) -> _Partial:
        """Ask once for a range; return what came of it and, if that is not all, why."""
        import httpx2

        received = bytearray()
        began = time.perf_counter()
        try:
            with self._open_range(start, length) as response:
                if response.status_code in TRANSIENT_STATUSES:
                    return _Partial(b"", f"HTTP {response.status_code}", _retry_after(response.headers))
                if response.status_code in (401, 403) and self._signed_address:
                    self._signed_address = None
                    return _Partial(b"", f"HTTP {response.status_code} on a signed address", 0.0)
                self._check(response, start)
                if self._identity == (0, response.headers.get("ETag")):
                    return _Partial(b"", None, None)
                for piece in response.iter_raw():
                    received += piece[: length - len(received)]
                    if time.perf_counter() - began > self._storage.read_deadline_seconds:
                        return _Partial(bytes(received), "no end within the deadline", 0.0)
        except httpx2.TransportError as error:
            return _Partial(bytes(received), f"{type(error).__name__}: {error}", None)
        return _Partial(bytes(received), None if len(received) == length else "a short answer", None)

    @contextlib.contextmanager
    def _open_range(self, start: int, length: int) -> Any:
        """Follow redirects by hand, so that the address they end at can be reused without the token."""
        address = self._signed_address or self._address
        ask = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        for _ in range(5):
            same_host = urlsplit(address).netloc == urlsplit(self._address).netloc
            with self._client.stream(
                "GET", address, headers={**ask, **(self._headers if same_host else {})}
            ) as response:
                if not response.is_redirect:
                    yield response
                    return
                address = urljoin(address, response.headers["Location"])
                if urlsplit(address).scheme not in ("http", "https"):
                    break
                if response.status_code in (302, 307) and urlsplit(address).query:
                    self._signed_address = address
        raise _unavailable(self.url, f"redirects without end, last to {urlsplit(address).netloc}")

    def _check(self, response: httpx2.Response, start: int) -> None:
        """Hold the answer against the range asked for and the file first seen."""
        status = response.status_code
        if status in (404, 410):
            raise _missing(self.url)
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
            raise _changed(self.url, f"bytes from {start}", f"status {status}, Content-Range {content_range!r}")
        identity = (int(found[2]), response.headers.get("ETag"))
        self._identity = self._identity or identity
        if identity != self._identity:
            raise _changed(self.url, f"size and ETag {self._identity}", f"{identity}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def open_ranged(url: str, storage: Storage) -> RangedFile:
    """Open an address for reading by ranges.

    Raises
    ------
    MissingInput
        There is no such file.
    BadSetting
        An address of another form, or a server without ranges.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        return HttpFile(url, url, storage)
    if scheme == "s3":
        return S3File(url, storage)
    if scheme == "hf":
        return _open_on_hub(url, storage)
    return LocalFile(str(Path(url)))


def _open_on_hub(url: str, storage: Storage) -> HttpFile:
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


def _retry_after(headers: Any) -> float | None:
    """Return the seconds a server asks us to wait (RFC 9110 §10.2.3), at most five minutes, or None."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.isdigit():
        return min(float(value), 300.0)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), 300.0)


def _missing(url: str) -> MissingInput:
    return MissingInput(
        "A file of the pool is not there",
        where=url,
        rule="a readable file",
        got="nothing",
        action="List the pool anew (materialise pool_shards).",
    )


def _changed(url: str, rule: str, got: str) -> SourceChanged:
    return SourceChanged(
        "The file is not the one that was listed",
        where=url,
        rule=rule,
        got=got,
        action="List the pool anew (materialise pool_shards), then filter this shard again.",
    )


def _unavailable(url: str, got: str) -> SourceUnavailable:
    return SourceUnavailable(
        "The source does not answer",
        where=url,
        rule="the bytes asked for",
        got=got,
        action="Run it again later; what is done stays done.",
    )
