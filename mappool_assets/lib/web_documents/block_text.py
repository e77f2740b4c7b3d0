"""Text of a block as it is stored: composed, on one line, without what is not seen."""

from __future__ import annotations

import re
import unicodedata

# Control characters (white space is gone by then), and those that only say where a word may or must not be broken: soft
# hyphen, zero-width space, word joiner, byte order mark. Joiners that scripts need (ZWJ, ZWNJ) stay.
_NOT_SEEN = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff]")


def block_text(raw: str) -> str:
    """Return Unicode's composed form (NFC) with runs of white space, of any script, as one space; "" for nothing.

    Examples
    --------
    >>> block_text("  A ma\u00adp\\n of\u00a0it ")
    'A map of it'
    """
    if raw.isprintable() and "  " not in raw:  # no white space but single blanks: most blocks, in a third of the time
        text = raw.strip(" ")
    else:
        text = " ".join(raw.split())
        if not text.isprintable():
            text = " ".join(_NOT_SEEN.sub("", text).split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)
