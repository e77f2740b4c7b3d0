"""The records of an uncompressed ``.warc``, framed by what they say of their own length.

A record counts only where the blank line that ends it, another record or the file's end follows. There is no sum over
the bytes: what is changed within a body is not seen. After damage, reading goes on at the next line that begins a WARC
header; such a line may also stand in the page that was damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mappool_assets.lib.crawl.byte_window import ByteWindow
from mappool_assets.lib.crawl.frames import FIRST_BYTES, Frame, WarcLimits

VERSION = b"WARC/1."
FIRST_LINE = re.compile(rb"(?<=\n)WARC/1\.\d\r?\n")
# Fields by name, lines that go on with the one before, a blank line; any bytes may stand in a value.
HEADER = re.compile(rb"WARC/1\.\d[ \t]*\r?\n(?:(?:[!-9;-~]+[ \t]*:|[ \t])[^\r\n]*\r?\n)++\r?\n")
BLOCK_LENGTH = re.compile(rb"\nContent-Length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
LINE_ENDS = re.compile(rb"(?:\r?\n)*")
LONGEST_GAP = 64  # bytes of line ends between two records; the specification says 4


def block_place(data: bytes, start: int = 0) -> tuple[int, int] | None:
    """Return the lengths of a record's header and of its block; None where no sound header begins at ``start``."""
    header = HEADER.match(data, start, start + FIRST_BYTES)
    length = BLOCK_LENGTH.search(data, start, header.end()) if header else None
    return (header.end() - start, int(length[1])) if header and length else None


def plain_frames(window: ByteWindow, start: int, limits: WarcLimits) -> Iterator[Frame]:
    """Yield the records from ``start`` on, and the damage between them."""
    position = start
    while position < window.file.size:
        frame = _frame(window, position, limits)
        yield frame
        position = frame.end


def _frame(window: ByteWindow, position: int, limits: WarcLimits) -> Frame:
    head = window.at(position, FIRST_BYTES)
    block = block_place(head)
    if block is None:
        return _damage(window, position, head, "no WARC header")
    length = block[0] + block[1]
    if position + length > window.file.size:
        return _damage(window, position, head, f"Content-Length {block[1]} reaches beyond the file", "truncated_file")
    content = window.at(position, length) if length <= limits.max_record_bytes else head
    following = window.at(position + length, LONGEST_GAP)
    gap = LINE_ENDS.match(following)
    gap_bytes = gap.end() if gap else 0
    is_ended = following[:gap_bytes].count(b"\n") >= 2 or following.startswith(VERSION, gap_bytes)
    if not is_ended and position + length + gap_bytes < window.file.size:
        return _damage(window, position, head, f"no record ends after Content-Length {block[1]}")
    if length > limits.max_record_bytes:
        return Frame(position, length + gap_bytes, head, "too_large", f"{length} bytes")
    return Frame(position, length + gap_bytes, content)


def _damage(window: ByteWindow, position: int, head: bytes, detail: str, fault: str = "corrupt_record") -> Frame:
    following = _next_record(window, position + 1)
    if following is None:
        return Frame(position, window.file.size - position, head, fault, detail)
    return Frame(position, following - position, head, "corrupt_record", detail)


def _next_record(window: ByteWindow, position: int) -> int | None:
    """Return where, from ``position`` on, a line begins a WARC header; None where none does."""
    while position < window.file.size:
        window.at(position - 1, FIRST_BYTES)  # with the line end before it
        for found in FIRST_LINE.finditer(window.data, position - window.offset):
            position = window.offset + found.start()
            if window.end - position < FIRST_BYTES and not window.is_at_end:
                break
            if block_place(window.data, found.start()) is not None:
                return position
        else:
            if window.is_at_end:
                return None
            position = max(position, window.end - len(VERSION) - 4)  # a first line may lie across the window's end
        window.slide(position - 1)
    return None
