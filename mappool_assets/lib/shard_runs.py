"""A step over many shards: what is done is recognised, what fails is recorded, the others go on."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.workers import Outcome

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ShardTask(Protocol):
    """What is to be done with one shard."""

    @property
    def key(self) -> str:
        """The shard's key."""

    @property
    def lake(self) -> Lake:
        """Where it is done, and where a failure is recorded."""

    @property
    def origin(self) -> Mapping[str, str]:
        """The pool's address and pinned commit, for lineage."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What decides the result."""


Task = TypeVar("Task", bound=ShardTask)
Report = TypeVar("Report")


def run_shards(
    tasks: Sequence[Task],
    reused: Callable[[Task], Report | None],
    run: Callable[[list[Task]], Iterator[Outcome[Task, Report]]],
    failures_table: str,
) -> Generator[Outcome[Task, Report]]:
    """Run what is not done yet; yield each outcome as it comes, those of shards that are done first.

    Parameters
    ----------
    reused : callable
        Returns the report of a shard with which there is nothing to do, else None.
    run : callable
        Does the others.
    failures_table : str
        ``group/table`` in which a failure is stored until the shard succeeds.
    """
    pending = []
    for task in tasks:
        report = reused(task)
        if report is None:
            pending.append(task)
        else:  # recorded too: an earlier, forced run may have failed, and what is stored is right
            yield _recorded(Outcome(task, report, None, 0.0), failures_table)
    for outcome in run(pending):
        yield _recorded(outcome, failures_table)


def _recorded(outcome: Outcome[Task, Report], failures_table: str) -> Outcome[Task, Report]:
    """Record whether a shard failed; where that fails too (a full disk), the other shards go on."""
    try:
        _record_failure(outcome.task, outcome.error, failures_table)
    except OSError as error:
        if outcome.error is None:
            return dataclasses.replace(outcome, result=None, error=error)
        outcome.error.add_note(f"It is not in {failures_table}: {error}")
    return outcome


def _record_failure(task: ShardTask, error: Exception | None, failures_table: str) -> None:
    if error is None:
        task.lake.delete(task.lake.table_path(failures_table, task.key))
        return
    row = {"shard": task.key, "error": type(error).__name__, **failure_fields(error)}
    table = pa.Table.from_pylist([row], schema=pa.schema([(name, pa.string()) for name in row]))
    task.lake.write_table(failures_table, table, Provenance(task.inputs, 1, 1, origin=task.origin), task.key)


def failure_fields(error: Exception) -> dict[str, str]:
    """Return what, where, rule, got and action of any exception."""
    if isinstance(error, MappoolError):
        return error.fields()
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return {
            "what": "The disk takes no more",
            "where": "the lake, or the folder for temporary files",
            "rule": "room for what the shard becomes",
            "got": os.strerror(error.errno),
            "action": "Make room, then run the shard again.",
        }
    return {
        "what": "An error that was not foreseen",  # its own words, below, may hold paths; this is published
        "where": "",
        "rule": "",
        "got": f"{type(error).__name__}: {error}",
        "action": "Please report it.",
    }
