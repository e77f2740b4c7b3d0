"""The members of a ``.warc.gz``, exactly framed: each page's own member, whatever is damaged around it.

A member counts only where its deflate stream ends, its CRC and its length agree. Sound stretches go through Intel's
inflater (``isal``), which is 2.2 × as fast as zlib: the next gzip magic is taken for a member's end, the four bytes
before it for its length, and both are proved by the inflater arriving there, its CRC right. What this does not prove (a
magic within a member, a damaged or large one) is read again by zlib, which says exactly where a member ends.

After damage, reading goes on at the next gzip magic behind which a WARC header begins. Such bytes may also lie in a
damaged member that stores a WARC file, uncompressed, as its page: those records would be taken for the crawl's own.
"""

from __future__ import annotations

import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from isal import isal_zlib

from mappool_assets.lib.crawl.byte_window import ByteWindow
from mappool_assets.lib.crawl.frames import BOMB_RATIO, FIRST_BYTES, Frame, WarcLimits

MAGIC = re.compile(rb"\x1f\x8b\x08")
GZIP = 31  # zlib's number for a gzip header and trailer around 32 KiB windows
FIRST_STEP_BYTES = 1 << 10  # inflated first, then twice as much a time: of the call that meets damage nothing is left
STEP_BYTES = 1 << 20  # inflated at a time in the end
GLANCE_BYTES = 4_096  # stored bytes in which a member's first seven inflated ones come, unless it is none


def gzip_frames(window: ByteWindow, start: int, limits: WarcLimits) -> Iterator[Frame]:
    """Yield the members from ``start`` on, and the damage between them."""
    return _Members(window, limits).frames(start)


class _Members:
    def __init__(self, window: ByteWindow, limits: WarcLimits) -> None:
        self._window, self._limits = window, limits
        self._magics = array("q")  # where in the file they lie; an array, as hostile windows hold millions
        self._searched = (0, 0)  # the part of the file that was searched for them: the window of that time

    def frames(self, position: int) -> Iterator[Frame]:
        while position < self._window.file.size:
            before = position
            for frame in self._proved(position):
                yield frame
                position = frame.end
            if position == before:
                frame = self._exact(position)
                yield frame
                position = frame.end

    def _proved(self, position: int) -> Iterator[Frame]:
        """Yield members as long as each ends where the next magic lies, with its checksum; then zlib has to tell."""
        first = self._magic_at(position)
        if first is None:
            return
        stored, offset = memoryview(self._window.data), self._window.offset
        for number in range(first, len(self._magics) - 1):
            begin, end = self._magics[number], self._magics[number + 1]
            member = stored[begin - offset : end - offset]
            size = int.from_bytes(member[-4:], "little")
            if not 0 < size <= self._limits.max_record_bytes:
                return
            inflater = isal_zlib.decompressobj(GZIP)
            try:
                content = inflater.decompress(member, size)
            except isal_zlib.IsalError:  # type: ignore[misc]  # a class, which its stub calls an exception
                return
            if not inflater.eof or inflater.unused_data or len(content) != size:
                return
            yield Frame(begin, end - begin, content)

    def _magic_at(self, position: int) -> int | None:
        """Return which of the window's magics lies here, where another follows; slides the window where need be."""
        for _ in range(2):
            window = self._window
            if self._searched != (window.offset, window.end):
                self._searched = (window.offset, window.end)
                self._magics = array("q", (window.offset + found.start() for found in MAGIC.finditer(window.data)))
            number = bisect_left(self._magics, position)
            if number + 1 < len(self._magics):
                return number if self._magics[number] == position else None
            if window.offset == position or window.is_at_end:
                return None
            window.slide(position)
        return None

    def _exact(self, position: int) -> Frame:
        """Return the member that begins here; or the damage, up to where a record begins again."""
        inflated = _inflate(self._window, position, self._limits)
        if inflated.fault is None:
            return Frame(position, inflated.stored_bytes, inflated.content)
        if inflated.stored_bytes:
            return Frame(position, inflated.stored_bytes, inflated.content, inflated.fault, inflated.detail)
        following = self._next_record(position + 1)
        if following is None:
            length = self._window.file.size - position
            return Frame(position, length, inflated.content, inflated.fault, inflated.detail)
        # What follows shows that the file does not end here, however far the damaged stream ran on.
        fault = "corrupt_record" if inflated.fault == "truncated_file" else inflated.fault
        return Frame(position, following - position, inflated.content, fault, inflated.detail)

    def _next_record(self, position: int) -> int | None:
        """Return where, from ``position`` on, a member begins that inflates to a WARC header; None where none does."""
        window = self._window
        while position < window.file.size:
            window.at(position, GLANCE_BYTES)
            for found in MAGIC.finditer(window.data, position - window.offset):
                position = window.offset + found.start()
                if window.end - position < GLANCE_BYTES and not window.is_at_end:
                    break
                if _begins_record(memoryview(window.data)[found.start() : found.start() + GLANCE_BYTES]):
                    return position
            else:
                if window.is_at_end:
                    return None
                position = max(position, window.end - 2)  # a magic may lie across the window's end
            window.slide(position)
        return None


def _begins_record(stored: memoryview) -> bool:
    try:
        return zlib.decompressobj(GZIP).decompress(stored, 7).startswith(b"WARC/1.")
    except zlib.error:
        return False


class _Inflated(NamedTuple):
    stored_bytes: int  # 0 where the member has no end
    content: bytes
    fault: str | None = None
    detail: str = ""


def _inflate(window: ByteWindow, position: int, limits: WarcLimits) -> _Inflated:
    """Inflate one member to its very end, in steps; of one that is too large, only the first bytes are kept."""
    inflater = zlib.decompressobj(GZIP)
    kept, kept_bytes, inflated_bytes, taken_bytes = [b""], 0, 0, 0
    step = FIRST_STEP_BYTES

    def faulty(stored_bytes: int, fault: str, detail: str) -> _Inflated:
        return _Inflated(stored_bytes, b"".join(kept)[:FIRST_BYTES], fault, detail)

    for piece in window.pieces(position):
        taken_bytes += len(piece)
        rest: bytes | memoryview = piece
        while True:
            try:
                content = inflater.decompress(rest, step)
            except zlib.error as error:
                return faulty(0, "corrupt_record", str(error))
            inflated_bytes += len(content)
            if inflated_bytes <= limits.max_record_bytes or kept_bytes < FIRST_BYTES:
                kept.append(content)
                kept_bytes += len(content)
            if inflater.eof:
                stored_bytes = taken_bytes - len(inflater.unused_data)
                if inflated_bytes <= limits.max_record_bytes:
                    return _Inflated(stored_bytes, b"".join(kept))
                return faulty(stored_bytes, *_too_large(inflated_bytes, stored_bytes))
            if inflated_bytes > limits.max_inflated_bytes:
                return faulty(0, *_too_large(inflated_bytes, taken_bytes))
            rest = inflater.unconsumed_tail
            if not rest and len(content) < step:
                break
            step = min(2 * step, STEP_BYTES)
    return faulty(0, "truncated_file", f"the file ends {taken_bytes} bytes into the member")


def _too_large(inflated_bytes: int, stored_bytes: int) -> tuple[str, str]:
    fault = "gzip_bomb" if inflated_bytes > BOMB_RATIO * stored_bytes else "too_large"
    return fault, f"{stored_bytes} bytes inflate to {inflated_bytes}"
