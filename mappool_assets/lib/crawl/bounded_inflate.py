"""Compressed bytes inflated in small pieces: whoever reads them can stop when they become too many."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator

GZIP_MAGIC = b"\x1f\x8b"
STORED_BYTES, STEP_BYTES = 1 << 15, 1 << 16  # fed and inflated at a time; zlib copies what it leaves of the first


def gunzipped(body: bytes) -> Iterator[bytes]:
    """Yield what all members hold; what follows the last one is left out.

    Raises
    ------
    zlib.error
        No member, a damaged one, or one without its end; what lies before it has been yielded.
    """
    position = 0
    while body.startswith(GZIP_MAGIC, position):
        position = yield from inflated(body, position, 31)
    if position == 0:
        raise zlib.error("no gzip header")


def inflated(body: bytes, start: int, window_bits: int) -> Generator[bytes, None, int]:
    """Yield what the stream at ``start`` holds; return where it ends. ``zlib.error`` as for :func:`gunzipped`.

    Parameters
    ----------
    window_bits : int
        As zlib counts: 31 for gzip, 15 for zlib, -15 for bare deflate.
    """
    inflater = zlib.decompressobj(window_bits)
    view = memoryview(body)
    for position in range(start, len(body), STORED_BYTES):
        rest: bytes | memoryview = view[position : position + STORED_BYTES]
        taken = position + len(rest)
        while True:
            piece = inflater.decompress(rest, STEP_BYTES)
            if piece:
                yield piece
            if inflater.eof:
                return taken - len(inflater.unused_data)
            rest = inflater.unconsumed_tail
            if not rest and len(piece) < STEP_BYTES:
                break
    raise zlib.error("it ends early")
