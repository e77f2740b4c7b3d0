"""The entries of stored rows as arrays, a few row groups at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.curation.matches import TABLE
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Lake

MATCHES_AT_ONCE = 1 << 19  # 50,000 captions; 4 MB an array of float64


def as_matches(lists: pa.ListArray | pa.ChunkedArray) -> Matches:
    """Return a column of entries as :class:`~mappool_assets.lib.curation.matcher.Matches`; no list is null."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    offsets = array.offsets.to_numpy().astype(np.int64)
    return Matches(offsets - offsets[0], array.values.to_numpy()[offsets[0] : offsets[-1]])


def stored_matches(lake: Lake, shard: str, made_from: str) -> Iterator[Matches]:
    """Yield the entries of a shard's rows, in their order.

    Parameters
    ----------
    made_from : str
        The fingerprint of the matches that are meant.

    Raises
    ------
    MissingInput, SourceChanged
        The shard has no matches, or others by now.
    """
    with lake.open_table(TABLE, shard) as table:
        check_made_from(shard, table, made_from)
        for groups in _gathered(table.metadata):
            yield as_matches(table.read_row_groups(groups, columns=["entries"], use_threads=False)["entries"])


def check_made_from(shard: str, table: pq.ParquetFile, made_from: str) -> None:
    """Raise ``SourceChanged`` where a shard's open matches, or counts, are not those that ``entry_counts`` added up."""
    made = recorded(table)
    if made is None or made.fingerprint != made_from:
        raise SourceChanged(
            "The shard was matched anew since its entries were counted",
            where=shard,
            rule=made_from,
            got=made.fingerprint if made else "a table that does not say what made it",
            action="Materialise matches of this shard and entry_counts again, then what follows from them.",
        )


def _gathered(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """Yield the numbers of row groups of together :data:`MATCHES_AT_ONCE` matches at most, or of one row group."""
    column = metadata.schema.to_arrow_schema().get_field_index("entries")  # no other column is nested
    gathered, held = list[int](), 0
    for group in range(metadata.num_row_groups):
        values = metadata.row_group(group).column(column).num_values
        if gathered and held + values > MATCHES_AT_ONCE:
            yield gathered
            gathered, held = [], 0
        gathered.append(group)
        held += values
    if gathered:
        yield gathered
