"""Interleaved documents, text – image – text …, made of windows alone by merging what overlaps.

Between two neighbouring media lies what the window after the first and the one before the second cover: windows of
media further away reach no further into it. So the cost grows with the media, not with how many windows overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.web_documents.item import TEXT
from mappool_assets.lib.web_documents.windows import (
    AFTER_END,
    AFTER_START,
    BEFORE_END,
    BEFORE_START,
    MediaSample,
)

TEXT_PART = -1


class Part(NamedTuple):
    """A stretch of the document's text, [start, end), or a medium, whose offsets are None."""

    kind: str
    start: int | None
    end: int | None
    position: int | None
    url: str | None
    alt: str | None


class MergedWindows(NamedTuple):
    """The parts of documents in order.

    Attributes
    ----------
    samples : int64 array of shape (parts,)
        Which sample the medium is of, or ``TEXT_PART``.
    starts, ends : int32 arrays of shape (parts,)
        Of the text; 0 for a medium.
    counts : int64 array of shape (samples,)
        Parts made of each sample: texts before its medium, the medium, and after a document's last one the text.
    """

    samples: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    counts: NDArray[np.int64]


def interleaved_parts(samples: Sequence[MediaSample], text: str) -> list[Part]:
    """Return one document's media with the text that their windows cover, in document order.

    Two windows are merged where nothing but white space is between them. Two texts in a row have text between them
    that no window covers. With windows longer than the document the parts are the whole document.

    Parameters
    ----------
    samples : sequence of MediaSample
        In document order: all of a page's, or those of some kinds.
    text : str
        The document's; read only between windows that do not touch.

    Examples
    --------
    >>> sample = MediaSample("image", 1, "https://maps.example/1.png", "Rome", 0, 10, 11, 14)
    >>> [(part.kind, part.start, part.end) for part in interleaved_parts([sample], "An old map of Rome")]
    [('text', 0, 10), ('image', None, None), ('text', 11, 14)]
    """
    windows = np.array([sample[-4:] for sample in samples], dtype=np.int32).reshape(-1, 4)
    merged = merged_windows(
        windows, np.zeros(len(samples), dtype=np.int64), lambda _, start, end: text[start:end].isspace()
    )
    parts = zip(merged.samples.tolist(), merged.starts.tolist(), merged.ends.tolist(), strict=True)
    return [
        Part(TEXT, start, end, None, None, None)
        if number == TEXT_PART
        else Part(samples[number].kind, None, None, *samples[number][1:4])
        for number, start, end in parts
    ]


def merged_windows(
    windows: NDArray[np.int32], pages: NDArray[np.integer], is_blank: Callable[[int, int, int], bool]
) -> MergedWindows:
    """Merge the windows of many documents at once.

    Parameters
    ----------
    windows : int32 array of shape (samples, 4)
        As :func:`~mappool_assets.lib.web_documents.windows.windows_at` gives them, in document order.
    pages : int array of shape (samples,), not decreasing
        Which document each is of.
    is_blank : callable
        Given one of ``pages``, a start and an end, tells whether this part of its text, which is not empty, is white
        space. Asked only for gaps between windows, at most once a medium.
    """
    count = len(windows)
    is_first = np.ones(count, dtype=bool)
    is_first[1:] = pages[1:] != pages[:-1]
    is_last = np.append(is_first[1:], np.ones(min(count, 1), dtype=bool))
    end = windows[:, BEFORE_END]  # of the text before the medium; its start is the one after the medium before
    # What the medium before reaches, and what this one does: parts of the same stretch of text.
    left_start = np.where(is_first, 0, np.roll(windows[:, AFTER_START], 1))
    left_end = np.where(is_first, 0, np.minimum(np.roll(windows[:, AFTER_END], 1), end))
    right_start = np.maximum(windows[:, BEFORE_START], left_start)
    has_left, has_right = left_start < left_end, right_start < end
    is_apart = has_left & has_right & (left_end < right_start)
    for sample in np.flatnonzero(is_apart):
        is_apart[sample] = not is_blank(int(pages[sample]), int(left_end[sample]), int(right_start[sample]))
    is_one = has_left & has_right & ~is_apart
    starts = np.stack([left_start, np.where(is_one, left_start, right_start), 0 * end, windows[:, AFTER_START]], axis=1)
    ends = np.stack([left_end, end, 0 * end, windows[:, AFTER_END]], axis=1)
    is_part = np.stack([has_left & ~is_one, has_right, np.ones(count, dtype=bool), is_last], axis=1)
    is_part[:, 3] &= starts[:, 3] < ends[:, 3]
    samples = np.full((count, 4), TEXT_PART)
    samples[:, 2] = np.arange(count)
    return MergedWindows(samples[is_part], starts[is_part], ends[is_part], is_part.sum(axis=1))
