"""The web pages of a WARC file: HTML that a server sent with status 200, as bytes, each with where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappool_assets.lib.crawl.frames import WarcLimits
from mappool_assets.lib.crawl.http_response import HttpResponse, Undecodable, decoded_body, parse_response
from mappool_assets.lib.crawl.warc_records import RefusedRecord, WarcRecordBytes, read_records
from mappool_assets.lib.ranged_file.base import RangedFile

__all__ = ["CrawlPage", "RefusedRecord", "WarcLimits", "read_pages"]

KINDS = ("response", "revisit")
HTML_TYPES = ("text/html", "application/xhtml+xml")
# What detectors say of HTML that they do not recognise: the server's word then stands.
VAGUE_TYPES = ("", "text/plain", "application/octet-stream", "application/xml", "text/xml")
MARKUP = b"<"
BLANKS = b"\xef\xbb\xbf \t\r\n\f"  # what may stand before a page's first tag, a byte-order mark among it


@dataclass(frozen=True, slots=True)
class CrawlPage:
    """A page as a crawler stored it.

    Attributes
    ----------
    url : str
        Its address, as asked for.
    offset, length : int
        Where its record lies in the file, in bytes as stored: a ranged read of these bytes gives the page again.
    date : str
        ``WARC-Date``, when it was fetched; "" where the record does not say.
    status : int
        HTTP status: 200.
    content_type : str, optional
        The last ``Content-Type`` that names a type (as browsers choose), else what the crawler detected, else None.
    x_robots_tag : tuple of str
        The values of ``X-Robots-Tag``, in their order.
    truncated : str, optional
        Why the crawler cut the body (``WARC-Truncated``: length, time, disconnect, unspecified); None: it did not.
    body : bytes
        Without transfer and content codings.
    """

    url: str
    offset: int
    length: int
    date: str
    status: int
    content_type: str | None
    x_robots_tag: tuple[str, ...]
    truncated: str | None
    body: bytes


def read_pages(file: RangedFile, limits: WarcLimits, start: int = 0) -> Iterator[CrawlPage | RefusedRecord]:
    """Yield one value a ``response`` or ``revisit`` record, and one a damaged stretch, in the file's order.

    Reasons beside those of :class:`~mappool_assets.lib.crawl.warc_records.RefusedRecord`: ``revisit`` (a record that
    names an earlier answer instead of repeating it), ``no_url``, ``not_http``, ``http_status``, ``not_html``,
    ``too_large``, ``gzip_bomb`` and ``bad_encoding`` (of the HTTP body). HTML is what ``WARC-Identified-Payload-Type``
    calls so; where that is absent or vague, what ``Content-Type`` calls so; where both are absent, what begins with a
    tag. The HTTP ``Content-Length`` is not held against the body: what was stored is the body. Digests are not
    verified, see :mod:`~mappool_assets.lib.crawl.warc_records`.

    Parameters
    ----------
    file : RangedFile
        A ``.warc.gz`` with one gzip member a record, or an uncompressed ``.warc``.
    start : int
        Offset of a record to begin at, to go on where an earlier reading stopped.

    Raises
    ------
    BadShard, SourceChanged, SourceUnavailable
        See :func:`~mappool_assets.lib.crawl.warc_records.read_records`.
    """
    for record in read_records(file, limits, KINDS, start):
        yield record if isinstance(record, RefusedRecord) else _page(record, limits)


def _page(record: WarcRecordBytes, limits: WarcLimits) -> CrawlPage | RefusedRecord:
    """Return a record's page, or the first reason why it is none."""
    headers = record.headers
    if record.kind == "revisit":
        return _refused(record, "revisit", headers.get("warc-refers-to-target-uri", ""))
    if record.url is None:
        return _refused(record, "no_url", "no WARC-Target-URI")
    response = parse_response(record.content, record.block_start, record.block_end)
    if response is None:
        return _refused(record, "not_http", headers.get("content-type", ""))
    if response.status != 200:
        return _refused(record, "http_status", str(response.status))
    content_type = _content_type(response)
    detected = headers.get("warc-identified-payload-type", "")
    is_html = _is_html(_essence(detected), _essence(content_type))
    if is_html is False:
        return _refused(record, "not_html", detected or content_type)
    truncated = headers.get("warc-truncated", "").lower() or None
    stored = record.content[response.body_start : record.block_end]  # the one copy that is made of a page
    body = decoded_body(response, stored, limits.max_page_bytes, is_cut=truncated is not None)
    if isinstance(body, Undecodable):
        return _refused(record, body.reason, body.detail)
    if is_html is None and not body.lstrip(BLANKS).startswith(MARKUP):
        return _refused(record, "not_html", "no type is stated, and no tag comes first")
    return CrawlPage(
        url=record.url,
        offset=record.offset,
        length=record.length,
        date=headers.get("warc-date", ""),
        status=response.status,
        content_type=content_type or detected or None,
        x_robots_tag=tuple(response.headers.get("x-robots-tag", ())),
        truncated=truncated,
        body=body,
    )


def _content_type(response: HttpResponse) -> str:
    """Return the last ``Content-Type`` that names a type (Fetch §2.2.6), or ""."""
    stated = response.headers.get("content-type", [])
    return next((value for value in reversed(stated) if "/" in value and not value.startswith("*/*")), "")


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_html(detected: str, stated: str) -> bool | None:
    """Tell by the types; None where neither says anything."""
    if detected not in VAGUE_TYPES:
        return detected in HTML_TYPES
    return stated in HTML_TYPES if stated else None


def _refused(record: WarcRecordBytes, reason: str, detail: str) -> RefusedRecord:
    return RefusedRecord(record.url, record.offset, record.length, reason, detail)
