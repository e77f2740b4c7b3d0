"""Images of places that are nearly the same, within a place and across places.

The rule is :mod:`mappool_assets.lib.duplicates.representatives`'s, with another order of preference: the image that is
most similar to its place is kept, and each other one is dropped that has, on the raw float16 rows, the stated cosine or
more with an image that is kept. clip-retrieval, whose threshold this is, joins whole chains of near duplicates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.coarse_lists import SAMPLED_VECTORS_A_LIST, fit_centroids, list_count
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours
from mappool_assets.lib.duplicates.representatives import Representatives, choose_representatives
from mappool_assets.lib.retrieval.row_file import RowFile
from mappool_assets.lib.workers import available_cores

SEED = 5
# Images of a place are alike, and 0.94 is far: borders of lists part more pairs than at the 0.98 of the unique images.
# Of 200,000 hard vectors in crowds of 50, with cosines of 0.94 to 0.99 towards the middle of another crowd, lists left
# 292 of 195,992 near duplicates where each vector joined two, beside 4,008 images that are none: one in fifteen that
# were returned. With three they left 22, and took 19 CPU seconds instead of 12; with four 1, and 29.
LISTS_A_VECTOR = 3


def find_near_duplicates(
    vectors: RowFile, numbers: NDArray[np.int32], is_eligible: NDArray[np.bool_], similarity: float, folder: Path
) -> Representatives:
    """Return which images are kept, and which of these the others are attached to.

    Parameters
    ----------
    vectors : RowFile
        n embeddings.
    numbers : int32 array of shape (n,)
        Of each row: its place in the order of preference.
    is_eligible : bool array of shape (n,)
        Of each row; the others are no duplicates of anything.
    similarity : float
        The least cosine of a pair.
    folder : Path
        Empty, on a local disk; takes 5 kB an image.

    Returns
    -------
    Representatives
        By number. Up to 2,000 images all pairs are compared; of more, those that share a list
        (:mod:`mappool_assets.lib.duplicates.coarse_lists`).
    """
    eligible = np.flatnonzero(is_eligible)
    if not len(eligible):
        nothing = np.full(len(numbers), np.nan, dtype=np.float32)
        return Representatives(np.arange(len(numbers), dtype=np.int32), np.full(len(numbers), -1, np.int8), nothing)
    lists = list_count(len(eligible), LISTS_A_VECTOR)
    sampled = min(len(eligible), SAMPLED_VECTORS_A_LIST * lists)
    chosen = np.random.default_rng(SEED).choice(eligible, sampled, replace=False, shuffle=False)
    centroids = fit_centroids(vectors.take(np.sort(chosen)), min(lists, sampled))
    dealt = EmbeddingLists(folder, centroids, len(eligible), LISTS_A_VECTOR)
    for start, block in vectors.blocks():
        is_added = is_eligible[start : start + len(block)]
        if is_added.any():
            dealt.add(numbers[start : start + len(block)][is_added], block[is_added])
    relation = EmbeddingNeighbours(dealt, len(numbers), similarity, available_cores())
    return choose_representatives(len(numbers), [relation])
