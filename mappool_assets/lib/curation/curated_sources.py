"""What curated pairs are made from, and that it belongs together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.curation import entry_counts
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance

UNIQUE_PAIRS = "curation/unique_pairs"
SHARD_MAPS = "shard_maps"  # of the inputs: fingerprints of the maps that pairs are of, by shard


@dataclass(frozen=True)
class CurationSources:
    """Unique pairs, and the entries that match them.

    Attributes
    ----------
    unique_pairs, counts : Provenance
        Of ``curation/unique_pairs`` and ``curation/entry_counts``.
    """

    unique_pairs: Provenance
    counts: Provenance

    @classmethod
    def read(cls, lake: Lake) -> CurationSources:
        """Read what made them, and check that they belong together.

        Raises
        ------
        MissingInput
            There are no unique pairs, or no counts.
        SourceChanged
            The pairs were matched with other entries, or in another way, than what is counted.
        """
        found = cls(made_of(lake, UNIQUE_PAIRS), made_of(lake, entry_counts.TABLE))
        if found._rule != found.counts.inputs["rule"]:
            raise SourceChanged(
                "The unique pairs were matched with other entries, or by another rule, than those that are counted",
                where=lake.url(lake.table_path(UNIQUE_PAIRS)),
                rule=str(found.counts.inputs["rule"]),
                got=str(found._rule),
                action="Materialise curation/balanced_pool and curation/unique_pairs again.",
            )
        return found

    @property
    def _rule(self) -> Mapping[str, Any]:
        return self.unique_pairs.inputs["rule"]

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the pairs beside the settings."""
        return {
            "unique_pairs": self.unique_pairs.fingerprint,
            "entry_counts": self.counts.fingerprint,
            "matched": self._rule["matched"],
            SHARD_MAPS: self.unique_pairs.inputs[
                SHARD_MAPS
            ],  # so that the pairs are told from later maps by themselves
        }

    def counted(self, lake: Lake) -> pa.Table:
        """Return the entries: ``entry_id``, which is the row's number, ``entry`` and ``texts``."""
        with lake.open_table(entry_counts.TABLE) as table:
            _check(lake, entry_counts.TABLE, self.counts, recorded(table))
            return table.read(columns=["entry_id", "entry", "texts"]).combine_chunks()

    @contextlib.contextmanager
    def pairs(self, lake: Lake) -> Iterator[pq.ParquetFile]:
        """Yield the unique pairs."""
        with lake.open_table(UNIQUE_PAIRS) as table:
            _check(lake, UNIQUE_PAIRS, self.unique_pairs, recorded(table))
            yield table


def made_of(lake: Lake, table: str) -> Provenance:
    """Return what made a table that pairs are curated with; :class:`MissingInput` where it is not there."""
    made = lake.provenance(table)
    if made is None:
        raise MissingInput(
            "Pairs cannot be curated yet",
            where=lake.url(lake.table_path(table)),
            rule="a table of the lake",
            got="nothing",
            action=f"Materialise {table} first.",
        )
    return made


def _check(lake: Lake, table: str, expected: Provenance, found: Provenance | None) -> None:
    if found is None or found.fingerprint != expected.fingerprint:
        raise SourceChanged(
            "A table was made anew while pairs were curated from it",
            where=lake.url(lake.table_path(table)),
            rule=f"the one made from {expected.fingerprint}",
            got=f"one made from {found.fingerprint}" if found else "one that does not say what made it",
            action="Materialise curation/curated_pairs again.",
        )
