"""How long a server that is busy asks its clients to wait."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping

LONGEST_WAIT_SECONDS = 300.0  # the window of the Hub's rate limits; no server may hold a step up for longer

# Statuses after which the same request may succeed later (RFC 9110 §15, RFC 6585 §4, RFC 8470 §5.2).
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait before the next try, or None where it asks nothing.

    ``Retry-After`` is a number of seconds or a date (RFC 9110 §10.2.3); a date is taken relative to the answer's own
    ``Date``, so that our clock plays no part. Without it, the Hub's ``RateLimit: "api";r=0;t=123``
    (draft-ietf-httpapi-ratelimit-headers) says that nothing is left (r) of a window that ends in t seconds.

    Parameters
    ----------
    headers : mapping
        Of the answer; names are looked up as they are spelt here.

    Returns
    -------
    float or None
        Between 0 and :data:`LONGEST_WAIT_SECONDS`.

    Examples
    --------
    >>> retry_after_seconds({"Retry-After": "7"})
    7.0
    >>> retry_after_seconds({"RateLimit": '"api";r=0;t=55'})
    55.0
    >>> retry_after_seconds({}) is None
    True
    """
    if headers.get("Retry-After", "").strip():
        asked = asked_seconds(headers)
        return None if asked is None else min(asked, LONGEST_WAIT_SECONDS)
    left = re.search(r"\br=0\b.*?\bt=(\d+)", headers.get("RateLimit", ""))
    return min(float(left[1]), LONGEST_WAIT_SECONDS) if left else None


def asked_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` names, not negative and however many; None where it names none."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        then, now = (email.utils.parsedate_to_datetime(text) for text in (asked, headers.get("Date", "")))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError, OverflowError):  # no date, one without a time zone, an absurd time zone
        return None
