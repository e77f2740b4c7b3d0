"""Reading media links and interleaved pages with their texts, which are stored once, in the documents.

DuckDB gives the same with the macros ``document_text`` and ``text_between`` of ``sql/lake.sql``: its ``substring``
counts code points, as Python does (not graphemes, which is ``substring_grapheme``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.web_documents.document_batches import open_beside_documents, with_texts
from mappool_assets.lib.web_documents.interleaved_pages import FORMS
from mappool_assets.lib.web_documents.interleaved_pages import TABLE as INTERLEAVED_TABLE
from mappool_assets.lib.web_documents.item import TEXT
from mappool_assets.lib.web_documents.media_links import TABLE as MEDIA_LINKS_TABLE
from mappool_assets.lib.web_documents.windows import document_text

__all__ = [
    "InterleavedPage",
    "LinkedMedium",
    "LinkedPage",
    "ReadPart",
    "document_text",
    "read_interleaved",
    "read_media_links",
]


class LinkedMedium(NamedTuple):
    """A Text-Media-Text sample: one medium of a page with the text before and after it."""

    kind: str
    position: int
    url: str | None
    alt: str | None
    before: str
    after: str


class LinkedPage(NamedTuple):
    """All samples of a page, in document order."""

    document_id: str
    url: str
    language: str | None
    samples: list[LinkedMedium]


class ReadPart(NamedTuple):
    """A part of an interleaved page: a text (kind ``text``), or a medium, whose text is None."""

    kind: str
    text: str | None
    position: int | None
    url: str | None
    alt: str | None


class InterleavedPage(NamedTuple):
    """A page's texts and media in document order."""

    document_id: str
    url: str
    language: str | None
    parts: list[ReadPart]


def read_media_links(lake: Lake, crawl_file: str, kinds: Collection[str] | None = None) -> Iterator[LinkedPage]:
    """Yield the pages of a crawl file that have media, each with its samples: proposals 1, 3 and 4.

    Parameters
    ----------
    kinds : collection of str, optional
        ``image``, ``audio``, ``video``: samples wanted, all by default. Pages without one are left out.

    Raises
    ------
    MissingInput
        Documents or media links are not there, or the links were made of older documents.
    """
    with open_beside_documents(lake, MEDIA_LINKS_TABLE, crawl_file) as (documents, links):
        for batch, texts in with_texts(documents, links):
            for row, text in zip(_rows(batch), texts, strict=True):
                wanted = [s for s in row.pop("samples") if kinds is None or s["kind"] in kinds]
                if wanted:
                    whole = text.as_py()
                    yield LinkedPage(**row, samples=[_medium(sample, whole) for sample in wanted])


def read_interleaved(
    lake: Lake, crawl_file: str, form: Literal["image", "media"] = "image"
) -> Iterator[InterleavedPage]:
    """Yield the interleaved pages of a crawl file.

    Parameters
    ----------
    form : str
        ``image``: texts and images, pages without an image left out (proposal 2); ``media``: texts and all media
        (proposal 5).

    Raises
    ------
    MissingInput
        Documents or interleaved pages are not there, or the pages were made of older documents.
    """
    column = FORMS[form]
    with open_beside_documents(lake, INTERLEAVED_TABLE, crawl_file) as (documents, pages):
        for batch, texts in with_texts(documents, pages, ["document_id", "url", "language", column]):
            for row, text in zip(_rows(batch), texts, strict=True):
                parts = row.pop(column)
                if parts:
                    whole = text.as_py()
                    yield InterleavedPage(**row, parts=[_part(part, whole) for part in parts])


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    for number in range(len(batch)):
        yield {name: batch[name][number].as_py() for name in batch.schema.names}


def _medium(sample: dict[str, Any], text: str) -> LinkedMedium:
    before = text[sample["before_start"] : sample["before_end"]]
    after = text[sample["after_start"] : sample["after_end"]]
    return LinkedMedium(sample["kind"], sample["position"], sample["url"], sample["alt"], before, after)


def _part(part: dict[str, Any], text: str) -> ReadPart:
    whole = text[part["start"] : part["end"]] if part["kind"] == TEXT else None
    return ReadPart(part["kind"], whole, part["position"], part["url"], part["alt"])
