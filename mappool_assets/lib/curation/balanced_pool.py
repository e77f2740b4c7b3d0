"""The first balancing, before images are downloaded: of each shard the pairs that are drawn at a high threshold.

A row of ``curation/balanced_pool`` is a pair that was drawn: ``uid``, ``row`` (its number in the shard), ``url``,
``text``, ``sha256`` (the pool's own), ``text_id`` (the first row of the shard with the same text), ``entries`` (ids of
those that match, ascending) and ``first_p``, the chance with which it was drawn: 1 − ∏ (1 − p) over its entries, with
p = min(1, t / N) and N of ``curation/entry_counts`` (:mod:`~mappool_assets.lib.curation.balance`).

Whether a pair is drawn depends on the counts, t, the seed and its uid alone, not on its shard, its neighbours, workers
or batches, and what is drawn at some t is drawn at any higher one. Counts must be of the very matches that are drawn: a
shard that is not counted, or was matched again since, is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation.balance import entry_probabilities
from mappool_assets.lib.curation.balance_task import (
    BalanceReport,
    BalanceSettings,
    BalanceTask,
    balanced_pool_tasks,
    report_of,
)
from mappool_assets.lib.curation.drawn_pairs import FURTHER, SCHEMA, DrawnPairs
from mappool_assets.lib.curation.entry_counts import TABLE as COUNTS
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.pair_rows import in_groups
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

__all__ = [
    "FAILURES_TABLE",
    "SCHEMA",
    "TABLE",
    "BalanceReport",
    "BalanceSettings",
    "BalanceTask",
    "balance_shard",
    "balance_shards",
    "balanced_pool_tasks",
]

TABLE = "curation/balanced_pool"
FAILURES_TABLE = "curation/balance_failures"
GROUP_ROWS = 20_000  # 5 MB of pairs with captions; most shards are one row group
DRAWS = "balanced_pool"  # names them: those of the second pass are independent of them


def balance_shards(
    tasks: Sequence[BalanceTask], workers: int, force: bool = False
) -> Generator[Outcome[BalanceTask, BalanceReport]]:
    """Balance shards with a pool of workers; yield each outcome as it comes.

    Pairs that were drawn from the same inputs are left as they are (unless ``force``): their outcome comes first, with
    ``is_reused`` set. A failure is stored in ``curation/balance_failures`` until the shard succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(balance_shard, pending, workers), FAILURES_TABLE)


def balance_shard(task: BalanceTask) -> BalanceReport:
    """Write the pairs of one shard that are drawn.

    In memory are the probabilities of the entries, a row group of matches (16 MB of entries), a batch of texts (4 MB)
    and a row group of what is kept (16 MB).

    Raises
    ------
    MissingInput, SourceChanged, BadShard
        Matches, counts or texts are not there, do not belong together, are others by now, or cannot be read; nothing is
        written.
    """
    pairs = DrawnPairs(_probabilities(task.lake, task.counts, task.settings.t), task.settings.seed, DRAWS)
    with task.lake.open_table(MATCHES, task.key) as matches:
        origin = _checked(task, recorded(matches)).origin
        with (
            task.texts.open(task.lake, task.key, FURTHER) as texts,
            task.lake.table_writer(TABLE, SCHEMA, task.key) as writer,
        ):
            for rows in in_groups(pairs.tables(matches, texts, task.key), GROUP_ROWS):
                writer.write(rows)
            writer.provenance = made = Provenance(
                task.inputs, pairs.rows_in, writer.rows_written, pairs.dropped, pairs.measures, origin
            )
    return report_of(task, made)


def _checked(task: BalanceTask, made: Provenance | None) -> Provenance:
    """Return what made the matches; refuse those of other texts or by another rule, and those that are not counted."""
    wanted = {"shard": task.key, "texts": task.texts.inputs, **task.rule}
    if made is None or made.inputs != wanted:
        raise SourceChanged(
            "The shard's matches are of other texts or entries than there are",
            where=task.key,
            rule=str(wanted),
            got=str(made.inputs) if made else "matches that do not say what made them",
            action="Materialise matches of this shard and entry_counts again, then balance it.",
        )
    if not task.matches == task.counted == made.fingerprint:
        raise SourceChanged(
            "The shard's matches are not those that are counted",
            where=task.key,
            rule=made.fingerprint,
            got=task.counted or "none of this shard",
            action="Materialise matches of this shard and entry_counts again, then balance it.",
        )
    return made


@functools.lru_cache(maxsize=1)
def _probabilities(lake: Lake, counts: str, t: float) -> npt.NDArray[np.float64]:
    """Return with which probability each entry passes a text; read once a worker."""
    with lake.open_table(COUNTS) as table:
        made = recorded(table)
        if made is None or made.fingerprint != counts:
            raise SourceChanged(
                "The counts were replaced during the run",
                where=lake.url(lake.table_path(COUNTS)),
                rule=counts,
                got=made.fingerprint if made else "counts that do not say what made them",
                action="Run the shards again; they will use the new ones.",
            )
        texts = table.read(columns=["texts"])["texts"].to_numpy()
    return entry_probabilities(texts, t)


def _reused_report(task: BalanceTask) -> BalanceReport | None:
    made = task.lake.provenance(TABLE, task.key)
    if made is None or made.inputs != task.inputs:
        return None
    return report_of(task, made, is_reused=True)
