"""What a balance plan is made of: the counts of all shards, and of the first ones alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.curation import entry_counts
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.matches import COUNTS_TABLE, MatchSettings, match_rule
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.plan_tallies import EntryTally, Prefix, tally
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.curation.stored_matches import check_made_from, stored_matches
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance

READERS = 4  # shards under way at once: in a bucket a file takes 50 ms of waiting, and NumPy works beside it

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class PlanSources:
    """The shards that are counted, and how many texts each entry matches in them.

    Attributes
    ----------
    lake : Lake
        Where they are.
    made : Provenance
        Of ``curation/entry_counts``.
    shards : mapping of str to str
        The fingerprints of the counted matches, by shard, sorted.
    """

    lake: Lake
    made: Provenance
    shards: Mapping[str, str]

    @classmethod
    def read(cls, lake: Lake, matching: MatchSettings) -> PlanSources:
        """Read what is counted.

        Raises
        ------
        MissingInput
            There are no entries, no counts, or no shard is counted.
        SourceChanged
            What is counted was matched with other entries or by another rule.
        """
        entries, made = (_made(lake, table) for table in (ENTRIES, entry_counts.TABLE))
        rule = match_rule(entries.measures[LIST_HASH], matching)
        if made.inputs["rule"] != rule:
            raise SourceChanged(
                "The counts are of other entries, or of texts matched by another rule",
                where=lake.url(lake.table_path(entry_counts.TABLE)),
                rule=str(rule),
                got=str(made.inputs["rule"]),
                action="Materialise matches and entry_counts again.",
            )
        shards = made.measures[entry_counts.SHARDS]
        if not shards:
            raise _missing(lake, entry_counts.TABLE, "counts of at least one shard", "none", "matches, entry_counts")
        return cls(lake, made, dict(sorted(shards.items())))

    def left_out(self) -> list[str]:
        """Return matched shards that are not counted: by another rule, or since."""
        return sorted(set(self.lake.partitions(MATCHES)) - self.shards.keys())

    def counted(self) -> pa.Table:
        """Return ``entry_id`` (the row's number), ``entry`` and ``texts`` of all entries."""
        with self.lake.open_table(entry_counts.TABLE) as table:
            found = recorded(table)
            if found is None or found.fingerprint != self.made.fingerprint:
                raise SourceChanged(
                    "The entries were counted anew during the run",
                    where=self.lake.url(self.lake.table_path(entry_counts.TABLE)),
                    rule=self.made.fingerprint,
                    got=found.fingerprint if found else "counts that do not say what made them",
                    action="Run balance_plan again.",
                )
            return table.read(columns=["entry_id", "entry", "texts"])

    def prefixes(self, counts: npt.NDArray[np.uint64], ts: set[float]) -> tuple[list[Prefix], dict[int, int]]:
        """Return the first shard, the first two, four … and all, to work some t out for; and the texts that each has.

        Parameters
        ----------
        counts : uint64 ndarray, shape (entries,)
            Of all shards.
        ts : set of float
            All prefixes but the last have a tally for each; so has the last, to which others may be added.
        """
        prefixes, texts = list[Prefix](), dict[int, int]()
        so_far, rows = np.zeros(len(counts), dtype=np.uint64), 0
        wanted = {1 << power for power in range(len(self.shards).bit_length())} - {len(self.shards)}
        names = list(self.shards)[: max(wanted, default=0)]
        with ThreadPoolExecutor(READERS) as readers:
            for number, (found, measures) in enumerate(readers.map(self._counts_of, names), start=1):
                so_far[found["entry_id"].to_numpy()] += found["texts"].to_numpy()
                rows += measures["rows"]
                if number in wanted:
                    prefixes.append(Prefix.at(number, so_far.astype(np.float64), ts))
                    texts[number] = rows
        prefixes.append(Prefix.at(len(self.shards), counts.astype(np.float64), ts))
        texts[len(self.shards)] = self.made.measures["rows"]
        return prefixes, texts

    def _counts_of(self, shard: str) -> tuple[pa.Table, Mapping[str, int]]:
        with self.lake.open_table(COUNTS_TABLE, shard) as table:
            check_made_from(shard, table, self.shards[shard])
            made = recorded(table)
            assert made is not None
            return table.read(), made.measures

    def tally(self, prefixes: list[Prefix], progress: Progress, of_entries: EntryTally | None = None) -> None:
        """Go through the matches of all shards once, adding them to all that they count for.

        Raises
        ------
        MissingInput, SourceChanged
            A counted shard's matches are no more there, or others by now.
        """

        def tally_shard(numbered: tuple[int, tuple[str, str]]) -> None:
            number, (shard, made_from) = numbered
            for matches in stored_matches(self.lake, shard, made_from):
                tally(matches, number, prefixes, of_entries)

        readers = ThreadPoolExecutor(READERS)
        try:
            for done, _ in enumerate(readers.map(tally_shard, enumerate(self.shards.items())), start=1):
                progress(done, len(self.shards))
        finally:
            readers.shutdown(cancel_futures=True)  # of no use once one shard cannot be read


def _made(lake: Lake, table: str) -> Provenance:
    made = lake.provenance(table)
    if made is None:
        raise _missing(lake, table, "a table of the lake", "nothing", table)
    return made


def _missing(lake: Lake, table: str, rule: str, got: str, first: str) -> MissingInput:
    return MissingInput(
        "Nothing can be planned yet",
        where=lake.url(lake.table_path(table)),
        rule=rule,
        got=got,
        action=f"Materialise {first} first.",
    )
