"""Curated pairs: what the second pass draws from the unique survivors of the first; beside them, what entries get.

A row of ``curation/curated_pairs`` is a pair that at least one seed drew, in the order of ``curation/unique_pairs``, by
shard and uid. It says why it is there: ``matched``, its entries by name; ``p``, the chance to be there at the end, as
one pass over all texts would have it; ``second_p``, that of the second pass alone; and ``seeds``, those that drew it.
:mod:`mappool_assets.lib.curation.second_pass` is the law. The draws are keyed by the pair's uid: what a seed draws at
some ``t`` it draws at any larger one too, as long as the survivors are the same.

Not drawn are, in this order, pairs without entry (``no_entry``), with the policy ``image`` all texts of an image but
one (``other_text_of_image``), and those that no seed drew (``not_drawn``).

A row of ``curation/curated_entries`` is an entry: ``texts`` that it matches in all, ``unique_texts_estimate`` (N2),
``expected_pairs`` of one seed and ``curated``, those of the first seed. It is there only once the pairs are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.curation.balance import Floats, entry_probabilities
from mappool_assets.lib.curation.curated_sources import CurationSources
from mappool_assets.lib.curation.curation_settings import PER_IMAGE, CurationSettings
from mappool_assets.lib.curation.pair_rows import in_groups, pair_batches
from mappool_assets.lib.curation.second_pass import Booleans, Chances, Draws, UnprunedCounts
from mappool_assets.lib.curation.stored_matches import as_matches
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance, fingerprint

TABLE = "curation/curated_pairs"
ENTRIES_TABLE = "curation/curated_entries"
CODE_VERSION = "1"  # raised when the same inputs would give other rows
NO_ENTRY, OTHER_TEXT, NOT_DRAWN = "no_entry", "other_text_of_image", "not_drawn"
GROUP_ROWS = 20_000  # 5 MB of pairs with captions
REASONS = (NO_ENTRY, OTHER_TEXT, NOT_DRAWN)

SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), False),
        pa.field("uid", pa.string(), False),
        pa.field("image_shard", pa.string(), False),
        pa.field("image_uid", pa.string(), False),
        pa.field("url", pa.string()),
        pa.field("text", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("entries", pa.list_(pa.int32()), False),
        pa.field("first_p", pa.float64(), False),
        pa.field("p", pa.float64(), False),
        pa.field("second_p", pa.float64(), False),
        pa.field("seeds", pa.list_(pa.int32()), False),
        pa.field("matched", pa.list_(pa.string()), False),
    ]
)
ENTRIES_SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.int32(), False),
        pa.field("entry", pa.string(), False),
        pa.field("texts", pa.uint64(), False),
        pa.field("unique_texts_estimate", pa.float64(), False),
        pa.field("curated", pa.uint64(), False),
        pa.field("expected_pairs", pa.float64(), False),
    ]
)
OF_UNIQUE_PAIRS = SCHEMA.names[: SCHEMA.get_field_index("p")]
IS_IMAGE_TEXT = "is_image_text"

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class CurationReport:
    """What was curated.

    Attributes
    ----------
    made : Provenance
        Of the pairs: rows in, kept and dropped by reason; its fingerprint is the data version of the table. Its
        measures are those of :func:`curate_pairs`.
    is_reused : bool
        Nothing was done: what is there was made from the same.
    """

    made: Provenance
    is_reused: bool = False


def _tell_nobody(done: int, total: int) -> None:
    pass


def curate_pairs(
    lake: Lake, settings: CurationSettings, *, force: bool = False, tell: Tell = _tell_nobody
) -> CurationReport:
    """Write ``curation/curated_pairs`` and ``curation/curated_entries``, unless they were made from the same.

    The unique pairs are gone through twice, in batches: for N2, and to draw. In memory are a batch (8 MB of the file),
    a row group on its way out (16 MB) and 70 bytes an entry.

    Parameters
    ----------
    lake : Lake
        Has ``curation/unique_pairs``, ``curation/entry_counts`` and ``curation/entries``.
    settings : CurationSettings
    force : bool
        Whether pairs are drawn again in any case.
    tell : callable
        Told how many of how many rows are done; each pair counts twice.

    Returns
    -------
    CurationReport
        ``measures`` of the provenance are the numbers of ``unique_pairs`` and of ``candidates`` (those that a seed can
        draw), ``expected_pairs`` and ``sd_pairs`` of one seed, the pairs ``drawn`` by each, ``expected_together`` and
        ``sd_together`` of two seeds, what ``together`` (a row and a column a seed) they drew, and ``capped``, pairs
        whose chance was to be more than the first pass left.

    Raises
    ------
    MissingInput
        There are no unique pairs, or no counts of entries.
    SourceChanged
        They are of different lists of entries, or are made anew meanwhile.
    BadSetting
        Chances of the first pass that are none.
    """
    sources = CurationSources.read(lake)
    inputs = {**sources.inputs, **settings.inputs, "code_version": CODE_VERSION}
    made = None if force or not lake.is_made_from(inputs, ENTRIES_TABLE) else lake.provenance(TABLE)
    if made is not None and made.fingerprint == fingerprint(inputs):
        return CurationReport(made, is_reused=True)
    counted = sources.counted(lake)
    with sources.pairs(lake) as pairs:
        told = _Told(tell, 2 * pairs.metadata.num_rows)
        counts = _unpruned_counts(pairs, len(counted), told)
        second = _SecondPass(counted["entry"].combine_chunks(), entry_probabilities(counts, settings.t), settings)
        with lake.table_writer(TABLE, SCHEMA) as writer:
            drawn = (second.drawn(batch) for batch in told.each(pair_batches(pairs, second.columns)))
            for group in in_groups(drawn, GROUP_ROWS):
                writer.write(group)
            writer.provenance = made = Provenance(
                inputs, second.rows_in, writer.rows_written, second.dropped, second.measures
            )
    _write_entries(lake, inputs, counted, counts, second.draws)
    return CurationReport(made)


class _Told:
    """Counts rows as they go by."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def each(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self._done += len(batch)
            self._tell(self._done, self._total)


def _unpruned_counts(pairs: pq.ParquetFile, entries: int, told: _Told) -> Floats:
    """Return N2 of each entry; MetaCLIP counts all texts, also where one of each image is drawn afterwards."""
    counts = UnprunedCounts(entries)
    for batch in told.each(pair_batches(pairs, ["uid", "entries", "first_p"])):
        matches = as_matches(batch["entries"])
        counts.add(matches, _first_p(batch))
    return counts.estimates


def _first_p(batch: pa.RecordBatch) -> Floats:
    first_p = batch["first_p"].to_numpy(zero_copy_only=False)
    is_chance = (first_p > 0) & (first_p <= 1)
    if not is_chance.all():
        row = int(np.argmin(is_chance))
        raise BadSetting(
            "A pair has no chance of the first pass that it can be weighted by",
            where=f"curation/unique_pairs, uid {batch['uid'][row].as_py()!r}",
            rule="first_p above 0 and at most 1",
            got=repr(float(first_p[row])),
            action="Materialise curation/balanced_pool and curation/unique_pairs again.",
        )
    return first_p


class _SecondPass:
    """Draws batches of unique pairs, in their order, and keeps the books."""

    def __init__(self, names: pa.Array, entry_p: Floats, settings: CurationSettings) -> None:
        self._names, self._entry_p, self._settings = names, entry_p, settings
        self._is_per_image = settings.policy == PER_IMAGE
        self._dropped = Counter[str]()
        self._capped = self._candidates = 0
        self._seeds = pa.array(settings.seeds, pa.int32())
        self.draws = Draws(settings.seeds, len(entry_p))
        self.rows_in = 0

    @property
    def columns(self) -> list[str]:
        """What is read of the unique pairs."""
        return [*OF_UNIQUE_PAIRS, IS_IMAGE_TEXT] if self._is_per_image else OF_UNIQUE_PAIRS

    def drawn(self, batch: pa.RecordBatch) -> pa.Table:
        """Return the pairs of a batch that a seed draws."""
        self.rows_in += len(batch)
        has_entry = pc.list_value_length(batch["entries"]).to_numpy() > 0
        is_candidate = has_entry.copy()
        if self._is_per_image:
            is_candidate &= batch[IS_IMAGE_TEXT].to_numpy(zero_copy_only=False)
        candidates = batch.filter(pa.array(is_candidate))
        matches, first_p = as_matches(candidates["entries"]), _first_p(candidates)
        chances = Chances.of(matches, self._entry_p, first_p)
        is_drawn = self.draws.draw(candidates["uid"], matches, chances.second_p)
        kept = np.flatnonzero(is_drawn.any(axis=1))
        self._candidates += len(candidates)
        self._capped += int(np.count_nonzero(chances.is_capped))
        self._dropped[NO_ENTRY] += int(np.count_nonzero(~has_entry))
        self._dropped[OTHER_TEXT] += int(np.count_nonzero(has_entry & ~is_candidate))
        self._dropped[NOT_DRAWN] += len(candidates) - len(kept)
        found = matches.take(kept)
        offsets = pa.array(found.offsets, pa.int32())
        further = {
            "p": chances.p[kept],
            "second_p": chances.second_p[kept],
            "seeds": self._seeds_of(is_drawn[kept]),
            "matched": pa.ListArray.from_arrays(offsets, self._names.take(pa.array(found.entries))),
        }
        rows = candidates.take(pa.array(kept)).select(OF_UNIQUE_PAIRS)
        return pa.table([*rows.columns, *further.values()], names=[*OF_UNIQUE_PAIRS, *further]).cast(SCHEMA)

    def _seeds_of(self, is_drawn: Booleans) -> pa.ListArray:
        """Return which seeds drew each pair."""
        offsets = np.concatenate(([0], np.cumsum(is_drawn.sum(axis=1))))
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), self._seeds.take(pa.array(np.nonzero(is_drawn)[1]))
        )

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs that are not in the table, by reason."""
        return {reason: self._dropped[reason] for reason in REASONS if self._dropped[reason]}

    @property
    def measures(self) -> dict[str, Any]:
        """What is recorded beside the rows."""
        return {
            "unique_pairs": self.rows_in,
            "candidates": self._candidates,
            "expected_pairs": self.draws.size.mean,
            "sd_pairs": self.draws.size.sd,
            "drawn": self.draws.drawn.tolist(),
            "expected_together": self.draws.both.mean,
            "sd_together": self.draws.both.sd,
            "together": self.draws.together.tolist(),
            "capped": self._capped,
        }


def _write_entries(lake: Lake, inputs: dict[str, Any], counted: pa.Table, counts: Floats, draws: Draws) -> None:
    columns = [*counted.columns, counts, draws.first_of_entries, draws.of_entries.values]
    rows = pa.table(columns, schema=ENTRIES_SCHEMA)
    lake.write_table(ENTRIES_TABLE, rows, Provenance(inputs, len(rows), len(rows)))
