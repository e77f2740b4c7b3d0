"""The balance plan: before anything is drawn, how many pairs balancing keeps, for a table of t and of shards.

A row of ``curation/balance_plan`` is a t (:class:`~mappool_assets.lib.curation.plan_tables.PlannedSize`), a row of
``curation/balance_growth`` a t with the first shards alone
(:class:`~mappool_assets.lib.curation.plan_tables.PlannedGrowth`), a row of ``curation/planned_entries`` an entry with
what it gets at the training's t. All is worked out from the law of :mod:`mappool_assets.lib.curation.balance`, over all
counted texts; duplicates and images that cannot be fetched are still to be taken off.

Matches are gone through once for all that is known beforehand, and two or three times more for the t of a wanted size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation.balance import p_to_t
from mappool_assets.lib.curation.matches import MatchSettings
from mappool_assets.lib.curation.plan_settings import PlanSettings
from mappool_assets.lib.curation.plan_sources import PlanSources, Progress
from mappool_assets.lib.curation.plan_tables import (
    FIRST,
    TABLE_ROLE,
    TRAINING,
    WANTED_PAIRS,
    WANTED_TAIL_SHARE,
    PlannedGrowth,
    PlannedSize,
    entries_table,
    growth_table,
    planned_growth,
    round_ts,
    sizes_table,
)
from mappool_assets.lib.curation.plan_tallies import EntryTally, Prefix, SizeTally
from mappool_assets.lib.curation.wanted_t import WantedSize, check_wanted
from mappool_assets.lib.lake import Lake, Provenance

TABLE = "curation/balance_plan"
GROWTH_TABLE = "curation/balance_growth"
ENTRIES_TABLE = "curation/planned_entries"
CODE_VERSION = "1"  # raised when the same inputs would give other rows

Counts = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PlanReport:
    """What was planned.

    Attributes
    ----------
    made : Provenance
        Of ``curation/balance_plan``; its fingerprint is the data version of all three tables. Its measures are the
        ``shards``, ``texts``, ``matched_texts`` and ``matches`` that are counted, and the ``passes`` over them.
    sizes : list of PlannedSize
        Ascending by t.
    growth : list of PlannedGrowth
        Ascending by shards, then t.
    left_out : list of str
        Matched shards that are not counted: by another rule, or since ``entry_counts`` was made.
    is_reused : bool
        Nothing was done: what is there was made from the same.
    """

    made: Provenance
    sizes: list[PlannedSize]
    growth: list[PlannedGrowth]
    left_out: list[str]
    is_reused: bool = False

    def size(self, role: str) -> PlannedSize | None:
        """Return the size of a role that is there once; None where it is not."""
        return next((size for size in self.sizes if size.role == role), None)


def _tell_nobody(things: str) -> Progress:
    return lambda done, total: None


def plan_balance(
    lake: Lake,
    matching: MatchSettings,
    settings: PlanSettings,
    *,
    force: bool = False,
    tell: Callable[[str], Progress] = _tell_nobody,
) -> PlanReport:
    """Write the three tables of the plan, unless they were made from the same.

    In memory are a few row groups of matches, and 8 bytes an entry for all shards, the first one, two, four and so on.

    Parameters
    ----------
    lake : Lake
        Has ``curation/entry_counts`` and the matches that it counts.
    matching : MatchSettings
        By which the shards were matched.
    settings : PlanSettings
    force : bool
        Whether it is worked out again in any case.
    tell : callable
        Given the name of what is counted, returns what is told how many are done, of how many.

    Raises
    ------
    MissingInput
        There are no entries, no counts, no counted shard, or a counted shard's matches are not there.
    SourceChanged
        The counts are of other entries or another rule, or matches were made anew since.
    BadSetting
        More pairs are wanted than there are texts with an entry, or a share of the tail where nothing matches.
    """
    sources = PlanSources.read(lake, matching)
    inputs = {"entry_counts": sources.made.fingerprint, **settings.inputs, "code_version": CODE_VERSION}
    tables = (GROWTH_TABLE, ENTRIES_TABLE, TABLE)  # the last one is what tells that all are there
    is_reused = not force and all(lake.is_made_from(inputs, table) for table in tables)
    if not is_reused:
        _write(sources, settings, inputs, tell)
    made = lake.provenance(TABLE)
    assert made is not None
    return PlanReport(made, planned_sizes(lake), stored_growth(lake), sources.left_out(), is_reused)


def planned_sizes(lake: Lake) -> list[PlannedSize]:
    """Return the rows of ``curation/balance_plan``; :class:`MissingInput` where there is none."""
    return [PlannedSize(**row) for row in lake.read_table(TABLE).to_pylist()]


def stored_growth(lake: Lake) -> list[PlannedGrowth]:
    """Return the rows of ``curation/balance_growth``; :class:`MissingInput` where there is none."""
    return [PlannedGrowth(**row) for row in lake.read_table(GROWTH_TABLE).to_pylist()]


def _write(
    sources: PlanSources, settings: PlanSettings, inputs: dict[str, Any], tell: Callable[[str], Progress]
) -> None:
    if settings.wanted_pairs is not None:
        check_wanted(settings.wanted_pairs, sources.made.measures["matched_rows"])
    counted = sources.counted()
    counts = counted["texts"].to_numpy()
    roles = _roles(settings, counts)
    named = set(roles.values())
    prefixes, texts = sources.prefixes(counts, named)
    every = prefixes[-1].tallies
    every.update({t: SizeTally(t) for t in round_ts(counts) if t not in every})
    of_entries = EntryTally(settings.t, len(counts))
    sources.tally(prefixes, tell("shards read for the plan"), of_entries)
    sizes = [PlannedSize.of(role, every[t], counts) for role, t in roles.items()]
    sizes += [PlannedSize.of(TABLE_ROLE, every[t], counts) for t in round_ts(counts) if t not in named]
    passes = 1
    if settings.wanted_pairs is not None:
        found, searched = _search(sources, settings.wanted_pairs, counts, every, tell)
        sizes.append(PlannedSize.of(WANTED_PAIRS, found, counts))
        passes += searched
    measures = {
        "shards": len(sources.shards),
        "texts": sources.made.measures["rows"],
        "matched_texts": sources.made.measures["matched_rows"],
        "matches": sources.made.measures["matches"],
        "passes": passes,
    }
    lake = sources.lake
    for table, rows in (
        (GROWTH_TABLE, growth_table(planned_growth(prefixes, texts, named))),
        (ENTRIES_TABLE, entries_table(counted, of_entries)),
        (TABLE, sizes_table(sizes)),
    ):
        lake.write_table(table, rows, Provenance(inputs, len(rows), len(rows), measures=measures))


def _roles(settings: PlanSettings, counts: Counts) -> dict[str, float]:
    """Return the t that are known before matches are read, by role."""
    roles = {TRAINING: float(settings.t), FIRST: float(settings.first_t)}
    if settings.wanted_tail_share is not None:
        roles[WANTED_TAIL_SHARE] = p_to_t(counts, settings.wanted_tail_share)
    return roles


def _search(
    sources: PlanSources,
    wanted: int,
    counts: Counts,
    known: dict[float, SizeTally],
    tell: Callable[[str], Progress],
) -> tuple[SizeTally, int]:
    """Return the tally of the least t that keeps so many texts, and how many passes it took."""
    tallies, passes = dict(known), 0
    search = WantedSize(wanted, counts, _means(tallies))
    while tries := search.tries():
        prefix = Prefix.at(len(sources.shards), counts.astype(np.float64), set(tries))
        passes += 1
        sources.tally([prefix], tell(f"shards read for the t of {wanted:,} pairs, pass {passes}"))
        search.take(_means(prefix.tallies))
        tallies |= prefix.tallies
    return tallies[search.t], passes


def _means(tallies: dict[float, SizeTally]) -> dict[float, float]:
    return {t: tally.size.mean for t, tally in tallies.items()}
