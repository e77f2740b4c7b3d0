"""Crawl files as Common Crawl writes them: a WARC of made pages, and the WAT that goes with it.

A WARC holds a ``warcinfo`` record, then ``request``, ``response`` and ``metadata`` of each page; a WAT holds its own
``warcinfo`` and one ``metadata`` record of JSON for each record of the WARC. Every record is a gzip member of its own
(uncompressed where the file's name does not end in ``.gz``). Names, order and fields follow real files of
CC-MAIN-2024-22. The same pages give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from mappool_assets.demo.crawl_links import html_metadata
from mappool_assets.lib.lake import replacing

DATE = "2024-05-18T01:58:10Z"
REASONS = {200: "OK", 301: "Moved Permanently", 304: "Not Modified", 404: "Not Found", 500: "Internal Server Error"}
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MadePage:
    """A page as a crawler received it.

    Attributes
    ----------
    url : str
        Its address.
    body : bytes
        What came after the HTTP headers, written as it is.
    headers : tuple of (str, str)
        HTTP headers in order, written as they are (UTF-8; surrogate escapes give any byte). ``Content-Length`` is
        added where none is there.
    status : int
        HTTP status.
    truncated : str, optional
        ``WARC-Truncated``: ``length``, ``time``, ``disconnect`` or ``unspecified``; None is a whole page.
    """

    url: str
    body: bytes
    headers: Headers = (("Content-Type", "text/html; charset=UTF-8"),)
    status: int = 200
    truncated: str | None = None

    @property
    def content_type(self) -> str | None:
        """The first ``Content-Type``, or None."""
        return next((value for name, value in self.headers if name.lower() == "content-type"), None)

    @property
    def http_head(self) -> bytes:
        """The status line and the headers, with the empty line."""
        headers = self.headers
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = (*headers, ("Content-Length", str(len(self.body))))
        status = f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"
        return _head_bytes(status, headers)


class _Record(NamedTuple):
    headers: Headers  # of the WARC record
    block: bytes
    page: MadePage | None

    @property
    def kind(self) -> str:
        return self.headers[0][1]

    def to_bytes(self) -> bytes:
        return _head_bytes("WARC/1.0", self.headers) + self.block + b"\r\n\r\n"


def write_warc(path: Path, pages: Iterable[MadePage]) -> list[tuple[int, int]]:
    """Write a WARC file.

    Returns
    -------
    list of (int, int)
        Where each page's ``response`` record lies: offset and length in the file, in bytes as stored.
    """
    return _write(path, _warc_records(path.name, pages))


def write_wat(path: Path, pages: Iterable[MadePage]) -> list[tuple[int, int]]:
    """Write the WAT of the WARC that :func:`write_warc` makes of the same pages under the same name.

    Parameters
    ----------
    path : Path
        Ends in ``.warc.wat.gz``; its WARC is then ``….warc.gz``.

    Returns
    -------
    list of (int, int)
        Where the record about each page's ``response`` lies: offset and length in the WAT, in bytes as stored.
    """
    warc_name = path.name.replace(".warc.wat", ".warc")
    return _write(path, _wat_records(path.name, warc_name, pages))


def _write(path: Path, records: Iterable[_Record]) -> list[tuple[int, int]]:
    with replacing(path) as temporary, temporary.open("wb") as file:
        return list(_written(file, path.name.endswith(".gz"), records))


def _written(file: IO[bytes], is_compressed: bool, records: Iterable[_Record]) -> Iterator[tuple[int, int]]:
    for record in records:
        offset = file.tell()
        file.write(_stored(record, is_compressed))
        if record.page is not None:
            yield offset, file.tell() - offset


def _stored(record: _Record, is_compressed: bool) -> bytes:
    if not is_compressed:
        return record.to_bytes()
    deflate = zlib.compressobj(wbits=31)  # a gzip member with a header of 10 bytes and no time in it
    return deflate.compress(record.to_bytes()) + deflate.flush()


# -- WARC -----------------------------------------------------------------------------------------------------------


def _warc_records(name: str, pages: Iterable[MadePage]) -> Iterator[_Record]:
    """Yield all records; only ``response`` records carry their page."""
    info_id = _record_id(name)
    info = b"isPartOf: CC-MAIN-2024-22\r\ndescription: Made pages\r\nformat: WARC File Format 1.1\r\n\r\n"
    yield _record("warcinfo", info_id, "application/warc-fields", info, (("WARC-Filename", name),))
    for number, page in enumerate(pages):
        yield from _page_records(info_id, number, page)


def _page_records(info_id: str, number: int, page: MadePage) -> Iterator[_Record]:
    ids = {kind: _record_id(info_id, number, kind) for kind in ("request", "response", "metadata")}
    info, target = ("WARC-Warcinfo-ID", info_id), ("WARC-Target-URI", page.url)
    address, concurrent = ("WARC-IP-Address", "192.0.2.1"), ("WARC-Concurrent-To", ids["response"])
    yield _record("request", ids["request"], "application/http; msgtype=request", _request(page.url),
                  (info, address, target, ("WARC-Payload-Digest", _digest(b""))))  # fmt: skip
    block = page.http_head + page.body
    extra: Headers = (info, ("WARC-Concurrent-To", ids["request"]), address, target)
    extra += (("WARC-Payload-Digest", _digest(page.body)), ("WARC-Block-Digest", _digest(block)))
    if page.truncated is not None:
        extra += (("WARC-Truncated", page.truncated),)
    if page.content_type is not None:
        extra += (("WARC-Identified-Payload-Type", page.content_type.partition(";")[0].strip()),)
    response = _record("response", ids["response"], "application/http; msgtype=response", block, extra)
    yield response._replace(page=page)
    yield _record("metadata", ids["metadata"], "application/warc-fields",
                  b"fetchTimeMs: 258\r\ncharset-detected: UTF-8\r\n\r\n", (info, concurrent, target))  # fmt: skip


def _record(kind: str, record_id: str, content_type: str, block: bytes, extra: Headers) -> _Record:
    named = (("WARC-Type", kind), ("WARC-Date", DATE), ("WARC-Record-ID", record_id))
    sized = (("Content-Length", str(len(block))), ("Content-Type", content_type))
    return _Record(named + sized + extra, block, None)


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    asked = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    return _head_bytes(f"GET {asked} HTTP/1.1", (("User-Agent", "made"), ("Host", parts.netloc)))


def _head_bytes(first: str, headers: Headers) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _record_id(*content: object) -> str:
    return f"<urn:uuid:{uuid.UUID(bytes=hashlib.sha256(repr(content).encode()).digest()[:16], version=4)}>"


def _digest(content: bytes) -> str:
    return f"sha1:{base64.b32encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()}"


# -- WAT ------------------------------------------------------------------------------------------------------------


def _wat_records(name: str, warc_name: str, pages: Iterable[MadePage]) -> Iterator[_Record]:
    """Yield the WAT's own ``warcinfo`` and one ``metadata`` record a record of the WARC."""
    info = b"Software-Info: ia-web-commons made\r\nformat: WARC File Format 1.0\r\n\r\n"
    yield _record("warcinfo", _record_id(name), "application/warc-fields", info, (("WARC-Filename", name),))
    offset = 0
    for record in _warc_records(warc_name, pages):
        stored = _stored(record, warc_name.endswith(".gz"))
        envelope = {
            "Container": _container(warc_name, offset, stored, record),
            "Envelope": _envelope(record),
        }
        block = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        headers = dict(record.headers)
        target = ("WARC-Target-URI", headers.get("WARC-Target-URI", warc_name))
        refers = ("WARC-Refers-To", headers["WARC-Record-ID"])
        made = _record("metadata", _record_id(name, offset), "application/json", block, (target, refers))
        yield made._replace(page=record.page)
        offset += len(stored)


def _container(warc_name: str, offset: int, stored: bytes, record: _Record) -> dict[str, Any]:
    inflated = record.to_bytes()
    sizes = {"Deflate-Length": len(stored), "Header-Length": 10, "Footer-Length": 8}
    checks = {"Inflated-CRC": zlib.crc32(inflated), "Inflated-Length": len(inflated)}
    return {
        "Filename": warc_name,
        "Compressed": warc_name.endswith(".gz"),
        "Offset": str(offset),
        "Gzip-Metadata": {field: str(value) for field, value in (sizes | checks).items()},
    }


def _envelope(record: _Record) -> dict[str, Any]:
    headers = dict(record.headers)
    payload: dict[str, Any] = {"Actual-Content-Type": headers["Content-Type"]}
    if record.page is not None:
        payload["HTTP-Response-Metadata"] = _response_metadata(record.page)
    return {
        "Payload-Metadata": {**payload, "Actual-Content-Length": headers["Content-Length"]},
        "Format": "WARC/1.0",
        "WARC-Header-Length": str(len(record.to_bytes()) - len(record.block) - 4),
        "WARC-Header-Metadata": headers,
    }


def _response_metadata(page: MadePage) -> dict[str, Any]:
    message = {"Version": "HTTP/1.1", "Status": str(page.status), "Reason": REASONS.get(page.status, "Status")}
    metadata: dict[str, Any] = {
        "Response-Message": message,
        "Headers-Length": str(len(page.http_head)),
        "Headers": _joined(page.headers),
    }
    if page.content_type is None or page.content_type.partition(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    ):
        charset = (page.content_type or "").partition("charset=")[2].strip() or "utf-8"
        metadata["HTML-Metadata"] = html_metadata(page.body, charset)
    return {**metadata, "Entity-Length": str(len(page.body)), "Entity-Digest": _digest(page.body)}


def _joined(headers: Headers) -> dict[str, str | list[str]]:
    """Return headers by name; the values of one that occurs more than once are a list.

    So it is since CC-MAIN-2024-51; older WATs hold the last value only
    (https://commoncrawl.org/blog/december-2024-crawl-archive-now-available).
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}
