"""A few rows from here and there in the pool."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import first_rows

SHARDS, ROWS_A_SHARD = 4, 64  # enough for 16 verified images where three of four addresses are dead


def sample_pool(lake: Lake, storage: Storage, seed: int = 0) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield url, sha256 and ``l14_img`` (float16) of the first rows of some shards, the same for the same pool."""
    shards = list(known_shards(lake).values())
    chosen = random.Random(seed).sample(shards, min(SHARDS, len(shards)))  # noqa: S311  not for secrets
    for shard in chosen:
        yield from first_rows(shard, storage, ROWS_A_SHARD)
