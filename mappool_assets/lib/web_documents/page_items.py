"""A page's bytes to its texts and media in document order.

The page is parsed as a browser does that runs scripts, but no script is run. It is walked in document order. A block of
text ends where a block element, a table cell, a list item, ``<br>`` or ``<hr>`` begins or ends and where a medium
stands; inline elements never end it, so that words of two blocks never join and no word is split. What is not text to a
reader is left out: scripts, styles, templates, form fields, SVG, MathML, what stands in for a medium that cannot be
shown, and ruby annotations, which would split the words that they explain. Boilerplate is left out by the rules in
``boilerplate``.

Items are a list of structs, not text with markers in it: nothing that a page says can pass for a medium.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser

from mappool_assets.lib.web_documents.boilerplate import ARTICLE, LEAST_LEFT_BY_WORDS, WORDS_RULE, Judge
from mappool_assets.lib.web_documents.charset import decoded
from mappool_assets.lib.web_documents.item import Item
from mappool_assets.lib.web_documents.noscript_media import WITHOUT_EVENTS
from mappool_assets.lib.web_documents.page_signals import PageSignals
from mappool_assets.lib.web_documents.page_walk import PageWalk

__all__ = ["Item", "Page", "PageSettings", "parse_page"]


@dataclass(frozen=True, slots=True)
class PageSettings:
    """How a page is walked.

    Attributes
    ----------
    drops_boilerplate : bool
        Whether menus, banners, footers and the like are left out (see ``boilerplate``); what is hidden always is.
    """

    drops_boilerplate: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds.

    Attributes
    ----------
    title : str or None
    canonical_url : str
    robots : tuple of str
        See ``page_signals``.
    charset : str
        In which it was read, by WHATWG's name in lower case.
    charset_source : str
        How that was found, see ``charset.Decoded``.
    items : list of Item
        In document order.
    dropped_media : dict
        Reason to number of media that are no items: those of ``media_sources``, ``hidden``, ``boilerplate`` (a medium
        in a part that was left out), ``twin`` (in a ``<noscript>``, of an image that a script loads), ``emoji`` (its
        alt is in the text instead).
    dropped_parts : dict
        Rule of ``boilerplate`` to number of parts, or of blocks, that were left out by it.
    """

    title: str | None
    canonical_url: str
    charset: str
    robots: tuple[str, ...]
    items: list[Item]
    charset_source: str = "utf-8"
    dropped_media: dict[str, int] = field(default_factory=dict)
    dropped_parts: dict[str, int] = field(default_factory=dict)


def parse_page(
    body: bytes, url: str, content_type: str | None, x_robots_tag: tuple[str, ...], settings: PageSettings
) -> Page:
    """Return the texts and media of a page in document order; whatever the bytes are, nothing is raised.

    Time and memory grow with the page, except in the parser, which is quadratic in the depth of nesting and in the
    number of attributes of one element: who reads the pages of strangers bounds the process.

    Parameters
    ----------
    body : bytes
        HTML as served.
    url : str
        Where it was found: what its links are relative to.
    content_type : str or None
        The HTTP header.
    x_robots_tag : tuple of str
        Values of that header, one each.
    settings : PageSettings
    """
    source = decoded(body, content_type)
    tree = LexborHTMLParser(source.utf8, options=WITHOUT_EVENTS, scripting=True)
    signals = PageSignals(tree, url, x_robots_tag)
    base = signals.base
    walk = _walked(tree, signals, settings.drops_boilerplate)
    if signals.base != base:  # which stands in the body, after some of the addresses
        walk = _walked(tree, signals, settings.drops_boilerplate)
    return Page(
        signals.title,
        signals.canonical_url,
        source.charset,
        signals.robots,
        walk.items,
        source.source,
        dict(walk.dropped_media),
        dict(walk.dropped_parts),
    )


def _walked(tree: LexborHTMLParser, signals: PageSignals, drops_boilerplate: bool) -> PageWalk:
    walk = PageWalk(Judge(tree, drops_boilerplate, reads_words=True), signals)
    walk.walk(tree)
    if WORDS_RULE not in walk.dropped_parts or walk.characters >= LEAST_LEFT_BY_WORDS * ARTICLE:
        return walk
    without_words = PageWalk(Judge(tree, drops_boilerplate, reads_words=False), signals)
    without_words.walk(tree)
    is_misread = (
        without_words.characters >= ARTICLE and walk.characters < LEAST_LEFT_BY_WORDS * without_words.characters
    )
    return without_words if is_misread else walk
