"""A WAT's record about a page to the media that the page shows: the fast way, without HTML.

A WAT is JSON that Common Crawl's extractor (ia-web-commons, ``ExtractingParseObserver``) makes of a WARC: of a page the
status, the headers, what is in its head, and the links of known attributes as they are written. How the media found in
it differ from those of :mod:`mappool_assets.lib.web_documents`, which reads the page itself:

More is found:

- in menus, footers, banners and hidden parts, and on pages that are no documents because they are not in a natural
  language: a WAT has neither the places of links nor the page's text;
- every ``<source>`` of a sound or a film, not the first that leads somewhere alone, and also where the element has a
  ``src``; and images that the page states to be of one pixel, or gives in a ``<noscript>`` or as a picture's text.

Less is found:

- no image that only ``data-src`` and its kin, ``srcset`` or a ``<picture>`` gives, or ``<amp-img>``; ``src`` is judged
  alone, also where it only keeps the place for one of these;
- no ``data-src`` of a sound or a film;
- no ``<source>`` whose path does not end like a sound or a film: a WAT does not say in what it stands. What it is, is
  told by this ending, also where it stands in the other element;
- no link after the most that are read of one page.

Otherwise: of several ``<base>`` the last one counts, not the first; a page is what the extractor took for HTML.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any, NamedTuple

import orjson
from selectolax.lexbor import LexborHTMLParser

from mappool_assets.lib.crawl.warc_pages import HTML_TYPES, VAGUE_TYPES
from mappool_assets.lib.media_urls.plain_images import ImageAddresses, Medium
from mappool_assets.lib.web_documents.canonical_url import LONGEST_URL, SCHEMES, resolved
from mappool_assets.lib.web_documents.item import AUDIO, IMAGE, VIDEO
from mappool_assets.lib.web_documents.media_sources import AUDIO_ENDINGS, VIDEO_ENDINGS, media_file, sound_or_film
from mappool_assets.lib.web_documents.page_documents import OPT_OUTS
from mappool_assets.lib.web_documents.page_signals import PageSignals

RESPONSE = b'"HTTP-Response-Metadata"'  # requests and Common Crawl's own metadata have none: two thirds of the records
BY_ENDING = "by ending"
KINDS = {
    "IMG@/src": IMAGE,
    "AUDIO@/src": AUDIO,
    "VIDEO@/src": VIDEO,
    **dict.fromkeys(("SOURCE@/src", "A@/href", "IFRAME@/src", "EMBED@/src", "OBJECT@/data"), BY_ENDING),
}
ENDINGS = AUDIO_ENDINGS | VIDEO_ENDINGS
LONGEST_ENDING = 1 + max(map(len, ENDINGS))  # with the dot
BLANKS = "".join(map(chr, range(33)))  # what does not count at the end of an address
LAST = frozenset(BLANKS).union(*((ending[-1], ending[-1].upper()) for ending in ENDINGS))
MOST_MEDIA = 5_000  # of one page: 10 MB of the longest addresses, which a long <base> gives every short link

MOST_SAID, MOST_SAID_CHARACTERS = 32, 2048  # wishes to robots that are read: all that exist take some 300 characters

# Why a record is no page, or a link no medium, besides the reasons of media_sources.
NOT_A_RESPONSE, BAD_JSON, BAD_RECORD, HTTP_STATUS, NOT_HTML, NO_URL = (
    "not_a_response", "bad_json", "bad_record", "http_status", "not_html", "no_url",
)  # fmt: skip
NO_MEDIUM, BAD_LINK, SAME_PAGE, TOO_MANY = "no_medium", "bad_link", "same_page", "too_many"


class WatPage(NamedTuple):
    """The media of a page.

    Attributes
    ----------
    url : str
        The page's address, as it was asked for.
    media : list of Medium
        Kind (``image``, ``audio``, ``video``) and canonical URL, each once, in their order.
    links : int
        All links of the page.
    dropped : dict of str to int
        Links that give no medium, by reason; ``links == len(media) + sum(dropped.values())``.
    """

    url: str
    media: list[Medium]
    links: int
    dropped: dict[str, int]


def read_wat_page(block: bytes, *, obeys_robots: bool = True) -> WatPage | str:
    """Return the media of the page that a WAT's ``metadata`` record is about, or the reason why it is about none.

    Parameters
    ----------
    block : bytes
        The record's JSON.
    obeys_robots : bool
        Whether pages that ask not to be indexed or used for AI are left out, as their documents are by default.

    Returns
    -------
    WatPage or str
        Else one of ``not_a_response``, ``bad_json``, ``bad_record`` (JSON of another form), ``http_status`` (not 200),
        ``not_html``, ``no_url``, ``robots_noai``, ``robots_noindex``.
    """
    if RESPONSE not in block:
        return NOT_A_RESPONSE
    try:
        record = orjson.loads(block)
    except orjson.JSONDecodeError:
        return BAD_JSON
    try:
        envelope = record["Envelope"]
        response = envelope["Payload-Metadata"]["HTTP-Response-Metadata"]
        header = envelope["WARC-Header-Metadata"]
        return _page(header, response, obeys_robots)
    except (AttributeError, KeyError, TypeError):
        return BAD_RECORD


def _page(header: dict[str, Any], response: dict[str, Any], obeys_robots: bool) -> WatPage | str:
    if response["Response-Message"]["Status"] != "200":
        return HTTP_STATUS
    html = response.get("HTML-Metadata")
    detected = header.get("WARC-Identified-Payload-Type", "").lower()
    if html is None or not (detected in HTML_TYPES or detected in VAGUE_TYPES):
        return NOT_HTML
    url = header.get("WARC-Target-URI", "")
    if not url.lower().startswith(SCHEMES) or len(url) > LONGEST_URL:
        return NO_URL
    head = html.get("Head", {})
    if obeys_robots and (opt_out := _opt_out(head.get("Metas", ()), response.get("Headers", {}))):
        return opt_out
    links, stated = html.get("Links", []), head.get("Base")
    base = (resolved(url, stated) if stated else None) or url
    if not isinstance(links, list):
        return BAD_RECORD
    media, dropped = _media(links, base)
    return WatPage(url, media, len(links), dropped)


def _media(links: list[Any], base: str) -> tuple[list[Medium], dict[str, int]]:
    """Return the different media of links, and how many links are none, by reason."""
    media: dict[Medium, None] = {}
    dropped = Counter[str]()
    judge_image = ImageAddresses(base).judge
    looked_at = 0
    for position, link in enumerate(links):
        if len(media) == MOST_MEDIA:
            looked_at += len(links) - position
            dropped[TOO_MANY] = len(links) - position
            break
        try:
            kind = KINDS.get(link["path"])
            if kind is None or (kind is BY_ENDING and not may_be_file(link["url"])):
                continue
            found = judge_image(link["url"]) if kind is IMAGE else _sound_or_film(kind, link["url"], base)
        except (AttributeError, KeyError, TypeError):
            found = BAD_LINK
        looked_at += 1
        if isinstance(found, str):
            dropped[found] += 1
        else:
            media[found] = None
    dropped[SAME_PAGE] = looked_at - len(media) - dropped.total()
    dropped[NO_MEDIUM] += len(links) - looked_at
    return list(media), {reason: count for reason, count in dropped.items() if count}


def _sound_or_film(kind: str, address: str, base: str) -> Medium | str:
    """Return what the walk over a page makes of an address, or why it is nothing."""
    item = media_file(address, base) if kind is BY_ENDING else sound_or_film(kind, {"src": address}, (), base)
    if item is None or isinstance(item, str):
        return item or NO_MEDIUM
    assert item.url is not None
    return item.kind, item.url.partition("#")[0]


def may_be_file(address: str) -> bool:
    """Tell, in a fraction of the time of a look at what it leads to, that most links lead to no sound or film."""
    if address[-1:] not in LAST and "?" not in address and "#" not in address:
        return False
    path = address.partition("?")[0].partition("#")[0].rstrip(BLANKS)
    return path[-LONGEST_ENDING:].rpartition(".")[2].lower() in ENDINGS


def _opt_out(metas: list[Any], headers: dict[str, Any]) -> str | None:
    """Return why a page is left out by its own wish, as :mod:`~…web_documents.page_documents` does."""
    of_headers = _short(_flat([value for name, value in headers.items() if name.lower() == "x-robots-tag"]))
    of_page = _short([meta["content"] for meta in metas if _is_robots(meta)])
    if not any("no" in said.lower() for said in (*of_headers, *of_page)):  # noai, noindex and none: one page in ten
        return None
    page = "".join(f'<meta name="robots" content="{escape(said)}">' for said in of_page)
    robots = PageSignals(LexborHTMLParser(page), "", of_headers).robots
    return next((reason for word, reason in OPT_OUTS.items() if word in robots), None)


def _is_robots(meta: dict[str, Any]) -> bool:
    return "content" in meta and meta.get("name", "").strip().lower() == "robots"


def _flat(values: list[Any]) -> list[str]:
    """Return header values one each: a header that is there more than once is a list."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _short(values: list[str]) -> list[str]:
    return [value[:MOST_SAID_CHARACTERS] for value in values[:MOST_SAID]]
