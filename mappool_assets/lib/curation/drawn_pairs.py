"""The rows of a shard's balanced pairs: its matches, drawn, and beside those that are kept their texts and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.curation.balance import ExpectedSize, keep_probabilities
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms
from mappool_assets.lib.curation.shard_matches import INVALID_UTF8, is_utf8
from mappool_assets.lib.curation.stored_matches import as_matches
from mappool_assets.lib.errors import BadShard

FURTHER = ["url", "sha256"]  # of the texts' rows
PART_BYTES = 8 * 2**20  # of strings; four times as much is in memory while they are looked at
SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), False),
        pa.field("row", pa.int32(), False),
        pa.field("url", pa.string()),
        pa.field("text", pa.string(), False),
        pa.field("sha256", pa.string()),
        pa.field("text_id", pa.int32(), False),
        pa.field("entries", pa.list_(pa.int32()), False),
        pa.field("first_p", pa.float64(), False),
    ]
)
NO_ENTRY, NOT_DRAWN = "no_entry", "not_drawn"
Bools = npt.NDArray[np.bool_]


class DrawnPairs:
    """Draws the pairs of a shard, and counts.

    Parameters
    ----------
    p : float64 ndarray, shape (entries,)
        With which each entry passes a text.
    seed : int
    name : str
        Of the pass, for :func:`~mappool_assets.lib.curation.keyed_draws.keyed_uniforms`.

    Attributes
    ----------
    rows_in : int
        Pairs so far.
    drawn : int
        Those that were drawn.
    expected : ExpectedSize
        How many that were to be.
    """

    def __init__(self, p: npt.NDArray[np.float64], seed: int, name: str) -> None:
        self._p, self._seed, self._name = p, seed, name
        self._dropped = Counter[str]()
        self.rows_in = self.drawn = 0
        self.expected = ExpectedSize()

    def tables(self, matches: pq.ParquetFile, texts: Iterator[pa.RecordBatch], shard: str) -> Iterator[pa.Table]:
        """Yield the pairs that are kept, in the order of the shard's rows; a row group and a batch are in memory.

        Raises
        ------
        BadShard
            Matches and texts do not belong together.
        """
        rows, start = _Ahead(self._drawn(matches)), 0
        for batch in texts:
            stop = start + len(batch)
            for drawn in rows.below(stop):
                of_texts = batch.take(pa.array(drawn["row"].to_numpy() - start))
                if not _plain(of_texts["uid"]).equals(drawn["uid"].combine_chunks().cast(pa.large_binary())):
                    raise _bad(shard, "the uids of the matches", "others")
                for part in _parts(of_texts):
                    yield self._stored(drawn[part], of_texts[part])
            start = stop
        if any(True for _ in rows.below(np.iinfo(np.int32).max)):
            raise _bad(shard, "a text for every match", f"{start:,} texts")

    def _drawn(self, matches: pq.ParquetFile) -> Iterator[pa.Table]:
        """Yield the matches that are drawn, with their chance: by row group, of 16 MB of entries at most."""
        for group in range(matches.num_row_groups):
            rows = matches.read_row_group(group).combine_chunks()
            if not len(rows):
                continue
            found = as_matches(rows["entries"])
            chances = keep_probabilities(found, self._p)
            is_drawn = keyed_uniforms(rows["uid"], self._seed, self._name) < chances
            has_entry = np.diff(found.offsets) > 0
            self.rows_in += len(rows)
            self.drawn += int(np.count_nonzero(is_drawn))
            self.expected.add(chances)
            self._count(NO_ENTRY, ~has_entry)
            self._count(NOT_DRAWN, has_entry & ~is_drawn)
            yield rows.append_column("first_p", pa.array(chances)).filter(pa.array(is_drawn))

    def _stored(self, drawn: pa.Table, of_texts: pa.RecordBatch) -> pa.Table:
        """Return the rows that can be stored: what no reader takes for a string is no address and no checksum."""
        columns = {name: _plain(of_texts[name]) for name in ("text", *FURTHER)}
        is_whole = np.logical_and.reduce([is_utf8(columns[name].view(pa.large_string())) for name in FURTHER])
        self._count(INVALID_UTF8, ~is_whole)
        table = drawn.filter(pa.array(is_whole))
        for name, column in columns.items():
            table = table.append_column(name, column.filter(pa.array(is_whole)).cast(pa.string()))
        return table.select(SCHEMA.names).cast(SCHEMA)

    def _count(self, reason: str, is_dropped: Bools) -> None:
        self._dropped[reason] += int(np.count_nonzero(is_dropped))

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs that are in no table, by reason."""
        return {reason: rows for reason, rows in sorted(self._dropped.items()) if rows}

    @property
    def measures(self) -> dict[str, Any]:
        """What is recorded beside the rows."""
        return {"drawn": self.drawn, "expected_size": self.expected.mean, "expected_sd": self.expected.sd}


def _plain(column: pa.Array) -> pa.LargeBinaryArray:
    """Return the bytes of strings, or of a dictionary of them."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary())


def _parts(of_texts: pa.RecordBatch) -> Iterator[slice]:
    """Yield consecutive rows of :data:`PART_BYTES` at most, or one row: in a dictionary a text may be there often."""
    ends = np.cumsum(sum(_lengths(of_texts[name]) for name in ("text", *FURTHER)))
    start = 0
    while start < len(of_texts):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + PART_BYTES, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    if isinstance(column, pa.DictionaryArray):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
    else:
        lengths = pc.binary_length(column)
    return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False).astype(np.int64)


class _Ahead:
    """Tables in the order of their rows, handed out as far as they are wanted."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self._waiting = tables, SCHEMA.empty_table()

    def below(self, stop: int) -> Iterator[pa.Table]:
        """Yield what has not been yielded yet of the rows whose number is below ``stop``."""
        while True:
            count = int(np.searchsorted(self._waiting["row"].to_numpy(), stop))
            if count:
                yield self._waiting.slice(0, count)
                self._waiting = self._waiting.slice(count)
            if len(self._waiting):
                return
            following = next(self._tables, None)
            if following is None:
                return
            self._waiting = following


def _bad(shard: str, rule: str, got: str) -> BadShard:
    return BadShard(
        "The shard's matches and its texts do not belong together",
        where=shard,
        rule=rule,
        got=got,
        action="Materialise matches of this shard again, with force.",
    )
