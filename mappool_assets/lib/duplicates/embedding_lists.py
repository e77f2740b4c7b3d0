"""Lists of embeddings in files, for more of them than memory holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.coarse_lists import LISTS_A_VECTOR, nearest_lists

FILE_BYTES = 256 * 1024 * 1024  # of a file on average: it is read whole
VECTORS_A_WRITE = 65_536  # gathered before they are appended to files: 100 MB, of 75 million images 220 kB a file


class EmbeddingList(NamedTuple):
    """The vectors of one list.

    Attributes
    ----------
    images : int32 array of shape (n,)
        Whose they are, ascending.
    vectors : float16 array of shape (n, d)
    """

    images: NDArray[np.int32]
    vectors: NDArray[np.float16]


class EmbeddingLists:
    """A folder of lists, each vector in the lists of its nearest centroids.

    Parameters
    ----------
    folder : Path
        Empty. Takes 1.5 kB for each vector of width 768 and each list it is in.
    centroids : float32 array of shape (lists, d)
        Of :func:`~mappool_assets.lib.duplicates.coarse_lists.fit_centroids`.
    expected : int
        About how many vectors will be added; sets how many files there are.
    lists_a_vector : int
        How many lists each vector is in, where there are as many.
    """

    def __init__(
        self, folder: Path, centroids: NDArray[np.float32], expected: int, lists_a_vector: int = LISTS_A_VECTOR
    ) -> None:
        self._folder, self._centroids, self._lists_a_vector = folder, centroids, lists_a_vector
        lists, dimension = centroids.shape
        self._record = np.dtype([("list", np.int32), ("image", np.int32), ("vector", np.float16, dimension)])
        self._waiting: list[tuple[NDArray[np.int32], NDArray[np.float16]]] = []
        self.files = min(lists, -(-expected * lists_a_vector * self._record.itemsize // FILE_BYTES) or 1)

    def add(self, images: NDArray[np.int32], vectors: NDArray[np.float16]) -> None:
        """Add vectors, in any order; an image once."""
        self._waiting.append((images, vectors))
        if sum(len(waiting) for waiting, _ in self._waiting) >= VECTORS_A_WRITE:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        images, vectors = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        lists = nearest_lists(vectors, self._centroids, self._lists_a_vector)
        rows = np.repeat(np.arange(len(images)), lists.shape[1])
        file_of_row = lists.ravel() % self.files
        order = np.argsort(file_of_row, kind="stable")
        bounds = np.searchsorted(file_of_row[order], np.arange(self.files + 1))
        for number, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
            if start < stop:
                chosen = order[start:stop]
                records = np.empty(stop - start, self._record)
                records["list"], records["image"] = lists.ravel()[chosen], images[rows[chosen]]
                records["vector"] = vectors[rows[chosen]]
                with self._file(number).open("ab") as file:
                    records.tofile(file)

    def read(self, number: int) -> Iterator[EmbeddingList]:
        """Yield the lists of a file, 0 to ``files − 1``, the same whatever order vectors were added in."""
        self._write()
        if not self._file(number).exists():
            return
        records = np.fromfile(self._file(number), self._record)
        order = np.lexsort((records["image"], records["list"]))
        _, starts = np.unique(records["list"][order], return_index=True)
        for start, stop in itertools.pairwise([*starts.tolist(), len(order)]):
            chosen = order[start:stop]
            yield EmbeddingList(records["image"][chosen], records["vector"][chosen])

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:05d}.lists"
