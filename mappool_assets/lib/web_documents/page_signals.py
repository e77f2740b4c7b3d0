"""What a page says of itself in its head and its answer: title, base, canonical address, wishes to robots."""

from __future__ import annotations

import re
from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mappool_assets.lib.web.robots_tag import AGENT, OPT_OUTS, WITH_VALUE
from mappool_assets.lib.web_documents.block_text import block_text
from mappool_assets.lib.web_documents.canonical_url import canonical_url, resolved

MOST_DIRECTIVES, LONGEST_DIRECTIVE = 32, 64  # those that exist are 15, the longest with a date of 45 characters
_NOTED = frozenset({"base", "link", "meta", "title"})
_VARIANTS = frozenset({"www", "m", "mobile", "amp"})  # labels by which a site's hosts differ
# Up to a comma, but for one after the day of the week, and up to a directive where the comma was forgotten.
_DATE = re.compile(
    r"unavailable_after\s*:\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,\s*)?[^,;]*?(?=$|[,;]|\sno(?!v))", re.IGNORECASE
)
_COLON = re.compile(r"\s*:\s*")


class PageSignals:
    r"""What a page says of itself.

    Parameters
    ----------
    tree : LexborHTMLParser
        The page. Its head is read; what stands in the body instead is :meth:`note`\ d by who walks over it.
    url : str
        Where it was found.
    x_robots_tag : sequence of str
        Values of the header, one each.

    Attributes
    ----------
    title : str or None
        Of the first ``<title>`` that says something.
    base : str
        What addresses in the page are relative to: the first ``<base href>``, itself relative to the page, else the
        page. One that is no web address counts for nothing.
    """

    def __init__(self, tree: LexborHTMLParser, url: str, x_robots_tag: Sequence[str]) -> None:
        self.title: str | None = None
        self.base = self._url = url
        self._has_base = False
        self._canonical: str | None = None
        self._wishes: list[str] = [wish for header in x_robots_tag for wish in _to_all(header)]
        node = tree.head.first_child if tree.head is not None else None
        while node is not None:
            if node.tag in _NOTED:
                self.note(node)
            node = node.next

    def note(self, node: LexborNode) -> None:
        """Take in a ``<title>``, ``<base>``, ``<link>`` or ``<meta>``."""
        tag = node.tag
        if tag == "title":
            self.title = self.title or block_text(node.text()) or None
            return
        attributes = node.attributes
        if tag == "meta":
            if (name := attributes.get("name")) and name.strip().lower() == "robots":
                self._wishes += _directives(attributes.get("content") or "")
        elif not (href := attributes.get("href")):
            return
        elif tag == "base" and not self._has_base:
            self._has_base = True
            self.base = resolved(self._url, href) or self._url
        elif tag == "link" and self._canonical is None and _is_canonical(attributes.get("rel")):
            self._canonical = href

    @property
    def canonical_url(self) -> str:
        """Of the first ``<link rel=canonical>``, where it is of the same host; else the page's own.

        Labels by which a site's hosts differ, such as ``www``, ``m`` and ``amp``, do not count. For another site
        nobody can speak.
        """
        named = resolved(self.base, self._canonical) if self._canonical else None
        if named is not None and named.partition("#")[0] == self._url:
            return self._url  # of most pages that name one
        return canonical_url(named if named and _site(named) == _site(self._url) else self._url)

    @property
    def robots(self) -> tuple[str, ...]:
        """Directives to all robots, of ``<meta name=robots>`` and X-Robots-Tag, in lower case and sorted.

        ``none`` is ``nofollow`` and ``noindex``. What is addressed to one robot by name is not among them.
        """
        plain = {wish.lower()[:LONGEST_DIRECTIVE] for wish in self._wishes if wish}
        if "none" in plain:
            plain = plain - {"none"} | {"nofollow", "noindex"}
        most_telling = sorted(plain, key=lambda wish: (wish not in OPT_OUTS, wish))[:MOST_DIRECTIVES]
        return tuple(sorted(most_telling))


def _is_canonical(relation: str | None) -> bool:
    return relation is not None and "canonical" in relation.lower().split()


def _directives(content: str) -> list[str]:
    """Split ``noindex, max-snippet: 20``; commas may be missing, and a date has some."""
    if ":" not in content:
        return content.replace(",", " ").replace(";", " ").split()
    dates = _DATE.findall(content)
    words = _COLON.sub(":", _DATE.sub(" ", content))
    return re.split(r"[\s,;]+", words) + [_COLON.sub(":", " ".join(date.split()), count=1) for date in dates]


def _to_all(header: str) -> list[str]:
    """Return the directives of an X-Robots-Tag that are for all robots.

    ``noindex, otherbot: noai, nofollow``: those before the first user agent are for all, those after one are for it
    alone, up to the next one or the end of the header.
    """
    chosen: list[str] = []
    is_for_all = True
    for part in _DATE.sub(lambda date: date[0].replace(",", " "), header).split(","):
        name, colon, rest = part.partition(":")
        name = name.strip().lower()
        agent = AGENT.fullmatch(name) if colon and name not in WITH_VALUE | OPT_OUTS else None
        if agent:
            is_for_all = agent[1] == "*"
        if is_for_all:
            chosen += _directives(rest if agent else part)
    return chosen


def _site(url: str) -> tuple[str, ...]:
    host = canonical_url(url).split("/", 3)[2:3]
    return tuple(label for label in (host[0].split(".") if host else ()) if label not in _VARIANTS)
