"""Pools of made-up texts whose first pass is done: unique pairs and counts of entries, as earlier assets leave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.curation import entry_counts
from mappool_assets.lib.curation.balance import entry_probabilities, keep_probabilities
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS
from mappool_assets.lib.curation.entries import LIST_HASH
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets_tests.small_curation import write_entries
from mappool_assets_tests.small_lake import shard_key

UNIQUE_SCHEMA = pa.schema(
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
        pa.field("is_image_text", pa.bool_(), False),
    ]
)
FIRST_T = 40.0


@dataclass(frozen=True)
class SmallPool:
    """Texts and their entries: entry ``e`` is in a share of the texts that falls with its number, as Zipf has it."""

    uids: list[str]
    matches: Matches
    entries: int

    @classmethod
    def make(cls, texts: int, entries: int, *, seed: int = 0) -> SmallPool:
        random = np.random.default_rng(seed)
        shares = 0.5 / np.arange(1, entries + 1)
        of_texts = [np.flatnonzero(random.random(entries) < shares) for _ in range(texts)]
        offsets = np.concatenate(([0], np.cumsum([len(found) for found in of_texts])))
        uids = [random.bytes(16).hex() for _ in range(texts)]
        return cls(uids, Matches(offsets, np.concatenate(of_texts).astype(np.int32)), entries)

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.matches.entries, minlength=self.entries)

    @property
    def first_p(self) -> np.ndarray:
        return keep_probabilities(self.matches, entry_probabilities(self.counts, FIRST_T))

    def survivors(self, seed: int = 0) -> np.ndarray:
        """Return the texts that the first pass keeps."""
        return np.flatnonzero(keyed_uniforms(pa.array(self.uids), seed, "balanced_pool") < self.first_p)

    def rows(self, seed: int = 0, *, shards: int = 2, texts_an_image: int = 1) -> list[dict[str, Any]]:
        """Return unique pairs of the survivors, dealt to shards; some texts in turn are of one image."""
        first_p, rows = self.first_p, []
        for number, text in enumerate(self.survivors(seed)):
            uid = self.uids[text]
            of_image = number - number % texts_an_image
            rows.append(
                {"shard": shard_key("abcdef"[int(uid[-1], 16) % shards]), "uid": uid}
                | {"image_shard": shard_key("a"), "image_uid": f"{of_image:032x}"}
                | {"url": f"https://maps.example/{text}.png", "text": f"map {text}", "sha256": f"{of_image:064x}"}
                | {"entries": self.matches.of(text).tolist(), "first_p": first_p[text]}
                | {"is_image_text": of_image == number}
            )
        return sorted(rows, key=lambda row: (row["shard"], row["uid"]))


def write_pool(lake: Lake, pool: SmallPool, rows: Sequence[dict[str, Any]] | None = None, **kind: Any) -> None:
    """Write unique pairs, those that survived unless they are given, and the entries with their counts."""
    write_counts(lake, [f"entry {number}" for number in range(pool.entries)], pool.counts.tolist())
    write_unique_pairs(lake, pool.rows() if rows is None else rows, **kind)


def write_counts(lake: Lake, entries: Sequence[str], texts: Sequence[int]) -> None:
    """Write a list of entries, and how many texts each matches."""
    write_entries(lake, entries)
    made = lake.provenance("curation/entries")
    assert made is not None
    rows = pa.table([range(len(entries)), list(entries), texts], schema=entry_counts.SCHEMA)
    rule = {LIST_HASH: made.measures[LIST_HASH], "matched": "maps", "is_unspaced": False, "code_version": "1"}
    totals = {"rows": 2 * sum(texts), "matched_rows": sum(texts), "matches": sum(texts)}
    provenance = Provenance({"rule": rule, "texts": list(texts)}, len(rows), len(rows), measures=totals)
    lake.write_table(entry_counts.TABLE, rows, provenance)


def write_unique_pairs(lake: Lake, rows: Sequence[dict[str, Any]], *, rows_a_group: int = 4096, **inputs: Any) -> None:
    """Write pairs as they are given."""
    counts = lake.provenance(entry_counts.TABLE)
    assert counts is not None
    table = pa.Table.from_pylist(list(rows), schema=UNIQUE_SCHEMA)
    said = {"rule": counts.inputs["rule"], "shard_maps": dict.fromkeys(table["shard"].unique().to_pylist(), "")}
    measures = {"first_passes": [{"t": FIRST_T, "seed": 0}]}
    provenance = Provenance({**said, "rows": str(list(rows)), **inputs}, len(rows), len(rows), measures=measures)
    with lake.table_writer(UNIQUE_PAIRS, UNIQUE_SCHEMA) as writer:
        for start in range(0, max(len(rows), 1), rows_a_group):
            writer.write(table.slice(start, rows_a_group))
        writer.provenance = provenance


def change_inputs(lake: Lake, table: str, **changed: Any) -> None:
    """Write a table again as if it was made from something else."""
    rows, made = lake.read_table(table), lake.provenance(table)
    assert made is not None
    lake.write_table(table, rows, dataclasses.replace(made, inputs={**made.inputs, **changed}))
