"""Which image is kept of several that are duplicates of each other, and what the others are attached to.

The rule, over images in order of preference (more pixels, then more bytes, then a higher ``map_score``, then the
smaller shard and uid): an image is kept unless it is a duplicate of one that is kept already. So

- each image that is dropped is a duplicate, within the stated distance, of the very image that is kept for it;
- no two images that are kept are duplicates of each other, as far as duplicates are found.

Connected components would promise neither: along a chain of small differences they join images that have nothing in
common, and maps of a series are such a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.edges import EMBEDDING, Edges, drop_worse, joined

KEPT = -1


class Relation(Protocol):
    """A kind of duplicates."""

    def leaders(self) -> tuple[NDArray[np.bool_], Edges]:
        """Return the images that would be kept by this relation alone, and all their edges to worse images."""
        ...

    def edges_to_worse(self, images: NDArray[np.int32]) -> Edges:
        """Return all edges between some images and images that are worse."""
        ...


class Representatives(NamedTuple):
    """What became of n images.

    Attributes
    ----------
    representative : int32 array of shape (n,)
        The kept image that each is attached to; its own number where it is kept.
    relation : int8 array of shape (n,)
        How they are duplicates, a position in ``RELATIONS``; ``KEPT`` where it is kept.
    measure : float32 array of shape (n,)
        Bits or cosine between the two; NaN where it is kept.
    """

    representative: NDArray[np.int32]
    relation: NDArray[np.int8]
    measure: NDArray[np.float32]

    @property
    def is_kept(self) -> NDArray[np.bool_]:
        """Whether each image is kept."""
        return self.relation == KEPT


def choose_representatives(images: int, relations: Sequence[Relation]) -> Representatives:
    """Keep or drop each image by the rule of this module, over all relations together.

    Not all edges are needed, and there may be far too many: those between images that are both dropped say nothing. So
    each relation first gives the edges of its own leaders. Images that are kept although another was the leader of
    theirs (that other being dropped by another relation) then have all their edges added, until each image that is
    kept has all. What is kept is then what the rule keeps with all edges: by induction over the order of preference,
    an image has a kept better neighbour among the edges here if and only if it has one among all.

    Parameters
    ----------
    images : int
        Their number; images are numbers in order of preference.
    relations : sequence of Relation
        Each gives edges.
    """
    has_all_edges, parts = [], []
    for relation in relations:
        is_leader, edges = relation.leaders()
        has_all_edges.append(is_leader)
        parts.append(edges)
    while True:
        edges, is_kept = joined(parts), np.ones(images, dtype=bool)
        drop_worse(is_kept, edges)
        missing = [np.flatnonzero(is_kept & ~is_complete).astype(np.int32) for is_complete in has_all_edges]
        if not any(map(len, missing)):
            return _attached(is_kept, edges)
        for relation, is_complete, added in zip(relations, has_all_edges, missing, strict=True):
            is_complete[added] = True
            if len(added):
                parts.append(relation.edges_to_worse(added))


def _attached(is_kept: NDArray[np.bool_], edges: Edges) -> Representatives:
    """Attach each dropped image to the best kept one that it resembles by hash, else to the best by embedding."""
    edges = edges.where(is_kept[edges.better])
    # The last key comes first. Of a pair that is both perceptual and mirrored the former counts, at its fewest bits.
    order = np.lexsort((edges.measure, edges.relation, edges.better, edges.relation == EMBEDDING, edges.worse))
    worse, first = np.unique(edges.worse[order], return_index=True)
    chosen = order[first]
    representative = np.arange(len(is_kept), dtype=np.int32)
    relation = np.full(len(is_kept), KEPT, dtype=np.int8)
    measure = np.full(len(is_kept), np.nan, dtype=np.float32)
    representative[worse], relation[worse] = edges.better[chosen], edges.relation[chosen]
    measure[worse] = edges.measure[chosen]
    return Representatives(representative, relation, measure)
