"""The rows of a shard's matches out of its texts, and what they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.curation.distinct_texts import DistinctTexts, TextMatcher
from mappool_assets.lib.curation.matcher import Int32, Int64

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), False),
        pa.field("row", pa.int32(), False),
        pa.field("text_id", pa.int32(), False),
        pa.field("entries", pa.list_(pa.int32()), False),
    ]
)
COUNTS_SCHEMA = pa.schema([pa.field("entry_id", pa.int32(), False), pa.field("texts", pa.uint64(), False)])
POLICY = "each row counts"  # also where another has the same text, as in MetaCLIP
NULL_UID, INVALID_UTF8 = "null_uid", "invalid_utf8"
MATCHES_A_TABLE = 1 << 22  # 16 MB of entries: a thousand rows of one text of 1 MB have a hundred times as many


class ShardMatches:
    """Matches the batches of a shard, in their order, and counts.

    Parameters
    ----------
    matcher : TextMatcher
    entries : int
        How many there are.

    Attributes
    ----------
    rows_in : int
        Rows so far.
    """

    def __init__(self, matcher: TextMatcher, entries: int) -> None:
        self._texts = DistinctTexts(matcher)
        self._counts = np.zeros(entries, dtype=np.uint64)
        self._dropped = Counter[str]()
        self.rows_in = self._rows = self._matched_rows = 0

    def tables(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Yield the rows of a batch of ``uid`` and ``text``, without those that cannot be stored."""
        rows = np.arange(self.rows_in, self.rows_in + len(batch), dtype=np.int32)
        self.rows_in += len(batch)
        uids, texts = batch["uid"], batch["text"]
        if not isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_encode()
        is_kept = self._kept(uids, texts)
        uids, texts, rows = uids.filter(pa.array(is_kept)), texts.filter(pa.array(is_kept)), rows[is_kept]
        text_ids, numbers = self._texts.add(texts, rows)
        for part in _parts(self._texts.match_counts(numbers)):
            yield self._table(uids[part].cast(pa.string()), rows[part], text_ids[part], numbers[part])

    def _table(self, uids: pa.Array, rows: Int32, text_ids: Int32, numbers: Int64) -> pa.Table:
        found = self._texts.matches_of(numbers)
        np.add.at(self._counts, found.entries, np.uint64(1))
        self._rows += len(rows)
        self._matched_rows += int(np.count_nonzero(np.diff(found.offsets)))
        lists = pa.ListArray.from_arrays(pa.array(found.offsets, pa.int32()), pa.array(found.entries))
        return pa.table([uids, rows, text_ids, lists], schema=SCHEMA)

    def _kept(self, uids: pa.Array, texts: pa.DictionaryArray) -> np.ndarray:
        has_uid, has_text = (column.is_valid().to_numpy(zero_copy_only=False) for column in (uids, texts))
        is_whole = is_utf8(uids)
        is_whole[has_text] &= is_utf8(texts.dictionary)[texts.indices.drop_null().to_numpy()]
        self._dropped[NULL_UID] += int(np.count_nonzero(~has_uid))
        self._dropped[INVALID_UTF8] += int(np.count_nonzero(has_uid & ~is_whole))
        return has_uid & is_whole

    def counts(self) -> pa.Table:
        """Return the entries that match a row, and how many they match."""
        found = np.flatnonzero(self._counts)
        return pa.table([found.astype(np.int32), self._counts[found]], schema=COUNTS_SCHEMA)

    @property
    def dropped(self) -> dict[str, int]:
        """Rows that are in no table, by reason."""
        return {reason: rows for reason, rows in self._dropped.items() if rows}

    @property
    def measures(self) -> dict[str, Any]:
        """What is recorded beside the rows."""
        return {
            "policy": POLICY,
            "rows": self._rows,
            "matched_rows": self._matched_rows,
            "matches": int(self._counts.sum()),
            "distinct_texts": self._texts.count,
            "entries": int(np.count_nonzero(self._counts)),
        }


def _parts(lengths: Int64) -> Iterator[slice]:
    """Yield consecutive rows of :data:`MATCHES_A_TABLE` entries at most, or one row."""
    ends, start = np.cumsum(lengths), 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + MATCHES_A_TABLE, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def is_utf8(strings: pa.Array) -> np.ndarray:
    """Tell which strings are UTF-8, or null: parquet does not promise it."""
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([text is None or _decodes(text) for text in strings.cast(pa.large_binary()).to_pylist()])
    return np.ones(len(strings), dtype=bool)


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
