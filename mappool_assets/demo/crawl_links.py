"""The links and metadata of a page as a WAT states them: what ``ExtractingParseObserver`` of ia-web-commons takes.

Source: https://github.com/commoncrawl/ia-web-commons, ``org.archive.resource.html``. It reads tags as they come, builds
no tree, and leaves addresses as they are written: relative, unresolved. ``srcset``, ``data-src`` and the like are not
among what it takes; ``Scripts`` stand in ``Head`` wherever they lie in the page.
"""

from __future__ import annotations

import codecs
import html.parser
import re
from typing import Any

LONGEST_TEXT = 128  # characters of an anchor's text or a title
PLAIN_LINKS: dict[str, tuple[str, ...]] = {
    "applet": ("codebase", "cdata"),
    "audio": ("src",),
    "blockquote": ("cite",),
    "button": ("formaction",),
    "del": ("cite",),
    "embed": ("src",),
    "frame": ("src",),
    "iframe": ("src",),
    "input": ("src", "formaction"),
    "ins": ("cite",),
    "menuitem": ("icon",),
    "object": ("codebase", "cdata", "data"),
    "q": ("cite",),
    "source": ("src",),
    "track": ("src",),
    "video": ("src", "poster"),
}
ANY_TAG_LINKS = ("background", "data-href", "data-uri")
ANCHOR_ATTRIBUTES = ("target", "alt", "title", "rel", "hreflang", "type")
META_ATTRIBUTES = ("name", "rel", "content", "http-equiv", "property")
CSS_URL = re.compile(r"url\s*\(\s*([^)\s]{1,8000}?)\s*\)")
Attributes = dict[str, str]


def html_metadata(body: bytes, charset: str) -> dict[str, Any]:
    """Return ``HTML-Metadata``: ``Head`` (Base, Title, Metas, Link, Scripts) and ``Links``, each only where filled."""
    try:
        codecs.lookup(charset)
    except LookupError:
        charset = "utf-8"
    reader = _Reader()
    reader.feed(body.decode(charset, "replace"))
    reader.close()
    metadata: dict[str, Any] = {}
    if reader.head:
        metadata["Head"] = reader.head
    if reader.links:
        metadata["Links"] = reader.links
    return metadata


class _Reader(html.parser.HTMLParser):
    """Collects tags in the order they come; an anchor is stated at its end, with its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.head: dict[str, Any] = {}
        self.links: list[Attributes] = []
        self._anchors: list[tuple[Attributes, list[str]]] = []
        self._is_in_title = self._is_in_head = self._is_in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in reversed(attrs) if value is not None}  # the first of a name stands
        self._is_in_title, self._is_in_style = tag == "title", tag == "style"
        if tag in ("head", "body"):
            self._is_in_head = tag == "head"
        self.links += [_link(tag, name, given) for name in ANY_TAG_LINKS if name in given]
        self.links += [_link(tag, name, given) for name in PLAIN_LINKS.get(tag, ()) if name in given]
        if tag == "a":
            self._anchors.append((_link(tag, "href", given, ANCHOR_ATTRIBUTES) if "href" in given else {}, []))
        elif tag == "img":
            self.links += [_link(tag, "src", given, ("alt", "title"))] if "src" in given else []
            self.links += [_link(tag, "longdesc", given)] if "longdesc" in given else []
        elif tag == "area" and "href" in given:
            self.links.append(_link(tag, "href", given, ("rel",)))
        elif tag == "form" and "action" in given:
            self.links.append(_link(tag, "action", given, ("target", "method")))
        else:
            self._note_in_head(tag, given)

    def _note_in_head(self, tag: str, given: Attributes) -> None:
        if tag == "base" and "href" in given:
            self.head["Base"] = given["href"]
        elif tag == "link" and "href" in given:
            self.head.setdefault("Link", []).append(_link(tag, "href", given, ("rel", "type")))
        elif tag == "script" and "src" in given:
            self.head.setdefault("Scripts", []).append(_link(tag, "src", given, ("type",)))
        elif tag == "meta" and (stated := {name: given[name] for name in META_ATTRIBUTES if name in given}):
            self.head.setdefault("Metas", []).append(stated)
        elif tag == "html":
            languages = [{"name": f"HTML@/{n}", "content": given[n]} for n in ("lang", "xml:lang") if n in given]
            if languages:
                self.head.setdefault("Metas", []).extend(languages)

    def handle_endtag(self, tag: str) -> None:
        self._is_in_title = self._is_in_style = False
        if tag == "head":
            self._is_in_head = False
        if tag == "a" and self._anchors:
            link, words = self._anchors.pop()
            text = " ".join("".join(words).split())[:LONGEST_TEXT]
            if link:
                self.links.append({**link, "text": text} if text else link)

    def handle_data(self, data: str) -> None:
        if self._is_in_title and (self._is_in_head or "Title" not in self.head):
            self.head["Title"] = " ".join(data.split())[:LONGEST_TEXT]
        elif self._is_in_style:
            found = (address.strip("\"'") for address in CSS_URL.findall(data))
            self.links += [{"path": "STYLE/#text", "href": address} for address in found if address]
        for _, words in self._anchors:
            words.append(data)


def _link(tag: str, attribute: str, given: Attributes, beside: tuple[str, ...] = ()) -> Attributes:
    others = {name: given[name] for name in beside if name in given}
    return {"path": f"{tag.upper()}@/{attribute}", "url": given[attribute], **others}
