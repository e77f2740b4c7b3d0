"""Nearest images of a few vectors, now: by the index's lists or by a scan of all rows, always with exact similarities.

What the lists propose is ranked again on the float16 rows, so that a similarity does not depend on how a row was
found: it has the same bits as the exact scan's. Order is by falling similarity, then by rising id.

One search runs on one thread, and several may run at a time. Nothing grows: codes are mapped files, rows are read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retrieval.calibration import Calibrated, parameters_for
from mappool_assets.lib.retrieval.index_ledger import ORDINAL_STEP, IndexedShard
from mappool_assets.lib.retrieval.inverted_lists import StackedLists
from mappool_assets.lib.retrieval.row_file import RowFile
from mappool_assets.lib.retrieval.row_similarity import check_queries, exact_similarities
from mappool_assets.lib.retrieval.selection import Selection, select_rows
from mappool_assets.lib.row_blocks import Float32

Mode = Literal["ann", "exact"]
MODES: tuple[Mode, ...] = ("ann", "exact")
MOST_NEAREST = 10_000
PAGE_GROWTH = 4  # of k from page to page: the work of all pages is at most 4/3 of the last one's

# So few selected rows are compared one by one: 20,000 take some 40 ms. Of more, a search finds the nearest by the
# lists, of which it looks into the more, the fewer rows are selected.
SCANNED_SHARE, MOST_SCANNED = 0.01, 20_000
# Of selected rows: from so many of all on, whole files are read rather than rows.
WHOLE_FILES_SHARE = 1 / 8
ROWS_AT_A_TIME = 1_024  # 1.5 MB read at once, by each thread
WIDENING = 4  # times as many lists, where too few of the selected rows were in them


class Found(NamedTuple):
    """What one query found, best first.

    Attributes
    ----------
    ids : int64 array of shape (m,)
        ``ordinal * 2**32 + row``; ``m`` is k, or fewer where fewer rows are selected.
    similarities : float32 array of shape (m,)
    is_exact : bool
        All selected rows were compared: nothing nearer was overlooked.
    """

    ids: NDArray[np.int64]
    similarities: Float32
    is_exact: bool


class ImageSearch:
    """An opened index.

    Parameters
    ----------
    ledger : sequence of IndexedShard
        All shards of the index, the removed ones too.
    row_files : mapping of str to RowFile
        By shard.
    lists : StackedLists or None
        None searches exactly, always.
    calibrated : sequence of Calibrated
        How to search the lists.

    Attributes
    ----------
    shards : list of IndexedShard
        Those that can be searched, by position.
    rows, dimension : int
    encoder_id : str
        What queries must be made with.
    """

    def __init__(
        self,
        ledger: Sequence[IndexedShard],
        row_files: Mapping[str, RowFile],
        lists: StackedLists | None,
        calibrated: Sequence[Calibrated],
    ) -> None:
        self.shards = sorted((s for s in ledger if not s.is_removed), key=lambda s: s.first_position)
        self.rows = sum(shard.rows for shard in self.shards)
        self.encoder_id = self.shards[0].encoder_id
        self.lists, self.calibrated = lists, tuple(calibrated)
        self._ledger = list(ledger)
        self._row_files = [row_files[shard.shard] for shard in self.shards]
        self.dimension = self._row_files[0].dimension
        self._starts = np.array([shard.first_position for shard in self.shards])
        self._ordinals = np.array([shard.ordinal for shard in self.shards])
        # One thread reads rows at a time: each read gives up the interpreter, and several readers would hand it to each
        # other 500,000 times a second (measured with 16 threads: twice the queries a second, at half the CPU time).
        self._reading = threading.Lock()

    def select(
        self, allowed: Mapping[str, NDArray[np.bool_]] | None = None, removed: NDArray[np.int64] | None = None
    ) -> Selection:
        """Return the rows that may be found; see :func:`~mappool_assets.lib.retrieval.selection.select_rows`.

        A selection is for many searches of this index; two are joined by ``&``.
        """
        return select_rows(self._ledger, allowed, removed)

    def search(
        self, vectors: NDArray[np.floating], k: int, *, mode: Mode = "ann", selection: Selection | None = None
    ) -> list[Found]:
        """Find the k nearest images of each vector.

        Parameters
        ----------
        vectors : array of shape (q, d)
            Of unit length.
        k : int
            1 to 10,000.
        mode : str
            ``ann`` looks where the calibration found that at least 95 % of the nearest are; ``exact`` compares all.
            Few selected rows, and k beyond a fortieth of the rows, are searched exactly in any case.
        selection : Selection, optional
            What may be found; None means all rows.

        Raises
        ------
        BadSetting
            k or mode out of range; vectors of another width, or not of unit length.
        BadIndex
            Files of the index are gone since it was opened.
        """
        check_search(k, mode)
        return [self._find(query, k, mode, selection) for query in check_queries(vectors, self.dimension)]

    def pages(
        self, vector: NDArray[np.floating], size: int, *, mode: Mode = "ann", selection: Selection | None = None
    ) -> Iterator[Found]:
        """Yield the nearest images of one vector (d,), then further ones, each image once.

        For callers that drop some of what is found, and ask until enough is left. The first page has ``size`` images,
        later ones three times as many as all before; there are no more than 10,000 in all. A later page of mode
        ``ann`` may hold an image nearer than some of an earlier one, which was overlooked there.
        """
        seen, k = np.empty(0, dtype=np.int64), size
        while True:
            found = self.search(vector[np.newaxis], k, mode=mode, selection=selection)[0]
            is_new = ~np.isin(found.ids, seen)
            if is_new.any():
                yield Found(found.ids[is_new], found.similarities[is_new], found.is_exact)
            if len(found.ids) < k or k == MOST_NEAREST:
                return
            seen, k = np.union1d(seen, found.ids), min(PAGE_GROWTH * k, MOST_NEAREST)

    def row_blocks(self) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Yield all rows by position, with the first one's position."""
        for shard, file in zip(self.shards, self._row_files, strict=True):
            for start, rows in file.blocks():
                yield shard.first_position + start, rows

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the stored rows (m, d) of ids of this index, in their order, for instance to find duplicates."""
        positions = self.positions_of(ids)
        order = np.argsort(positions)
        taken = np.empty((len(ids), self.dimension), dtype=np.float16)
        taken[order] = self._take(positions[order])
        return taken

    def _find(self, query: Float32, k: int, mode: Mode, selection: Selection | None) -> Found:
        parameters = None if mode == "exact" or self.lists is None else parameters_for(k, self.calibrated)
        if parameters is None or self.lists is None:
            return self._by_scan(query, k, selection)
        lists, depth = parameters
        if selection is None:
            return self._ranked(query, k, self._candidates(self.lists, query, lists, depth, None), is_exact=False)
        if selection.count <= max(depth, min(SCANNED_SHARE * self.rows, MOST_SCANNED)):
            return self._by_scan(query, k, selection)
        lists = round(lists * self.rows / selection.count)
        return self._ranked(query, k, self._candidates(self.lists, query, lists, depth, selection), is_exact=False)

    def _candidates(
        self, stack: StackedLists, query: Float32, lists: int, depth: int, selection: Selection | None
    ) -> NDArray[np.int64]:
        bits, most = (None, stack.rows) if selection is None else (selection.bits, selection.count)
        while True:
            found = stack.candidates(query, lists, depth, bits)
            if len(found) >= min(depth, most) or lists >= stack.quantiser.lists:
                return np.sort(found)
            lists *= WIDENING

    def _by_scan(self, query: Float32, k: int, selection: Selection | None) -> Found:
        if selection is not None and selection.count < WHOLE_FILES_SHARE * self.rows:
            return self._ranked(query, k, selection.positions(), is_exact=True)
        best = _Best(k)
        for start, rows in self.row_blocks():
            positions, similarities = np.arange(start, start + len(rows)), exact_similarities(query, rows)
            if selection is not None:
                similarities[~selection.mask(start, start + len(rows))] = np.nan
            best.add(self.ids_of(positions), similarities)
        return best.found(is_exact=True)

    def _ranked(self, query: Float32, k: int, positions: NDArray[np.int64], *, is_exact: bool) -> Found:
        best = _Best(k)
        for start in range(0, len(positions), ROWS_AT_A_TIME):
            some = positions[start : start + ROWS_AT_A_TIME]
            best.add(self.ids_of(some), exact_similarities(query, self._take(some)))
        return best.found(is_exact=is_exact)

    def _take(self, positions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return rows by position, ascending."""
        edges = np.searchsorted(positions, [*self._starts, np.iinfo(np.int64).max])
        used = np.flatnonzero(np.diff(edges))
        with self._reading:
            parts = [
                self._row_files[number].take(positions[edges[number] : edges[number + 1]] - self._starts[number])
                for number in used
            ]
        return np.concatenate([np.empty((0, self.dimension), dtype=np.float16), *parts])

    def positions_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of ids of this index."""
        ordinals, rows = np.divmod(ids, ORDINAL_STEP)
        by_ordinal = np.argsort(self._ordinals)
        place = by_ordinal[np.searchsorted(self._ordinals, ordinals, sorter=by_ordinal)]
        return self._starts[place] + rows

    def ids_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of rows by position."""
        place = np.searchsorted(self._starts, positions, side="right") - 1
        return self._ordinals[place] * ORDINAL_STEP + positions - self._starts[place]


class _Best:
    """The k best so far."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._ids, self._similarities = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def add(self, ids: NDArray[np.int64], similarities: Float32) -> None:
        """Take further rows, without those whose similarity is NaN."""
        least = self._similarities[-1] if len(self._ids) == self._k else -np.inf
        is_near = similarities >= least
        ids = np.concatenate([self._ids, ids[is_near]])
        similarities = np.concatenate([self._similarities, similarities[is_near]])
        best = np.lexsort((ids, -similarities))[: self._k]
        self._ids, self._similarities = ids[best], similarities[best]

    def found(self, *, is_exact: bool) -> Found:
        return Found(self._ids, self._similarities, is_exact)


def check_search(k: int, mode: str) -> None:
    """Raise :class:`BadSetting` where k or mode is out of range."""
    if not 1 <= k <= MOST_NEAREST:
        raise BadSetting(
            "So many images cannot be asked for",
            where="k",
            rule=f"1 to {MOST_NEAREST:,}",
            got=f"{k:,}",
            action="Ask for fewer; the asset neighbours finds up to a million a prompt.",
        )
    if mode not in MODES:
        raise BadSetting(
            "There is no such way to search",
            where="mode",
            rule=" or ".join(MODES),
            got=mode,
            action="Name one of these.",
        )
