"""Images that look alike by their perceptual hashes, as they are or mirrored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.edges import MIRRORED, PERCEPTUAL, Edges, drop_worse, edges_of, joined
from mappool_assets.lib.duplicates.hash_neighbours import pairs_within

LEAF_IMAGES = 4096  # compared all with all; a crowd of images that are all alike gives at most 8 million pairs each


class LookAlikes:
    """Pairs of images whose hashes differ in few bits.

    Perceptual: the hashes of both. Mirrored: the hash of one and the hash of the other's mirror image; which of the two
    is mirrored makes no difference.

    Parameters
    ----------
    hashes, mirrored_hashes : uint64 array of shape (n,)
        Of each image and of its mirror image, in order of preference.
    distance : int
        Bits that may differ.
    progress : callable
        Told how many images are compared with all better ones, and that they are n.
    """

    def __init__(
        self,
        hashes: NDArray[np.uint64],
        mirrored_hashes: NDArray[np.uint64],
        distance: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._hashes, self._mirrored, self._distance = hashes, mirrored_hashes, distance
        self._progress = progress

    def leaders(self) -> tuple[NDArray[np.bool_], Edges]:
        """Return which images would be kept if there were no other relation, and their edges to all worse images.

        Images are halved by preference, again and again: once the leaders of a better half are known, the worse half
        is compared with them alone. A crowd of k images that are all alike so costs k comparisons, not k².

        Returns
        -------
        bool array of shape (n,)
        Edges
            All there are between a leader and a worse image.
        """
        is_leader = np.ones(len(self._hashes), dtype=bool)
        found: list[Edges] = []
        self._lead(0, len(is_leader), is_leader, found)
        return is_leader, joined(found)

    def edges_to_worse(self, images: NDArray[np.int32]) -> Edges:
        """Return all edges between some images and images that are worse."""
        edges = self._edges(images, 0, len(self._hashes))
        return edges.where(np.isin(edges.better, images))

    def _lead(self, start: int, stop: int, is_leader: NDArray[np.bool_], found: list[Edges]) -> None:
        if stop - start <= LEAF_IMAGES:
            inside = self._edges(np.arange(start, stop, dtype=np.int32), start, stop)
            drop_worse(is_leader, inside)
            found.append(inside.where(is_leader[inside.better]))
            self._progress(stop, len(is_leader))
            return
        middle = (start + stop) // 2
        self._lead(start, middle, is_leader, found)
        leaders = np.flatnonzero(is_leader[start:middle]).astype(np.int32) + np.int32(start)
        found.append(self._edges(leaders, middle, stop))
        is_leader[found[-1].worse] = False
        self._lead(middle, stop, is_leader, found)

    def _edges(self, images: NDArray[np.int32], start: int, stop: int) -> Edges:
        """Return the edges between some images and the images from ``start`` to ``stop``."""
        hashes, mirrored = self._hashes[images], self._mirrored[images]
        others = slice(start, stop)
        compared = (
            (PERCEPTUAL, hashes, self._hashes[others]),
            (MIRRORED, hashes, self._mirrored[others]),
            (MIRRORED, mirrored, self._hashes[others]),
        )
        return joined(
            [
                edges_of(images[pairs.left], pairs.right + start, relation, pairs.distance)
                for relation, left, right in compared
                for pairs in pairs_within(left, right, self._distance)
            ]
        )
