"""A page to a document, or the reason why it is none."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from mappool_assets.lib.crawl.warc_pages import CrawlPage, WarcLimits
from mappool_assets.lib.languages import most_likely_language
from mappool_assets.lib.web_documents.natural_language import LanguageSettings, NoLanguage, judge
from mappool_assets.lib.web_documents.page_items import Item, Page, PageSettings, parse_page
from mappool_assets.lib.web_documents.page_messages import Make, PageBudget, Refused
from mappool_assets.lib.web_documents.windows import SEPARATOR, TEXT

MOST_CHARACTERS = 16 * 2**20  # of a row: three times the largest page that Common Crawl stores
OVERHEAD_CHARACTERS = 64  # that a row or an item weighs besides its strings
OPT_OUTS = {"noai": "robots_noai", "noindex": "robots_noindex"}  # the first that a page says is the reason


@dataclass(frozen=True)
class DocumentSettings:
    """How documents are made of pages.

    Attributes
    ----------
    warc : WarcLimits
        Of records.
    page : PageSettings
        How a page is walked.
    language : LanguageSettings
        What counts as natural language.
    budget : PageBudget
        What a page may take.
    obeys_robots : bool
        Whether pages that say ``noai`` (``robots_noai``) or ``noindex`` (``robots_noindex``) to all robots, in a meta
        element or X-Robots-Tag, are left out. True: who says so does not expect to be in a data set, as our image
        fetcher and img2dataset understand the same words. What a page says is a column, however this is set;
        ``noimageai`` and ``noimageindex``, which leave the text free, are obeyed where images are fetched.
    """

    warc: WarcLimits = field(default_factory=WarcLimits)
    page: PageSettings = field(default_factory=PageSettings)
    language: LanguageSettings = field(default_factory=LanguageSettings)
    budget: PageBudget = field(default_factory=PageBudget)
    obeys_robots: bool = True


class ItemColumns(NamedTuple):
    """The items of a page, a tuple a field, in their order; of candidates (the last two) all those of all items."""

    kinds: tuple[str, ...]
    texts: tuple[str | None, ...]
    urls: tuple[str | None, ...]
    alts: tuple[str | None, ...]
    widths: tuple[int | None, ...]
    heights: tuple[int | None, ...]
    candidate_counts: tuple[int, ...]
    candidate_urls: tuple[str, ...]
    descriptors: tuple[str, ...]


class Document(NamedTuple):
    """A page in natural language; the fields are those of the table ``documents``, apart from counts."""

    url: str
    canonical_url: str | None
    title: str | None
    language: str
    language_score: float
    charset: str | None
    fetched_at: str | None
    warc_offset: int
    warc_length: int
    truncated: str | None
    robots: tuple[str, ...]
    words: int
    items: ItemColumns

    @property
    def characters(self) -> int:
        """What the row is weighed by: all characters of its strings, and :data:`OVERHEAD_CHARACTERS` an item."""
        items = self.items
        strings = chain(items.texts, items.urls, items.alts, items.candidate_urls, items.descriptors, [self.title])
        overhead = OVERHEAD_CHARACTERS * (1 + len(items.kinds) + len(items.candidate_urls))
        return overhead + sum(len(string) for string in strings if string)


def document_maker(settings: DocumentSettings) -> Make:
    """Return what makes a :class:`Document`, or :class:`Refused`, of a page; all that it needs is loaded."""
    most_likely_language("")
    return functools.partial(make_document, settings=settings)


def make_document(page: CrawlPage, settings: DocumentSettings) -> Document | Refused:
    """Return the document of a page, or why there is none.

    Reasons, the first that holds: ``robots_noai``, ``robots_noindex``, those of
    :func:`~mappool_assets.lib.web_documents.natural_language.judge`, and ``result_too_large`` (over
    :data:`MOST_CHARACTERS`: a page of 5 MiB can say the same long address of a hundred thousand images).
    """
    parsed = parse_page(page.body, page.url, page.content_type, page.x_robots_tag, settings.page)
    if settings.obeys_robots and (opt_out := _opt_out(parsed)):
        return opt_out
    text = SEPARATOR.join(item.text or "" for item in parsed.items if item.kind == TEXT)
    language = judge(text, settings.language)
    if isinstance(language, NoLanguage):
        return Refused(language.reason, language.detail)
    document = Document(
        page.url,
        parsed.canonical_url,
        parsed.title,
        language.language,
        language.score,
        parsed.charset,
        page.date or None,
        page.offset,
        page.length,
        page.truncated,
        parsed.robots,
        language.words,
        item_columns(parsed.items),
    )
    if document.characters > MOST_CHARACTERS:
        return Refused("result_too_large", f"{document.characters} characters of {MOST_CHARACTERS}")
    return document


def _opt_out(page: Page) -> Refused | None:
    return next(
        (Refused(reason, ", ".join(page.robots)) for word, reason in OPT_OUTS.items() if word in page.robots), None
    )


def item_columns(items: list[Item]) -> ItemColumns:
    """Turn items into columns: less to send, and what a table is made of."""
    kinds, texts, urls, alts, candidates, widths, heights = zip(*items, strict=True)
    flat = [candidate for of_item in candidates for candidate in of_item]
    candidate_urls, descriptors = zip(*flat, strict=True) if flat else ((), ())
    counts = tuple(map(len, candidates))
    return ItemColumns(kinds, texts, urls, alts, widths, heights, counts, candidate_urls, descriptors)
