"""The media that a page has for readers without scripts, and films and sounds with their sources."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from mappool_assets.lib.web_documents.boilerplate import HIDDEN, Judge
from mappool_assets.lib.web_documents.item import AUDIO, VIDEO, Item
from mappool_assets.lib.web_documents.media_sources import Attributes, image, sound_or_film

WITHOUT_EVENTS = int(LexborDocumentOptions.WO_EVENTS)  # half of the parser's time, and nobody listens
MEDIA_MARKUP = re.compile(r"<(?:img|amp-img|audio|video)[\s/]", re.IGNORECASE)
UNSEEN_MARKUP = re.compile(
    r"""<img\s[^>]*(?:display\s*:\s*none|\s(?:width|height)=["']?[01](?:px)?["'\s/>])""", re.IGNORECASE
)
_ELEMENTS = frozenset({"img", "amp-img", "audio", "video", "source"})


def noscript_media(markup: str, judge: Judge, base: str) -> Iterator[Item | str]:
    """Yield each medium in the content of a ``<noscript>``, or why it is none.

    Parameters
    ----------
    markup : str
        The content, which a browser that runs scripts takes for text.
    judge : Judge
        By which an element is hidden.
    base : str
        What addresses are relative to.
    """
    root = LexborHTMLParser(markup, options=WITHOUT_EVENTS).root
    sources: list[Attributes] = []
    for node in root.traverse() if root is not None else ():
        tag = node.tag or ""
        if tag not in _ELEMENTS:
            continue
        attributes = node.attributes
        if tag == "source":
            sources.append(attributes)
        elif judge.verdict(node, attributes, False) == HIDDEN:
            yield HIDDEN
        elif tag in ("audio", "video"):
            yield played(node, attributes, base)
            sources = []
        else:
            yield image(attributes, sources, base)
            sources = []


def played(node: LexborNode, attributes: Attributes, base: str) -> Item | str:
    """Return the item of an ``<audio>`` or ``<video>`` with the sources in it, or why it is none."""
    sources = [child.attributes for child in _children(node) if child.tag == "source"]
    kind = AUDIO if (node.tag or "").endswith("audio") else VIDEO
    return sound_or_film(kind, attributes, sources, base)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        yield child
        child = child.next
