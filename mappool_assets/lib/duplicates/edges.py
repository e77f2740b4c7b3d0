"""Pairs of images that are duplicates, as arrays.

An image is a number here: its place in the order of preference, 0 being the one that is kept before all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RELATIONS = ("exact", "perceptual", "mirrored", "embedding")
EXACT, PERCEPTUAL, MIRRORED, EMBEDDING = range(len(RELATIONS))


class Edges(NamedTuple):
    """Pairs of duplicates, each once or more, in any order; n pairs.

    Attributes
    ----------
    better, worse : int32 array of shape (n,)
        The two images; ``better < worse``.
    relation : int8 array of shape (n,)
        A position in :data:`RELATIONS`.
    measure : float32 array of shape (n,)
        Bits in which hashes differ, or the cosine of embeddings.
    """

    better: NDArray[np.int32]
    worse: NDArray[np.int32]
    relation: NDArray[np.int8]
    measure: NDArray[np.float32]

    def where(self, is_wanted: NDArray[np.bool_]) -> Edges:
        """Return some of the pairs."""
        better, worse, relation, measure = self
        return Edges(better[is_wanted], worse[is_wanted], relation[is_wanted], measure[is_wanted])


def edges_of(one: NDArray[np.integer], other: NDArray[np.integer], relation: int, measure: NDArray[np.number]) -> Edges:
    """Return pairs of images, given in either order, as edges; a pair of an image with itself is left out."""
    better, worse = np.minimum(one, other).astype(np.int32), np.maximum(one, other).astype(np.int32)
    relations = np.full(len(better), relation, dtype=np.int8)
    return Edges(better, worse, relations, measure.astype(np.float32)).where(better != worse)


def joined(parts: Sequence[Edges]) -> Edges:
    """Return all pairs of several."""
    nothing = Edges(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.float32))
    return Edges(*(np.concatenate(columns) for columns in zip(nothing, *parts, strict=True)))


def drop_worse(is_kept: NDArray[np.bool_], edges: Edges) -> None:
    """Drop, in place, every image that is worse than a kept one it is a duplicate of, the best first.

    Images that are dropped already drop no others. This is the greedy rule: in order of preference an image is kept
    unless it is a duplicate of one that is kept already.
    """
    order = np.argsort(edges.better, kind="stable")
    worse = edges.worse[order]
    images, starts = np.unique(edges.better[order], return_index=True)
    edges_of_image = itertools.pairwise([*starts.tolist(), len(worse)])
    for image, (start, stop) in zip(images.tolist(), edges_of_image, strict=True):
        if is_kept[image]:
            is_kept[worse[start:stop]] = False
