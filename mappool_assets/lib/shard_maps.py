"""Many shards to their maps: what is already done is recognised, what fails is recorded, the others go on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.classifier_store import stored_classifier
from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.errors import BadModel, MappoolError, MissingInput
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.pool_shards import known_shards, pool_origin
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import CODE_VERSION, TABLE, ShardReport, filter_shard
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
    lake, storage
        Where to write, and how to read.
    """

    key: str
    shard: PoolShard | None
    origin: Mapping[str, str]
    classifier_id: str
    threshold: float
    lake: Lake
    storage: Storage

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
            "code_version": CODE_VERSION,
        }


def filter_tasks(lake: Lake, shards: Sequence[str], storage: Storage) -> list[FilterTask]:
    """Return the tasks of some shards, from what the lake holds.

    Raises
    ------
    MissingInput
        There is no classifier or no listing yet.
    """
    known, origin = known_shards(lake), pool_origin(lake)
    classifier = stored_classifier(lake)
    return [
        FilterTask(key, known.get(key), origin, classifier.classifier_id, classifier.threshold, lake, storage)
        for key in shards
    ]


def filter_shards(
    tasks: Sequence[FilterTask], *, workers: int, force: bool = False
) -> Iterator[Outcome[FilterTask, ShardReport]]:
    """Filter shards with a pool of workers; yield each outcome as it comes.

    A shard whose stored maps were made from the same inputs is not filtered again (unless ``force``): its outcome
    comes first, with ``is_reused`` set. A failure is stored in ``mappool/shard_failures`` until the shard succeeds.
    """
    pending = []
    for task in tasks:
        reused = None if force else _reused_report(task)
        if reused is None:
            pending.append(task)
        else:
            _record_failure(task, None)  # one of a forced run that failed; these maps are right
            yield Outcome(task, reused, None, 0.0)
    for outcome in run_tasks(_filter, pending, workers):
        _record_failure(outcome.task, outcome.error)
        yield outcome


def _filter(task: FilterTask) -> ShardReport:
    if task.shard is None:
        raise MissingInput(
            "No listing of the pool has this shard",
            where=task.key,
            rule=f"a shard of {task.origin.get('source')}",
            got="a partition of another pool, or of a listing that was not written",
            action="Materialise pool_shards; if the shard is of another pool, leave its partition out.",
        )
    classifier = _classifier(task.lake, task.classifier_id)
    return filter_shard(task.shard, classifier, task.lake, task.storage, task.inputs, task.origin)


@functools.lru_cache(maxsize=1)
def _classifier(lake: Lake, classifier_id: str) -> MapClassifier:
    """Load the classifier once a worker; a new id, a new load."""
    classifier = stored_classifier(lake)
    if classifier.classifier_id != classifier_id:
        raise BadModel(
            "The lake's classifier was replaced during the run",
            where=lake.url("mappool/classifier"),
            rule=classifier_id,
            got=classifier.classifier_id,
            action="Run the shards again; they will use the new one.",
        )
    return classifier


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
        is_reused=True,
    )


def _record_failure(task: FilterTask, error: Exception | None) -> None:
    if error is None:
        task.lake.delete(task.lake.table_path(FAILURES_TABLE, task.key))
        return
    row = {"shard": task.key, "error": type(error).__name__, **failure_fields(error)}
    table = pa.Table.from_pylist([row], schema=pa.schema([(name, pa.string()) for name in row]))
    task.lake.write_table(FAILURES_TABLE, table, Provenance(task.inputs, 1, 1, origin=task.origin), task.key)


def failure_fields(error: Exception) -> dict[str, str]:
    """Return what, where, rule, got and action of any exception."""
    if isinstance(error, MappoolError):
        return error.fields()
    return {
        "what": "An error that was not foreseen",  # its own words, below, may hold paths; this is published
        "where": "",
        "rule": "",
        "got": f"{type(error).__name__}: {error}",
        "action": "Please report it.",
    }
