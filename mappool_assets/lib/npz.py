"""Embeddings inside an ``.npz``, read row by row over byte ranges.

``numpy.savez`` stores members without compression, so rows lie at known offsets; ``np.load`` cannot use that (it
ignores ``mmap_mode`` for ``.npz``). A deflated member has no row offsets: it is decompressed once into a temporary
file and then read the same way.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.ranged_file.base import RangedFile
from mappool_assets.lib.ranged_file.stores import LocalFile

LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7
LOCAL_SIGNATURE = b"PK\x03\x04"
MAX_INFLATION = 100  # embeddings deflate to 0.92 of their size; what shrinks a hundredfold is a bomb
LONGEST_READ_BYTES = 4 << 20  # of chosen rows; memory is up to twice this times the requests at a time
HEADER_READ_BYTES = 1024  # local header, name, zip64 extra and the 128-byte .npy header in one read


@dataclass(frozen=True)
class RowMatrix:
    """A row-major float16 matrix at a known offset of a file.

    Attributes
    ----------
    name : str
        Member name, for messages.
    file : RangedFile
        The npz itself, or the temporary file of a deflated member.
    offset : int
        Byte of row 0.
    rows, width : int
        Shape.
    crc_start : int
        Where the checksummed bytes (the .npy header first) begin.
    crc32 : int or None
        Checksum of header and rows; None where it was checked already (deflated members).
    """

    name: str
    file: RangedFile
    offset: int
    rows: int
    width: int
    crc_start: int
    crc32: int | None

    @property
    def row_bytes(self) -> int:
        """Bytes a row."""
        return self.width * np.dtype(np.float16).itemsize

    def blocks(self, block_rows: int) -> Iterator[np.ndarray]:
        """Yield all rows in order, (≤ block_rows, width) float16; the CRC-32 is checked at the end.

        Raises
        ------
        BadShard
            The bytes do not have the checksum of the zip directory. What was yielded before must be discarded.
        """
        crc = zlib.crc32(self.file.read(self.crc_start, self.offset - self.crc_start))
        for start in range(0, self.rows, block_rows):
            data = self._read_rows(start, min(block_rows, self.rows - start))
            if self.crc32 is not None:
                crc = zlib.crc32(data, crc)
            yield self._as_matrix(data)
        if self.crc32 is not None and crc != self.crc32:
            raise _bad(self.file.url, f"Member {self.name} is damaged", f"CRC-32 {self.crc32:08x}", f"{crc:08x}")

    def take(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return chosen rows, (len(rows), width) float16, from as few bytes and requests as pays.

        ``rows`` ascends strictly. Two rows are read together where the bytes between them cost no more than
        another request (``file.request_cost_bytes``): for independent gaps that choice is the cheapest one. However
        wide the gaps that are read over, no more than ``LONGEST_READ_BYTES`` are read at a time.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        result = np.empty((len(wanted), self.width), dtype=np.float16)
        if not len(wanted):
            return result

        def fill(run: slice) -> None:
            first, last = int(wanted[run][0]), int(wanted[run][-1])
            span = self._as_matrix(self._read_rows(first, last - first + 1))
            result[run] = span[wanted[run] - first]

        runs = self._runs(wanted)
        threads = min(self.file.requests_at_a_time, len(runs))
        if threads == 1:
            for run in runs:
                fill(run)
            return result
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, runs):
                pass  # the iteration raises what a thread raised
        return result

    def _runs(self, wanted: np.ndarray) -> list[slice]:
        """Return which of the wanted rows are read together."""
        gap_bytes = (np.diff(wanted) - 1) * self.row_bytes
        part = wanted * self.row_bytes // LONGEST_READ_BYTES
        starts = np.flatnonzero((gap_bytes > self.file.request_cost_bytes) | (np.diff(part) > 0)) + 1
        edges = [0, *starts.tolist(), len(wanted)]
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def _read_rows(self, start: int, count: int) -> bytes:
        return self.file.read(self.offset + start * self.row_bytes, count * self.row_bytes)

    def _as_matrix(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.float16).reshape(-1, self.width)


@contextlib.contextmanager
def open_matrices(file: RangedFile, names: Sequence[str]) -> Iterator[list[RowMatrix]]:
    """Yield members of an npz as matrices, in the order of ``names`` (without ``.npy``).

    Raises
    ------
    BadShard
        No zip directory (truncated?), a missing member, or one that is not a 2-d float16 matrix.
    """
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(file.as_stream())))
            yield [_open_matrix(file, archive, name, stack) for name in names]
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
            raise _bad(file.url, "The npz cannot be read as a zip file", "a complete zip file", str(error)) from error


def _open_matrix(file: RangedFile, archive: zipfile.ZipFile, name: str, stack: contextlib.ExitStack) -> RowMatrix:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        there = ", ".join(sorted(archive.namelist())) or "none"
        raise _bad(file.url, "The npz lacks a member", f"a member {name}.npy", f"members {there}") from None
    if member.compress_type == zipfile.ZIP_STORED:
        head = file.read(member.header_offset, min(HEADER_READ_BYTES, file.size - member.header_offset))
        signature, *_, name_length, extra_length = LOCAL_HEADER.unpack_from(head)
        if signature != LOCAL_SIGNATURE:
            raise zipfile.BadZipFile(f"no local header of {name} at byte {member.header_offset}")
        start = member.header_offset + LOCAL_HEADER.size + name_length + extra_length
        return _as_row_matrix(file, name, start, member.file_size, member.CRC)
    if member.file_size > MAX_INFLATION * member.compress_size:
        raise _bad(
            file.url,
            f"Member {name} would inflate beyond reason",
            f"at most {MAX_INFLATION} times its size",
            f"{member.file_size:,} bytes from {member.compress_size:,}",
        )
    inflated = stack.enter_context(tempfile.TemporaryDirectory(prefix="mappool-npz-"))
    path = Path(inflated) / f"{name}.npy"
    with archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)  # zipfile checks the CRC at the end
    local = stack.enter_context(LocalFile(str(path)))
    return _as_row_matrix(local, name, 0, local.size, None)


def _as_row_matrix(file: RangedFile, name: str, start: int, size: int, crc32: int | None) -> RowMatrix:
    """Read the .npy header at ``start`` and hold it against what CommonPool stores."""
    header = io.BytesIO(file.read(start, min(HEADER_READ_BYTES, size)))
    try:
        major, _ = np.lib.format.read_magic(header)
        read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(header)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise _bad(file.url, f"Member {name} is not an array", "a .npy header", str(error)) from None
    rule = f"{name} as a row-major (n, d) matrix of float16"
    if dtype != np.float16 or len(shape) != 2 or is_fortran:
        raise _bad(file.url, f"Member {name} has another form", rule, f"shape {shape} of {dtype}")
    if size - header.tell() != shape[0] * shape[1] * dtype.itemsize:
        raise _bad(file.url, f"Member {name} is not as long as it says", rule, f"{size} bytes for shape {shape}")
    return RowMatrix(name, file, start + header.tell(), shape[0], shape[1], start, crc32)


def _bad(url: str, what: str, rule: str, got: str) -> BadShard:
    return BadShard(what, where=url, rule=rule, got=got, action="Fetch this shard's npz again, or leave the shard out.")
