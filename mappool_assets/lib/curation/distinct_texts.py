"""The different texts of a shard, each matched once, whatever the batches they come in."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation.matcher import Int32, Int64, Matches, Texts

DIGEST_BYTES = 16  # BLAKE2b: nobody finds two texts of one digest


class TextMatcher(Protocol):
    """Tells which entries match texts."""

    def match(self, texts: Texts) -> Matches:
        """See :meth:`mappool_assets.lib.curation.matcher.Matcher.match`."""


class DistinctTexts:
    """The texts met so far. In memory are a digest of each (about 150 bytes) and its entries, not the text.

    Parameters
    ----------
    matcher : TextMatcher

    Attributes
    ----------
    count : int
        Of different texts; that there is none is one.
    """

    def __init__(self, matcher: TextMatcher) -> None:
        self._matcher = matcher
        self._numbers: dict[bytes, int] = {}
        self._first_rows, self._ends, self._entries = _Growing(np.int32), _Growing(np.int64), _Growing(np.int32)
        self._ends.append(np.zeros(1))

    @property
    def count(self) -> int:
        """How many different texts there were."""
        return len(self._numbers)

    def add(self, texts: pa.DictionaryArray, rows: Int32) -> tuple[Int32, Int64]:
        """Take the texts of some rows, ascending and behind all before; match those that are new.

        Returns
        -------
        text_ids : int32 ndarray
            The first row that has each row's text.
        numbers : int64 ndarray
            For :meth:`matches_of`.
        """
        codes = texts.indices.fill_null(-1).to_numpy()
        distinct, firsts, inverse = np.unique(codes, return_index=True, return_inverse=True)
        by_row = np.argsort(firsts)
        of_dictionary = distinct[by_row]
        values = texts.dictionary.take(pa.array(of_dictionary, mask=of_dictionary < 0))
        numbers = np.empty(len(distinct), dtype=np.int64)
        numbers[by_row] = self._numbered(values, rows[firsts[by_row]])
        of_rows = numbers[inverse]
        return self._first_rows.filled[of_rows], of_rows

    def _numbered(self, texts: Texts, rows: Int32) -> Int64:
        """Return the numbers of texts, new ones for those that are met the first time."""
        numbers = np.empty(len(texts), dtype=np.int64)
        known, new = self.count, list[int]()
        for place, text in enumerate(texts.cast(pa.large_binary()).to_pylist()):
            digest = b"" if text is None else hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()
            numbers[place] = self._numbers.setdefault(digest, len(self._numbers))
            if numbers[place] == known + len(new):
                new.append(place)
        found = self._matcher.match(texts.take(pa.array(new, pa.int64())))
        self._first_rows.append(rows[new])
        self._ends.append(self._ends.filled[-1] + found.offsets[1:])
        self._entries.append(found.entries)
        return numbers

    def matches_of(self, numbers: Int64) -> Matches:
        """Return the entries of texts."""
        return Matches(self._ends.filled, self._entries.filled).take(numbers)

    def match_counts(self, numbers: Int64) -> Int64:
        """Return how many entries texts have."""
        return self._ends.filled[numbers + 1] - self._ends.filled[numbers]


class _Growing:
    """An array that grows at its end, at a cost that is that of what is appended."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._array, self._used = np.empty(1024, dtype=dtype), 0

    @property
    def filled(self) -> np.ndarray:
        return self._array[: self._used]

    def append(self, values: np.ndarray) -> None:
        stop = self._used + len(values)
        if stop > len(self._array):
            self._array = np.resize(self._array, max(stop, 2 * len(self._array)))
        self._array[self._used : stop] = values
        self._used = stop
