"""A file of words, wherever it lies and however it is packed: read as one stream, hashed and bounded.

Every way in which a file can be no such file becomes one error that names it and the rule.
"""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from xml.parsers.expat import ExpatError

import pyarrow as pa

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import RangedFile, Storage
from mappool_assets.lib.ranged_file.stores import open_ranged

STORED_BYTES = 4 << 20  # asked for at once: of a dump of 25 GB, 6,000 requests
PIECE_BYTES = 1 << 20  # unpacked at once
BOMB_RATIO = 200  # unpacked to stored: markup packs to a tenth, bzip2 reaches a million
BOMB_BYTES = 256 << 20  # a file that unpacks to less is none, whatever its ratio
SHOWN_CHARACTERS = 300
GZIP = 31  # zlib's number for a gzip header and trailer around 32 KiB windows

_FAULTS = (pa.ArrowException, ExpatError, OSError, EOFError, ValueError, zlib.error)


class SourceStream(io.RawIOBase):
    """A source's bytes, unpacked where it is gzip or bzip2 (also of several streams one after the other).

    Which it is, the first bytes say. What follows the last stream is an error, save a gzip file's padding with zeros.
    """

    def __init__(self, file: RangedFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._stored_bytes = self._unpacked_bytes = 0
        self._pieces = self._unpacked()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one piece goes; return 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length

    @property
    def version(self) -> str:
        """``sha256:…`` of the file as it is stored; it must have been read to its end."""
        assert self._stored_bytes == self._file.size, "not read to its end"
        return f"sha256:{self._sha256.hexdigest()}"

    def _stored(self) -> Iterator[bytes]:
        for start in range(0, self._file.size, STORED_BYTES):
            block = self._file.read(start, min(STORED_BYTES, self._file.size - start))
            self._sha256.update(block)
            self._stored_bytes += len(block)
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        first = self._file.read(0, min(4, self._file.size))
        if first.startswith(b"\x1f\x8b"):
            pieces = _unpacked(self._stored(), _Gunzip)
        elif re.match(rb"BZh[1-9]", first):
            pieces = _unpacked(self._stored(), bz2.BZ2Decompressor)
        else:
            pieces = self._stored()
        for piece in pieces:
            self._unpacked_bytes += len(piece)
            if self._unpacked_bytes > max(BOMB_BYTES, BOMB_RATIO * self._stored_bytes):
                raise ValueError(f"{self._stored_bytes:,} bytes that unpack to more than {BOMB_RATIO} times as many")
            yield piece


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class _Gunzip:
    """zlib's gzip with the face of bz2's decompressor."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(GZIP)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self.needs_input = not self._inflater.unconsumed_tail and len(piece) < max_length
        return piece

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data.lstrip(b"\0")  # tapes are padded


def _unpacked(blocks: Iterator[bytes], new: Callable[[], _Unpacker]) -> Iterator[bytes]:
    unpacker = new()
    for block in blocks:
        rest = block
        while rest or not (unpacker.eof or unpacker.needs_input):
            if unpacker.eof:
                if isinstance(unpacker, _Gunzip) and not rest.strip(b"\0"):
                    break
                unpacker = new()
            piece = unpacker.decompress(rest, PIECE_BYTES)
            rest = unpacker.unused_data if unpacker.eof else b""
            if piece:
                yield piece
    if not unpacker.eof:
        raise EOFError("it ends early")


@contextlib.contextmanager
def open_source(address: str, storage: Storage, rule: str) -> Iterator[SourceStream]:
    """Yield a file as a stream.

    Raises
    ------
    MissingInput
        There is no such file.
    SourceChanged
        It was written to meanwhile.
    BadSetting
        It cannot be read, also while the stream is in use; ``rule`` says what it should be.
    """
    with understood(address, rule), open_ranged(address, storage) as file:
        yield SourceStream(file)
        file.check_unchanged()


def version_of(address: str, storage: Storage, rule: str) -> str:
    """Return what changes when a file does, without reading it; raises as :func:`open_source` does."""
    with understood(address, rule), open_ranged(address, storage) as file:
        return file.version


def files_of(address: str, pattern: re.Pattern[str], rule: str) -> list[str]:
    """Return the files that an address names: itself, or a local folder's files whose names match, sorted.

    Raises
    ------
    BadSetting
        No such file in the folder, or a file of another name.
    """
    folder = Path(address)
    is_folder = "://" not in address and folder.is_dir()
    names = sorted(str(file) for file in folder.iterdir() if file.is_file()) if is_folder else [address]
    files = [name for name in names if pattern.fullmatch(without_query(name).rpartition("/")[2])]
    if not files:
        raise unusable(address, rule, "no file of such a name in the folder" if is_folder else "another name")
    return files


def unusable(where: str, rule: str, got: str) -> BadSetting:
    """Return the error of a source that is not what its address says."""
    return BadSetting(
        "A source of entries cannot be read",
        where=without_query(where),
        rule=rule,
        got=got[:SHOWN_CHARACTERS],
        action="Correct the file or the source's address.",
    )


@contextlib.contextmanager
def understood(address: str, rule: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading a file into an error that says which, see :func:`open_source`."""
    where = without_query(address)
    try:
        yield
    except MissingInput:
        action = "Correct the source's address."
        raise MissingInput(
            "A source of entries is not there", where=where, rule=rule, got="nothing", action=action
        ) from None
    except SourceChanged as error:
        action = "Make the entries again."
        raise SourceChanged(
            "A source of entries changed while it was read", where=where, rule=error.rule, got=error.got, action=action
        ) from error
    except _FAULTS as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, IsADirectoryError):
            raise  # the operating system's, such as a full disk; Arrow's and bz2's have no number
        raise unusable(address, rule, f"{type(error).__name__}: {error}") from error
