"""Images whose embeddings are nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mappool_assets.lib.duplicates.coarse_lists import unit
from mappool_assets.lib.duplicates.edges import EMBEDDING, Edges, drop_worse, edges_of, joined
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingList, EmbeddingLists
from mappool_assets.lib.row_blocks import as_float32

Result = TypeVar("Result")

BLOCK_ROWS, BLOCK_COLUMNS = 4096, 1024  # of a product: 16 MB of cosines a thread


class EmbeddingNeighbours:
    """Pairs of images that share a list and whose embeddings have at least a certain cosine.

    Parameters
    ----------
    lists : EmbeddingLists
        Of all images that have an embedding, numbered in order of preference.
    images : int
        Number of all images.
    similarity : float
        The least cosine of a pair.
    threads : int
        Lists worked on at once, each with BLAS on one thread.
    progress : callable
        Told how many files of lists are done, of how many.
    """

    def __init__(
        self,
        lists: EmbeddingLists,
        images: int,
        similarity: float,
        threads: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._lists, self._images, self._similarity, self._threads = lists, images, similarity, threads
        self._progress = progress

    def leaders(self) -> tuple[NDArray[np.bool_], Edges]:
        """Return which images lead in all their lists, and all edges between a list's leaders and worse images of it.

        In order of preference an image leads in a list unless it is a neighbour of one that does. A crowd of k images
        that are all alike so costs k products, not k².
        """
        is_leader, found = np.ones(self._images, dtype=bool), []
        for images, is_leader_here, edges in self._each_list(partial(_leaders, similarity=self._similarity)):
            is_leader[images[~is_leader_here]] = False
            found.append(edges)
        return is_leader, joined(found)

    def edges_to_worse(self, images: NDArray[np.int32]) -> Edges:
        """Return all edges between some images and images that are worse."""
        is_wanted = np.zeros(self._images, dtype=bool)
        is_wanted[images] = True
        work = partial(_edges_of_some, is_wanted=is_wanted, similarity=self._similarity)
        return joined(list(self._each_list(work)))

    def _each_list(self, work: Callable[[EmbeddingList], Result]) -> Iterator[Result]:
        """Yield what the work makes of each list, in a fixed order."""
        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as pool:
            for number in range(self._lists.files):
                yield from pool.map(work, self._lists.read(number))
                self._progress(number + 1, self._lists.files)


def _leaders(members: EmbeddingList, similarity: float) -> tuple[NDArray[np.int32], NDArray[np.bool_], Edges]:
    """Return a list's images, which of them lead, and the edges between those and worse images."""
    is_leader, found = np.ones(len(members.images), dtype=bool), []
    for start in range(0, len(is_leader), BLOCK_COLUMNS):
        block = slice(start, min(start + BLOCK_COLUMNS, len(is_leader)))
        found.append(_near(members.vectors, np.flatnonzero(is_leader[:start]), block, similarity))
        is_leader[found[-1].worse] = False
        inside = _near(members.vectors, np.arange(start, block.stop), block, similarity)
        drop_worse(is_leader, inside)
        found.append(inside.where(is_leader[inside.better]))
    return members.images, is_leader, _of_images(joined(found), members.images)


def _edges_of_some(members: EmbeddingList, is_wanted: NDArray[np.bool_], similarity: float) -> Edges:
    """Return the edges between the wanted images of a list and worse images of it."""
    wanted = np.flatnonzero(is_wanted[members.images])
    found = []
    for start in range(wanted[0] if len(wanted) else len(members.images), len(members.images), BLOCK_COLUMNS):
        block = slice(start, min(start + BLOCK_COLUMNS, len(members.images)))
        found.append(_near(members.vectors, wanted[wanted < block.stop], block, similarity))
    return _of_images(joined(found), members.images)


def _near(vectors: NDArray[np.float16], rows: NDArray[np.intp], columns: slice, similarity: float) -> Edges:
    """Return the edges, by position, between some rows and rows of a block that come after them."""
    block = unit(as_float32(vectors[columns])).T
    found = []
    for start in range(0, len(rows), BLOCK_ROWS):
        some = rows[start : start + BLOCK_ROWS]
        cosines = unit(as_float32(vectors[some])) @ block
        row, column = np.nonzero(cosines >= similarity)
        is_after = some[row] < column + columns.start
        row, column = row[is_after], column[is_after]
        found.append(edges_of(some[row], column + columns.start, EMBEDDING, np.minimum(cosines[row, column], 1)))
    return joined(found)


def _of_images(edges: Edges, images: NDArray[np.int32]) -> Edges:
    return edges._replace(better=images[edges.better], worse=images[edges.worse])
