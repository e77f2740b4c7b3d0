"""The stretches into which a crawl file falls: each a record, or damage; and the limits they are read under."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

BLANK_LINE = re.compile(rb"\r?\n\r?\n")  # the line ends of the specification, and those of writers that forgot them
FIRST_BYTES = 1 << 16  # of what is refused: enough for the record's own header, which states the page's address
BOMB_RATIO = 100  # inflated to stored, as far as it was followed: called a bomb from there on; deflate reaches 1,032


@dataclass(frozen=True, slots=True)
class WarcLimits:
    """How much of one record is ever held in memory.

    Attributes
    ----------
    max_page_bytes : int
        The longest body, stored or decoded. Common Crawl cuts decoded bodies at 5 MiB (until 2024: 1 MiB).
    max_head_bytes : int
        The longest WARC and HTTP headers of a record together. Servers accept 8 to 64 KiB; the rest is room.
    max_inflated_bytes : int
        A gzip member that inflates to more is not followed to its end: 4 GiB take some 10 s.
    """

    max_page_bytes: int = 5 << 20
    max_head_bytes: int = 256 << 10
    max_inflated_bytes: int = 4 << 30

    @property
    def max_record_bytes(self) -> int:
        """The longest record, inflated."""
        return self.max_page_bytes + self.max_head_bytes


class Frame(NamedTuple):
    """A stretch of a crawl file.

    Attributes
    ----------
    offset, length : int
        Where it lies in the file, in bytes as stored. Frames follow each other without gaps.
    content : bytes
        The record, inflated; of a faulty frame, what could be read of its beginning.
    fault : str, optional
        ``corrupt_record``, ``truncated_file``, ``too_large`` or ``gzip_bomb``; None for a sound one.
    detail : str
        What is wrong, for people.
    """

    offset: int
    length: int
    content: bytes
    fault: str | None = None
    detail: str = ""

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + self.length


def find_blank_line(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Return where the first blank line between two positions begins and ends: what parts headers from the rest."""
    found = data.find(b"\r\n\r\n", start, end)  # 3 × as fast as the expression
    if found >= 0 and data.find(b"\n\n", start, found) < 0 and data.find(b"\n\r\n", start, found) < 0:
        return found, found + 4
    match = BLANK_LINE.search(data, start, end)
    return match.span() if match else None
