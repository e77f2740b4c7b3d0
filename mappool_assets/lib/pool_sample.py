"""A few rows from here and there in the pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_files import first_rows

ROWS_A_SHARD = 64  # four shards then give 16 verified images even where 15 of 16 addresses are dead


def sample_pool(
    lake: Lake, storage: Storage, *, tell: Callable[[str], None], seed: int = 0
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield url, sha256 and ``l14_img`` (float16) of the first rows of one shard after the other.

    The order of the listed shards is drawn by lot, the same for the same pool. A shard that cannot be read is told of
    and passed over: whether it is at fault shows when it is filtered.
    """
    shards = list(known_shards(lake, only_listed=True).values())
    random.Random(seed).shuffle(shards)  # noqa: S311  not for secrets
    for shard in shards:
        try:
            rows = list(first_rows(shard, storage, ROWS_A_SHARD))
        except MappoolError as error:
            tell(f"Shard {shard.shard} is passed over: {error}")
            continue
        yield from rows
