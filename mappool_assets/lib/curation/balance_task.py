"""One shard's balancing as a task: the settings, what it is made of, what decides the result, and what is reported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.entry_counts import SHARDS
from mappool_assets.lib.curation.entry_counts import TABLE as COUNTS
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.matches import MatchSettings, MatchTask, match_rule, match_tasks
from mappool_assets.lib.curation.shard_texts import ShardTexts
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.ranged_file.base import Storage

CODE_VERSION = "1"  # raised when the same inputs would give other rows


@dataclass(frozen=True)
class BalanceSettings:
    """How the first pass draws.

    Attributes
    ----------
    t : float
        How many pairs each entry shall have, on average, where it has so many. MetaCLIP balances before the download
        "with a much higher t" than before the training, for which it has 20,000 (400M pairs); this is its t for 2.5B.
    seed : int
        Of the draws.
    """

    t: float = 170_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.t > 0 and math.isfinite(self.t)):
            raise BadSetting(
                "The first balancing threshold cannot be used",
                where="the settings of balanced_pool",
                rule="a number above 0",
                got=repr(self.t),
                action="Correct the setting.",
            )


@dataclass(frozen=True)
class BalanceTask:
    """What a worker needs to balance one shard.

    Attributes
    ----------
    key : str
        The shard's.
    texts : ShardTexts
        Where its texts are.
    origin : mapping
        The pool's address and pinned commit, for lineage.
    rule : mapping
        By which the shard must have been matched.
    matches, counts : str
        Fingerprints of the shard's matches (empty where there are none yet) and of the counts.
    counted : str or None
        Fingerprint of the matches of this shard that are counted; None where none are.
    settings : BalanceSettings
        How it is drawn.
    lake : Lake
        Where matches and counts are, and the pairs go.
    """

    key: str
    texts: ShardTexts
    origin: Mapping[str, str]
    rule: Mapping[str, Any]
    matches: str
    counts: str
    counted: str | None
    settings: BalanceSettings
    lake: Lake

    def __str__(self) -> str:
        return f"balancing of shard {self.key}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        return {
            "shard": self.key,
            "texts": self.texts.inputs,
            "rule": dict(self.rule),
            "matches": self.matches,
            "entry_counts": self.counts,
            "t": float(self.settings.t),
            "seed": self.settings.seed,
            "code_version": CODE_VERSION,
        }


@dataclass
class BalanceReport:
    """What became of a shard's pairs.

    Attributes
    ----------
    shard : str
        Its key.
    rows_in, rows_kept : int
        Pairs with matches, and those drawn.
    rows_dropped : dict of str to int
        Pairs that no entry matches (``no_entry``), that were not drawn (``not_drawn``), or were, and have an address or
        a checksum that is no string (``invalid_utf8``).
    fingerprint : str
        Of the inputs; the data version of the partition.
    expected_size, expected_sd : float
        How many were to be drawn on average, and the standard deviation of that.
    is_reused : bool
        Nothing was done: the stored pairs were made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    expected_size: float
    expected_sd: float
    is_reused: bool = False


def balanced_pool_tasks(
    lake: Lake,
    shards: Sequence[str],
    matching: MatchSettings,
    settings: BalanceSettings,
    storage: Storage | None = None,
) -> list[BalanceTask]:
    """Return the tasks of some shards, from what the lake holds.

    Parameters
    ----------
    matching : MatchSettings
        By which the shards were matched.
    storage : Storage, optional
        How the pool's own files are read.

    Raises
    ------
    MissingInput
        There are no entries or no counts, or no listing of the pool whose files are wanted.
    SourceChanged
        The counts are of another list of entries, or of matches by another rule.
    """
    counts = lake.provenance(COUNTS)
    if counts is None:
        raise MissingInput(
            "Nothing has been counted",
            where=lake.url(lake.table_path(COUNTS)),
            rule="how many texts each entry matches",
            got="nothing",
            action="Materialise entry_counts first.",
        )
    matched = match_tasks(lake, shards, matching, storage)
    _check_rule(lake, matching, counts)
    return [_task(lake, task, counts, settings) for task in matched]


def _check_rule(lake: Lake, matching: MatchSettings, counts: Provenance) -> None:
    entries = lake.provenance(ENTRIES)
    assert entries is not None
    rule = match_rule(entries.measures[LIST_HASH], matching)
    if counts.inputs["rule"] != rule:
        raise SourceChanged(
            "The counts are of other entries, or of texts matched by another rule",
            where=lake.url(lake.table_path(COUNTS)),
            rule=str(rule),
            got=str(counts.inputs["rule"]),
            action="Materialise matches and entry_counts again.",
        )


def _task(lake: Lake, matched: MatchTask, counts: Provenance, settings: BalanceSettings) -> BalanceTask:
    made = lake.provenance(MATCHES, matched.key)
    return BalanceTask(
        matched.key,
        matched.texts,
        matched.origin,
        matched.rule,
        made.fingerprint if made else "",
        counts.fingerprint,
        counts.measures[SHARDS].get(matched.key),
        settings,
        lake,
    )


def report_of(task: BalanceTask, made: Provenance, *, is_reused: bool = False) -> BalanceReport:
    """Return the report of a shard whose pairs have this provenance."""
    return BalanceReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        made.measures["expected_size"],
        made.measures["expected_sd"],
        is_reused,
    )
