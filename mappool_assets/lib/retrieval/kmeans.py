"""k-means whose result does not depend on the number of threads, bit for bit.

faiss's own depends on it: its products are BLAS's, which cuts them by threads. Here a block of rows is one thread's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.row_blocks import Float32, for_row_blocks

# A list that nothing is nearest to is put beside the centre of a long one, as faiss does: two of this far apart.
_SPLIT = 1 / 1024


def train_centroids(rows: Float32, lists: int, *, rounds: int, seed: int) -> Float32:
    """Return centroids (lists, d) of rows (n, d), n at least ``lists``, after some rounds from rows drawn at random."""
    start = np.sort(np.random.default_rng(seed).permutation(len(rows))[:lists])
    centroids = rows[start]
    for _ in range(rounds):
        centroids = _means(rows, nearest_centroids(rows, centroids), centroids)
    return centroids


def nearest_centroids(rows: Float32, centroids: Float32) -> NDArray[np.int64]:
    """Return the number of the centroid nearest to each row, by Euclidean distance."""
    half_squares = half_squared_lengths(centroids)
    nearest = np.empty(len(rows), dtype=np.int64)

    def assign(where: slice, block: Float32) -> None:
        nearest[where] = nearness(block, centroids, half_squares).argmax(axis=1)

    for_row_blocks(rows, assign)
    return nearest


def half_squared_lengths(centroids: Float32) -> Float32:
    """Return half the squared length of each centroid."""
    return np.vecdot(centroids, centroids) / 2


def nearness(block: Float32, centroids: Float32, half_squares: Float32) -> Float32:
    """Return ``x·c − c·c/2`` of each row and centroid: the larger, the nearer."""
    products = block @ centroids.T
    products -= half_squares
    return products


def _means(rows: Float32, nearest: NDArray[np.int64], centroids: Float32) -> Float32:
    counts = np.bincount(nearest, minlength=len(centroids))
    used = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[used]
    means = centroids.copy()
    means[used] = np.add.reduceat(rows[np.argsort(nearest, kind="stable")], starts, axis=0)
    means[used] /= counts[used, np.newaxis]
    empty = np.flatnonzero(counts == 0)
    longest = used[np.argsort(-counts[used], kind="stable")]
    for number, split in zip(empty, np.resize(longest, len(empty)), strict=True):
        means[number] = means[split] * np.float32(1 + _SPLIT)
        means[split] *= np.float32(1 - _SPLIT)
    return means
