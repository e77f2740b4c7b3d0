"""Rows of a crawl file put in the order of buckets, in memory that does not grow with the file.

SQL could sort them, but not in little memory where many addresses are long: for each vector of rows it holds a block of
256 KB a row then, 512 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

GROUPS = 64  # of four buckets: a group of a file of 2 GB, were all addresses as long as can be, is 32 MB
WAITING_BYTES = 8 << 20  # that gather before they are written


class BucketSort:
    """Rows with a column ``bucket``, to be taken out in the order of all columns.

    Parameters
    ----------
    folder : Path
        On a local disk; takes the rows' size.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self._stack = ExitStack()
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []

    def __enter__(self) -> BucketSort:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, rows: pa.RecordBatch) -> None:
        """Take rows in any order."""
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= WAITING_BYTES:
            self._write()

    def sorted_tables(self) -> Iterator[pa.Table]:
        """Yield all rows, bucket by bucket; some buckets are in memory."""
        if not self._writers:
            if self._waiting:
                yield _sorted(pa.Table.from_batches(self._waiting))
            return
        self._write()
        self._stack.close()
        for group in range(GROUPS):
            with pa.ipc.open_stream(self._file(group).read_bytes()) as reader:
                yield _sorted(reader.read_all())

    def _write(self) -> None:
        rows = pa.Table.from_batches(self._waiting).combine_chunks()
        self._waiting, self._bytes = [], 0
        if not self._writers:
            self._writers = [
                self._stack.enter_context(pa.ipc.new_stream(str(self._file(group)), rows.schema))
                for group in range(GROUPS)
            ]
        group_of_row = rows["bucket"].to_numpy() // (256 // GROUPS)
        rows = rows.take(pa.array(np.argsort(group_of_row, kind="stable")))
        edges = np.searchsorted(np.sort(group_of_row), np.arange(GROUPS + 1))
        for group, writer in enumerate(self._writers):
            writer.write_table(rows.slice(edges[group], edges[group + 1] - edges[group]).combine_chunks())

    def _file(self, group: int) -> Path:
        return self._folder / f"{group:02}.arrow"


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in rows.column_names])
