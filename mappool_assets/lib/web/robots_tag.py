"""What a server asks of robots in the headers of its answer (X-Robots-Tag)."""

from __future__ import annotations

import re

import httpx2

# The default list of img2dataset 1.47 (`disallowed_header_directives`), and `none`, which means noindex, nofollow:
# https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives that have a value after a colon, from the same page; any other word before a colon is a user agent.
WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
AGENT = re.compile(r"(\*|[a-z][\w.-]*)(?:/\S*)?")
WORD = re.compile(r"[\w-]+")  # some servers forget the commas


def opt_out(headers: httpx2.Headers, token: str) -> str | None:
    """Return the first directive of an answer that keeps us from using it, or None.

    ``X-Robots-Tag: noindex, otherbot: noai, nofollow``: directives before the first user agent are for all, those
    after one are for it alone, up to the next one or the end of the header. There may be several such headers.

    Parameters
    ----------
    headers : httpx2.Headers
        Of the answer.
    token : str
        Our product token, in lower case.

    Examples
    --------
    >>> opt_out(httpx2.Headers({"X-Robots-Tag": "unavailable_after: 25 Jun 2027 15:00:00 PST, noai"}), "ours")
    'noai'
    >>> opt_out(httpx2.Headers({"X-Robots-Tag": "otherbot: noindex, noai"}), "ours") is None
    True
    """
    for header in headers.get_list("X-Robots-Tag"):
        is_for_us = True
        for part in header.lower().split(","):
            name, colon, rest = (text.strip() for text in part.partition(":"))
            if colon and name not in WITH_VALUE | OPT_OUTS and (agent := AGENT.fullmatch(name)):
                is_for_us, name = agent[1] in ("*", token), rest.partition(":")[0]
            found = next((word for word in WORD.findall(name) if word in OPT_OUTS), None)
            if is_for_us and found:
                return found
    return None
