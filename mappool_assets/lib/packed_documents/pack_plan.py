"""Which images are chosen of each page, which are asked for in this run, and which packs stay as they are."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.map_images.image_ledger import TAKEN_DOWN, LedgerRow
from mappool_assets.lib.map_images.image_plan import PlannedRow, plan_row
from mappool_assets.lib.packed_documents.pack_task import PackTask
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets.lib.web.robots_tag import OPT_OUTS
from mappool_assets.lib.web_documents.canonical_url import canonical_url
from mappool_assets.lib.web_documents.document_batches import (
    BATCH_ROWS,
    DOCUMENTS_TABLE,
    open_beside_documents,
    recorded,
    with_texts,
)
from mappool_assets.lib.web_documents.interleaved_pages import IMAGE
from mappool_assets.lib.web_documents.interleaved_pages import TABLE as INTERLEAVED_TABLE

SOURCES = {"documents": DOCUMENTS_TABLE, "interleaved": INTERLEAVED_TABLE}
NO_IMAGE, NO_IMAGE_FETCHED, OPTED_OUT = "no_image", "no_image_fetched", "opted_out"
_PARTS = ["document_id", "image_parts"]


class ChosenImage(NamedTuple):
    """An image of a page: its canonical address, and the first position at which it stands."""

    url: str
    position: int


class PlannedPage(NamedTuple):
    """A page before its images are there.

    Attributes
    ----------
    status : str
        Why it is not packed, whatever its images; empty where they decide.
    images : tuple of ChosenImage
        None where the status is not empty.
    """

    document_id: str
    url: str
    language: str | None
    status: str
    images: tuple[ChosenImage, ...]


class PageContent(NamedTuple):
    """What a page is packed from: its ``image_parts``, and the text that they are offsets into."""

    parts: list[dict[str, Any]]
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class PageTables:
    """The tables of a crawl file that its documents are packed from, open."""

    documents: pq.ParquetFile
    interleaved: pq.ParquetFile

    def pages(self, task: PackTask) -> list[PlannedPage]:
        """Return the pages with media, in their order, as far as tables and settings decide on them."""
        settings = task.settings
        opted_out = self._opted_out() if settings.images.rules.obeys_opt_out else frozenset()
        listed = with_canonical_urls(settings.images.take_down).urls
        pages = []
        columns = ["document_id", "url", "language", "image_parts"]
        for row in _rows(self.interleaved, columns):
            images = chosen_images(row["image_parts"], settings.images_a_page)
            if row["url"] in listed or canonical_url(row["url"]) in listed:
                status = TAKEN_DOWN
            elif row["document_id"] in opted_out:
                status = OPTED_OUT
            else:
                status = "" if images else NO_IMAGE
            pages.append(PlannedPage(row["document_id"], row["url"], row["language"], status, () if status else images))
        return pages

    def contents(self, wanted: Collection[str]) -> Iterator[PageContent]:
        """Yield what the wanted documents are packed from, in their order."""
        for rows, texts in with_texts(self.documents, self.interleaved, _PARTS):
            ids = rows["document_id"].to_pylist()
            found = pa.array([number for number, document_id in enumerate(ids) if document_id in wanted], pa.int64())
            parts = rows["image_parts"].take(found).to_pylist()
            yield from itertools.starmap(PageContent, zip(parts, texts.take(found).to_pylist(), strict=True))

    def _opted_out(self) -> frozenset[str]:
        rows = _rows(self.documents, ["document_id", "robots"])
        return frozenset(row["document_id"] for row in rows if not OPT_OUTS.isdisjoint(row["robots"] or ()))


@contextlib.contextmanager
def open_pages(task: PackTask) -> Iterator[PageTables]:
    """Yield the tables that a task packs.

    Raises
    ------
    MissingInput
        One of them is not there, or they do not belong together.
    SourceChanged
        They are not those that the task is for.
    """
    with open_beside_documents(task.lake, INTERLEAVED_TABLE, task.key) as tables:
        for (name, table), file in zip(SOURCES.items(), tables, strict=True):
            made = recorded(file)
            if made is None or made.fingerprint != task.sources[name]:
                raise SourceChanged(
                    "The documents of a crawl file were made anew while they waited to be packed",
                    where=f"{table} of {task.key}",
                    rule=task.sources[name] or "a table",
                    got=made.fingerprint if made else "a table that does not say what made it",
                    action="Pack the crawl file again.",
                )
        yield PageTables(*tables)


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(BATCH_ROWS, columns=columns):
        yield from batch.to_pylist()


def chosen_images(parts: Iterable[Mapping[str, Any]], most: int) -> tuple[ChosenImage, ...]:
    """Return the first of a page's different images, by canonical address."""
    first: dict[str, int] = {}
    for part in parts:
        if part["kind"] == IMAGE:
            first.setdefault(canonical_url(part["url"]), part["position"])
            if len(first) == most:
                break
    return tuple(itertools.starmap(ChosenImage, first.items()))


def with_canonical_urls(take_down: TakeDown) -> TakeDown:
    """Return a list that names addresses also as we ask for them; whoever listed one copied it from the page."""
    return dataclasses.replace(take_down, urls=take_down.urls | {canonical_url(url) for url in take_down.urls})


def plan_images(
    task: PackTask,
    pages: Sequence[PlannedPage],
    earlier: Mapping[str, LedgerRow],
    *,
    is_fresh_start: bool,
) -> list[PlannedRow]:
    """Decide on each image that is chosen of a page, once however many have it, in the order of the pages.

    Parameters
    ----------
    earlier : mapping of str to LedgerRow
        What is known, by address; the ``file`` of one that is ok is the pack from which it can be read.
    is_fresh_start : bool
        Whether failed ones are asked for as though for the first time, even those given up.
    """
    take_down = with_canonical_urls(task.settings.images.take_down)
    packs = {row.file for row in earlier.values() if row.file is not None}
    urls = dict.fromkeys(image.url for page in pages for image in page.images)
    return [
        plan_row(
            LedgerRow(url, url, None),
            earlier.get(url),
            packs,
            take_down,
            max_attempts=task.settings.images.max_attempts,
            is_fresh_start=is_fresh_start,
        )
        for url in urls
    ]
