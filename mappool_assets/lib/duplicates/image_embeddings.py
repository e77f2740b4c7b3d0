"""The embeddings of images, read from a lake shard by shard."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.image_places import ImagePlaces, batches
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.vectors import as_matrix

MAPS_TABLE, COLUMN = "mappool/shard_maps", "l14_img"
BATCH_VECTORS = 8192  # 12.5 MB
SEED = 5


def sample_embeddings(lake: Lake, count: int) -> NDArray[np.float16]:
    """Return the embeddings of the maps of shards drawn at random, until there are enough.

    Returns
    -------
    float16 array of shape (m, d)
        All there are, in random order of shards, or the first ``count`` of them. Of the same lake the same.
    """
    parts, missing = [np.empty((0, 0), dtype=np.float16)], count
    shards = lake.partitions(MAPS_TABLE)
    for position in np.random.default_rng(SEED).permutation(len(shards)).tolist():
        if missing > 0:
            with lake.open_table(MAPS_TABLE, shards[position]) as file:
                parts.append(as_matrix(file.read(columns=[COLUMN])[COLUMN])[:missing])
            missing -= len(parts[-1])
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def read_embeddings(
    lake: Lake, images: ImagePlaces, progress: Callable[[int, int], None]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float16]]]:
    """Yield numbers and embeddings of images of different bytes, in batches, shard by shard.

    Images are found by uid within their shard. Those without a row in ``shard_maps``, which may have been made anew
    since, are left out.

    Parameters
    ----------
    progress : callable
        Told how many shards are read, of how many.
    """
    is_first, scored = images.is_first, set(lake.partitions(MAPS_TABLE))
    for done, (shard, rows, uids) in enumerate(_shards(images), start=1):
        if shard in scored:
            numbers = np.where(is_first[rows], images.numbers[rows], -1)
            yield from _of_shard(lake, shard, uids, numbers)
        progress(done, len(scored))


def _shards(images: ImagePlaces) -> Iterator[tuple[str, slice, pa.Array]]:
    """Yield each shard with its rows and uids; in parts where a batch of names ends within it."""
    for rows, batch in batches(images.file, "shard", "uid"):
        runs = pc.run_end_encode(batch.column("shard"))
        ends = itertools.pairwise([0, *runs.run_ends.to_pylist()])
        for shard, (start, stop) in zip(runs.values.to_pylist(), ends, strict=True):
            yield shard, slice(rows.start + start, rows.start + stop), batch.column("uid")[start:stop]


def _of_shard(
    lake: Lake, shard: str, uids: pa.Array, numbers: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float16]]]:
    """Yield numbers and embeddings of a shard's images, given by uid, but not of those whose number is negative."""
    with lake.open_table(MAPS_TABLE, shard) as file:
        for batch in file.iter_batches(BATCH_VECTORS, columns=["uid", COLUMN]):
            found = pc.fill_null(pc.index_in(batch.column("uid"), value_set=uids), -1).to_numpy()
            is_wanted = (found >= 0) & (numbers[found] >= 0)
            if is_wanted.any():
                yield numbers[found[is_wanted]], as_matrix(batch.column(COLUMN))[is_wanted]
