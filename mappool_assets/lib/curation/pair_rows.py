"""Pairs on their way through memory: read in batches, written in row groups that do not depend on the batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Whichever is less, of rows of like length: of captions 30,000. A text of 1 MB is alone with a few others.
BATCH_ROWS, BATCH_BYTES = 1 << 16, 8 << 20
GROUP_BYTES = 16 << 20
BYTES_A_ROW, BYTES_AN_ENTRY = 200, 16  # of a row beside its text and address; of an entry's number and name


def pair_batches(pairs: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of all rows in order; the longer they are, the fewer at a time."""
    for number in range(pairs.metadata.num_row_groups):
        group = pairs.metadata.row_group(number)
        rows = min(max(BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1), 1), BATCH_ROWS)
        yield from pairs.iter_batches(rows, row_groups=[number], columns=columns)


def in_groups(tables: Iterable[pa.Table], most_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of some tables, cut where a row group is full: at the same rows, however they come.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        With columns ``text``, ``url`` and ``entries``.
    most_rows : int
        Of a group; fewer where they are long.
    """
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        ends, start = np.cumsum(_sizes(table)), 0
        while start < len(table):
            before = ends[start - 1] if start else 0
            fitting = int(np.searchsorted(ends, before + GROUP_BYTES - size, side="right")) - start
            fitting = min(fitting, most_rows - rows) or int(rows == 0)
            if fitting <= 0:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, rows, size = [], 0, 0
                continue
            waiting.append(table.slice(start, fitting))
            start += fitting
            rows, size = rows + fitting, size + int(ends[start - 1] - before)
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _sizes(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return about how many bytes each row takes."""
    letters = [pc.fill_null(pc.binary_length(table[name]), 0).to_numpy() for name in ("text", "url")]
    entries = pc.list_value_length(table["entries"]).to_numpy()
    return BYTES_A_ROW + letters[0].astype(np.int64) + letters[1] + BYTES_AN_ENTRY * entries.astype(np.int64)
