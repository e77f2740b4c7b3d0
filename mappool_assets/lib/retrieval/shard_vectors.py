"""The image vectors of one shard of ``shard_maps``, block by block, and a sample of many shards' rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadShard, SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance
from mappool_assets.lib.retrieval.neighbour_tasks import FOOTERS_AT_A_TIME, SHARD_MAPS
from mappool_assets.lib.retrieval.row_file import BLOCK_ROWS
from mappool_assets.lib.vectors import as_matrix

IMAGE_VECTOR, TEXT_VECTOR = "l14_img", "l14_txt"
LEAST_SHARDS = 16  # of a sample, where there are so many: shards of a pool are alike, but not equal


def maps_made_from(lake: Lake, shards: Iterable[str]) -> dict[str, Provenance | Exception | None]:
    """Return what made the maps of shards: None where there are none or they do not say, errors where unreadable."""

    def made_from(shard: str) -> Provenance | Exception | None:
        try:
            return lake.provenance(SHARD_MAPS, shard)
        except (OSError, ValueError, pa.ArrowException) as error:
            return error

    keys = list(shards)
    with ThreadPoolExecutor(FOOTERS_AT_A_TIME) as pool:
        return dict(zip(keys, pool.map(made_from, keys), strict=True))


def vector_width(file: pq.ParquetFile, shard: str, column: str = IMAGE_VECTOR) -> int:
    """Return the width of a shard's vectors.

    Raises
    ------
    BadShard
        There is no such column of float16 vectors.
    """
    schema = file.schema_arrow
    kind = schema.field(column).type if column in schema.names else pa.null()
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float16():
        raise _bad_vectors(shard, column, "a column of float16 vectors of one width", str(kind))
    return kind.list_size


def vector_blocks(file: pq.ParquetFile, shard: str, column: str = IMAGE_VECTOR) -> Iterator[NDArray[np.float16]]:
    """Yield a shard's vectors, some row groups at a time.

    Raises
    ------
    BadShard
        A vector is null.
    """
    rows, groups = 0, list[int]()
    for group in range(file.num_row_groups):
        groups.append(group)
        rows += file.metadata.row_group(group).num_rows
        if rows < BLOCK_ROWS and group + 1 < file.num_row_groups:
            continue
        yield _checked(file.read_row_groups(groups, columns=[column])[column], shard, column)
        rows, groups = 0, []


def check_made_from(file: pq.ParquetFile, fingerprint: str, shard: str) -> None:
    """Raise :class:`SourceChanged` where an open shard is not the one that was listed."""
    recorded = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
    found = Provenance.from_json(recorded).fingerprint if recorded else None
    if found != fingerprint:
        raise SourceChanged(
            "A shard was filtered again while it was read",
            where=shard,
            rule=f"maps made from {fingerprint}",
            got=f"maps made from {found}",
            action="Build the image index again.",
        )


def choose_rows(shard_rows: Mapping[str, int], count: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Choose rows of some shards at random, as many of each as is its share.

    Parameters
    ----------
    shard_rows : mapping of str to int
        The shards, and how many rows each has.
    count : int
        How many rows about; all where there are fewer.

    Returns
    -------
    dict
        Row numbers, ascending, by shard.
    """
    random = np.random.default_rng(seed)
    shards = [shard for shard in sorted(shard_rows) if shard_rows[shard]]
    mean_rows = sum(shard_rows.values()) / max(len(shards), 1)
    needed = min(len(shards), max(LEAST_SHARDS, round(2 * count / max(mean_rows, 1))))
    chosen = sorted(random.permutation(shards)[:needed].tolist())
    total = sum(shard_rows[shard] for shard in chosen)
    of_shard = {shard: min(shard_rows[shard], -(-count * shard_rows[shard] // total)) for shard in chosen}
    return {shard: np.sort(random.permutation(shard_rows[shard])[: of_shard[shard]]) for shard in chosen}


def read_rows(lake: Lake, shard: str, rows: NDArray[np.int64], column: str = IMAGE_VECTOR) -> NDArray[np.float16]:
    """Return the vectors of some rows of a shard, given in ascending order; errors as of :func:`vector_blocks`.

    Row groups in which none of them lies are not read.
    """
    with lake.open_table(SHARD_MAPS, shard) as file:
        parts = [np.empty((0, vector_width(file, shard, column)), dtype=np.float16)]
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        groups = np.searchsorted(ends, rows, side="right")
        for group in np.unique(groups).tolist():
            vectors = _checked(file.read_row_group(group, columns=[column])[column], shard, column)
            start = ends[group] - len(vectors)
            parts.append(vectors[rows[groups == group] - start])
    return np.concatenate(parts)


def _checked(vectors: pa.ChunkedArray, shard: str, column: str) -> NDArray[np.float16]:
    if vectors.null_count:
        raise _bad_vectors(shard, column, "a vector in each row", f"{vectors.null_count} nulls")
    return as_matrix(vectors)


def _bad_vectors(shard: str, column: str, rule: str, got: str) -> BadShard:
    return BadShard(
        "A shard's vectors cannot be indexed",
        where=f"{column} of {shard}",
        rule=rule,
        got=got,
        action=f"Materialise its partition of {SHARD_MAPS} again.",
    )
