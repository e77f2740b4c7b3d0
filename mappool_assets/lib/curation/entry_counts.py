"""How many texts each entry matches, over all matched shards, kept up to date by addition.

A row of ``curation/entry_counts`` is an entry: ``entry_id``, ``entry`` and ``texts``. A new shard's counts are added, a
removed one's subtracted, and those of a shard that was matched anew replaced. What was counted of a shard is therefore
kept, in ``curation/counted_shards`` under the shard and the fingerprint: the shard's own counts may be others by now.

Writing ``entry_counts`` is the commit. What is kept is there before, under names that only the new table mentions, and
what nothing mentions is removed after it: a killed run leaves nothing that counts, and repeating it ends as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.matches import COUNTS_TABLE, MatchSettings, match_rule
from mappool_assets.lib.curation.shard_matches import POLICY
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, fingerprint

TABLE = "curation/entry_counts"
COUNTED = "curation/counted_shards"
SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.int32(), False),
        pa.field("entry", pa.string(), False),
        pa.field("texts", pa.uint64(), False),
    ]
)
SHARDS = "shards"
TOTALS = ("rows", "matched_rows", "matches")  # of the shards' measures
READERS = 16  # footers under way at once: in a bucket each takes 50 ms of waiting
Counts = npt.NDArray[np.uint64]


@dataclass
class EntryCountsReport:
    """What was counted.

    Attributes
    ----------
    fingerprint : str
        Of the rule and the shards; the data version of the table.
    entries, shards : int
        How many are in the table, and how many are counted in it.
    rows, matched_rows, matches : int
        Texts of these shards, those that match an entry, and their entries in all.
    added, removed, replaced : list of str
        Shards that are counted anew, no more, or otherwise than before.
    left_out : list of str
        Shards that were matched by another rule, or with other entries: they are to be matched again.
    is_recount : bool
        All was counted: there was nothing to add to.
    is_reused : bool
        Nothing was done.
    """

    fingerprint: str
    entries: int
    shards: int
    rows: int
    matched_rows: int
    matches: int
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    is_recount: bool = False
    is_reused: bool = False


def count_entries(lake: Lake, settings: MatchSettings, *, force: bool = False) -> EntryCountsReport:
    """Bring ``curation/entry_counts`` up to date with the matched shards.

    The table is the same, byte for byte, in whatever steps it came about. Where what is kept of a shard to be
    subtracted is not there or cannot be right, all is counted again.

    Parameters
    ----------
    settings : MatchSettings
        By which shards must have been matched to be counted.
    force : bool
        Whether all shards are counted again.

    Raises
    ------
    MissingInput
        There is no list of entries.
    SourceChanged
        The entries or a shard's counts were made anew in the meantime.
    """
    with lake.open_table(ENTRIES) as table:
        made = recorded(table)
        entries = table.read(columns=["entry_id", "entry"])
    assert made is not None
    plan = _plan(lake, match_rule(made.measures[LIST_HASH], settings), force)
    if not plan.is_current:
        counts = None if plan.is_recount else _subtracted(lake, plan, entries.num_rows)
        if counts is None:
            plan, counts = replace(plan, counted={}, is_recount=True), np.zeros(entries.num_rows, dtype=np.uint64)
        _add(lake, plan, counts)
        rows = entries.append_column("texts", pa.array(counts)).cast(SCHEMA)
        lake.write_table(TABLE, rows, Provenance(plan.inputs, len(rows), len(rows), measures=plan.measures))
    _sweep(lake, plan)
    return plan.report(len(entries))


@dataclass(frozen=True)
class _Plan:
    """What is to be counted, and what is.

    Attributes
    ----------
    shards, counted : mapping of str to str
        The fingerprints of the counts that shall be in the table, and of those that are, by shard.
    """

    rule: Mapping[str, Any]
    shards: Mapping[str, str]
    counted: Mapping[str, str]
    left_out: list[str]
    totals: Mapping[str, int]
    is_current: bool
    is_recount: bool

    @property
    def inputs(self) -> dict[str, Any]:
        return _inputs(self.rule, self.shards)

    @property
    def measures(self) -> dict[str, Any]:
        return {"policy": POLICY, SHARDS: self.shards, **self.totals}

    def to_subtract(self) -> list[str]:
        return sorted(shard for shard, made in self.counted.items() if self.shards.get(shard) != made)

    def to_add(self) -> list[str]:
        return sorted(shard for shard, made in self.shards.items() if self.counted.get(shard) != made)

    def report(self, entries: int) -> EntryCountsReport:
        both = self.shards.keys() & self.counted.keys()
        return EntryCountsReport(
            fingerprint(self.inputs),
            entries,
            len(self.shards),
            **self.totals,
            added=sorted(self.shards.keys() - both),
            removed=sorted(self.counted.keys() - both),
            replaced=sorted(both.intersection(self.to_add())),
            left_out=self.left_out,
            is_recount=self.is_recount,
            is_reused=self.is_current,
        )


def _plan(lake: Lake, rule: Mapping[str, Any], force: bool) -> _Plan:
    found = lake.partitions(COUNTS_TABLE)
    with ThreadPoolExecutor(READERS) as readers:
        made = dict(zip(found, readers.map(lambda shard: lake.provenance(COUNTS_TABLE, shard), found), strict=True))
    matched = {shard: of for shard, of in made.items() if of is not None and rule.items() <= of.inputs.items()}
    shards = {shard: of_shard.fingerprint for shard, of_shard in matched.items()}
    before = lake.provenance(TABLE)
    is_recount = force or before is None or before.inputs["rule"] != rule
    return _Plan(
        rule,
        shards,
        {} if is_recount or before is None else before.measures[SHARDS],
        sorted(made.keys() - matched.keys()),
        {total: sum(of_shard.measures[total] for of_shard in matched.values()) for total in TOTALS},
        not is_recount and before is not None and before.inputs == _inputs(rule, shards),
        is_recount,
    )


def _inputs(rule: Mapping[str, Any], shards: Mapping[str, str]) -> dict[str, Any]:
    return {"rule": rule, SHARDS: fingerprint(shards)}


def _subtracted(lake: Lake, plan: _Plan, entries: int) -> Counts | None:
    """Return the counts without the shards that are gone or others by now; None where that cannot be told."""
    counts = lake.read_table(TABLE, columns=["texts"])["texts"].to_numpy().astype(np.uint64)
    if len(counts) != entries:
        return None
    for shard in plan.to_subtract():
        try:
            entry_ids, texts = _columns(lake.read_table(COUNTED, _kept_name(shard, plan.counted[shard])))
        except MissingInput:
            return None
        if np.any(counts[entry_ids] < texts):
            return None
        counts[entry_ids] -= texts
    return counts


def _add(lake: Lake, plan: _Plan, counts: Counts) -> None:
    """Add the counts of new shards, and keep them."""
    for shard in plan.to_add():
        with lake.open_table(COUNTS_TABLE, shard) as table:
            made, rows = recorded(table), table.read()
        if made is None or made.fingerprint != plan.shards[shard]:
            raise SourceChanged(
                "A shard was matched anew while counts were added up",
                where=shard,
                rule=plan.shards[shard],
                got=made.fingerprint if made else "counts that do not say what made them",
                action="Run entry_counts again when the shards are matched.",
            )
        entry_ids, texts = _columns(rows)
        counts[entry_ids] += texts
        name = _kept_name(shard, made.fingerprint)
        if not lake.exists(lake.table_path(COUNTED, name)):
            lake.write_table(COUNTED, rows, made, name)


def _columns(rows: pa.Table) -> tuple[npt.NDArray[np.int32], Counts]:
    return rows["entry_id"].to_numpy(), rows["texts"].to_numpy()


def _kept_name(shard: str, made: str) -> str:
    return f"{shard}-{made}"


def _sweep(lake: Lake, plan: _Plan) -> None:
    """Remove what is kept of shards that are not counted."""
    named = {_kept_name(*of_shard) for of_shard in plan.shards.items()}
    for name in set(lake.partitions(COUNTED)) - named:
        lake.delete(lake.table_path(COUNTED, name))
