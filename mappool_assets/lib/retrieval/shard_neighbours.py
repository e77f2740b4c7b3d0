"""The prompts' nearest rows within one shard of ``shard_maps``.

What is counted are pairs of prompt and row: all of them come in, those among a prompt's nearest are kept, every other
one is dropped for a reason (``filtered``, ``embedding_not_finite``, ``embedding_zero``, ``outranked``, ``below_floor``,
``below_min_similarity``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadModel, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance
from mappool_assets.lib.retrieval.exact_scan import NOT_FINITE, ZERO, RowBlock, Scan, exact_scan
from mappool_assets.lib.retrieval.metadata_filter import RowFilter
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES, SHARD_MAPS, SHARD_NEIGHBOURS, NeighbourTask
from mappool_assets.lib.retrieval.similarity_floors import read_floors
from mappool_assets.lib.retrieval.top_k import Nearest
from mappool_assets.lib.row_blocks import Float32
from mappool_assets.lib.vectors import as_matrix

SCHEMA = pa.schema(
    [
        pa.field("query", pa.int32(), False),
        pa.field("row", pa.int32(), False),
        pa.field("uid", pa.string()),
        pa.field("similarity", pa.float32(), False),
    ]
)

FILTERED = "filtered"  # the row does not pass the filter
BELOW_MINIMUM = "below_min_similarity"
BELOW_FLOOR = "below_floor"  # k rows of other shards are nearer
OUTRANKED = "outranked"  # k rows of this shard are nearer; else one of the two before
VECTOR = "l14_img"

BLOCK_ROWS = 16_384  # rows of a shard read at a time: 25 MB of float16
ROWS_A_GROUP = 131_072  # pairs in a row group: a merge of some prompts leaves out the others' groups


@dataclass(frozen=True)
class ShardNeighbours:
    """What became of a shard's pairs of prompt and row.

    Attributes
    ----------
    shard : str
        Its key.
    rows_in, rows_kept, rows_dropped
        Pairs; see the module.
    fingerprint : str
        Of the inputs; the data version of the partition.
    is_reused : bool
        Nothing was done: the stored neighbours were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    is_reused: bool = False

    @classmethod
    def of(cls, task: NeighbourTask, made: Provenance, *, is_reused: bool) -> ShardNeighbours:
        """Return the report of what is stored."""
        dropped = dict(made.rows_dropped)
        return cls(task.key, made.rows_in, made.rows_kept, dropped, made.fingerprint, is_reused)


def find_neighbours(task: NeighbourTask) -> ShardNeighbours:
    """Write the nearest rows of one shard to ``geo_subset/shard_neighbours``.

    Raises
    ------
    MissingInput
        The shard has no maps.
    BadShard
        A vector is null.
    BadModel
        The shard was filtered by another classifier than the lake's, so that its encoder is not known; or its vectors
        are of another width than the prompts'.
    SourceChanged
        The prompts or the maps were written anew since the task was made.
    BadFilter
        The maps lack a column of the filter.
    """
    _check_maps(task)
    queries = _queries(task.lake, task.queries_fingerprint)
    floors = read_floors(task.lake, [task.floors_id], len(queries))
    minimum = np.float32(-np.inf if task.settings.min_similarity is None else task.settings.min_similarity)
    with task.lake.open_table(SHARD_MAPS, task.key) as file:
        _check_unchanged(file, task.maps_fingerprint, task.key)
        _check_width(file, queries.shape[1], task)
        chosen = task.settings.row_filter
        is_wanted = None if chosen is None else RowFilter.parse(chosen).mask_of_file(file)
        least = np.maximum(floors, minimum)
        scan = exact_scan(queries, _blocks(file, is_wanted, task.key), task.settings.k, least_similarity=least)
        provenance = _provenance(task, file.metadata.num_rows, scan, is_floored=floors > minimum)
        _write(task, scan.nearest, file.read(columns=["uid"])["uid"], provenance)
    return ShardNeighbours.of(task, provenance, is_reused=False)


def _blocks(file: pq.ParquetFile, is_wanted: NDArray[np.bool_] | None, shard: str) -> Iterator[RowBlock]:
    """Yield row groups, joined to blocks, without blocks of which no row is wanted."""
    start, rows, groups = 0, 0, list[int]()
    for group in range(file.num_row_groups):
        groups.append(group)
        rows += file.metadata.row_group(group).num_rows
        if rows < BLOCK_ROWS and group + 1 < file.num_row_groups:
            continue
        wanted = None if is_wanted is None else is_wanted[start : start + rows]
        if wanted is None or wanted.any():
            vectors = file.read_row_groups(groups, columns=[VECTOR])[VECTOR]
            if vectors.null_count:
                raise _null_vectors(shard, vectors.null_count)
            yield RowBlock(start, as_matrix(vectors), wanted)
        start, rows, groups = start + rows, 0, []


def _provenance(task: NeighbourTask, rows: int, scan: Scan, is_floored: NDArray[np.bool_]) -> Provenance:
    """Account for every pair of prompt and row."""
    queries = len(is_floored)
    compared = scan.rows_in - sum(scan.rows_dropped.values())
    unsound = {reason: scan.rows_dropped.get(reason, 0) for reason in (NOT_FINITE, ZERO)}
    kept = np.bincount(scan.nearest.query, minlength=queries)
    left, has_k = compared - kept, kept == task.settings.k
    pairs = {
        FILTERED: (rows - compared - sum(unsound.values())) * queries,
        **{reason: count * queries for reason, count in unsound.items()},
        BELOW_MINIMUM: int(left[~has_k & ~is_floored].sum()),
        BELOW_FLOOR: int(left[~has_k & is_floored].sum()),
        OUTRANKED: int(left[has_k].sum()),
    }
    dropped = {reason: count for reason, count in pairs.items() if count}
    return Provenance(task.inputs, rows * queries, len(scan.nearest), dropped)


def _write(task: NeighbourTask, found: Nearest, uids: pa.ChunkedArray, provenance: Provenance) -> None:
    with task.lake.table_writer(SHARD_NEIGHBOURS, SCHEMA, task.key) as writer:
        for start in range(0, len(found), ROWS_A_GROUP):
            group = slice(start, start + ROWS_A_GROUP)
            row = pa.array(found.row[group].astype(np.int32))
            columns = [pa.array(found.query[group]), row, uids.take(row), pa.array(found.similarity[group])]
            writer.write(pa.table(columns, schema=SCHEMA))
        writer.provenance = provenance


@functools.lru_cache(maxsize=1)
def _queries(lake: Lake, fingerprint: str) -> Float32:
    """Read the prompts' vectors once a worker."""
    with lake.open_table(QUERIES) as file:
        _check_unchanged(file, fingerprint, QUERIES)
        vectors = file.read(columns=["vector"])["vector"].combine_chunks()
        return vectors.flatten().to_numpy().reshape(len(vectors), -1)


def _check_maps(task: NeighbourTask) -> None:
    if task.maps_fingerprint is None:
        raise MissingInput(
            "The shard has no maps",
            where=task.lake.url(task.lake.table_path(SHARD_MAPS, task.key)),
            rule="a shard that was filtered",
            got="nothing",
            action=f"Materialise its partition of {SHARD_MAPS} first.",
        )
    if task.maps_classifier_id != task.classifier_id:
        raise BadModel(
            "The shard was filtered by another classifier: nothing says that its encoder is the prompts'",
            where=task.key,
            rule=f"{task.classifier_id}, the lake's, of the encoder {task.encoder_id}",
            got=str(task.maps_classifier_id),
            action=f"Materialise its partition of {SHARD_MAPS} again.",
        )


def _check_unchanged(file: pq.ParquetFile, fingerprint: str | None, where: str) -> None:
    recorded = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
    found = Provenance.from_json(recorded).fingerprint if recorded else None
    if found != fingerprint:
        raise SourceChanged(
            "A table was written anew while neighbours were sought in it",
            where=where,
            rule=f"the one made from {fingerprint}",
            got=f"one made from {found}",
            action="Find the neighbours again.",
        )


def _null_vectors(shard: str, count: int) -> BadShard:
    return BadShard(
        "A shard's maps cannot be searched",
        where=f"{VECTOR} of {shard}",
        rule="a vector in each row",
        got=f"{count} nulls",
        action=f"Materialise its partition of {SHARD_MAPS} again.",
    )


def _check_width(file: pq.ParquetFile, dimension: int, task: NeighbourTask) -> None:
    found = file.schema_arrow.field(VECTOR).type
    if found != pa.list_(pa.float16(), dimension):
        raise BadModel(
            "Maps and prompts cannot be compared",
            where=f"{VECTOR} of {task.key}",
            rule=f"float16 vectors of width {dimension}, the prompts'",
            got=str(found),
            action=f"Materialise {QUERIES} with the encoder of the maps.",
        )
