"""The articles of a wiki's XML dump (``pages-articles.xml``), one after the other, as plain text.

The format is MediaWiki's export (https://www.mediawiki.org/xml/export-0.11.xsd): ``siteinfo`` with the wiki's own names
of namespaces, then pages, each with title, namespace, perhaps the page it redirects to, and revisions, of which the
last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from mappool_assets.lib.curation.wiki_markup import FILE_NAMES, strip_markup
from mappool_assets.lib.curation.xml_events import END, START, ByteStream, Event, xml_events
from mappool_assets.lib.places.place import RowCounts

RULE = "a MediaWiki XML dump: mediawiki, then pages with title, ns and revision/text"
MAX_PAGE_CHARACTERS = 16 << 20  # MediaWiki saves no page of more than 2 MiB ($wgMaxArticleSize); more is no article
MAX_FIELD_CHARACTERS = 1_000  # of a title, a namespace or a model; titles have 255 bytes at most
MAX_FILE_NAMES = 1_000  # of namespaces for files and categories; a wiki has some six
ARTICLES = "0"
FILES_AND_CATEGORIES = ("6", "14")
WIKITEXT = "wikitext"

_SITE_NAME = ("mediawiki", "siteinfo", "namespaces", "namespace")
_PAGE = ("mediawiki", "page")
_REVISION = (*_PAGE, "revision")
_FIELDS = {
    _SITE_NAME: "namespace",
    (*_PAGE, "title"): "title",
    (*_PAGE, "ns"): "ns",
    (*_REVISION, "model"): "model",
    (*_REVISION, "text"): "text",
}


def article_texts(stream: ByteStream, counts: RowCounts) -> Iterator[str]:
    """Yield the articles' texts, without markup.

    Parameters
    ----------
    stream : binary stream
        The XML, unpacked.
    counts : RowCounts
        Gets all pages, and those that are left out: ``redirect``, ``other_namespace``, ``not_wikitext`` (programs,
        data), ``too_large``, ``no_text`` (deleted or empty).

    Raises
    ------
    ValueError, xml.parsers.expat.ExpatError
        No such dump, one that ends early, or one that is made to do harm.
    """
    pages = _Pages(counts)
    for event in xml_events(stream):
        text = pages.take(event)
        if text is not None:
            yield text


class _Pages:
    def __init__(self, counts: RowCounts) -> None:
        self._counts = counts
        self._path: tuple[str, ...] = ()
        self._file_names = set(FILE_NAMES)
        self._fields: dict[str, list[str]] = {}
        self._characters: dict[str, int] = {}  # of each field so far, kept or not
        self._is_redirect = False
        self._namespace = ""

    def take(self, event: Event) -> str | None:
        """Take the next event; return an article's text where one is complete."""
        kind, value, _ = event
        if kind == START:
            self._path = (*self._path, value)
            self._start(event)
        elif kind == END:
            path, self._path = self._path, self._path[:-1]
            if path == _SITE_NAME:
                self._learn_namespace()
            return self._finished() if path == _PAGE else None
        elif self._path in _FIELDS:
            self._add(_FIELDS[self._path], value)
        return None

    def _start(self, event: Event) -> None:
        path = self._path
        if path[0] != "mediawiki":
            raise ValueError(f"the element {path[0][:40]!r}")
        if path == _PAGE:
            self._fields, self._characters, self._is_redirect = {}, {}, False
        elif path == (*_PAGE, "redirect"):
            self._is_redirect = True
        elif path in _FIELDS:  # of several revisions the last one counts
            field = _FIELDS[path]
            self._fields[field], self._characters[field] = [], 0
            self._namespace = event.attributes.get("key", "")

    def _learn_namespace(self) -> None:
        if self._namespace in FILES_AND_CATEGORIES and len(self._file_names) < MAX_FILE_NAMES:
            self._file_names.add(self._value("namespace").lower())

    def _add(self, field: str, text: str) -> None:
        self._characters[field] += len(text)
        if self._characters[field] > (MAX_PAGE_CHARACTERS if field == "text" else MAX_FIELD_CHARACTERS):
            self._fields[field].clear()
        elif field != "text" or self._refusal() is None:
            self._fields[field].append(text)

    def _value(self, field: str) -> str:
        return "".join(self._fields.get(field, ())).strip()

    def _refusal(self) -> str | None:
        """Return why a page is left out, as far as can be told before its text."""
        if self._value("ns") != ARTICLES:
            return "other_namespace"
        if self._is_redirect:
            return "redirect"
        return None if self._value("model") in (WIKITEXT, "") else "not_wikitext"  # until 2013 dumps did not say

    def _finished(self) -> str | None:
        self._counts.rows_in += 1
        is_too_large = self._characters.get("text", 0) > MAX_PAGE_CHARACTERS
        reason = self._refusal() or ("too_large" if is_too_large else None)
        text = "" if reason else strip_markup("".join(self._fields.get("text", ())), frozenset(self._file_names))
        reason = reason or (None if text.strip() else "no_text")
        if reason is None:
            return text
        self._counts.drop(reason, [self._value("title")[:80]])
        return None
