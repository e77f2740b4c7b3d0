"""MetaCLIP's spacing: how a text and an entry are written so that one can be found in the other as a substring.

The rules are those of MetaCLIP's ``substr_matching.py`` (facebookresearch/MetaCLIP, arXiv:2309.16671) and, for scripts
without spaces, of MetaCLIP 2's (arXiv:2507.22062). Nothing else is changed: case and Unicode form are kept, runs of
spaces stay runs, and a no-break space is no space.
"""

from __future__ import annotations

import string

import numpy as np
import numpy.typing as npt

MARKS = ",.;:?!`"  # each gets a space on either side
BLANKS = "\t\n\r"  # each becomes a space
INNER, BLANK, MARK = range(3)  # what a byte of a text does to the token that it stands in

# MetaCLIP 2's list of characters at which an entry may begin or end within a run of letters. It has neither kana nor
# Hangul: entries that begin or end with these keep their space.
_UNSPACED_RANGES = (
    (0x4E00, 0x9FFF),  # Han …
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2CEB0, 0x2EBEF),
    (0xF900, 0xFAFF),
    (0x2E80, 0x2EFF),  # … its radicals and how it is composed
    (0x2F00, 0x2FDF),
    (0x2FF0, 0x2FFF),
    (0x0E00, 0x0E7F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x0F00, 0x0FFF),  # Tibetan
)
_UNSPACED_PUNCTUATION = frozenset(string.punctuation + "，。、；：？！“”‘’（）【】《》〈〉「」『』～—")


def spaced(text: str) -> str:
    """Return a text as entries are looked for in it.

    >>> spaced("Rome, 1748")
    ' Rome ,  1748 '
    """
    text = f" {text} "
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    for blank in BLANKS:
        text = text.replace(blank, " ")
    return text


def padded(entry: str) -> str:
    """Return what must be found in a spaced text for an entry to match."""
    return f" {entry} "


def padded_unspaced(entry: str) -> str:
    """Return the same where scripts without spaces are among the texts: no padding beside their characters.

    >>> padded_unspaced("地図"), padded_unspaced("A4の図")
    ('地図', ' A4の図')

    Nor is there any beside punctuation. An empty entry, which MetaCLIP 2 does not have, is padded.
    """
    if not entry:
        return padded(entry)
    before = "" if is_unspaced(entry[0]) else " "
    after = "" if is_unspaced(entry[-1]) else " "
    return f"{before}{entry}{after}"


def is_unspaced(character: str) -> bool:
    """Tell whether an entry may begin or end at a character without a space around it, as MetaCLIP 2 has it."""
    code = ord(character)
    return character in _UNSPACED_PUNCTUATION or any(first <= code <= last for first, last in _UNSPACED_RANGES)


def byte_kinds() -> npt.NDArray[np.uint8]:
    """Return, by byte of UTF-8, whether it ends a token (``BLANK``), is one by itself (``MARK``) or part of one."""
    kinds = np.full(256, INNER, dtype=np.uint8)
    kinds[[ord(blank) for blank in f" {BLANKS}"]] = BLANK
    kinds[[ord(mark) for mark in MARKS]] = MARK
    return kinds
