"""Addresses of images judged as the walk over a page judges them, in a third of the time.

Most are written as they are normalised, or follow a base that is: a pattern tells so in less time than a parser takes.
"""

from __future__ import annotations

import re

from mappool_assets.lib.web_documents.canonical_url import LONGEST_URL, resolved
from mappool_assets.lib.web_documents.item import IMAGE
from mappool_assets.lib.web_documents.media_sources import DATA_URL, NO_SOURCE, image, why_no_picture

# Not all that is normal: no port, user or number as a host; nothing that is percent-encoded when it is normalised.
_AUTHORITY = r"(?:[a-z0-9-]+\.)+[a-z]+(?=/)"
_PATH = r"[\w.~!$&'()*+,;=:@%/-]*(?:\?[\w.~!$&()*+,;=:@%/?-]*)?"
_NORMAL = re.compile(rf"https?://{_AUTHORITY}{_PATH}", re.ASCII)
_NAME = r"[\w~!$&'()*+,;=@%-][\w.~!$&'()*+,;=@%-]*"  # with a colon, it would be a scheme
_REST = re.compile(rf"//{_AUTHORITY}{_PATH}|/(?!/){_PATH}|{_NAME}(?:(?=[/?]){_PATH})?", re.ASCII)
Medium = tuple[str, str]  # kind and canonical URL


class ImageAddresses:
    """The addresses of images on one page.

    Parameters
    ----------
    base : str
        What they are relative to.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._scheme = self._origin = self._folder = ""
        if _NORMAL.fullmatch(base) and not _is_odd(base):
            path = base.partition("?")[0]
            self._scheme, self._folder = path.partition("/")[0], path[: path.rindex("/") + 1]
            self._origin = "/".join(path.split("/", 3)[:3])

    def judge(self, address: str) -> Medium | str:
        """Return an image, or why it is left out.

        Both are those of :func:`~mappool_assets.lib.web_documents.media_sources.image`, to which ``address`` is the
        ``src``, but for the fragment.
        """
        if address.startswith("data:"):
            return DATA_URL
        if not address:
            return NO_SOURCE
        url = self._plain(address) or resolved(self._base, address)
        if url is not None:
            return why_no_picture(url) or (IMAGE, url.partition("#")[0])
        why_not = image({"src": address}, (), self._base)
        assert isinstance(why_not, str)
        return why_not

    def _plain(self, address: str) -> str | None:
        """Return what an address is normalised to, where a pattern tells; else None."""
        if len(address) > LONGEST_URL:
            return None
        if _NORMAL.fullmatch(address):
            url = address
        elif self._scheme and _REST.fullmatch(address):
            before = self._folder if address[0] != "/" else self._origin if address[1:2] != "/" else self._scheme
            url = before + address
        else:
            return None
        return None if _is_odd(url) else url


def _is_odd(url: str) -> bool:
    """Tell whether it has dot segments, also encoded ones, which are resolved, or a name in punycode, to be checked."""
    if "/." in url or "xn--" in url or len(url) > LONGEST_URL:
        return True
    return "%2" in url and ("%2e" in url or "%2E" in url)
