"""What a row must reach, at least, to be among a query's nearest of the whole lake, as far as other shards tell.

A shard's own k nearest rows are most of its rows where shards are small: 3,000 maps a shard and k = 1,000 would make
25,000 shards write 25 billion pairs of query and row, nearly all of which a few other shards have already outdone. The
k-th best similarity of *some* rows is a lower bound of the k-th best of all: rows below this floor need not be kept.
Whoever merges the shards proves that no floor was too high (:mod:`mappool_assets.lib.retrieval.merged_neighbours`),
so a floor changes what is written for a shard, never the neighbours that come of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mappool_assets.lib.lake import Lake, Provenance

FLOORS = (
    "geo_subset/neighbour_floors"  # one file for each set of floors that shards were scanned with, named by content
)

# A floor lies up to 0.001 below the k-th best. Similarities of texts and images spread by some 0.03, so that 6 % more
# pairs than need be are kept.
BINS = 2048
_EDGES = np.linspace(-1, 1, BINS + 1, dtype=np.float32)[:-1]
_EDGES[0] = -np.inf

Floors = NDArray[np.float32]


def no_floors(queries: int) -> Floors:
    """Return floors that every row reaches."""
    return np.full(queries, -np.inf, dtype=np.float32)


class SimilarityCounts:
    """How many rows have been found at each level of similarity, for each of some queries; 8 kB a query."""

    def __init__(self, queries: int) -> None:
        self._counts = np.zeros((queries, BINS), dtype=np.uint32)

    def add(self, query: NDArray[np.int32], similarity: NDArray[np.float32]) -> None:
        """Count pairs."""
        level = np.maximum(np.searchsorted(_EDGES, similarity, side="right") - 1, 0)
        np.add.at(self._counts, (query, level), 1)

    def floors(self, k: int) -> Floors:
        """Return for each query a similarity that k or more of its rows reach; ``-inf`` where fewer were found."""
        at_least = np.cumsum(self._counts[:, ::-1], axis=1, dtype=np.int64)[:, ::-1]  # falls along the levels
        reached = (at_least >= k).sum(axis=1)
        return np.where(reached > 0, _EDGES[np.maximum(reached, 1) - 1], np.float32(-np.inf))


def store_floors(lake: Lake, floors: Floors) -> str | None:
    """Write floors and return their id; None, and nothing written, where every row reaches them."""
    if np.isneginf(floors).all():
        return None
    floors_id = hashlib.sha256(floors.astype("<f4").tobytes()).hexdigest()[:16]
    table = pa.table({"query": np.arange(len(floors), dtype=np.int32), "floor": floors})
    if not lake.exists(lake.table_path(FLOORS, floors_id)):
        lake.write_table(FLOORS, table, Provenance({"floors": floors_id}, len(floors), len(floors)), floors_id)
    return floors_id


def read_floors(lake: Lake, floors_ids: Iterable[str | None], queries: int) -> Floors:
    """Return for each query the highest of its floors under several ids; None stands for none."""
    highest = no_floors(queries)
    for floors_id in {floors_id for floors_id in floors_ids if floors_id is not None}:
        np.maximum(highest, lake.read_table(FLOORS, floors_id, ["floor"])["floor"].to_numpy(), out=highest)
    return highest
