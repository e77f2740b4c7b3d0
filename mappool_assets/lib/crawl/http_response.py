"""A stored HTTP answer taken apart: status, the headers that matter, and the body without its codings.

Common Crawl stores bodies decoded and renames the headers that spoke of it (``X-Crawler-Content-Encoding``); other
writers store what came over the wire, and some store it decoded under the old headers. So a coding is undone where the
body has it, and a body that lacks it is taken as it is.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mappool_assets.lib.crawl.bounded_inflate import STEP_BYTES, gunzipped, inflated
from mappool_assets.lib.crawl.frames import BOMB_RATIO, find_blank_line

STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)")
FOLD = re.compile(rb"\r?\n[ \t]+")  # RFC 9112 §5.2: a header that goes on in the next line
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
LINE_END = re.compile(rb"\r?\n")
BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # what no text holds: WHATWG MIME Sniffing §3
SNIFFED_BYTES = 1_445  # ditto
CODINGS_AT_MOST = 3  # as many as a body may be wrapped in; nobody sends more in earnest


class HttpResponse(NamedTuple):
    """The head of an answer.

    Attributes
    ----------
    status : int
        Of the status line.
    headers : dict of str to list of str
        Values by name in lower case, in their order. Bytes that are not UTF-8 are read as Latin-1.
    body_start : int
        Where the body begins in the bytes that were parsed.
    """

    status: int
    headers: dict[str, list[str]]
    body_start: int


class Undecodable(NamedTuple):
    """Why a body cannot be had: ``too_large``, ``gzip_bomb`` or ``bad_encoding``, and what was found."""

    reason: str
    detail: str


def parse_response(content: bytes, start: int, end: int) -> HttpResponse | None:
    """Return the head of the answer between two positions, or None where there is no status line."""
    status = STATUS.match(content, start, end)
    if status is None:
        return None
    head_end, body_start = find_blank_line(content, start, end) or (end, end)
    head = content[start:head_end]
    if b"\n " in head or b"\n\t" in head:
        head = FOLD.sub(b" ", head)
    headers: dict[str, list[str]] = {}
    for line in head.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.strip().lower().decode("latin-1"), []).append(_text(value.strip()))
    return HttpResponse(int(status[1]), headers, body_start)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def decoded_body(response: HttpResponse, body: bytes, max_bytes: int, *, is_cut: bool) -> bytes | Undecodable:
    """Return the body without chunks and content codings.

    Parameters
    ----------
    max_bytes : int
        The longest body, before and after each coding; nothing longer is ever held.
    is_cut : bool
        Whether the crawler says that it cut the body: then what can be decoded of it is the body.
    """
    if body and ("transfer-encoding" in response.headers or "content-encoding" in response.headers):
        for coding in _codings(response):
            decoded = _undone(coding, body, max_bytes, is_cut)
            if isinstance(decoded, Undecodable):
                return decoded
            body = decoded
    if len(body) > max_bytes:
        return Undecodable("too_large", f"a body of {len(body)} bytes")
    return body


def _codings(response: HttpResponse) -> list[str]:
    """Return the codings in the order they are to be undone: transfer first, the last applied first."""
    named = [",".join(response.headers.get(f"{layer}-encoding", [])) for layer in ("content", "transfer")]
    codings = [coding.strip().lower() for coding in ",".join(named).split(",")]
    return [coding for coding in reversed(codings) if coding in DECODERS][:CODINGS_AT_MOST]


def _undone(coding: str, body: bytes, max_bytes: int, is_cut: bool) -> bytes | Undecodable:
    """Undo one coding; a body that does not have it comes back as it is."""
    pieces: list[bytes] = []
    decoded_bytes = 0
    try:
        for piece in DECODERS[coding](body):
            pieces.append(piece)
            decoded_bytes += len(piece)
            if decoded_bytes > max_bytes:
                reason = "gzip_bomb" if decoded_bytes > BOMB_RATIO * len(body) else "too_large"
                return Undecodable(reason, f"{coding}: {len(body)} bytes decode to more than {max_bytes}")
    except (zlib.error, OSError, ValueError) as error:
        # Chunks of text are text themselves: one may be a plain page that begins with a number, two are chunks.
        has_chunks = coding == "chunked" and len(pieces) > (0 if is_cut else 1)
        if not has_chunks and BINARY.search(body[:SNIFFED_BYTES]) is None:
            return body
        if not (is_cut and pieces):
            return Undecodable("bad_encoding", f"{coding}: {error}")
    return b"".join(pieces)


def _unchunked(body: bytes) -> Iterator[bytes]:
    """Yield chunks (RFC 9112 §7.1); ``ValueError`` where one is not as it says."""
    position = 0
    while position < len(body):
        size = CHUNK_SIZE.match(body, position)
        if size is None:
            raise ValueError(f"no chunk size at byte {position}")
        length = int(size[1], 16)
        if length == 0:
            return
        position = size.end() + length
        yield body[size.end() : position]
        if position > len(body):
            raise ValueError("it ends within a chunk")
        line_end = LINE_END.match(body, position)
        if line_end is None:
            raise ValueError(f"no line end after the chunk before byte {position}")
        position = line_end.end()
    raise ValueError("it ends before the last chunk")


def _deflated(body: bytes) -> Iterator[bytes]:
    """Yield what a zlib stream holds, or a bare deflate stream, which some servers send under the same name."""
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    yield from inflated(body, 0, 15 if has_header else -15)


def _by_fastwarc(reader: str) -> Callable[[bytes], Iterator[bytes]]:
    def decoded(body: bytes) -> Iterator[bytes]:
        from fastwarc import stream_io

        source = getattr(stream_io, reader)(io.BytesIO(body))
        while piece := source.read(STEP_BYTES):
            yield piece

    return decoded


DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "chunked": _unchunked,
    "gzip": gunzipped,
    "x-gzip": gunzipped,
    "deflate": _deflated,
    "br": _by_fastwarc("BrotliReader"),
    "zstd": _by_fastwarc("ZstdReader"),
}
