"""Where the images, sounds and films of a page are: which of an element's addresses is the real one.

Images are ``<img>`` and ``<amp-img>``. Their address is the first that leads somewhere of: ``src``; ``data-src`` and
its kin, by which scripts load images late; the largest of ``srcset`` and its kin and of the ``<source>`` elements
before it in its ``<picture>``. ``src`` comes after the late ones where it only keeps the place, which a class that says
lazy tells. CSS backgrounds, inline SVG, ``og:image`` and posters of films are no items: they are decoration, or stand
for what is there anyway.

Sounds and films are ``<audio>`` and ``<video>`` (``src``, else the first ``<source>`` that leads somewhere), and links,
``<iframe>``, ``<embed>`` and ``<object>`` whose path ends like a media file; a player's page, such as YouTube's, is
none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from mappool_assets.lib.web_documents.block_text import block_text
from mappool_assets.lib.web_documents.canonical_url import resolved
from mappool_assets.lib.web_documents.image_candidates import image_candidates
from mappool_assets.lib.web_documents.item import AUDIO, IMAGE, VIDEO, Item, item_of

# cc2dataset's lists, with what else links have of the same kind.
AUDIO_ENDINGS = frozenset({"aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba", "wma"})
VIDEO_ENDINGS = frozenset({"3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "webm", "wmv"})

# As WordPress and its plug-ins, lazysizes, Cloudflare, PageSpeed, Ezoic and some portals name them.
LATE_SOURCES = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-lazyload", "data-lazyload-src",
    "data-original-src", "data-orig-src", "data-ll-src", "data-echo", "data-cfsrc", "data-pagespeed-lazy-src",
    "data-ezsrc", "data-img-src", "data-image-src", "data-actualsrc", "data-hi-res-src", "data-full-src",
)  # fmt: skip
SRCSETS = ("srcset", "data-srcset", "data-lazy-srcset", "data-original-set", "data-ezsrcset", "data-orig-srcset")
_LATE_RANKS = {name: rank for rank, name in enumerate(LATE_SOURCES)}
_LATE = frozenset(LATE_SOURCES + SRCSETS[1:])
_SRCSETS = frozenset(SRCSETS)
_BESIDE_SRC = frozenset(LATE_SOURCES + SRCSETS)

# Why a medium is no item.
DATA_URL, BAD_SCHEME, BAD_URL, NO_SOURCE = "data_url", "bad_scheme", "bad_url", "no_source"
TINY, TRACKER, PLACEHOLDER = "tiny", "tracker", "placeholder"

# Names of files, from the slash before them.
_PLACEHOLDER = re.compile(
    r"/(?:1x1|blank|dummy|empty|lazy-?load(?:er|ing)?|loader|loading|pixel|preloader|spacer|trans|transparent|"
    r"(?:(?:image|img|lazy)[-_]?)?place-?holder)(?:[-_.]?(?:\d+x\d+|image|pixel))?\.(?:gif|png|svg|jpe?g|webp)$",
    re.IGNORECASE,
)
_COUNTING_FILE = re.compile(r"/(?:pixel|tracking|beacon|matomo|piwik|hit|counter)\.(?:gif|php|aspx)$", re.IGNORECASE)
# What those two begin with, after the slash: a look at it spares most addresses both, which cost ten times as much.
_SUSPECTS = frozenset(
    {"1x1", "bea", "bla", "cou", "dum", "emp", "hit", "ima", "img", "laz", "loa", "mat", "pix", "piw", "pla", "pre",
     "spa", "tra"}
)  # fmt: skip
# Sites that serve nothing but counters, and names of hosts that count, after EasyPrivacy's general lists.
_COUNTING_SITES = frozenset(
    {"2o7.net", "adnxs.com", "adsrvr.org", "bidr.io", "bluekai.com", "clicky.com", "cnzz.com", "demdex.net",
     "doubleclick.net", "everesttech.net", "google-analytics.com", "googletagmanager.com", "histats.com", "hotlog.ru",
     "imrworldwide.com", "omtrdc.net", "quantcount.com", "quantserve.com", "scorecardresearch.com", "statcounter.com",
     "tns-counter.ru", "webtrekk.net", "xiti.com"}
)  # fmt: skip
_COUNTING_HOSTS = frozenset(
    {"bat.bing.com", "counter.yadro.ru", "hm.baidu.com", "mc.yandex.com", "mc.yandex.ru", "px.ads.linkedin.com",
     "stats.wordpress.com", "stats.wp.com", "top-fwz1.mail.ru", "top.mail.ru"}
)  # fmt: skip
_COUNTING_LABELS = frozenset({"analytics", "beacon", "counter", "matomo", "piwik", "pixel", "tracker", "tracking"})
_SIDE = re.compile(r"\s*\+?(\d{1,5})(?:\.\d*)?\s*(?:px)?\s*$", re.IGNORECASE)
_TINY_STYLE = re.compile(r"(?:^|[;\s])(?:width|height)\s*:\s*[01](?:px)?\s*(?:!|;|$)", re.IGNORECASE)
_MEDIA_ENDING = re.compile(rf"\.(?:{'|'.join(sorted(AUDIO_ENDINGS | VIDEO_ENDINGS))})(?:[?#\s]|$)")
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")

Attributes = Mapping[str, str | None]


def image(attributes: Attributes, picture_sources: Sequence[Attributes], base: str) -> Item | str:
    """Return the item of an ``<img>``, or why it is none.

    Parameters
    ----------
    attributes : mapping
        Of the element.
    picture_sources : sequence of mappings
        Attributes of the ``<source>`` elements before it in its ``<picture>``.
    base : str
        What its addresses are relative to.

    Returns
    -------
    Item or str
        Else the reason: ``data_url``; ``bad_scheme`` (javascript:, blob: and others); ``bad_url``; ``no_source``;
        ``tiny`` (a side of at most one pixel); ``placeholder`` (an image that only keeps the place); ``tracker`` (of
        a site, host or file that counts visits). Where it has several addresses, it is that of the first.
    """
    width = _side(attributes["width"]) if "width" in attributes else None
    height = _side(attributes["height"]) if "height" in attributes else None
    if (width is not None and width <= 1) or (height is not None and height <= 1):
        return TINY
    if "style" in attributes and _TINY_STYLE.search(attributes["style"] or ""):
        return TINY
    has_more = bool(picture_sources) or not _BESIDE_SRC.isdisjoint(attributes)  # than a src, which most have alone
    candidates = _candidates(attributes, picture_sources, base) if has_more else ()
    reason = NO_SOURCE
    for address in _addresses(attributes) if has_more else (attributes.get("src"),):
        if not address:
            continue
        url = resolved(base, address)
        why_not = _why_unresolved(address) if url is None else why_no_picture(url)
        if url is not None and not why_not:
            return item_of((IMAGE, None, url, _alt(attributes), candidates, width, height))
        if reason == NO_SOURCE:
            reason = why_not
    if not candidates or reason == TRACKER:
        return reason
    return Item(IMAGE, None, max(candidates, key=_size)[0], _alt(attributes), candidates, width, height)


def is_late(attributes: Attributes) -> bool:
    """Whether an image is one that a script loads, and that may have a twin in a ``<noscript>``."""
    return not _LATE.isdisjoint(attributes) or ("class" in attributes and _is_called_lazy(attributes))


def late_address(attributes: Attributes) -> str:
    """Return the first address of such an image as it stands in the page; "" where there is only a ``srcset``."""
    return next(iter(_addresses(attributes)), "")


def sound_or_film(kind: str, attributes: Attributes, sources: Sequence[Attributes], base: str) -> Item | str:
    """Return the item of an ``<audio>`` or ``<video>``, or why it is none, as :func:`image` does.

    Parameters
    ----------
    kind : str
        ``audio`` or ``video``.
    attributes, sources : mapping, sequence of mappings
        Of the element, and of the ``<source>`` elements in it.
    base : str
        What its addresses are relative to.
    """
    addresses = [own.get("src") or own.get("data-src") for own in (attributes, *sources)]
    urls = [resolved(base, address) if address else None for address in addresses]
    url = next((found for found in urls if found is not None), None)
    if url is None:
        return next((_why_unresolved(address) for address in addresses if address), NO_SOURCE)
    typed = zip(urls[1:], sources, strict=True)
    candidates = tuple((found, source.get("type") or "") for found, source in typed if found is not None)
    said = attributes.get("title") or attributes.get("aria-label")
    width, height = _side(attributes.get("width")), _side(attributes.get("height"))
    return Item(kind, None, url, block_text(said) if said else None, candidates, width, height)


def media_file(address: str | None, base: str) -> Item | None:
    """Return the item of a link or an embedding whose path ends like a sound's or a film's, else None."""
    if not address or not _MEDIA_ENDING.search(address.lower()):
        return None
    url = resolved(base, address)
    kind = kind_by_ending(url) if url is not None else None
    return None if kind is None else Item(kind, None, url)


def kind_by_ending(url: str) -> str | None:
    """Return ``audio`` or ``video`` by how the path of an address ends, whatever its query and case; else None.

    Examples
    --------
    >>> kind_by_ending("https://example.org/talk.MP3?download=1"), kind_by_ending("https://example.org/?f=talk.mp3")
    ('audio', None)
    """
    ending = _file_name(url).rpartition(".")[2].lower()
    return AUDIO if ending in AUDIO_ENDINGS else VIDEO if ending in VIDEO_ENDINGS else None


def why_no_picture(url: str) -> str:
    """Return ``tracker`` or ``placeholder``, or "" for what may be a picture."""
    host = url.split("/", 3)[2]
    if _is_counting_host(host):
        return TRACKER
    file_name = _file_name(url) if "?" in url or "#" in url else url[url.rfind("/", 0, -1) :]
    if file_name[1:4].lower() not in _SUSPECTS:
        return TRACKER if file_name in ("/tr", "/tr/") and host.endswith("facebook.com") else ""
    return TRACKER if _COUNTING_FILE.match(file_name) else PLACEHOLDER if _PLACEHOLDER.match(file_name) else ""


@functools.lru_cache(maxsize=1024)
def _is_counting_host(host: str) -> bool:
    labels = host.partition(":")[0].split(".")
    name, site = ".".join(labels), ".".join(labels[-2:])
    return site in _COUNTING_SITES or name in _COUNTING_HOSTS or (len(labels) > 2 and labels[0] in _COUNTING_LABELS)


def _file_name(url: str) -> str:
    """Return the last part of a path, from its slash."""
    path = url.partition("#")[0].partition("?")[0]
    return path[path.rfind("/", 0, -1) :]


def _addresses(attributes: Attributes) -> list[str]:
    source = attributes.get("src")
    own = [source] if source else []
    if _LATE.isdisjoint(attributes):
        return own
    named = [name for name in attributes if name in _LATE_RANKS]
    if len(named) > 1:
        named.sort(key=_LATE_RANKS.__getitem__)
    late = [address for name in named if (address := attributes[name]) and _is_like_an_address(address)]
    return late + own if _is_called_lazy(attributes) else own + late


def _is_called_lazy(attributes: Attributes) -> bool:
    return "lazy" in (attributes.get("class") or "").lower()


def _is_like_an_address(value: str) -> bool:
    """Whether it is no flag, number or JSON, which such attributes hold too."""
    return ("/" in value or "." in value) and value[0] not in "{["


def _candidates(own: Attributes, of_picture: Sequence[Attributes], base: str) -> tuple[tuple[str, str], ...]:
    if not of_picture and _SRCSETS.isdisjoint(own):
        return ()
    sets = dict.fromkeys([named[name] for named in (own, *of_picture) for name in SRCSETS if name in named])
    found: list[tuple[str, str]] = []
    for value in sets:
        for address, descriptor in image_candidates(value) if value else ():
            if (url := resolved(base, address)) is not None:
                found.append((url, descriptor))
    return tuple(found)


def _size(candidate: tuple[str, str]) -> float:
    descriptor = candidate[1].partition(" ")[0]
    return float(descriptor[:-1]) if descriptor else 1.0


def _why_unresolved(address: str) -> str:
    start = re.sub(r"[\t\n\r]", "", address[:100]).strip().lower()
    if start.startswith("data:"):
        return DATA_URL
    scheme = _OTHER_SCHEME.match(start)
    return BAD_SCHEME if scheme and scheme[0] not in ("http:", "https:") else BAD_URL


def _alt(attributes: Attributes) -> str | None:
    if alt := attributes.get("alt"):
        return block_text(alt)
    return "" if "alt" in attributes else None


def _side(stated: str | None) -> int | None:
    if not stated:
        return None
    if stated.isdecimal():
        return int(stated) if len(stated) <= 5 else None
    found = _SIDE.match(stated)
    return int(found[1]) if found else None
