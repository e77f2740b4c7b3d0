"""What a file read by byte ranges is, and how reading one fails."""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib.errors import MissingInput, SourceChanged, SourceUnavailable


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
    request_cost_bytes : int, optional
        Instead of the store's own figure (:attr:`RangedFile.request_cost_bytes`): 0 reads exact ranges only, a very
        large number whole members.
    """

    s3_endpoint: str | None = None
    hub_endpoint: str | None = None
    attempts: int = 6
    first_wait_seconds: float = 1.0
    read_deadline_seconds: float = 120.0
    request_cost_bytes: int | None = None


class RangedFile(ABC):
    """A file of known size from which byte ranges are read, by several threads if need be.

    Attributes
    ----------
    url : str
        Its address, for messages and lineage.
    size : int
        Bytes.
    version : str
        Changes when the content does: a checksum, an ETag, or size and modification time.
    request_cost_bytes : int
        How many superfluous bytes are as cheap as one more request (latency × bandwidth ÷ requests at a time).
    requests_at_a_time : int
        How many ranges are worth asking for at the same time.
    bytes_read : int
        Bytes handed out so far.
    """

    request_cost_bytes: int
    requests_at_a_time: int

    def __init__(self, url: str, size: int, version: str) -> None:
        self.url, self.size, self.version = url, size, version
        self.bytes_read = 0
        self._count_lock = threading.Lock()

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
            raise changed(self.url, f"bytes {start}–{start + length} within {self.size}", "a range outside it")
        data = self._read(start, length) if length else b""
        if len(data) != length:
            raise changed(self.url, f"{length} bytes from {start}", f"{len(data)} bytes")
        with self._count_lock:
            self.bytes_read += length
        return data

    def check_unchanged(self) -> None:  # noqa: B027  most stores have nothing to do
        """Raise :class:`SourceChanged` where what was read so far may be of several versions; by default none is."""

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


def missing(url: str) -> MissingInput:
    """Return the error of a file that is not there."""
    return MissingInput(
        "A file of the pool is not there",
        where=url,
        rule="a readable file",
        got="nothing",
        action="List the pool anew (materialise pool_shards).",
    )


def changed(url: str, rule: str, got: str) -> SourceChanged:
    """Return the error of a file that is another one than before."""
    return SourceChanged(
        "The file is not the one that was listed",
        where=url,
        rule=rule,
        got=got,
        action="List the pool anew (materialise pool_shards), then filter this shard again.",
    )


def unavailable(url: str, got: str) -> SourceUnavailable:
    """Return the error of a store that does not answer."""
    return SourceUnavailable(
        "The source does not answer",
        where=url,
        rule="the bytes asked for",
        got=got,
        action="Run it again later; what is done stays done.",
    )
