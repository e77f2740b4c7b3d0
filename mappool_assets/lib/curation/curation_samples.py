"""A few rows of curation's tables, as people look at them: texts with the names of their entries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.balanced_pool import TABLE as BALANCED_POOL
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.matches import MAPS
from mappool_assets.lib.curation.matches import TABLE as MATCHES
from mappool_assets.lib.curation.shard_texts import MAPS_TABLE, recorded
from mappool_assets.lib.lake import Lake

PAIRS, ENTRIES_SHOWN = 10, 20
NAMED_ENTRIES = 8  # of a text; one of 1 MB holds thousands
MOST_CHARACTERS = 200  # of a text or an entry
# Few at once, as texts may have 1 MB each; and a shard in which nothing matches is not read to its end for a sample.
ROWS_AT_ONCE, MOST_ROWS = 128, 16_384

Row = dict[str, Any]


def entry_sample(lake: Lake) -> list[Row]:
    """Return entries at even distances, from the list's first to its last: ``entry_id``, ``entry`` and ``sources``."""
    rows = lake.read_table(ENTRIES, columns=["entry_id", "entry", "sources"])
    chosen = np.linspace(0, len(rows) - 1, min(ENTRIES_SHOWN, len(rows))).round().astype(np.int64)
    return [
        {**row, "entry": _cut(row["entry"]), "sources": ", ".join(row["sources"])}
        for row in rows.take(pa.array(chosen)).to_pylist()
    ]


def frequent_entries(lake: Lake) -> list[Row]:
    """Return the entries that match most texts: ``entry``, ``texts``, and their share of all matches in percent."""
    rows = sql_files.run(lake, "reports/head_entries", entries=ENTRIES_SHOWN).to_pylist()
    return [
        {"entry": _cut(row["entry"]), "texts": row["texts"], "matches_percent": round(100 * row["matches_share"], 2)}
        for row in rows
        if row["texts"]
    ]


def match_sample(lake: Lake, shard: str) -> list[Row]:
    """Return the first captions of a shard's maps that an entry matches: ``text`` and its ``entries``.

    Empty where the texts are those of the whole pool, which the lake does not hold.
    """
    with lake.open_table(MATCHES, shard) as matches:
        made = recorded(matches)
        names = _names(lake, made.inputs[LIST_HASH]) if made and made.inputs["matched"] == MAPS else None
        rows = _first(matches, ["row", "entries"]) if names is not None else []
    texts = _texts(lake, shard, [row["row"] for row in rows]) if rows else []
    return [
        {"text": _cut(text), "entries": _named(row["entries"], names)} for row, text in zip(rows, texts, strict=False)
    ]


def balanced_sample(lake: Lake, shard: str) -> list[Row]:
    """Return the first pairs of a shard that the first draw left: ``text``, ``entries`` and ``first_p``, its chance."""
    with lake.open_table(BALANCED_POOL, shard) as pairs:
        made = recorded(pairs)
        names = _names(lake, made.inputs["rule"][LIST_HASH]) if made else None
        rows = _first(pairs, ["text", "entries", "first_p"]) if names is not None else []
    return [
        {"text": _cut(row["text"]), "entries": _named(row["entries"], names), "first_p": round(row["first_p"], 4)}
        for row in rows
    ]


def curated_sample(lake: Lake) -> list[Row]:
    """Return some pairs of the first seed, as good as by lot: ``text``, its ``entries`` and its chance ``p``."""
    rows = sql_files.run(lake, "reports/curated_sample", pairs=PAIRS).to_pylist()
    return [{"text": _cut(row["text"]), "entries": _listed(row["matched"]), "p": round(row["p"], 4)} for row in rows]


@functools.lru_cache(maxsize=1)
def _names(lake: Lake, list_hash: str) -> pa.ChunkedArray | None:
    """Return the entries by number; None where the lake has another list by now."""
    with lake.open_table(ENTRIES) as table:
        made = recorded(table)
        return table.read(columns=["entry"])["entry"] if made and made.measures[LIST_HASH] == list_hash else None


def _first(table: pq.ParquetFile, columns: list[str]) -> list[Row]:
    """Return the first rows with an entry."""
    found = list[Row]()
    for number, batch in enumerate(table.iter_batches(ROWS_AT_ONCE, columns=columns)):
        found += batch.filter(pc.greater(pc.list_value_length(batch["entries"]), 0)).slice(0, PAIRS).to_pylist()
        if len(found) >= PAIRS or (number + 1) * ROWS_AT_ONCE >= MOST_ROWS:
            break
    return found[:PAIRS]


def _texts(lake: Lake, shard: str, rows: Sequence[int]) -> list[str]:
    """Return the captions of some of a shard's maps, by ascending row."""
    texts, first = list[str](), 0
    with lake.open_table(MAPS_TABLE, shard) as maps:
        batches = maps.iter_batches(ROWS_AT_ONCE, columns=["text"])
        while len(texts) < len(rows) and (batch := next(batches, None)) is not None:
            end = first + len(batch)
            texts += [batch["text"][row - first].as_py() for row in rows if first <= row < end]
            first = end
    return texts


def _named(entries: Sequence[int], names: pa.ChunkedArray) -> str:
    shown = names.take(pa.array(entries[: NAMED_ENTRIES + 1])).to_pylist()
    return _listed(shown)


def _listed(names: Sequence[str]) -> str:
    more = ["…"] if len(names) > NAMED_ENTRIES else []
    return ", ".join([*map(_cut, names[:NAMED_ENTRIES]), *more])


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
