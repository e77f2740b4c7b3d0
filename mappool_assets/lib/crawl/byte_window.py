"""A part of a file in memory that is slid forward, so that a file of any size takes the memory of a few blocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from mappool_assets.lib.ranged_file.base import RangedFile

LOCAL_BLOCK_BYTES = 2 << 20  # with less, members are read twice at its ends; with more, memory leaves the CPU's cache
REMOTE_BLOCK_BYTES = 8 << 20  # a request for some 300 pages of Common Crawl: 125 requests a file of 1 GB
PIECE_BYTES = 1 << 15  # zlib copies what it leaves of a piece


class ByteWindow:
    """Bytes of a file from :attr:`offset` to :attr:`end`; of a remote file, the next block comes meanwhile.

    Attributes
    ----------
    file : RangedFile
        Where the bytes come from.
    offset : int
        Position in the file of the first byte of ``data``.
    data : bytes
        What was kept at the last slide, and a block more.

    Parameters
    ----------
    block_bytes : int, optional
        Read at a time; by default the module's figure for local or remote files. Has no effect on what is read.
    """

    def __init__(self, file: RangedFile, block_bytes: int | None = None) -> None:
        self.file, self.offset, self.data = file, 0, b""
        is_remote = file.requests_at_a_time > 1
        self._block_bytes = block_bytes or (REMOTE_BLOCK_BYTES if is_remote else LOCAL_BLOCK_BYTES)
        # A local file is in the page cache: a thread would only cost.
        self._thread = ThreadPoolExecutor(1, "crawl-block") if is_remote else None
        self._coming: tuple[int, Future[bytes]] | None = None

    @property
    def end(self) -> int:
        """Position in the file after the last byte of ``data``."""
        return self.offset + len(self.data)

    @property
    def is_at_end(self) -> bool:
        """Whether the file holds nothing beyond ``data``."""
        return self.end >= self.file.size

    def slide(self, offset: int) -> None:
        """Let the window begin at ``offset`` and reach one block further than before, or start anew there."""
        kept = self.data[offset - self.offset :] if self.offset <= offset <= self.end else b""
        self.data, self.offset = kept + self._block(offset + len(kept)), offset

    def at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``, fewer only where the file ends; slides where need be."""
        length = max(0, min(length, self.file.size - offset))
        if offset < self.offset or offset > self.end:
            self.slide(offset)
        while self.end < offset + length:
            self.slide(offset)
        return self.data[offset - self.offset : offset - self.offset + length]

    def pieces(self, offset: int) -> Iterator[memoryview]:
        """Yield the bytes from ``offset`` to the file's end, :data:`PIECE_BYTES` at a time; the window stays."""
        data, begin = (self.data, self.offset) if self.offset <= offset < self.end else (b"", offset)
        for position in range(offset, self.file.size, PIECE_BYTES):
            wanted = min(position + PIECE_BYTES, self.file.size)
            if begin + len(data) < wanted:
                data, begin = data[position - begin :], position
                while begin + len(data) < wanted:
                    data += self._read(begin + len(data))
            yield memoryview(data)[position - begin : wanted - begin]

    def close(self) -> None:
        """Wait for the block under way, if any, and drop it."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _block(self, offset: int) -> bytes:
        if self._thread is None:
            return self._read(offset)
        coming, self._coming = self._coming, None
        block = coming[1].result() if coming is not None and coming[0] == offset else self._read(offset)
        following = offset + len(block)
        if following < self.file.size:
            self._coming = (following, self._thread.submit(self._read, following))
        return block

    def _read(self, offset: int) -> bytes:
        return self.file.read(offset, max(0, min(self._block_bytes, self.file.size - offset)))
