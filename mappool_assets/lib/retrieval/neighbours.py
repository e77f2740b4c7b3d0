"""The prompts' nearest rows in many shards, found by a scan of all of them.

The steps: :func:`~mappool_assets.lib.retrieval.neighbour_tasks.neighbour_tasks` says what is to be done, this module
does it shard by shard, and :func:`~mappool_assets.lib.retrieval.merged_neighbours.merge_neighbours` makes one table;
where maps lost rows since, :func:`merge_or_find_again` has some shards scanned again before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.merged_neighbours import FloorTooHigh, merge_neighbours, merged_floors
from mappool_assets.lib.retrieval.neighbour_merge import BATCH_ROWS
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES, SHARD_NEIGHBOURS, NeighbourTask, stored_neighbours
from mappool_assets.lib.retrieval.shard_neighbours import ShardNeighbours, find_neighbours
from mappool_assets.lib.retrieval.similarity_floors import (
    Floors,
    SimilarityCounts,
    no_floors,
    read_floors,
    store_floors,
)
from mappool_assets.lib.workers import Outcome, run_tasks

# Shards are scanned in waves, each as large as all before it together, with the floors that follow from those: the
# neighbours of 25,000 shards are then written as 16 + 11 times k pairs a prompt, not 25,000 times.
FIRST_WAVE = 16


def find_shard_neighbours(
    tasks: Sequence[NeighbourTask], *, workers: int, force: bool = False
) -> Iterator[Outcome[NeighbourTask, ShardNeighbours]]:
    """Find the nearest rows of many shards with a pool of workers; yield each outcome as it comes.

    A shard whose stored neighbours were made from the same inputs (whatever their floors) is not scanned again: its
    outcome comes first, with ``is_reused`` set. With ``force`` every shard is, and no floor of earlier runs is trusted.
    """
    stored = [None] * len(tasks) if force else stored_neighbours(tasks)
    pending = []
    for task, made in zip(tasks, stored, strict=True):
        if made is None:
            pending.append(task)
        else:
            yield Outcome(task, ShardNeighbours.of(task, made, is_reused=True), None, 0.0)
    if not pending:
        return
    with tasks[0].lake.open_table(QUERIES) as file:
        queries = file.metadata.num_rows
    floors = no_floors(queries)
    if not force:
        known = read_floors(tasks[0].lake, (made.inputs["floors"] for made in stored if made), queries)
        floors = np.maximum(known, merged_floors(tasks[0], queries))
    yield from _find_in_waves(pending, floors, workers)


def merge_or_find_again(
    tasks: Sequence[NeighbourTask], find_again: Callable[[Sequence[NeighbourTask]], None]
) -> Provenance:
    """Merge the neighbours found; those of shards whose floors prove too high are found again first.

    Parameters
    ----------
    tasks : sequence of NeighbourTask
        As for :func:`~mappool_assets.lib.retrieval.merged_neighbours.merge_neighbours`, whose errors come through.
    find_again : callable
        Called with some of the tasks where need be; finds their neighbours with ``force``, and raises where it cannot.
    """
    try:
        return merge_neighbours(tasks)
    except FloorTooHigh as error:
        shards = set(error.shards)
    find_again([task for task in tasks if task.key in shards])
    return merge_neighbours(tasks)


def _find_in_waves(
    tasks: Sequence[NeighbourTask], floors: Floors, workers: int
) -> Iterator[Outcome[NeighbourTask, ShardNeighbours]]:
    lake, counts = tasks[0].lake, SimilarityCounts(len(floors))
    start, size = 0, FIRST_WAVE
    while start < len(tasks):
        floors_id = store_floors(lake, floors)
        wave = [dataclasses.replace(task, floors_id=floors_id) for task in tasks[start : start + size]]
        start, size = start + size, start + size
        for outcome in run_tasks(find_neighbours, wave, workers):
            if outcome.error is None and start < len(tasks):
                _count_neighbours(lake, outcome.task.key, counts)
            yield outcome
        floors = np.maximum(floors, counts.floors(tasks[0].settings.k))


def _count_neighbours(lake: Lake, shard: str, counts: SimilarityCounts) -> None:
    with lake.open_table(SHARD_NEIGHBOURS, shard) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["query", "similarity"]):
            counts.add(batch["query"].to_numpy(), batch["similarity"].to_numpy())
