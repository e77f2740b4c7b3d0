"""Embeddings dealt out to lists of neighbours, so that near ones need only be looked for within a list.

Centroids are fitted to a sample (spherical k-means); a vector joins the lists of its nearest centroids. Two near
vectors share a list unless borders part them in all of theirs. SemDeDup (Abbas et al., 2023) does so with one list a
vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.row_blocks import for_row_blocks

# With n vectors, k lists and l lists a vector, n·k products find the lists and (l·n)²/2k compare within them.
# k = l·√(n/2) makes the sum smallest.
# Of pairs at a cosine of 0.98 that differ in a direction in which synthetic maps vary, 76 % share a list if each vector
# joins one, 98.7 % if it joins two, all if three (200,000 vectors, 200 lists); in a random direction 94, 100 and 100 %.
# With three, comparing takes half as long again, and half as much disk.
LISTS_A_VECTOR = 2
LEAST_VECTORS_A_LIST = 1000  # below that, borders cost more pairs than comparing all saves time
SAMPLED_VECTORS_A_LIST = 64
ITERATIONS = 8
SEED = 5
BLOCK_ROWS = 512


def list_count(vectors: int, lists_a_vector: int = LISTS_A_VECTOR) -> int:
    """Return how many lists to deal a number of vectors to."""
    fastest = lists_a_vector * (vectors / 2) ** 0.5
    return max(1, int(min(fastest, vectors / LEAST_VECTORS_A_LIST)))


def fit_centroids(sample: NDArray[np.float16], lists: int) -> NDArray[np.float32]:
    """Return centroids of a sample of vectors.

    Parameters
    ----------
    sample : float16 array of shape (n, d)
        Unit rows, at least as many as lists.
    lists : int
        How many centroids.

    Returns
    -------
    float32 array of shape (lists, d)
        Unit rows. The same sample gives the same, whatever the number of threads.
    """
    from scipy.sparse import csr_array

    random = np.random.default_rng(SEED)
    centroids = unit(sample[np.sort(random.choice(len(sample), lists, replace=False))].astype(np.float32))
    for _ in range(ITERATIONS):
        nearest = nearest_lists(sample, centroids, 1)[:, 0]
        sums = np.zeros_like(centroids)
        for start in range(0, len(sample), 16 * BLOCK_ROWS):  # in order, so that the sums are always the same
            rows = slice(start, start + 16 * BLOCK_ROWS)
            block = sample[rows].astype(np.float32)
            where = (np.ones(len(block), np.float32), (nearest[rows], np.arange(len(block))))
            sums += csr_array(where, shape=(lists, len(block))) @ block
        is_used = np.bincount(nearest, minlength=lists) > 0
        centroids[is_used] = unit(sums[is_used])
    return centroids


def nearest_lists(
    vectors: NDArray[np.float16], centroids: NDArray[np.float32], count: int = LISTS_A_VECTOR
) -> NDArray[np.int32]:
    """Return the lists that each vector joins, the nearest first.

    Parameters
    ----------
    vectors : float16 array of shape (n, d)
    centroids : float32 array of shape (lists, d)
    count : int
        Lists a vector; fewer where there are not as many.

    Returns
    -------
    int32 array of shape (n, min(count, lists))
    """
    found = np.empty((len(vectors), min(count, len(centroids))), dtype=np.int32)
    columns = np.ascontiguousarray(centroids.T)

    def find(rows: slice, block: NDArray[np.float32]) -> None:
        products = block @ columns
        for choice in range(found.shape[1]):
            best = products.argmax(axis=1)
            found[rows, choice] = best
            products[np.arange(len(block)), best] = -np.inf

    for_row_blocks(vectors, find, BLOCK_ROWS)
    return found


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows scaled to length 1; a row of zeros stays one."""
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return vectors / lengths
