"""The float16 rows of a shard in a file where any row can be read by itself.

Parquet's pages are compressed: to read one row of ``shard_maps`` is to read a thousand. These are NumPy's files, one
row after the other. They are read by offset, not mapped: a page fault maps 64 KB around a row, and with a few thousand
queries a process would hold all rows (measured at a million rows: 1.5 GB resident, or 7.5 µs a row when the mapping is
given up in time, against 1.5 µs for a read).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.retrieval.index_ledger import BadIndex

BLOCK_ROWS = 16_384  # 25 MB at width 768
HASHED_AT_A_TIME = 1 << 20
DENSE_SHARE = 1 / 8  # of rows wanted in a stretch from which on the whole stretch is read; a read costs some 8 rows


class SupportsRead(Protocol):
    """What can be read in parts."""

    def read(self, size: int, /) -> bytes:
        """Return as many bytes, or what is left."""


def write_rows(path: Path, blocks: Iterable[NDArray[np.float16]], rows: int, dimension: int) -> None:
    """Write a matrix (rows, dimension) that comes in blocks."""
    header = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype="<f2").data)


def file_sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return stream_sha256(file)


def stream_sha256(stream: SupportsRead) -> str:
    """Return the hash of what is left of an open file."""
    content = hashlib.sha256()
    while part := stream.read(HASHED_AT_A_TIME):
        content.update(part)
    return content.hexdigest()


@dataclass(frozen=True)
class RowFile:
    """A matrix (rows, dimension) of float16 in a file; opened for each call, so that no descriptor is held."""

    path: Path
    rows: int
    dimension: int
    header_bytes: int

    @classmethod
    def open(cls, path: Path) -> RowFile:
        """Read the header; :class:`BadIndex` where this is no file of rows, or is cut short."""
        try:
            with path.open("rb") as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("another version of NumPy's format")
                shape, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
                header_bytes = file.tell()
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        if len(shape) != 2 or is_fortran or kind != np.dtype("<f2"):
            raise _unreadable(path, f"{kind} of shape {shape}")
        expected = header_bytes + 2 * shape[0] * shape[1]
        if (found := path.stat().st_size) != expected:
            raise _unreadable(path, f"{found:,} bytes instead of {expected:,}")
        return cls(path, *shape, header_bytes)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return some rows, given in ascending order.

        Raises
        ------
        BadIndex
            The file is gone: the index was built anew since it was opened.
        """
        if len(rows) and len(rows) > DENSE_SHARE * (rows[-1] - rows[0] + 1):
            return self._stretch(int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        taken = np.empty((len(rows), self.dimension), dtype=np.float16)
        row_bytes = 2 * self.dimension
        places = taken.reshape(-1).view(np.uint8).data
        offsets = (self.header_bytes + row_bytes * rows).tolist()
        descriptor = self._open()
        try:
            for number, offset in enumerate(offsets):
                self._fill(descriptor, places[number * row_bytes : (number + 1) * row_bytes], offset)
        finally:
            os.close(descriptor)
        return taken

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Yield all rows in order, with the first one's number."""
        for start in range(0, self.rows, block_rows):
            yield start, self._stretch(start, min(start + block_rows, self.rows))

    def _stretch(self, start: int, stop: int) -> NDArray[np.float16]:
        rows = np.empty((stop - start, self.dimension), dtype=np.float16)
        descriptor = self._open()
        try:
            offset = self.header_bytes + 2 * self.dimension * start
            self._fill(descriptor, rows.reshape(-1).view(np.uint8).data, offset)
        finally:
            os.close(descriptor)
        return rows

    def _fill(self, descriptor: int, place: memoryview, offset: int) -> None:
        if os.preadv(descriptor, [place], offset) != len(place):
            raise _unreadable(self.path, f"no {len(place)} bytes at {offset}")

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise BadIndex(
                "Rows of the index are gone",
                where=str(self.path),
                rule="the files that were there when the index was opened",
                got="nothing",
                action="Open the index again; it was built anew.",
            ) from error


def _unreadable(path: Path, got: str) -> BadIndex:
    return BadIndex(
        "A file of rows cannot be read",
        where=str(path),
        rule="float16 rows in NumPy's format 1.0, whole",
        got=got,
        action="Delete it and build the image index again.",
    )
