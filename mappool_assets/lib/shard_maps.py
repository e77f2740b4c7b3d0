"""Many shards to their maps: what is already done is recognised, what fails is recorded, the others go on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.classifier_store import stored_classifier
from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.errors import BadModel, MappoolError, MissingInput
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.pool_shards import known_shards, pool_source
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import CODE_VERSION, TABLE, ShardReport, filter_shard
from mappool_assets.lib.workers import Outcome, run_tasks

FAILURES_TABLE = "mappool/shard_failures"


@dataclass(frozen=True)
class FilterTask:
    """What a worker needs to filter one shard, wherever it runs.

    Attributes
    ----------
    shard : PoolShard
        The shard.
    source, revision : str
        The pool's address and pinned commit, for lineage.
    classifier_id : str
        The classifier that must be the lake's stored one.
    threshold : float
        Its threshold, for lineage and SQL.
    lake, storage
        Where to write, and how to read.
    """

    shard: PoolShard
    source: str
    revision: str
    classifier_id: str
    threshold: float
    lake: Lake
    storage: Storage

    def __str__(self) -> str:
        return f"shard {self.shard.shard}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the shard's maps; equal inputs mean there is nothing to do."""
        return {
            "shard": self.shard.shard,
            "source": self.source,
            "parquet_version": self.shard.parquet_version,
            "npz_version": self.shard.npz_version,
            "classifier_id": self.classifier_id,
            "threshold": self.threshold,
            "code_version": CODE_VERSION,
        }


def filter_tasks(lake: Lake, shards: Sequence[str], storage: Storage) -> list[FilterTask]:
    """Return the tasks of some known shards, from what the lake holds.

    Raises
    ------
    MissingInput
        There is no classifier or no listing yet, or a shard is in none.
    """
    known = known_shards(lake)
    unknown = sorted(set(shards) - set(known))
    if unknown:
        raise MissingInput(
            "Shards that no listing of the pool has",
            where=", ".join(unknown[:5]),
            rule=f"one of the {len(known):,} known shards",
            got=f"{len(unknown):,} unknown",
            action="Materialise pool_shards, or leave these partitions out.",
        )
    source, revision = pool_source(lake)
    classifier = stored_classifier(lake)
    return [
        FilterTask(known[s], source, revision, classifier.classifier_id, classifier.threshold, lake, storage)
        for s in shards
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
            yield Outcome(task, reused, None, 0.0)
    for outcome in run_tasks(_filter, pending, workers):
        _record_failure(outcome)
        yield outcome


def _filter(task: FilterTask) -> ShardReport:
    classifier = _classifier(task.lake, task.classifier_id)
    return filter_shard(task.shard, classifier, task.lake, task.storage, task.inputs)


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
    made = task.lake.provenance(TABLE, task.shard.shard)
    if made is None or made.fingerprint != fingerprint(task.inputs):
        return None
    return ShardReport(
        task.shard.shard,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        np.asarray(made.measures["score_counts"], dtype=np.int64),
        fingerprint=made.fingerprint,
        is_reused=True,
    )


def _record_failure(outcome: Outcome[FilterTask, ShardReport]) -> None:
    lake, shard = outcome.task.lake, outcome.task.shard.shard
    if outcome.error is None:
        lake.delete(lake.table_path(FAILURES_TABLE, shard))
        return
    row = {"shard": shard, "error": type(outcome.error).__name__, **failure_fields(outcome.error)}
    table = pa.Table.from_pylist([row], schema=pa.schema([(name, pa.string()) for name in row]))
    inputs = {**outcome.task.inputs, "shard": asdict(outcome.task.shard)}
    lake.write_table(FAILURES_TABLE, table, Provenance(inputs, 1, 1), shard)


def failure_fields(error: Exception) -> dict[str, str]:
    """Return what, where, rule, got and action of any exception."""
    if isinstance(error, MappoolError):
        return error.fields()
    return {
        "what": f"{type(error).__name__}: {error}",
        "where": "",
        "rule": "",
        "got": "",
        "action": "This error was not foreseen: please report it.",
    }
