"""The shards' neighbours merged to each prompt's nearest rows of the whole lake.

Candidates stream through, one range of prompts after another, so that memory depends neither on the number of shards
nor on that of prompts. What was merged before is taken over where its shards are unchanged, and only the others are
read: the result is the same, byte for byte, as from all of them, in whatever order and with whatever floors
(:mod:`mappool_assets.lib.retrieval.similarity_floors`) their neighbours were found.

What is counted are pairs of prompt and row, as for a shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.errors import MappoolError, MissingInput
from mappool_assets.lib.lake import Provenance
from mappool_assets.lib.retrieval.exact_scan import NOT_FINITE, ZERO
from mappool_assets.lib.retrieval.neighbour_merge import BATCH_ROWS, NEIGHBOURS, SCHEMA, SHARDS_AT_A_TIME, Merge
from mappool_assets.lib.retrieval.neighbour_tasks import (
    QUERIES,
    SHARD_MAPS,
    SHARD_NEIGHBOURS,
    NeighbourTask,
    provenances,
    stored_neighbours,
)
from mappool_assets.lib.retrieval.shard_neighbours import BELOW_MINIMUM, FILTERED, OUTRANKED
from mappool_assets.lib.retrieval.similarity_floors import Floors, no_floors, read_floors


class FloorTooHigh(MappoolError):
    """Shards whose floors the neighbours found do not bear out: rows that belong to the nearest may be missing.

    Attributes
    ----------
    shards : tuple of str
        Their keys; with these found again, forced, a merge goes through.
    """

    shards: tuple[str, ...] = ()


def merge_neighbours(tasks: Sequence[NeighbourTask]) -> Provenance:
    """Write ``geo_subset/neighbours`` from the stored neighbours of the tasks' shards.

    Parameters
    ----------
    tasks : sequence of NeighbourTask
        Of one call of :func:`~mappool_assets.lib.retrieval.neighbour_tasks.neighbour_tasks`, so of one lake and with
        the same settings. Their shards, and no others, are merged.

    Returns
    -------
    Provenance
        Its inputs hold the fingerprint of each shard's maps. The table is left alone where it was made from the same.

    Raises
    ------
    MissingInput
        There are no shards, or the neighbours of some were not found, or were with other settings, prompts or maps.
    FloorTooHigh
        Maps changed since other shards were scanned with floors that followed from them.
    """
    tasks = sorted(tasks, key=lambda task: task.key)
    found = _all_found(tasks)
    lake, k = tasks[0].lake, tasks[0].settings.k
    inputs = {**tasks[0].shared_inputs, "shards": {task.key: task.maps_fingerprint for task in tasks}}
    made = lake.provenance(NEIGHBOURS)
    if made is not None and made.inputs == inputs:
        return made
    earlier = made if made is not None and _is_part_of(made, inputs) else None
    new = {key: part for key, part in found.items() if earlier is None or key not in earlier.inputs["shards"]}
    with lake.open_table(QUERIES) as file:
        queries = file.metadata.num_rows
    floors = read_floors(lake, {part.inputs["floors"] for part in new.values()}, queries)
    pairs = {key: part.rows_kept for key, part in new.items()}
    merge = Merge(lake, k, list(found), pairs, has_earlier=earlier is not None, floors=floors)
    counts = np.zeros(queries, dtype=np.int64)
    with lake.table_writer(NEIGHBOURS, SCHEMA) as writer, ThreadPoolExecutor(SHARDS_AT_A_TIME) as pool:
        for best in merge.ranges(pool):
            counts[best.first : best.last] = best.counts
            writer.write(best.neighbours(merge.shards))
        _check_floors(tasks[0], new, counts)
        parts = [*new.values(), *([earlier] if earlier else [])]
        writer.provenance = provenance = _provenance(inputs, parts, counts, k)
    return provenance


def merged_floors(task: NeighbourTask, queries: int) -> Floors:
    """Return the k-th best similarities of what was merged before, ``-inf`` where they say nothing.

    They do where all its shards are what they were: a shard that lost rows may have lost some of the nearest.
    """
    lake, floors = task.lake, no_floors(queries)
    made = lake.provenance(NEIGHBOURS)
    if made is None or not task.shared_inputs.items() <= made.inputs.items():
        return floors
    shards: dict[str, str] = dict(made.inputs["shards"])
    now = provenances(lake, SHARD_MAPS, shards)
    if [maps.fingerprint if maps else None for maps in now] != list(shards.values()):
        return floors
    with lake.open_table(NEIGHBOURS) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["query", "rank", "similarity"]):
            last = batch.filter(pc.equal(batch["rank"], task.settings.k))
            floors[last["query"].to_numpy()] = last["similarity"].to_numpy()
    return floors


def _is_part_of(made: Provenance, inputs: dict[str, Any]) -> bool:
    """Tell whether a table was merged from some of the same shards in the same way."""
    earlier, shards = {**made.inputs}, inputs["shards"]
    return earlier.pop("shards").items() <= shards.items() and {**earlier, "shards": shards} == inputs


def _provenance(inputs: dict[str, Any], parts: list[Provenance], counts: NDArray[np.int64], k: int) -> Provenance:
    """Account for every pair of prompt and row of all shards."""
    rows_in = sum(part.rows_in for part in parts)
    dropped = {
        reason: sum(part.rows_dropped.get(reason, 0) for part in parts) for reason in (FILTERED, NOT_FINITE, ZERO)
    }
    left = (rows_in - sum(dropped.values())) // len(counts) - counts
    dropped[BELOW_MINIMUM] = int(left[counts < k].sum())
    dropped[OUTRANKED] = int(left[counts == k].sum())
    counted = {reason: pairs for reason, pairs in dropped.items() if pairs}
    return Provenance(inputs, rows_in, int(counts.sum()), counted)


def _all_found(tasks: Sequence[NeighbourTask]) -> dict[str, Provenance]:
    stored = {task.key: made for task, made in zip(tasks, stored_neighbours(tasks), strict=True)}
    found = {key: made for key, made in stored.items() if made is not None}
    missing = [key for key in stored if key not in found]
    if missing or not tasks:
        raise MissingInput(
            "The neighbours of some shards are not there, or were found with other settings, prompts or maps",
            where=SHARD_NEIGHBOURS,
            rule="the neighbours of every shard, and one shard at least",
            got=f"none for {len(missing):,} of {len(tasks):,} shards: {_some(missing)}",
            action=f"Materialise their partitions of {SHARD_NEIGHBOURS}, or leave these shards out.",
        )
    return found


def _check_floors(task: NeighbourTask, new: dict[str, Provenance], counts: NDArray[np.int64]) -> None:
    """Prove that nothing is missing: a prompt with a floor has k neighbours, all of which reach all floors."""
    minimum = np.float32(-np.inf if task.settings.min_similarity is None else task.settings.min_similarity)
    has_fewer = counts < task.settings.k
    is_too_high = {
        floors_id: bool((has_fewer & (read_floors(task.lake, [floors_id], len(counts)) > minimum)).any())
        for floors_id in {part.inputs["floors"] for part in new.values()}
    }
    shards = [key for key, part in new.items() if is_too_high[part.inputs["floors"]]]
    if shards:
        error = FloorTooHigh(
            "Shards were scanned with floors that other shards' maps no longer bear out",
            where=SHARD_NEIGHBOURS,
            rule="k neighbours, for every prompt, that reach the shards' floors",
            got=f"fewer, with {len(shards):,} shards: {_some(shards)}",
            action="Find the neighbours of these shards again, forced.",
        )
        error.shards = tuple(shards)
        raise error


def _some(shards: list[str]) -> str:
    return ", ".join(shards[:5]) + (" …" if len(shards) > 5 else "")
