"""The text before and after each medium of a document, as offsets into the document's text.

The document's text is its text items joined by a newline; a medium lies between two of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.web_documents.item import TEXT
from mappool_assets.lib.web_documents.tokens import Spans, Tokenizer

SEPARATOR = "\n"
# Flamingo's length of a training sequence (Alayrac et al. 2022, arXiv:2204.14198: "L = 256 tokens"), here on each side.
TOKENS_A_SIDE = 256

BEFORE_START, BEFORE_END, AFTER_START, AFTER_END = range(4)  # columns of an array of windows


class MediaSample(NamedTuple):
    """One medium and its windows: [start, end) in characters (code points) of the document's text."""

    kind: str
    position: int
    url: str | None
    alt: str | None
    before_start: int
    before_end: int
    after_start: int
    after_end: int


class Windows(NamedTuple):
    """The windows of a document's media.

    Attributes
    ----------
    offsets : int32 array of shape (media, 4)
        Columns ``BEFORE_START`` … ``AFTER_END``.
    tokens : int64 array of shape (media, 2)
        Tokens before and after.
    """

    offsets: NDArray[np.int32]
    tokens: NDArray[np.int64]


def document_text(items: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a document's items (``kind`` and ``text`` of each are read)."""
    return SEPARATOR.join(item["text"] or "" for item in items if item["kind"] == TEXT)


def media_windows(
    items: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    tokens_a_side: int = TOKENS_A_SIDE,
    kinds: Collection[str] | None = None,
) -> list[MediaSample]:
    """Return each medium of a document with the text before and after it.

    Windows may reach over other media, and so overlap. They begin and end with a token, so no white space is at their
    ends. A window is empty, start and end the same, where there is no text on its side, or where the word next to the
    medium has more tokens than a window.

    Parameters
    ----------
    items : sequence of mappings
        Rows of ``documents.items`` in order: ``kind``, ``position``, ``text``, ``url``, ``alt``.
    tokens_a_side : int
        Most tokens of a window. Words are not cut: with CLIP's tokens a window may hold a few less.
    kinds : collection of str, optional
        Kinds of media wanted; all by default. Windows do not depend on it.

    Examples
    --------
    >>> from mappool_assets.lib.web_documents.tokens import WordTokenizer
    >>> items = [
    ...     {"kind": "text", "position": 0, "text": "An old map", "url": None, "alt": None},
    ...     {"kind": "image", "position": 1, "text": None, "url": "https://maps.example/1.png", "alt": "Rome"},
    ... ]
    >>> [sample] = media_windows(items, WordTokenizer(), tokens_a_side=2)
    >>> document_text(items)[sample.before_start : sample.before_end], sample.after_end - sample.after_start
    ('old map', 0)
    """
    wanted, places, place = [], [], 0
    for item in items:
        if item["kind"] == TEXT:
            place += len(item["text"] or "") + len(SEPARATOR)
        elif kinds is None or item["kind"] in kinds:
            wanted.append(item)
            places.append(place)
    if not wanted:
        return []
    text = document_text(items)
    windows = windows_at(tokenizer.spans(text), np.array(places), len(text), tokens_a_side)
    return [
        MediaSample(item["kind"], item["position"], item["url"], item["alt"], *offsets)
        for item, offsets in zip(wanted, windows.offsets.tolist(), strict=True)
    ]


def windows_at(spans: Spans, places: NDArray[np.integer], length: int, tokens_a_side: int = TOKENS_A_SIDE) -> Windows:
    """Return the windows of media at some places of a text.

    The cost is that of two binary searches a medium, however many tokens a window has.

    Parameters
    ----------
    spans : int32 array of shape (tokens, 2)
        See :class:`~mappool_assets.lib.web_documents.tokens.Tokenizer`.
    places : int array of shape (media,), not decreasing
        The character at which the text after the medium begins; no token reaches over it.
    length : int
        Of the text, in characters.

    Returns
    -------
    Windows
        Each column of the offsets does not decrease. ``before_end`` is the end of the last token before the medium,
        or 0; ``after_start`` the start of the first after it, or ``length``.
    """
    starts, ends = np.append(spans[:, 0], length), np.insert(spans[:, 1], 0, 0)  # ends[n]: after n tokens
    is_first = np.ones(len(spans) + 1, dtype=bool)  # of its word; parts of a word have the same span
    is_first[1:-1] = spans[1:, 0] != spans[:-1, 0]
    borders = np.flatnonzero(is_first)
    middle = np.searchsorted(spans[:, 0], places)  # tokens before each medium
    first = borders[np.searchsorted(borders, middle - tokens_a_side)]
    last = borders[np.searchsorted(borders, middle + tokens_a_side, side="right") - 1]
    before_end, after_start = ends[middle], starts[middle]
    before_start = np.where(first < middle, starts[first], before_end)
    after_end = np.where(last > middle, ends[last], after_start)
    offsets = np.stack([before_start, before_end, after_start, after_end], axis=1).astype(np.int32)
    return Windows(offsets, np.stack([middle - first, last - middle], axis=1))
