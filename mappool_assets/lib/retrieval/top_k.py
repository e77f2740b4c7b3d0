"""The k best rows of each query, from very many similarities, in memory that does not grow with how many there are.

Order everywhere: by query, then higher similarity, then lower row. It is total, so the k best are one definite set
whatever order the similarities come in, and the best of parts can be merged in any order and grouping.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 2**32  # a row's number is the lower half of a sorting key

_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(MOST_ROWS - 1)
_NONE = np.uint64(2**64 - 1)  # sorts behind every key; its upper half is no number
_LEAST_EXTRA = 64  # candidates beyond k that are always gathered before the worst are dropped


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of each query, sorted by query, then higher similarity, then lower row.

    Attributes
    ----------
    query : int32 ndarray of shape (n,)
    row : int64 ndarray of shape (n,)
        Whatever numbers the caller's rows have; across shards for instance ``ordinal * 2**32 + row``.
    similarity : float32 ndarray of shape (n,)
    """

    query: NDArray[np.int32]
    row: NDArray[np.int64]
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.query)


def merge(parts: Iterable[Nearest], k: int) -> Nearest:
    """Return the k best rows of each query of all parts; associative and commutative.

    Parameters
    ----------
    parts : iterable of Nearest
        Of disjoint sets of rows. Each must hold the k best of its own rows (more do no harm).
    k : int
        At least 1.
    """
    found = list(parts)
    if not found:
        return Nearest(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))
    query = np.concatenate([part.query for part in found])
    row = np.concatenate([part.row for part in found])
    similarity = np.concatenate([part.similarity for part in found])
    best = best_in_order(query, row, similarity, k)
    return Nearest(query[best], row[best], similarity[best])


def best_in_order(
    query: NDArray[np.int32], row: NDArray[np.int64], similarity: NDArray[np.float32], k: int
) -> NDArray[np.intp]:
    """Return where the k best of each query stand, in the order of :class:`Nearest`; no similarity is NaN."""
    keys = _keys(similarity, query.astype(np.uint64) << _ROW_BITS, swap=True)
    order = np.lexsort((row, keys))
    sorted_query = query[order]
    first_of_query = np.searchsorted(sorted_query, sorted_query)
    return order[np.arange(len(order)) - first_of_query < k]


class RunningTopK:
    """The k best rows so far of each of some queries.

    Memory is 8 bytes for each of up to ``1.25 k`` rows a query, and for what one call of :meth:`add` brings.

    Parameters
    ----------
    k : int
        At least 1.
    least : float32 ndarray of shape (queries,)
        Rows less similar than this are not taken; ``-inf`` takes all.

    Attributes
    ----------
    thresholds : float32 ndarray of shape (queries,)
        What a further row must reach, at least, to be among the k best: ``least`` until there are k. It only rises,
        and is replaced, never changed, so that another thread may read it while rows are added.
    """

    def __init__(self, k: int, least: NDArray[np.float32]) -> None:
        self._k, self._least = k, least
        self._extra = max(k // 4, _LEAST_EXTRA)
        self._keys = np.full((len(least), 0), _NONE)
        self._counts = np.zeros(len(least), dtype=np.intp)
        self.thresholds = least

    def add(self, query: NDArray[np.intp], row: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Take rows that were not taken before.

        Parameters
        ----------
        query : intp ndarray of shape (n,)
            Ascending.
        row : int64 ndarray of shape (n,)
            From 0 to ``MOST_ROWS - 1``.
        similarity : float32 ndarray of shape (n,)
            No NaN.
        """
        is_near = similarity >= self.thresholds[query]
        query, row, similarity = query[is_near], row[is_near], similarity[is_near]
        counts = np.bincount(query, minlength=len(self._counts))
        self._make_room(int((self._counts + counts).max(initial=0)))
        first_of_query = np.cumsum(counts) - counts
        column = np.arange(len(query)) + np.repeat(self._counts - first_of_query, counts)
        self._keys[query, column] = _keys(similarity, row.astype(np.uint64))
        self._counts += counts
        if self._counts.max(initial=0) > self._k + self._extra:
            self._drop_the_worst()

    def nearest(self, first_query: int = 0) -> Nearest:
        """Return the k best so far; the queries are numbered from ``first_query``."""
        keys = np.sort(self._keys, axis=1)[:, : self._k]
        is_row = keys != _NONE
        found = keys[is_row]
        query = np.repeat(np.arange(first_query, first_query + len(keys), dtype=np.int32), is_row.sum(axis=1))
        return Nearest(query, (found & _ROW_MASK).astype(np.int64), _similarities(found))

    def _make_room(self, columns: int) -> None:
        queries, present = self._keys.shape
        if columns > present:
            keys = np.full((queries, max(columns, min(2 * present, self._k + self._extra))), _NONE)
            keys[:, :present] = self._keys
            self._keys = keys

    def _drop_the_worst(self) -> None:
        used, k = int(self._counts.max()), self._k
        self._keys[:, :used].partition(k - 1, axis=1)
        self._keys[:, k:used] = _NONE
        self._counts[:] = k  # what a query with fewer has there is _NONE, in no particular place
        worst = self._keys[:, k - 1]
        has_k = worst != _NONE
        thresholds = self._least.copy()
        thresholds[has_k] = _similarities(worst[has_k])
        self.thresholds = thresholds


def _keys(similarity: NDArray[np.float32], other: NDArray[np.uint64], *, swap: bool = False) -> NDArray[np.uint64]:
    """Return sorting keys: higher similarity first, then lower ``other`` (or, swapped, the other way round).

    The bits of positive floats sort as the floats do, those of negative ones in reverse order behind them: inverting
    the positive ones' gives a descending order. 0.0 is added so that there is but one zero.
    """
    bits = (similarity + np.float32(0)).view(np.int32)
    descending = (bits ^ (~(bits >> 31) & np.int32(0x7FFF_FFFF))).view(np.uint32).astype(np.uint64)
    return other | (descending if swap else descending << _ROW_BITS)


def _similarities(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the similarities of keys: :func:`_keys` is its own inverse."""
    bits = (keys >> _ROW_BITS).astype(np.uint32).view(np.int32)
    return (bits ^ (~(bits >> 31) & np.int32(0x7FFF_FFFF))).view(np.float32)
