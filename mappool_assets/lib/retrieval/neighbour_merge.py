"""Candidates of many shards streamed to the best of each prompt, in memory that does not grow with the shards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_NEIGHBOURS
from mappool_assets.lib.retrieval.similarity_floors import Floors
from mappool_assets.lib.retrieval.top_k import best_in_order

NEIGHBOURS = "geo_subset/neighbours"
SCHEMA = pa.schema(
    [
        pa.field("query", pa.int32(), False),
        pa.field("shard", pa.string(), False),
        pa.field("row", pa.int32(), False),
        pa.field("uid", pa.string()),
        pa.field("similarity", pa.float32(), False),
        pa.field("rank", pa.int32(), False),
    ]
)
_CANDIDATES = ["query", "ordinal", "row", "uid", "similarity"]  # the shard by its place among all of them
_CANDIDATES_SCHEMA = pa.schema([SCHEMA.field(n) if n in SCHEMA.names else pa.field(n, pa.int32()) for n in _CANDIDATES])

# Of the result, and of candidates gathered before the worst are dropped: 0.24 GB of Arrow's memory, 0.7 GB resident.
PAIRS_AT_A_TIME = 1_000_000
SHARDS_AT_A_TIME = 16  # read by threads: from a bucket, each waits for its answer
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Merge:
    """What is merged.

    Attributes
    ----------
    lake : Lake
    k : int
        Most rows of a prompt.
    shards : list of str
        All of them, sorted; a candidate names its shard by the place in it.
    new_pairs : dict of str to int
        The shards that are read from ``geo_subset/shard_neighbours``, and how many pairs they hold.
    has_earlier : bool
        Whether the others' are taken from ``geo_subset/neighbours``.
    floors : float32 ndarray of shape (queries,)
        Pairs below them are left out, so that the many pairs of the shards that were scanned first never get far.
    """

    lake: Lake
    k: int
    shards: list[str]
    new_pairs: dict[str, int]
    has_earlier: bool
    floors: Floors

    def ranges(self, pool: Executor) -> Iterator[Best]:
        """Yield the best of as many prompts at a time as memory allows, in order; the pool's threads read."""
        at_a_time = max(1, PAIRS_AT_A_TIME // self.k)
        for first in range(0, len(self.floors), at_a_time):
            yield self._range(first, pool, self.floors[first : first + at_a_time])

    def _range(self, first: int, pool: Executor, floors: Floors) -> Best:
        best = Best(first, self.k, floors)
        if self.has_earlier:
            best.add(self._earlier(best))
        ordinals = {shard: ordinal for ordinal, shard in enumerate(self.shards)}
        for shards in self._groups():
            for candidates in pool.map(lambda shard: self._candidates(shard, ordinals[shard], best), shards):
                best.add(candidates)
        best.drop_the_worst()
        return best

    def _groups(self) -> Iterator[list[str]]:
        """Yield the new shards, as many at once as may be in memory."""
        group: list[str] = []
        pairs = 0
        for shard, its_pairs in self.new_pairs.items():
            if group and (len(group) == SHARDS_AT_A_TIME or pairs + its_pairs > PAIRS_AT_A_TIME):
                yield group
                group, pairs = [], 0
            group.append(shard)
            pairs += its_pairs
        if group:
            yield group

    def _candidates(self, shard: str, ordinal: int, best: Best) -> pa.Table:
        """Read those of a shard's pairs that may be among the best."""
        with self.lake.open_table(SHARD_NEIGHBOURS, shard) as file:
            table = best.read_from(file)
        return table.append_column("ordinal", pa.array(np.full(len(table), ordinal, np.int32))).select(_CANDIDATES)

    def _earlier(self, best: Best) -> pa.Table:
        with self.lake.open_table(NEIGHBOURS) as file:
            table = best.read_from(file)
        ordinals = pc.index_in(table["shard"], value_set=pa.array(self.shards))
        return table.append_column("ordinal", ordinals).select(_CANDIDATES)


class Best:
    """The best candidates so far of the prompts from ``first`` to before ``last``.

    Attributes
    ----------
    counts : int64 ndarray of shape (last - first,)
        How many each prompt has, k at most.
    """

    def __init__(self, first: int, k: int, floors: Floors) -> None:
        self.first, self.last, self._k = first, first + len(floors), k
        self.counts = np.zeros(len(floors), dtype=np.int64)
        self._floors = self._thresholds = floors
        self._best, self._gathered = _CANDIDATES_SCHEMA.empty_table(), list[pa.Table]()

    def read_from(self, file: pq.ParquetFile) -> pa.Table:
        """Return the pairs of these prompts that reach their thresholds, of a file that is sorted by prompt."""
        groups = []
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(0).statistics
            if statistics.has_min_max and statistics.min < self.last and statistics.max >= self.first:
                groups.append(group)
        batches = file.iter_batches(BATCH_ROWS, row_groups=groups)
        return pa.Table.from_batches([batch.filter(self._reach(batch)) for batch in batches], file.schema_arrow)

    def _reach(self, pairs: pa.RecordBatch) -> pa.Array:
        query, similarity = pairs["query"].to_numpy() - self.first, pairs["similarity"].to_numpy()
        is_near = (query >= 0) & (query < len(self._floors))
        is_near[is_near] = similarity[is_near] >= self._thresholds[query[is_near]]
        return pa.array(is_near)

    def add(self, candidates: pa.Table) -> None:
        """Take more candidates."""
        self._gathered.append(candidates)
        if sum(map(len, self._gathered)) > PAIRS_AT_A_TIME:
            self.drop_the_worst()

    def drop_the_worst(self) -> None:
        """Keep each prompt's k best, in order."""
        table = pa.concat_tables([self._best, *self._gathered])
        query, similarity = table["query"].to_numpy(), table["similarity"].to_numpy()
        row = (table["ordinal"].to_numpy().astype(np.int64) << 32) | table["row"].to_numpy()
        order = best_in_order(query, row, similarity, self._k)
        self._best, self._gathered = table.take(pa.array(order)).combine_chunks(), []
        self.counts = np.bincount(query[order] - self.first, minlength=len(self._floors))
        thresholds, has_k = self._floors.copy(), self.counts == self._k
        thresholds[has_k] = similarity[order][np.cumsum(self.counts)[has_k] - 1]
        self._thresholds = thresholds  # replaced, not changed: threads that read candidates use it

    def neighbours(self, shards: list[str]) -> pa.Table:
        """Return the rows of the final table, once the worst were dropped."""
        query = self._best["query"].to_numpy()
        rank = np.arange(len(query)) - np.searchsorted(query, query) + 1
        columns = {
            **{name: self._best[name] for name in _CANDIDATES},
            "shard": pa.array(shards).take(self._best["ordinal"].combine_chunks()),
            "rank": pa.array(rank.astype(np.int32)),
        }
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
