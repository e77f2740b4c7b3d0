"""The inverted lists of shards: made with a quantiser, written, mapped into memory and searched as one.

An index file is a faiss ``IndexIVFRaBitQ`` with the codes and positions of one shard's rows, by list, and without
centroids, which would take more room than the shard's codes do: they are the quantiser's. Opened shards are stacked
(``HStackInvertedLists``): a search reads a list of all shards at once, with the same result as if all rows were in
one index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.retrieval.kmeans import half_squared_lengths, nearness
from mappool_assets.lib.retrieval.quantiser import CODE_BITS, Quantiser, damaged
from mappool_assets.lib.retrieval.untyped_faiss import faiss
from mappool_assets.lib.row_blocks import Float32, for_row_blocks

QUERY_BITS = 4  # of a rotated query while it is compared with codes; with 8 the same recall, 10 % slower


class ListWriter:
    """Codes the rows of one shard."""

    def __init__(self, quantiser: Quantiser, first_position: int) -> None:
        self._quantiser, self._next = quantiser, first_position
        self._centroids = faiss.IndexFlatL2(quantiser.dimension)
        self._centroids.add(quantiser.centroids)
        self._index = _new_index(self._centroids, quantiser)

    def add(self, rows: NDArray[np.float16]) -> int:
        """Take the next rows, return how many can be found: those that are zero or not finite get a position alone."""
        rotated, lists, has_direction = self._assigned(rows)
        positions = self._next + np.flatnonzero(has_direction)
        self._next += len(rows)
        rotated, lists = rotated[has_direction], lists[has_direction]
        self._index.add_core(len(rotated), *map(faiss.swig_ptr, (rotated, positions, lists)))
        return len(rotated)

    def _assigned(self, rows: NDArray[np.float16]) -> tuple[Float32, NDArray[np.int64], NDArray[np.bool_]]:
        """Return rows at length 1 and rotated, the list of each, and which rows have a direction."""
        turn, half_squares = self._quantiser.rotation.turned, half_squared_lengths(self._quantiser.centroids)
        rotated = np.empty(rows.shape, dtype=np.float32)
        lists, has_direction = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.bool_)

        def assign(where: slice, block: Float32) -> None:
            with np.errstate(invalid="ignore", divide="ignore"):
                rotated[where] = turn(block / np.sqrt(np.vecdot(block, block))[:, np.newaxis])
                near = nearness(rotated[where], self._quantiser.centroids, half_squares)
            lists[where] = near.argmax(axis=1)
            has_direction[where] = np.isfinite(near[:, 0])

        for_row_blocks(rows, assign)
        return rotated, lists, has_direction

    def write(self, path: Path) -> None:
        """Write the index file."""
        no_centroids = faiss.IndexFlatL2(self._quantiser.dimension)
        self._index.quantizer = no_centroids
        faiss.write_index(self._index, str(path))
        self._index.quantizer = self._centroids


class ShardLists:
    """The lists of one shard, mapped into memory.

    Raises
    ------
    BadIndex
        No index file, or not of this quantiser.
    """

    def __init__(self, path: Path, quantiser: Quantiser) -> None:
        rule = f"an index file of {quantiser.lists} lists of rows of width {quantiser.dimension}"
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise damaged(str(path), rule, str(error).splitlines()[-1]) from error
        if not isinstance(index, faiss.IndexIVFRaBitQ) or (index.nlist, index.d, index.code_size) != _shape(quantiser):
            raise damaged(str(path), rule, f"{type(index).__name__} of width {index.d}")
        self.rows = int(index.ntotal)
        self.lists = faiss.downcast_InvertedLists(index.invlists)
        if isinstance(self.lists, faiss.OnDiskInvertedLists):
            self.lists.prefetch_nthread = 0  # else each search starts 32 threads a shard to read ahead
        self._index = index  # owns the lists


class StackedLists:
    """The lists of many shards, searched as one index."""

    def __init__(self, shards: Sequence[ShardLists], quantiser: Quantiser) -> None:
        self.quantiser = quantiser
        self.rows = sum(shard.rows for shard in shards)
        self._shards = list(shards)  # own the memory
        pointers = faiss.InvertedListsPtrVector()
        for shard in shards:
            pointers.push_back(shard.lists)
        self._stack = faiss.HStackInvertedLists(len(self._shards), pointers.data())
        self._centroids = faiss.IndexFlatIP(quantiser.dimension)
        self._centroids.add(quantiser.centroids)
        self._index = _new_index(self._centroids, quantiser)
        self._index.replace_invlists(self._stack, False)
        self._index.ntotal = self.rows

    def candidates(
        self, query: Float32, lists: int, depth: int, selected: NDArray[np.uint8] | None = None
    ) -> NDArray[np.int64]:
        """Return the positions that the codes rank first.

        Parameters
        ----------
        query : float32 array of shape (d,)
            Of unit length.
        lists : int
            How many lists are looked into.
        depth : int
            Most positions.
        selected : uint8 array, optional
            A bitmap of the positions that may be found, lowest bit first.

        Returns
        -------
        int64 array of shape (m,), m ≤ depth
            Best first.
        """
        settings = faiss.IVFRaBitQSearchParameters()
        settings.nprobe, settings.qb = min(lists, self.quantiser.lists), QUERY_BITS
        if selected is not None:
            settings.sel = faiss.IDSelectorBitmap(selected)
        rotated = self.quantiser.rotation.turned(query[np.newaxis])
        positions = self._index.search(rotated, depth, params=settings)[1][0]
        return positions[positions >= 0]

    def nearest_lists(self, query: Float32) -> NDArray[np.int64]:
        """Return the numbers of all lists, in the order in which a search for a query (d,) looks into them."""
        rotated = self.quantiser.rotation.turned(query[np.newaxis])
        return self._centroids.search(rotated, self.quantiser.lists)[1][0]

    def members(self) -> ListMembers:
        """Return which list each row is in; 8 bytes a row."""
        sizes = self.sizes()
        positions = np.concatenate([self._positions_in(number, size) for number, size in enumerate(sizes.tolist())])
        order = np.argsort(positions)
        numbers = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        return ListMembers(positions[order].astype(np.uint32), numbers[order])

    def decoded(self, positions: NDArray[np.int64]) -> Float32:
        """Return what the codes say of some rows (m, d), at length 1 about; NaN for rows that cannot be found."""
        decoded = np.full((len(positions), self.quantiser.dimension), np.nan, dtype=np.float32)
        order = np.argsort(positions)
        for number, size in enumerate(self.sizes().tolist()):
            of_list = self._positions_in(number, size)
            place = np.searchsorted(positions, of_list, sorter=order)
            wanted = order[np.minimum(place, len(order) - 1)]
            for offset in np.flatnonzero(positions[wanted] == of_list).tolist():
                self._index.reconstruct_from_offset(number, offset, faiss.swig_ptr(decoded[wanted[offset]]))
        return self.quantiser.rotation.turned_back(decoded)

    def _positions_in(self, number: int, size: int) -> NDArray[np.int64]:
        """Return the positions of a list's rows."""
        if not size:
            return np.empty(0, dtype=np.int64)
        ids = self._stack.get_ids(number)
        members = np.array(faiss.rev_swig_ptr(ids, size))
        self._stack.release_ids(number, ids)
        return members

    def sizes(self) -> NDArray[np.int64]:
        """Return the number of rows in each list."""
        return np.array([self._stack.list_size(number) for number in range(self.quantiser.lists)])


class ListMembers(NamedTuple):
    """Which list each row is in.

    Attributes
    ----------
    positions : uint32 array of shape (n,)
        Of the rows that can be found, ascending.
    numbers : int32 array of shape (n,)
        Of their lists.
    """

    positions: NDArray[np.uint32]
    numbers: NDArray[np.int32]

    def numbers_of(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the lists of rows that can be found."""
        return self.numbers[np.searchsorted(self.positions, positions.astype(np.uint32))]


def imbalance_factor(sizes: Iterable[int]) -> float:
    """Return how much longer a scan is than with lists of equal size: ``n Σ s² / (Σ s)²`` of n sizes, at least 1."""
    counts = np.asarray(list(sizes), dtype=np.float64)
    total = counts.sum()
    return float(len(counts) * np.vecdot(counts, counts) / total**2) if total else 1.0


def _new_index(centroids: Any, quantiser: Quantiser) -> Any:
    index = faiss.IndexIVFRaBitQ(
        centroids, quantiser.dimension, quantiser.lists, faiss.METRIC_INNER_PRODUCT, True, CODE_BITS
    )
    index.is_trained = True  # RaBitQ has nothing to learn beside the centroids
    return index


def _shape(quantiser: Quantiser) -> tuple[int, int, int]:
    index = _new_index(faiss.IndexFlatL2(quantiser.dimension), quantiser)
    return index.nlist, index.d, index.code_size
