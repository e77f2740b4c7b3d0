"""Documents in batches, alone or beside the rows that another table holds of the same documents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance, TableWriter
from mappool_assets.lib.web_documents.item import TEXT
from mappool_assets.lib.web_documents.windows import SEPARATOR

DOCUMENTS_TABLE = "web_documents/documents"
TEXT_COLUMNS = ["document_id", "items.list.element.kind", "items.list.element.text"]

# Pages in memory at once: enough to share the cost of a batch, 2 ms. Of long ones there are fewer: a batch ends with
# its row group, of which the documents' hold 8 million characters (document_rows.ROW_GROUP_CHARACTERS) and a page more.
# About six times a batch's bytes are in memory while it is worked on.
BATCH_ROWS = 32
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 1024, 32 * 2**20  # what is gathered before it is written, whichever comes first


@contextlib.contextmanager
def open_documents(lake: Lake, crawl_file: str, fingerprint: str) -> Iterator[pq.ParquetFile]:
    """Yield a file's documents, to be read in batches.

    Raises
    ------
    MissingInput
        They are not there.
    SourceChanged
        They were made anew since a task was made of them, whose fingerprint this is.
    """
    with lake.open_table(DOCUMENTS_TABLE, crawl_file) as documents:
        found = recorded(documents)
        if found is None or found.fingerprint != fingerprint:
            raise SourceChanged(
                "The documents of a crawl file were made anew while their task waited for its turn",
                where=crawl_file,
                rule=fingerprint or "documents",
                got=found.fingerprint if found else "documents that do not say what made them",
                action="Run the crawl file again.",
            )
        yield documents


@contextlib.contextmanager
def open_beside_documents(lake: Lake, table: str, crawl_file: str) -> Iterator[tuple[pq.ParquetFile, pq.ParquetFile]]:
    """Yield a file's documents and another table made of them.

    Raises
    ------
    MissingInput
        One of them is not there, or the other table was made of older documents: its offsets mean another text.
    """
    with lake.open_table(DOCUMENTS_TABLE, crawl_file) as documents, lake.open_table(table, crawl_file) as others:
        of_documents, of_others = recorded(documents), recorded(others)
        rule = of_documents.fingerprint if of_documents else "documents that say what made them"
        got = of_others.inputs.get("documents") if of_others else None
        if of_documents is None or got != rule:
            raise MissingInput(
                f"{table} holds offsets into other documents than those that are there",
                where=lake.url(lake.table_path(table, crawl_file)),
                rule=rule,
                got=str(got),
                action=f"Materialise the asset {table} of this crawl file again.",
            )
        yield documents, others


def recorded(file: pq.ParquetFile) -> Provenance | None:
    """Return what an open table says it was made of; of the very file, which may have been replaced since."""
    metadata = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
    return Provenance.from_json(metadata) if metadata else None


def batches_of(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file in batches, none of which has rows of two row groups."""
    for group in range(file.metadata.num_row_groups):
        yield from file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)


def texts_of(items: pa.ListArray) -> pa.StringArray:
    """Return the text of each row's items; see :func:`~mappool_assets.lib.web_documents.windows.document_text`."""
    flat = items.flatten()
    is_text = pc.equal(flat.field("kind"), TEXT)
    counts = np.cumsum(is_text.to_numpy(zero_copy_only=False), dtype=np.int32)
    ends = np.insert(counts, 0, 0)[row_offsets(items)]
    texts = pc.fill_null(flat.field("text").filter(is_text), "")
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), texts), SEPARATOR)


def row_offsets(lists: pa.ListArray) -> np.ndarray:
    """Return where each row's values begin in ``lists.flatten()``, and the end: (rows + 1,)."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return np.insert(np.cumsum(lengths), 0, 0)


def with_texts(
    documents: pq.ParquetFile, others: pq.ParquetFile, columns: list[str] | None = None
) -> Iterator[tuple[pa.RecordBatch, pa.StringArray]]:
    """Yield the rows of a table made of documents, some columns of them or all, with their documents' texts.

    Rows are in the order of the documents; not every document has one. Texts of one batch are in memory.

    Raises
    ------
    SourceChanged
        A row is of no document, or not in their order.
    """
    batches = batches_of(others, columns)
    waiting = next(batches, None)
    for batch in batches_of(documents, TEXT_COLUMNS):
        ids, texts, start = batch["document_id"].to_pylist(), texts_of(batch["items"]), 0
        while waiting is not None:
            rows = _rows_of(waiting["document_id"].to_pylist(), ids, start)
            if rows:
                yield waiting.slice(0, len(rows)), texts.take(pa.array(rows))
                start = rows[-1] + 1
            if len(rows) < len(waiting):
                waiting = waiting.slice(len(rows))
                break
            waiting = next(batches, None)
    if waiting is not None:
        raise SourceChanged(
            "Documents and the rows made of them do not belong together",
            where=str(waiting["document_id"][0]),
            rule="a document of this id, after those of the rows before",
            got="none",
            action="Materialise the documents of this crawl file, and what is made of them, again.",
        )


def _rows_of(wanted: list[str], ids: list[str], start: int) -> list[int]:
    """Return where the first of the wanted ids are, as far as they are there in order."""
    rows: list[int] = []
    for row in range(start, len(ids)):
        if len(rows) < len(wanted) and ids[row] == wanted[len(rows)]:
            rows.append(row)
    return rows


class RowGroups:
    """Small tables gathered to row groups that are worth reading."""

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Take rows; write what has gathered, where it is enough."""
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._waiting:
            self._writer.write(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting.clear()
            self._rows = self._bytes = 0
