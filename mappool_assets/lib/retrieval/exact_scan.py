"""All queries against all rows, exactly: the same similarities, bit for bit, on every machine.

A similarity is the inner product of a query with a row of unit length. It is found in two steps: a float32 product of
all pairs, whose error is bounded, tells which pairs can be among the nearest; theirs is computed again in float64,
where it is exact. Entries of a float16 row are multiples of 2^-24 and those of a query are rounded to multiples of
2^-27 (by 4e-9 at most), so that with rows of length up to 4 every partial sum is a multiple of 2^-51 below 4, which
float64 holds. Square root, division and rounding to float32 are IEEE's. Neither the processor's kind of product nor
block size, threads, shards or filters change a bit, and copies of an image tie, wherever they stand.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retrieval.top_k import MOST_ROWS, Nearest, RunningTopK, merge
from mappool_assets.lib.row_blocks import BLOCK_ROWS, Float32, for_row_blocks

MOST_NEAREST = 1_000_000  # 10 MB a query
NOT_FINITE, ZERO = "embedding_not_finite", "embedding_zero"  # as in row_rules

# The product of a tile's queries and a block's rows, 1 MB of float32, stays in the second-level cache.
TILE_QUERIES = 256
# Queries must be of unit length to what float16 or float32 storage leaves of it.
LENGTH_TOLERANCE = 1e-3
# Pairs that are recomputed one by one cost 0.2 to 0.3 µs each, all 256 × 1,024 of a tile together 10.6 ms. With 1/16,
# 1/5 and 1/4 a scan was as fast.
DENSE_SHARE = 1 / 8
MANY_ROWS = 10  # a query, on average: then a query at a time is faster than pairs; with 5 and 20 it is not
PAIRS_AT_A_TIME = 64  # of 32, 64, 128 and 256 the fastest: 0.8 MB of float64 rows

_GRID = 2.0**27
_FLOAT32_UNIT = 2.0**-24


class RowBlock(NamedTuple):
    """Consecutive rows: the first one's number, their vectors (m, d) float16, and which are wanted; None means all."""

    start: int
    vectors: NDArray[np.float16]
    is_wanted: NDArray[np.bool_] | None = None


@dataclass
class Scan:
    """What a scan found, and how many rows it went through.

    Attributes
    ----------
    nearest : Nearest
    rows_in : int
        Rows of all blocks.
    rows_dropped : dict of str to int
        Rows that were not compared, by reason: ``filtered`` (not wanted), ``embedding_not_finite``,
        ``embedding_zero``; reasons without rows left out.
    """

    nearest: Nearest
    rows_in: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict)


def exact_scan(
    queries: Float32, blocks: Iterable[RowBlock], k: int, *, least_similarity: float | Float32 = -np.inf
) -> Scan:
    """Find the k rows most similar to each query; of equals those with lower numbers.

    Works on as many threads as BLAS has in this process. Memory is one block, 15 MB a thread at width
    768, and ``10 k`` bytes a query, at the end, when the result is put together, some ``50 k``.

    Parameters
    ----------
    queries : float32 array of shape (q, d)
        Unit vectors.
    blocks : iterable of RowBlock
        Rows of width d; no row twice. Rows that are not finite, or zero, are never found. Rows need not be of unit
        length: a similarity is the query's inner product with ``row / |row|``, rounded to float32.
    k : int
        From 1 to ``MOST_NEAREST``.
    least_similarity : float or float32 array of shape (q,)
        Rows less similar than this are not found.

    Raises
    ------
    BadSetting
        ``k`` out of range, queries that are no unit vectors of the rows' width, rows beyond number 2^32.
    """
    check_k(k)
    least = np.broadcast_to(np.asarray(least_similarity, dtype=np.float32), len(queries))
    _check_queries(queries, least)
    starts = range(0, len(queries), TILE_QUERIES)
    tiles = [_Tile(queries[start : start + TILE_QUERIES], k, least[start : start + TILE_QUERIES]) for start in starts]
    scan, counting = Scan(merge([], k)), threading.Lock()
    for block in blocks:
        _check_block(block, queries.shape[1])
        scan.rows_in += len(block.vectors)
        numbers, vectors = _wanted(block)
        _count(scan, "filtered", len(block.vectors) - len(vectors))

        def compare(where: slice, rows: Float32, numbers: NDArray[np.int64] = numbers) -> None:
            compared, dropped = _sound_rows(numbers[where], rows)
            with counting:
                for reason, count in dropped.items():
                    _count(scan, reason, count)
            for tile in tiles:
                tile.compare(compared)

        for_row_blocks(vectors, compare, BLOCK_ROWS)
    parts = [tile.best.nearest(start) for start, tile in zip(starts, tiles, strict=True)]
    if parts:
        joined = (np.concatenate([getattr(p, name) for p in parts]) for name in ("query", "row", "similarity"))
        scan.nearest = Nearest(*joined)
    return scan


def check_k(k: int) -> None:
    """Raise :class:`BadSetting` where k is no possible number of neighbours."""
    if not 1 <= k <= MOST_NEAREST:
        raise BadSetting(
            "So many neighbours cannot be found",
            where="k",
            rule=f"1 to {MOST_NEAREST:,}",
            got=f"{k:,}",
            action="Ask for fewer; for all rows above a similarity give a large k and min_similarity.",
        )


class _Rows(NamedTuple):
    """Rows to compare: numbers, float64 as stored, lengths, and float32 of unit length but for rounding."""

    numbers: NDArray[np.int64]
    exact: NDArray[np.float64]
    lengths: NDArray[np.float64]
    unit: Float32


class _Tile:
    """Some of the queries, and their best rows so far."""

    def __init__(self, queries: Float32, k: int, least: Float32) -> None:
        self._exact = np.rint(queries.astype(np.float64) * _GRID) / _GRID
        self._float32 = self._exact.astype(np.float32)
        # Of a float32 inner product in any order at most d roundings of the sum of the factors' sizes, which is at
        # most 1 for unit vectors; 8 more for the rounding of query, row, length, threshold and result.
        self._error = np.float32((queries.shape[1] + 8) * _FLOAT32_UNIT * (1 + LENGTH_TOLERANCE))
        self.best, self._adding = RunningTopK(k, least), threading.Lock()

    def compare(self, rows: _Rows) -> None:
        """Take those of the rows that are among the best so far."""
        query, row = np.divmod(self._candidates(rows.unit), max(len(rows.unit), 1))
        if not len(query):
            return
        similarity = (self._products(rows.exact, query, row) / rows.lengths[row]).astype(np.float32)
        with self._adding:
            self.best.add(query, rows.numbers[row], similarity)

    def _candidates(self, unit: Float32) -> NDArray[np.intp]:
        """Return ``query * rows + row`` of the pairs that may reach their query's threshold, ascending."""
        thresholds = self.best.thresholds - self._error
        if np.isneginf(thresholds).all():
            return np.arange(len(self._exact) * len(unit))
        return np.flatnonzero(self._float32 @ unit.T >= thresholds[:, np.newaxis])

    def _products(
        self, rows: NDArray[np.float64], query: NDArray[np.intp], row: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the exact products of some pairs."""
        if len(query) > DENSE_SHARE * len(self._exact) * len(rows):
            return (self._exact @ rows.T)[query, row]
        if len(query) > MANY_ROWS * len(self._exact):
            edges = np.searchsorted(query, np.arange(len(self._exact) + 1))
            its_rows = np.split(row, edges[1:-1])
            return np.concatenate(
                [rows.take(of_one, axis=0) @ one for one, of_one in zip(self._exact, its_rows, strict=True)]
            )
        products = np.empty(len(query))
        for start in range(0, len(query), PAIRS_AT_A_TIME):
            pairs = slice(start, start + PAIRS_AT_A_TIME)
            np.vecdot(self._exact.take(query[pairs], axis=0), rows.take(row[pairs], axis=0), out=products[pairs])
        return products


def _wanted(block: RowBlock) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    numbers = np.arange(block.start, block.start + len(block.vectors), dtype=np.int64)
    if block.is_wanted is None or block.is_wanted.all():
        return numbers, block.vectors
    return numbers[block.is_wanted], block.vectors[block.is_wanted]


def _sound_rows(numbers: NDArray[np.int64], rows: Float32) -> tuple[_Rows, dict[str, int]]:
    """Return the rows that have a direction, and how many have none, by reason."""
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.vecdot(exact, exact))
    is_finite = np.isfinite(lengths)
    is_sound = is_finite & (lengths > 0)
    if not is_sound.all():
        numbers, rows, exact, lengths = (part[is_sound] for part in (numbers, rows, exact, lengths))
    unit = rows * (1 / lengths).astype(np.float32)[:, np.newaxis]
    not_finite = int((~is_finite).sum())
    return _Rows(numbers, exact, lengths, unit), {NOT_FINITE: not_finite, ZERO: len(is_sound) - len(rows) - not_finite}


def _count(scan: Scan, reason: str, rows: int) -> None:
    if rows:
        scan.rows_dropped[reason] = scan.rows_dropped.get(reason, 0) + rows


def _check_queries(queries: Float32, least: Float32) -> None:
    if np.isnan(least).any():
        raise BadSetting(
            "Nothing is as similar as that",
            where="least_similarity",
            rule="a number for each query",
            got="NaN",
            action="Leave it out to find rows of any similarity.",
        )
    check_unit_length(queries)


def check_unit_length(queries: Float32) -> None:
    """Raise :class:`BadSetting` where a query is not of length 1, within :data:`LENGTH_TOLERANCE`."""
    lengths = np.sqrt(np.vecdot(queries, queries))
    is_unit = np.abs(lengths - 1) <= LENGTH_TOLERANCE  # false for NaN
    if not is_unit.all():
        row = int(np.flatnonzero(~is_unit)[0])
        raise BadSetting(
            "A query is no unit vector",
            where=f"query {row}",
            rule=f"length 1 ± {LENGTH_TOLERANCE}",
            got=f"length {lengths[row]:.6g}",
            action="Divide each query by its length; look for NaN.",
        )


def _check_block(block: RowBlock, dimension: int) -> None:
    last = block.start + len(block.vectors)
    if (
        block.vectors.dtype != np.float16
        or block.vectors.shape[1] != dimension
        or not 0 <= block.start <= last <= MOST_ROWS
    ):
        raise BadSetting(
            "Rows cannot be compared with the queries",
            where=f"rows {block.start} to {last}",
            rule=f"float16 of width {dimension}, numbered from 0 to {MOST_ROWS - 1}",
            got=f"{block.vectors.dtype} of width {block.vectors.shape[1]}",
            action="Give queries and rows of the same encoder.",
        )
