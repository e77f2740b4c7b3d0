"""Many shards to their maps, by a pool of workers or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.device_classifier import on_device
from mappool_assets.lib.errors import BadModel, MissingInput
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.pool_shards import known_shards, pool_origin
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ray_workers import run_tasks_on_ray
from mappool_assets.lib.screen import ScreenedClassifier
from mappool_assets.lib.screen_audit import ScreenAudit
from mappool_assets.lib.shard_filter import CODE_VERSION, TABLE, Scorer, ShardReport, filter_shard
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

FAILURES_TABLE = "mappool/shard_failures"


@dataclass(frozen=True)
class FilterTask:
    """What a worker needs to filter one shard, wherever it runs.

    Attributes
    ----------
    key : str
        The shard's.
    shard : PoolShard or None
        Where its files lie; None where no listing of the pool has it.
    origin : mapping
        The pool's address and pinned commit, for lineage.
    classifier_id : str
        The classifier that must be the lake's stored one.
    threshold : float
        Its threshold, for lineage and SQL.
    screen_id : str or None
        The screen before it; None scores every row exactly.
    lake, storage
        Where to write, and how to read.
    device : str or None
        The device that scores what passes the screen; None is the CPU, without PyTorch. No part of ``inputs``: maps
        are the same, the last bits of a ``map_score`` may differ (:class:`DeviceClassifier`).
    """

    key: str
    shard: PoolShard | None
    origin: Mapping[str, str]
    classifier_id: str
    threshold: float
    screen_id: str | None
    lake: Lake
    storage: Storage
    device: str | None = None

    def __str__(self) -> str:
        return f"shard {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the shard's maps; equal inputs mean there is nothing to do."""
        return {
            "shard": self.key,
            "parquet_version": self.shard.parquet_version if self.shard else None,
            "npz_version": self.shard.npz_version if self.shard else None,
            "classifier_id": self.classifier_id,
            "threshold": self.threshold,
            "screen_id": self.screen_id,
            "code_version": CODE_VERSION,
        }


def filter_tasks(
    lake: Lake, shards: Sequence[str], storage: Storage, *, is_screened: bool = True, device: str | None = None
) -> list[FilterTask]:
    """Return the tasks of some shards, from what the lake holds.

    With ``is_screened`` only rows that pass the classifier's screen are scored; else, or where the classifier has none
    that refuses anything, all are: on the CPU, or on ``device`` (see :class:`FilterTask`).

    Raises
    ------
    MissingInput
        There is no classifier or no listing yet.
    """
    known, origin = known_shards(lake), pool_origin(lake)
    record = classifier_record(lake)
    classifier, screen = record.classifier, record.screen
    screen_id = screen.screen_id if is_screened and screen and not screen.passes_all else None
    identity = (classifier.classifier_id, classifier.threshold, screen_id)
    return [FilterTask(key, known.get(key), origin, *identity, lake, storage, device) for key in shards]


def filter_shards(
    tasks: Sequence[FilterTask], *, workers: int, force: bool = False, ray_address: str | None = None
) -> Generator[Outcome[FilterTask, ShardReport]]:
    """Filter shards with a pool of workers, or on the Ray cluster at an address; yield each outcome as it comes.

    A shard whose stored maps were made from the same inputs is not filtered again (unless ``force``): its outcome
    comes first, with ``is_reused`` set. A failure is stored in ``mappool/shard_failures`` until the shard succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: _outcomes(pending, workers, ray_address), FAILURES_TABLE)


def _outcomes(
    tasks: list[FilterTask], workers: int, ray_address: str | None
) -> Iterator[Outcome[FilterTask, ShardReport]]:
    if not ray_address:
        return run_tasks(_filter, tasks, workers)
    return run_tasks_on_ray(_filter, [_with_absolute_lake(task) for task in tasks], ray_address)


def _with_absolute_lake(task: FilterTask) -> FilterTask:
    """Return a task that means the same lake whatever folder a node works in."""
    if not task.lake.is_local:
        return task
    lake = dataclasses.replace(task.lake, root=str(Path(task.lake.root).absolute()))
    return dataclasses.replace(task, lake=lake)


def _filter(task: FilterTask) -> ShardReport:
    if task.shard is None:
        raise MissingInput(
            "No listing of the pool has this shard",
            where=task.key,
            rule=f"a shard of {task.origin.get('source')}",
            got="a partition of another pool, or of a listing that was not written",
            action="Materialise pool_shards; if the shard is of another pool, leave its partition out.",
        )
    scorer = _scorer(task.lake, task.classifier_id, task.screen_id, task.device)
    return filter_shard(task.shard, scorer, task.lake, task.storage, task.inputs, task.origin)


@functools.lru_cache(maxsize=1)
def _scorer(lake: Lake, classifier_id: str, screen_id: str | None, device: str | None) -> Scorer:
    """Load the classifier once a worker; a new id, a new load."""
    record = classifier_record(lake)
    found = (record.classifier.classifier_id, record.screen.screen_id if record.screen and screen_id else None)
    if found != (classifier_id, screen_id):
        raise BadModel(
            "The lake's classifier was replaced during the run",
            where=lake.url("mappool/classifier"),
            rule=f"{classifier_id}, {screen_id or 'no screen'}",
            got=f"{found[0]}, {found[1] or 'no screen'}",
            action="Run the shards again; they will use the new one.",
        )
    classifier = on_device(record.classifier, device) if device else record.classifier
    return ScreenedClassifier(classifier, record.screen) if record.screen and screen_id else classifier


def _reused_report(task: FilterTask) -> ShardReport | None:
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.fingerprint != fingerprint(task.inputs):
        return None
    return ShardReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        np.asarray(made.measures["score_counts"], dtype=np.int64),
        fingerprint=made.fingerprint,
        screen=ScreenAudit(**made.measures["screen"]) if made.measures["screen"] else None,
        is_reused=True,
    )
