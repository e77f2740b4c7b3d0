"""Matches: of each text of a shard the entries that match it; beside them, how many texts each entry matches.

A row of ``curation/matches`` is a row of the shard: ``uid``, ``row`` (its number there), ``text_id`` (the first row
with the same text) and ``entries`` (ids, ascending). A row of ``curation/shard_entry_counts`` is an entry that matches
a text of the shard: ``entry_id`` and ``texts``, of which each row counts, also where its text was there before.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappool_assets.lib.curation.compiled import load_kernels
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.matcher import Matcher
from mappool_assets.lib.curation.matcher_unspaced import UnspacedMatcher
from mappool_assets.lib.curation.shard_matches import COUNTS_SCHEMA, SCHEMA, ShardMatches
from mappool_assets.lib.curation.shard_texts import MAPS_TABLE, MapTexts, PoolTexts, ShardTexts, recorded
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.pool_shards import known_shards, pool_origin
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

TABLE = "curation/matches"
COUNTS_TABLE = "curation/shard_entry_counts"
FAILURES_TABLE = "curation/match_failures"
CODE_VERSION = "1"  # raised when the same inputs would give other rows
MAPS, POOL = "maps", "pool"


@dataclass(frozen=True)
class MatchSettings:
    """What is matched, and how.

    Attributes
    ----------
    texts : str
        ``maps``: the captions of the shards' maps. ``pool``: all captions of the pool's own files.
    is_unspaced : bool
        Whether entries of scripts without spaces are found within runs of letters, as by MetaCLIP 2
        (:class:`~mappool_assets.lib.curation.matcher_unspaced.UnspacedMatcher`). Default: not, as by MetaCLIP.
    compiled : Path, optional
        The folder in which compiled code is kept (:func:`~mappool_assets.lib.curation.compiled.load_kernels`); without
        one, each worker compiles. Changes no result.
    """

    texts: str = MAPS
    is_unspaced: bool = False
    compiled: Path | None = None

    def __post_init__(self) -> None:
        if self.texts not in (MAPS, POOL):
            raise BadSetting(
                "The texts to match cannot be used",
                where="the settings of matches",
                rule=f"{MAPS} or {POOL}",
                got=self.texts,
                action="Correct the setting.",
            )


@dataclass(frozen=True)
class MatchTask:
    """What a worker needs to match one shard.

    Attributes
    ----------
    key : str
        The shard's.
    texts : ShardTexts
        Where its texts are.
    origin : mapping
        The pool's address and pinned commit, for lineage.
    rule : mapping
        How, as :func:`match_rule` has it.
    lake : Lake
        Where the entries are, and the matches go.
    compiled : Path or None
        Where compiled code is kept.
    """

    key: str
    texts: ShardTexts
    origin: Mapping[str, str]
    rule: Mapping[str, Any]
    lake: Lake
    compiled: Path | None

    def __str__(self) -> str:
        return f"matches of shard {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        return {"shard": self.key, "texts": self.texts.inputs, **self.rule}


@dataclass
class MatchReport:
    """What became of a shard's texts.

    Attributes
    ----------
    shard : str
        Its key.
    rows_in, rows_kept : int
        Rows of the shard, and those in ``matches``.
    rows_dropped : dict of str to int
        Rows without uid (``null_uid``) or with a string that is none (``invalid_utf8``).
    fingerprint : str
        Of the inputs; the data version of the partition.
    matched_rows, matches, distinct_texts, entries : int
        Rows with an entry, their entries in all, different texts, and entries that match at least one.
    is_reused : bool
        Nothing was done: the stored matches were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    matched_rows: int
    matches: int
    distinct_texts: int
    entries: int
    is_reused: bool = False


def match_tasks(
    lake: Lake, shards: Sequence[str], settings: MatchSettings, storage: Storage | None = None
) -> list[MatchTask]:
    """Return the tasks of some shards, from what the lake holds.

    Parameters
    ----------
    storage : Storage, optional
        How the pool's own files are read.

    Raises
    ------
    MissingInput
        There is no list of entries, or no listing of the pool whose files are to be matched.
    """
    made = lake.provenance(ENTRIES)
    if made is None:
        raise MissingInput(
            "There is no list of entries",
            where=lake.url(lake.table_path(ENTRIES)),
            rule="the entries to match",
            got="nothing",
            action="Materialise entries first.",
        )
    rule = match_rule(made.measures[LIST_HASH], settings)
    if settings.texts == MAPS:
        return [MatchTask(key, *_map_texts(lake, key), rule, lake, settings.compiled) for key in shards]
    known, origin = known_shards(lake), pool_origin(lake)
    texts = {key: PoolTexts(known.get(key), storage or Storage()) for key in shards}
    return [MatchTask(key, texts[key], origin, rule, lake, settings.compiled) for key in shards]


def _map_texts(lake: Lake, shard: str) -> tuple[MapTexts, Mapping[str, str]]:
    made = lake.provenance(MAPS_TABLE, shard)
    return (MapTexts(made.fingerprint), made.origin) if made else (MapTexts(""), {})


def match_rule(entries: str, settings: MatchSettings) -> dict[str, Any]:
    """Return what shards must have in common for their counts to be added up.

    Parameters
    ----------
    entries : str
        The hash of the list.
    """
    return {
        LIST_HASH: entries,
        "matched": settings.texts,
        "is_unspaced": settings.is_unspaced,
        "code_version": CODE_VERSION,
    }


def match_shards(
    tasks: Sequence[MatchTask], workers: int, force: bool = False
) -> Generator[Outcome[MatchTask, MatchReport]]:
    """Match shards with a pool of workers; yield each outcome as it comes.

    Matches that were made from the same inputs are left as they are (unless ``force``): their outcome comes first, with
    ``is_reused`` set. A failure is stored in ``curation/match_failures`` until the shard succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: _match(pending, workers), FAILURES_TABLE)


def _match(pending: Sequence[MatchTask], workers: int) -> Generator[Outcome[MatchTask, MatchReport]]:
    for folder in {task.compiled for task in pending if task.compiled}:
        load_kernels(folder)  # compiled once, before the workers, each of which would compile for itself
    yield from run_tasks(match_shard, pending, workers)


def match_shard(task: MatchTask) -> MatchReport:
    """Write the matches of one shard, then its counts, which are there only once the matches are.

    In memory are the index of the entries, a batch of texts (4 MB) and, of each different text, a digest and its
    entries: about 200 bytes.

    Raises
    ------
    MissingInput, SourceChanged, BadShard
        The shard's texts or the entries are not there, are others by now, or cannot be read; nothing is written.
    """
    matcher, entries = _matcher(task.lake, task.rule[LIST_HASH], task.rule["is_unspaced"], task.compiled)
    rows = ShardMatches(matcher, entries)
    with task.texts.open(task.lake, task.key) as batches, task.lake.table_writer(TABLE, SCHEMA, task.key) as writer:
        for batch in batches:
            for table in rows.tables(batch):
                writer.write(table)
        writer.provenance = made = Provenance(
            task.inputs, rows.rows_in, writer.rows_written, rows.dropped, rows.measures, task.origin
        )
    counts = rows.counts()
    provenance = Provenance(task.inputs, len(counts), len(counts), {}, rows.measures, task.origin)
    with task.lake.table_writer(COUNTS_TABLE, COUNTS_SCHEMA, task.key) as writer:
        writer.write(counts)
        writer.provenance = provenance
    return _report(task, made)


@functools.lru_cache(maxsize=1)
def _matcher(lake: Lake, entries: str, is_unspaced: bool, compiled: Path | None) -> tuple[Any, int]:
    """Index the entries, once a worker; return how many they are too."""
    if compiled:
        load_kernels(compiled)
    with lake.open_table(ENTRIES) as table:
        found = recorded(table)
        if found is None or found.measures[LIST_HASH] != entries:
            raise SourceChanged(
                "The list of entries was replaced during the run",
                where=lake.url(lake.table_path(ENTRIES)),
                rule=entries,
                got=str(found and found.measures[LIST_HASH]),
                action="Run the shards again; they will use the new one.",
            )
        listed = table.read(columns=["entry"])["entry"]
    return (UnspacedMatcher if is_unspaced else Matcher).build(listed), len(listed)


def _reused_report(task: MatchTask) -> MatchReport | None:
    if not task.lake.is_made_from(task.inputs, COUNTS_TABLE, task.key):
        return None
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.inputs != task.inputs:
        return None
    return _report(task, made, is_reused=True)


def _report(task: MatchTask, made: Provenance, *, is_reused: bool = False) -> MatchReport:
    return MatchReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        **{name: made.measures[name] for name in ("matched_rows", "matches", "distinct_texts", "entries")},
        is_reused=is_reused,
    )
