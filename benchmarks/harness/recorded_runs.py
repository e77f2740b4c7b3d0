"""Many recorded runs from one: its rows in an instance's SQLite, written again for other shards.

Recording 12,500 shards through Dagster takes five minutes (24 ms each). So one run is Dagster's own, and the others
are its events, checks, tags and run under new ids and partitions. The log of each single run is not repeated.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def repeat_last_run(instance: Path, done: Sequence[str], others: Sequence[Sequence[str]]) -> None:
    """Record further runs like the instance's last one.

    Parameters
    ----------
    instance : Path
        The folder of the instance's SQLite files; nobody else may use it meanwhile.
    done : sequence of str
        The partitions of the last run, in the instance's order.
    others : sequence of sequence of str
        The partitions of each further run, as many as in ``done``.
    """
    history = instance / "history"
    with (
        closing(sqlite3.connect(history / "runs.db")) as runs,
        closing(sqlite3.connect(history / "runs" / "index.db")) as index,
        runs,
        index,
    ):
        (run,) = _rows(runs, "SELECT * FROM runs ORDER BY id DESC LIMIT 1")
        of_run = (run["run_id"],)
        run_tags = _rows(runs, "SELECT * FROM run_tags WHERE run_id = ?", *of_run)
        events = _rows(index, "SELECT * FROM event_logs WHERE run_id = ? ORDER BY id", *of_run)
        checks = _rows(index, "SELECT * FROM asset_check_executions WHERE run_id = ?", *of_run)
        tags_of_events = "SELECT * FROM asset_event_tags WHERE event_id BETWEEN ? AND ?"
        event_tags = _rows(index, tags_of_events, events[0]["id"], events[-1]["id"])
        event_ids = events[-1]["id"] - events[0]["id"] + 1
        for number, shards in enumerate(others, start=1):
            again, shift = _renaming(run["run_id"], done, shards), number * event_ids
            _insert(runs, "runs", [again(run) | {"id": None}])
            _insert(runs, "run_tags", [again(tag) | {"id": None} for tag in run_tags])
            _insert(index, "event_logs", [again(event) | {"id": event["id"] + shift} for event in events])
            _insert(
                index,
                "asset_event_tags",
                [tag | {"id": None, "event_id": tag["event_id"] + shift} for tag in event_tags],
            )
            _insert(index, "asset_check_executions", [_later(again(check), shift) for check in checks])


def _renaming(run_id: str, done: Sequence[str], shards: Sequence[str]) -> Callable[[Row], Row]:
    """Return a function that gives a row another run and other partitions."""
    new_run_id = str(uuid.uuid5(uuid.NAMESPACE_OID, shards[0]))
    renamed = dict(zip(done, shards, strict=True))
    ends = (done[0], done[-1])  # a run, its tags and its checks name its range

    def again(row: Row) -> Row:
        named = ends if row.get("partition") is None else (row["partition"],)
        return {column: replaced(value, named) if isinstance(value, str) else value for column, value in row.items()}

    def replaced(text: str, named: Sequence[str]) -> str:
        text = text.replace(run_id, new_run_id)
        for shard in named:
            text = text.replace(shard, renamed[shard])
        return text

    return again


def _later(check: Row, shift: int) -> Row:
    return check | {"id": None, "evaluation_event_storage_id": check["evaluation_event_storage_id"] + shift}


def _rows(connection: sqlite3.Connection, statement: str, *parameters: object) -> list[Row]:
    cursor = connection.execute(statement, parameters)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, values, strict=True)) for values in cursor]


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        columns = ", ".join(rows[0])
        places = ", ".join(f":{column}" for column in rows[0])
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)
