"""Pairs of 64-bit hashes that differ in few bits: exactly those that comparing all with all would find, without it.

Multi-index hashing. The 64 bits are dealt out to b bands. Two hashes that differ in at most d bits differ in at most d
bands, so at least b − d bands are equal. Each choice of b − d bands is a mask; hashes that are equal under a mask share
a bucket, and only hashes that share a bucket are compared. More bands: fewer hashes share a bucket, but there are more
masks. (Norouzi, Punjani, Fleet: Fast Exact Search in Hamming Space with Multi-Index Hashing, 2014, has the case of one
equal band, b = d + 1.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 64
BLOCK_CANDIDATES = 1 << 20  # pairs compared at once, and hashes looked up at once; results do not depend on it
LARGEST_TABLE_BITS = 26  # 268 MB of offsets
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: the top bits of a product depend on all bits below
# The bits of a picture's hash depend on each other: of drawn maps 64 bits tell as many apart as 60 independent ones
# would, of real ones (cartopy) as 41.
INDEPENDENT_SHARE = 0.65
LOOKUP_COST = 8  # of finding a bucket, in comparisons of a candidate; measured with NumPy 2.4


Positions = tuple[NDArray[np.int64], NDArray[np.int64]]


class HashPairs(NamedTuple):
    """Pairs of a hash of each of two arrays.

    Attributes
    ----------
    left, right : int64 array of shape (n,)
        Where in the two arrays.
    distance : uint8 array of shape (n,)
        Bits in which the hashes differ.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    distance: NDArray[np.uint8]


def pairs_within(left: NDArray[np.uint64], right: NDArray[np.uint64], distance: int) -> Iterator[HashPairs]:
    """Yield every pair of a hash of ``left`` and one of ``right`` within a Hamming distance, once, in blocks.

    Parameters
    ----------
    left : uint64 array of shape (n,)
        Indexed, so better the smaller of the two. May hold the same hash more than once.
    right : uint64 array of shape (m,)
        Looked up.
    distance : int
        Bits that may differ, 0 to 63.

    Yields
    ------
    HashPairs
        In no particular order. Memory is some 24 bytes for each of ``left``, and ``BLOCK_CANDIDATES`` pairs.

    Examples
    --------
    >>> left, right = np.array([0b0000, 0b1111], np.uint64), np.array([0b0001], np.uint64)
    >>> [pairs] = pairs_within(left, right, 1)
    >>> pairs.left.tolist(), pairs.right.tolist(), pairs.distance.tolist()
    ([0], [0], [1])
    """
    if not len(left) or not len(right):
        return
    masks = _masks(_band_count(len(left), distance), distance)
    for position, mask in enumerate(masks):
        for at_left, at_right in _sharing_buckets(left, right, mask):
            different = left[at_left] ^ right[at_right]
            near = np.flatnonzero(np.bitwise_count(different) <= distance)
            different = different[near]
            is_new = (different & mask) == 0  # a pair may share several buckets: it counts under its first mask
            for earlier in masks[:position]:
                is_new &= (different & earlier) != 0
            near, different = near[is_new], different[is_new]
            if len(near):
                yield HashPairs(at_left[near], at_right[near], np.bitwise_count(different))


def _band_count(indexed: int, distance: int) -> int:
    """Return the number of bands for which looking up and comparing together cost least."""

    def cost(bands: int) -> float:
        equal_bits = HASH_BITS * (bands - distance) / bands
        candidates = indexed * 2 ** (-INDEPENDENT_SHARE * equal_bits)
        return math.comb(bands, distance) * (LOOKUP_COST + candidates)

    return min(range(distance + 1, min(distance + 6, HASH_BITS) + 1), key=cost)


def _masks(bands: int, distance: int) -> list[np.uint64]:
    """Return the masks of all choices of ``bands − distance`` bands; neighbouring bits are in different bands."""
    bits_of_band = [sum(1 << bit for bit in range(band, HASH_BITS, bands)) for band in range(bands)]
    return [np.uint64(sum(chosen)) for chosen in itertools.combinations(bits_of_band, bands - distance)]


def _sharing_buckets(left: NDArray[np.uint64], right: NDArray[np.uint64], mask: np.uint64) -> Iterator[Positions]:
    """Yield the positions of hashes that may be equal under a mask, in blocks."""
    bits = min(LARGEST_TABLE_BITS, max(1, (len(left) - 1).bit_length()))

    def buckets(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
        return (((hashes & mask) * SPREAD) >> np.uint64(HASH_BITS - bits)).astype(np.uint32)

    bucket_of_left = buckets(left)
    by_bucket = np.argsort(bucket_of_left)
    starts = np.zeros((1 << bits) + 1, dtype=np.int32)
    np.cumsum(np.bincount(bucket_of_left, minlength=1 << bits), out=starts[1:])
    for first in range(0, len(right), BLOCK_CANDIDATES):
        looked_up = buckets(right[first : first + BLOCK_CANDIDATES])
        begin = starts[looked_up]
        for row, at in _spread_out(begin, starts[looked_up + np.uint32(1)] - begin):
            yield by_bucket[at], row + first


def _spread_out(begins: NDArray[np.int32], counts: NDArray[np.int32]) -> Iterator[Positions]:
    """Yield the row and the position of every item of ranges that are given by beginning and length, in blocks."""
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, BLOCK_CANDIDATES):
        stop = min(start + BLOCK_CANDIDATES, total)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        inside = slice(first, last + 1)
        lengths = np.minimum(ends[inside], stop) - np.maximum(ends[inside] - counts[rows[inside]], start)
        offsets = begins[rows[inside]] - (ends[inside] - counts[rows[inside]])
        yield np.repeat(rows[inside], lengths), np.repeat(offsets, lengths) + np.arange(start, stop)
