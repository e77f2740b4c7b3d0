"""The records of a WARC or WAT file, one after the other, in bounded memory; what is damaged is told, not skipped.

Digests are not verified: the CRC of each gzip member is, which shows damage in storage and transport. An uncompressed
file has no such sum; there only the framing is checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mappool_assets.lib.crawl.bounded_inflate import GZIP_MAGIC
from mappool_assets.lib.crawl.byte_window import ByteWindow
from mappool_assets.lib.crawl.frames import FIRST_BYTES, Frame, WarcLimits, find_blank_line
from mappool_assets.lib.crawl.gzip_members import gzip_frames
from mappool_assets.lib.crawl.plain_records import BLOCK_LENGTH, VERSION, block_place, plain_frames
from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.ranged_file.base import RangedFile

DAMAGE = ("corrupt_record", "truncated_file")
# The line end, which has no case, stays outside: the search then goes from one to the next, not byte by byte.
RECORD_TYPE = re.compile(rb"\n(?i:WARC-Type):[ \t]*([\w-]+)")
TARGET = re.compile(rb"\n(?i:WARC-Target-URI):([^\r\n]*)[\r\n]")
FOLD = re.compile(r"\r?\n[ \t]+")


@dataclass(frozen=True, slots=True)
class WarcRecordBytes:
    """A record as stored.

    Attributes
    ----------
    kind : str
        ``WARC-Type``, lower case.
    url : str, optional
        ``WARC-Target-URI``, without the angle brackets that some writers put around it.
    offset, length : int
        Where it lies in the file, in bytes as stored: exactly these bytes give the record again.
    content : bytes
        Header and block, and the line ends after each.
    head_end, block_start, block_end : int
        Where in ``content`` the header ends, and where the ``Content-Length`` bytes after it lie.
    """

    kind: str
    url: str | None
    offset: int
    length: int
    content: bytes
    head_end: int
    block_start: int
    block_end: int

    @property
    def block(self) -> bytes:
        """What follows the header, copied anew each time."""
        return self.content[self.block_start : self.block_end]

    @property
    def headers(self) -> dict[str, str]:
        """The fields of the header, names in lower case, read anew each time; of a name that occurs twice, the first.

        A line that begins with white space goes on with the one before.
        """
        headers: dict[str, str] = {}
        head = self.content[: self.head_end].decode("utf-8", "replace")
        if "\n " in head or "\n\t" in head:
            head = FOLD.sub(" ", head)
        for line in head.split("\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                headers.setdefault(name.strip().lower(), value.strip())
        return headers


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record, or a damaged stretch of the file, that gives no page.

    Attributes
    ----------
    url : str, optional
        The page's address, where it could still be read.
    offset : int
        Where it begins in the file.
    length : int, optional
        Bytes as stored; of a damaged stretch, up to where reading went on.
    reason : str
        ``corrupt_record``, ``truncated_file`` (the file ends within it), ``wrong_length`` (``Content-Length`` is not
        the block's), ``several_records`` (a gzip member holds more than one: they have no address of their own),
        ``too_large``, ``gzip_bomb``; those of :mod:`~mappool_assets.lib.crawl.warc_pages` besides.
    detail : str
        What was found, for people.
    """

    url: str | None
    offset: int
    length: int | None
    reason: str
    detail: str


def read_records(
    file: RangedFile, limits: WarcLimits, kinds: Collection[str], start: int = 0
) -> Iterator[WarcRecordBytes | RefusedRecord]:
    """Yield the records of some kinds, and every damaged stretch, in the file's order.

    A stretch of damage is one value, however many records it was. No page of an undamaged member is lost. Memory is
    bounded by the limits and the blocks of :mod:`~mappool_assets.lib.crawl.byte_window`, whatever the file's size.

    Parameters
    ----------
    file : RangedFile
        A ``.warc.gz`` or ``.warc.wat.gz`` with one gzip member a record, or an uncompressed ``.warc``.
    kinds : collection of str
        Values of ``WARC-Type``, lower case, for instance ``{"metadata"}``; other sound records are passed over.
    start : int
        Offset of a member to begin at, in bytes as stored.

    Raises
    ------
    BadShard
        Not a single record in the whole file.
    SourceChanged, SourceUnavailable
        See :class:`~mappool_assets.lib.ranged_file.base.RangedFile`.
    """
    window = ByteWindow(file)
    has_record = start > 0
    try:
        frames = gzip_frames if _is_compressed(window, start) else plain_frames
        for frame in frames(window, start, limits):
            record = _record(frame, kinds)
            is_damage = isinstance(record, RefusedRecord) and record.reason in DAMAGE
            has_record = has_record or not (is_damage or frame.content == b"")
            if record is not None:
                yield record
        file.check_unchanged()
    finally:
        window.close()
    if not has_record:
        raise BadShard(
            "The crawl file holds no record",
            where=file.url,
            rule="WARC records, each a gzip member of its own",
            got=f"{file.size} bytes without one",
            action="Fetch the file anew, or take it off the list.",
        )


def _is_compressed(window: ByteWindow, start: int) -> bool:
    """Tell by the name, unless the first bytes are clear: a whole header, or gzip under another name."""
    first = window.at(start, FIRST_BYTES)
    if window.file.url.endswith(".gz"):
        return block_place(first) is None
    return first.startswith(GZIP_MAGIC)


def _record(frame: Frame, kinds: Collection[str]) -> WarcRecordBytes | RefusedRecord | None:
    """Return a frame's record, or why it is none; None where it is of no interest."""
    content = frame.content
    found = find_blank_line(content, 0, FIRST_BYTES)
    head_end = found[1] if found else len(content)
    stated = RECORD_TYPE.search(content, 0, head_end)
    kind = stated[1].decode("ascii", "replace").lower() if stated else ""
    if frame.fault is not None:
        is_sound = frame.fault in ("too_large", "gzip_bomb") and kind != "" and kind not in kinds
        return None if is_sound else _refused(frame, frame.fault, frame.detail)
    if not (found and kind and content.startswith(VERSION)):
        return _refused(frame, "corrupt_record", "no WARC header") if content.strip() else None
    length = BLOCK_LENGTH.search(content, 0, head_end)
    block_end = head_end + int(length[1]) if length else -1
    if content[block_end:] != b"\r\n\r\n" and (
        block_end < 0 or block_end > len(content) or content[block_end:].strip()
    ):
        return _length_refused(frame, block_end, head_end)
    if kind not in kinds:
        return None
    url = _url(content, head_end)
    return WarcRecordBytes(kind, url, frame.offset, frame.length, content, found[0], head_end, block_end)


def _url(content: bytes, head_end: int) -> str | None:
    found = TARGET.search(content, 0, head_end)
    return found[1].strip(b"<> \t").decode("utf-8", "replace") or None if found else None


def _length_refused(frame: Frame, block_end: int, head_end: int) -> RefusedRecord:
    if block_end < 0:
        return _refused(frame, "wrong_length", "no Content-Length that is a number")
    if frame.content[block_end:].lstrip().startswith(VERSION):
        return _refused(frame, "several_records", "a gzip member with more than one record: store each in its own")
    detail = f"Content-Length {block_end - head_end}, the member holds {len(frame.content) - head_end} bytes"
    return _refused(frame, "wrong_length", detail)


def _refused(frame: Frame, reason: str, detail: str) -> RefusedRecord:
    blank = find_blank_line(frame.content, 0, FIRST_BYTES)
    url = _url(frame.content, blank[1] if blank else min(len(frame.content), FIRST_BYTES))
    return RefusedRecord(url, frame.offset, frame.length, reason, detail)
