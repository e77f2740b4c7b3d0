"""What is measured of an index when its quantiser is new: how uneven its lists are, and how to search them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.calibration import Calibrated, calibrate, largest_k, most_probes
from mappool_assets.lib.retrieval.index_ledger import IndexedShard
from mappool_assets.lib.retrieval.index_probes import draw_probes
from mappool_assets.lib.retrieval.inverted_lists import imbalance_factor
from mappool_assets.lib.retrieval.open_index import open_shards
from mappool_assets.lib.retrieval.quantiser import SEED, Quantiser
from mappool_assets.lib.retrieval.quantiser_store import IndexFigures
from mappool_assets.lib.retrieval.shard_index import bad_maps
from mappool_assets.lib.retrieval.shard_vectors import TEXT_VECTOR

MEASURED_ROWS = 1_000_000  # of a larger index some shards stand for all: the scan for the true neighbours is the cost
# Among more rows the nearest k lie in fewer lists, but more rows are nearly as near, so that the depth that a recall
# takes grows. From 62,500 rows to a million it did so from 120 to 240 (text, nearest 10) and from 6,000 to 8,000
# (nearest 1,000): by the rows to the power of 0.25 and 0.1.
DEPTH_EXPONENT = 0.25


def measure_index(lake: Lake, shards: Sequence[IndexedShard], quantiser: Quantiser, cache: Path | None) -> IndexFigures:
    """Search a new quantiser's lists for images and captions of the shards, and compare with the exact scan.

    Parameters
    ----------
    cache : Path or None
        For a lake that is no folder, where the index's files are kept; None fetches them to a folder that is deleted.

    Raises
    ------
    BadShard
        No caption that was drawn has a vector: what searches for texts find cannot be measured.
    """
    order = np.random.default_rng(SEED).permutation(len(shards))
    ends = np.cumsum([shards[number].rows for number in order])
    some = [shards[number] for number in order[: int(np.searchsorted(ends, MEASURED_ROWS)) + 1]]
    with tempfile.TemporaryDirectory(prefix="mappool-index-") as folder:
        search = open_shards(lake, some, quantiser, (), cache or Path(folder))
        assert search.lists is not None, "without lists there is nothing to measure"
        factor = imbalance_factor(search.lists.sizes())
        k = largest_k(search.lists.rows)
        if k is None:
            return IndexFigures(search.lists.rows, factor, ())  # too few to need the lists
        images, texts = draw_probes(lake, search, most_probes(), k, SEED)
        if not len(texts.queries):
            raise bad_maps(
                some[0].shard, f"captions with a direction in {TEXT_VECTOR}", "zero or not finite, as others'"
            )
        calibrated = calibrate(search.lists, images, texts)
    return IndexFigures(int(ends[-1]), factor, tuple(_deepened(entry, ends[-1] / search.rows) for entry in calibrated))


def _deepened(entry: Calibrated, times: float) -> Calibrated:
    return dataclasses.replace(entry, depth=round(entry.depth * times**DEPTH_EXPONENT))
