"""The media of a crawl file's pages, one row a medium and page, from its documents or straight from a WAT file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.crawl.warc_pages import RefusedRecord, WarcLimits
from mappool_assets.lib.crawl.warc_records import WarcRecordBytes, read_records
from mappool_assets.lib.media_urls.wat_links import NO_URL, SAME_PAGE, WatPage, read_wat_page
from mappool_assets.lib.ranged_file.base import RangedFile
from mappool_assets.lib.web_documents.canonical_url import LONGEST_URL
from mappool_assets.lib.web_documents.document_batches import BATCH_ROWS, row_offsets
from mappool_assets.lib.web_documents.item import TEXT

SCHEMA = pa.schema([(name, pa.string()) for name in ("kind", "url", "page")])
BATCH_CHARACTERS = 1 << 20  # of URLs, some 10,000; those of one page are 10 MB at most, see wat_links.MOST_MEDIA
DOCUMENT_COLUMNS = ["url", "items.list.element.kind", "items.list.element.url"]


@dataclass(frozen=True, slots=True)
class WatSettings:
    """How a WAT file is read.

    Attributes
    ----------
    max_record_bytes : int
        The longest record, inflated. 4 MiB are 40,000 links of 100 bytes; the mean is some 25 kB. Parsed, a record of
        short links takes fifteen times its size in memory.
    obeys_robots : bool
        Whether pages that ask not to be indexed or used for AI are left out, as of documents.
    """

    max_record_bytes: int = 4 << 20
    obeys_robots: bool = True


@dataclass(slots=True)
class Tally:
    """What was read so far.

    Attributes
    ----------
    pages, media : int
        Pages, and the different media of each.
    dropped : Counter
        Links, items and records that gave no medium, by reason.
    """

    pages: int = 0
    media: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def rows_in(self) -> int:
        """Links or items of all pages, and records of which there is no page."""
        return self.media + self.dropped.total()


def wat_media(file: RangedFile, settings: WatSettings, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Yield the media of a WAT file's pages, each once a page, in the file's order.

    Raises
    ------
    BadShard, SourceChanged, SourceUnavailable
        See :func:`~mappool_assets.lib.crawl.warc_records.read_records`.
    """
    limits = WarcLimits(max_page_bytes=settings.max_record_bytes)
    waiting = _Waiting()
    for record in read_records(file, limits, ("metadata",)):
        page = _page(record, settings)
        if isinstance(page, str):
            tally.dropped[page] += 1
            continue
        tally.pages += 1
        tally.media += len(page.media)
        tally.dropped.update(page.dropped)
        waiting.add(page)
        if waiting.characters >= BATCH_CHARACTERS:
            yield waiting.take()
    yield waiting.take()


class _Waiting:
    """Pages as columns of texts: kept as tuples, they would have the garbage collector look for cycles all the time."""

    def __init__(self) -> None:
        self.characters = 0
        self._kinds: list[str] = []
        self._urls: list[str] = []
        self._pages: list[str] = []
        self._media: list[int] = []

    def add(self, page: WatPage) -> None:
        urls = [url for _, url in page.media]
        self.characters += sum(map(len, urls))
        self._kinds += [kind for kind, _ in page.media]
        self._urls += urls
        self._pages.append(page.url)
        self._media.append(len(urls))

    def take(self) -> pa.RecordBatch:
        page_of_row = np.repeat(np.arange(len(self._pages)), np.array(self._media, dtype=np.int64))
        pages = pa.array(self._pages, pa.string()).take(pa.array(page_of_row))
        rows = pa.record_batch(
            [pa.array(self._kinds, pa.string()), pa.array(self._urls, pa.string()), pages], schema=SCHEMA
        )
        for column in (self._kinds, self._urls, self._pages, self._media):
            column.clear()
        self.characters = 0
        return rows


def _page(record: WarcRecordBytes | RefusedRecord, settings: WatSettings) -> WatPage | str:
    if isinstance(record, RefusedRecord):
        return record.reason
    return read_wat_page(record.block, obeys_robots=settings.obeys_robots)


def document_media(documents: pq.ParquetFile, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Yield the media of documents, each once a document, in no order."""
    for batch in documents.iter_batches(BATCH_ROWS, columns=DOCUMENT_COLUMNS):
        items = batch["items"]
        flat = items.flatten()
        document = np.repeat(np.arange(len(batch)), np.diff(row_offsets(items)))
        is_medium = pc.not_equal(flat.field("kind"), TEXT)
        media = pa.table(
            {
                "document": pa.array(document),
                "kind": flat.field("kind"),
                # Normalised already: only the fragment makes it another than the canonical URL.
                "url": pc.replace_substring_regex(flat.field("url"), "#.*", ""),
            }
        ).filter(is_medium)
        has_url = pc.less_equal(pc.utf8_length(batch["url"]), LONGEST_URL).take(media["document"])
        different = media.filter(has_url).group_by(["document", "kind", "url"]).aggregate([])
        tally.pages += len(batch)
        tally.media += len(different)
        tally.dropped[NO_URL] += len(media) - pc.sum(has_url, min_count=0).as_py()
        tally.dropped[SAME_PAGE] += pc.sum(has_url, min_count=0).as_py() - len(different)
        pages = batch["url"].take(different["document"].combine_chunks())
        columns = [different["kind"], different["url"], pages]
        yield from pa.table(columns, schema=SCHEMA).to_batches()
