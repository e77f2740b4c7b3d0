"""Probes of an index: images and captions of its own shards, with their true neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.calibration import Probes
from mappool_assets.lib.retrieval.exact_scan import RowBlock, exact_scan
from mappool_assets.lib.retrieval.quantiser import unit_rows
from mappool_assets.lib.retrieval.search import ImageSearch
from mappool_assets.lib.retrieval.shard_vectors import TEXT_VECTOR, choose_rows, read_rows
from mappool_assets.lib.row_blocks import Float32


def draw_probes(lake: Lake, search: ImageSearch, count: int, k: int, seed: int) -> tuple[Probes, Probes]:
    """Draw images and captions of the index's shards, and find the k nearest images of each by the exact scan.

    Parameters
    ----------
    count : int
        Of each kind; fewer where fewer have a vector with a direction.
    k : int
        Less than the index's rows.

    Returns
    -------
    images, texts : Probes
    """
    images, own = _drawn_images(search, count, seed)
    texts = _drawn_texts(lake, search, count, seed + 1)
    nearest = true_neighbours(search, np.concatenate([images, texts]), k + 1)
    return (
        Probes(images, nearest[: len(images)], own),
        Probes(texts, nearest[len(images) :], np.full(len(texts), -1)),
    )


def true_neighbours(search: ImageSearch, queries: Float32, k: int) -> NDArray[np.int64]:
    """Return the positions (q, k) of each query's nearest rows, best first, by a scan that knows nothing of lists."""
    blocks = (RowBlock(start, rows) for start, rows in search.row_blocks())
    found = exact_scan(queries, blocks, k).nearest.row
    return found.reshape(len(queries), len(found) // max(len(queries), 1))


def _drawn_images(search: ImageSearch, count: int, seed: int) -> tuple[Float32, NDArray[np.int64]]:
    chosen = choose_rows({shard.shard: shard.rows for shard in search.shards}, count, seed)
    ids = np.concatenate([shard.ids(chosen[shard.shard]) for shard in search.shards if shard.shard in chosen])
    queries, has_direction = unit_rows(search.vectors(ids))
    some = _some(len(queries), count, seed)
    return queries[some], search.positions_of(ids)[has_direction][some]


def _drawn_texts(lake: Lake, search: ImageSearch, count: int, seed: int) -> Float32:
    chosen = choose_rows({shard.shard: shard.rows for shard in search.shards}, count, seed)
    queries, _ = unit_rows(np.concatenate([read_rows(lake, *item, TEXT_VECTOR) for item in chosen.items()]))
    return queries[_some(len(queries), count, seed)]


def _some(total: int, count: int, seed: int) -> NDArray[np.int64]:
    # In random order: the first of them are the probes of large k, and should not be of the first shards alone.
    return np.random.default_rng(seed).permutation(total)[:count]
