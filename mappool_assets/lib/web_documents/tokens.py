"""What a text window is measured in: tokenizers that say where in a text each of its tokens lies.

A position is a character (code point) of the text, as Python and DuckDB's ``substring`` count them.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting

Spans = NDArray[np.int32]
WORDS, CLIP = TOKENIZERS = ("words", "clip")

# The longest words in dictionaries are shorter. What is longer (addresses, base64) counts as several tokens, so that no
# page can make a window of 256 tokens longer than 256 × 65 characters.
MAX_WORD_CHARACTERS = 64

SPACE, LETTER, UNSPACED, MARK = range(4)  # LETTER: whatever is neither of the others
# White space as str.isspace and str.split see it: first and last code point of each range.
_SPACES = (
    (0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
)  # fmt: skip
# Blocks of scripts that are written without spaces.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x116D0, 0x116FF),  # Myanmar
    (0x1780, 0x17FF), (0x19E0, 0x19FF),  # Khmer
    (0x2E80, 0x2FD5), (0x3005, 0x3007), (0x3021, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x16FE2, 0x16FF6), (0x20000, 0x3FFFF),  # Han
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x32D0, 0x32FE), (0x3300, 0x3357), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F),
    (0x1F200, 0x1F200),  # Kana
)  # fmt: skip
# What belongs to the character before it, besides the marks (categories M*) of the blocks above: general combining
# marks, joiners, variation selectors, and letters that Unicode's grapheme clusters (UAX 29) treat as marks.
_MARKS = (
    (0x0300, 0x036F), (0x0E33, 0x0E33), (0x0EB3, 0x0EB3), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x200C, 0x200D),
    (0x20D0, 0x20F0), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xFF9E, 0xFF9F), (0xE0100, 0xE01EF),
)  # fmt: skip
_PLANES_WITHOUT_MARKS = 0x20000


class Tokenizer(Protocol):
    """What a window is measured in."""

    @property
    def name(self) -> str:
        """What the setting calls it."""

    def spans(self, text: str) -> Spans:
        """Return where the tokens of a text lie, in order.

        Returns
        -------
        int32 array of shape (tokens, 2)
            First character, and the one after the last. Two tokens have the same span (they are parts of one word,
            and no window ends between them) or do not overlap. No span holds white space; every other character is
            in one.
        """


@dataclass(frozen=True, slots=True)
class WordTokenizer:
    """Words: runs of characters that are no white space.

    Of scripts that are written without spaces (Han, Kana, Thai, Lao, Khmer, Myanmar) each character is a token, with
    the marks that belong to it. A run longer than ``MAX_WORD_CHARACTERS`` is cut to tokens of that length.

    Examples
    --------
    >>> WordTokenizer().spans("A map of 東京").tolist()
    [[0, 1], [2, 5], [6, 8], [9, 10], [10, 11]]
    """

    name: str = WORDS

    def spans(self, text: str) -> Spans:
        """Return the spans, (words, 2), all different; see :class:`Tokenizer`. 50 µs for a page of 11,000 letters."""
        if text.isascii():
            kinds = _kinds_of_characters()[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
        else:
            kinds = _kinds_of_characters()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)]
        spans = _runs(kinds)
        return _cut(spans) if (spans[:, 1] - spans[:, 0] > MAX_WORD_CHARACTERS).any() else spans


def tokenizer_named(name: str) -> Tokenizer:
    """Return one of ``TOKENIZERS``; ``clip`` loads its vocabulary, once a process.

    Raises
    ------
    BadSetting
        There is no such tokenizer.
    """
    check_tokenizer(name)
    if name == CLIP:
        from mappool_assets.lib.web_documents.clip_tokens import clip_tokenizer

        return clip_tokenizer()
    return WordTokenizer()


def check_tokenizer(name: str) -> None:
    """Raise :class:`BadSetting` where there is no such tokenizer; nothing is loaded."""
    if name not in TOKENIZERS:
        raise BadSetting(
            "There is no such tokenizer",
            where="the windows of media_links",
            rule=" or ".join(TOKENIZERS),
            got=repr(name),
            action="Correct the setting.",
        )


@functools.cache
def _kinds_of_characters() -> NDArray[np.uint8]:
    kinds = np.full(0x110000, LETTER, dtype=np.uint8)
    for first, last in _SPACES:
        kinds[first : last + 1] = SPACE
    for first, last in _UNSPACED:
        kinds[first : last + 1] = UNSPACED
        if last < _PLANES_WITHOUT_MARKS:
            codes = range(first, last + 1)
            kinds[[code for code in codes if unicodedata.category(chr(code)).startswith("M")]] = MARK
    for first, last in _MARKS:
        kinds[first : last + 1] = MARK
    return kinds


def _runs(kinds: NDArray[np.uint8]) -> Spans:
    """Return the runs without white space, cut before and after each unspaced character with its marks."""
    is_ink = np.zeros(len(kinds) + 2, dtype=bool)
    np.not_equal(kinds, SPACE, out=is_ink[1:-1])
    edges = np.flatnonzero(is_ink[1:] != is_ink[:-1]).astype(np.int32)
    is_unspaced = kinds == UNSPACED
    if not is_unspaced.any():
        return edges.reshape(-1, 2)
    owners = np.where(kinds == MARK, 0, np.arange(len(kinds)))  # a mark is as the character that it belongs to
    is_unspaced = is_unspaced[np.maximum.accumulate(owners)]
    is_border = (kinds == UNSPACED)[1:] | (is_unspaced[:-1] & (kinds != MARK)[1:])
    inner = 1 + np.flatnonzero(is_border & is_ink[1:-2] & is_ink[2:-1])
    starts, ends = edges[::2], edges[1::2]
    return np.stack([np.sort(np.concatenate([starts, inner])), np.sort(np.concatenate([ends, inner]))], axis=1).astype(
        np.int32
    )


def _cut(spans: Spans) -> Spans:
    lengths = spans[:, 1] - spans[:, 0]
    parts = -(-lengths // MAX_WORD_CHARACTERS)
    ordinals = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    starts = np.repeat(spans[:, 0], parts) + ordinals * MAX_WORD_CHARACTERS
    return np.stack([starts, np.minimum(starts + MAX_WORD_CHARACTERS, np.repeat(spans[:, 1], parts))], axis=1).astype(
        np.int32
    )
