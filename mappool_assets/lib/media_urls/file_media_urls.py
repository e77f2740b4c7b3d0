"""The media URLs of one crawl file: a row is a medium and a domain, with the number of its pages that show it.

They are made of the file's documents, or of a WAT file alone; :mod:`~mappool_assets.lib.media_urls.wat_links` says how
the two differ. Rows lie in the order of 256 buckets, by which :mod:`~mappool_assets.lib.media_urls.media_urls` merges
all files; a row group holds whole buckets. Robots' wishes are not in the table: pages that ask to be left out are, and
what servers say of the media is obeyed where these are fetched.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Provenance, TableWriter
from mappool_assets.lib.lake_sql import BatchStream, SqlLimits
from mappool_assets.lib.media_urls.bucket_sort import BucketSort
from mappool_assets.lib.media_urls.file_media_url_task import TABLE, FileUrlReport, FileUrlTask, report_of
from mappool_assets.lib.media_urls.page_media import SCHEMA as MEDIA_SCHEMA
from mappool_assets.lib.media_urls.page_media import Tally, document_media, wat_media
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.scratch_folder import scratch_folder
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.web_documents.document_batches import open_documents
from mappool_assets.lib.workers import Outcome, run_tasks

FAILURES_TABLE = "web_documents/file_media_url_failures"
SAME_DOMAIN = "same_domain"
LEAST_GROUP_ROWS = 2048  # DuckDB's vector: smaller row groups cost as much to read
SCHEMA = pa.schema(
    [
        pa.field("bucket", pa.uint8(), False),
        pa.field("kind", pa.string(), False),
        pa.field("url", pa.string(), False),
        pa.field("domain", pa.string(), False),
        pa.field("seen", pa.int64(), False),
    ]
)


def make_file_media_urls(
    tasks: Sequence[FileUrlTask], workers: int, force: bool = False
) -> Generator[Outcome[FileUrlTask, FileUrlReport]]:
    """Make the media URLs of crawl files with a pool of workers; yield each outcome as it comes.

    Those that were made from the same inputs are left as they are (unless ``force``): their outcome comes first, with
    ``is_reused`` set. A failure is stored in ``web_documents/file_media_url_failures`` until the file succeeds.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(find_media_urls, pending, workers), FAILURES_TABLE)


def find_media_urls(task: FileUrlTask) -> FileUrlReport:
    """Write one crawl file's media URLs; memory does not grow with the file.

    Raises
    ------
    MissingInput
        The documents or the WAT file are not there.
    SourceChanged
        They are not those that the task is for.
    BadShard, SourceUnavailable
        See :func:`~mappool_assets.lib.crawl.warc_records.read_records`. Nothing is written in any of these cases.
    """
    tally = Tally()
    with (
        scratch_folder(task.settings.scratch, task.lake, f"file_media_urls-{task.key}") as scratch,
        contextlib.closing(_media(task, tally)) as media,
        task.lake.query_batches(
            sql_files.statement("steps/file_media_urls"),
            tables={"page_media": BatchStream(MEDIA_SCHEMA, media)},
            limits=SqlLimits(task.settings.memory, threads=1, spill=scratch),
        ) as rows,
        BucketSort(scratch) as order,
        task.lake.table_writer(TABLE, SCHEMA, task.key) as writer,
    ):
        seen, text_bytes = _gathered(rows, order)
        _write(writer, order.sorted_tables())
        dropped = tally.dropped + Counter({SAME_DOMAIN: tally.media - writer.rows_written})
        made = Provenance(
            task.inputs,
            tally.rows_in,
            writer.rows_written,
            dict(sorted(dropped.items())),
            {"pages": tally.pages, "seen": dict(sorted(seen.items())), "text_bytes": text_bytes},
            task.origin,
        )
        writer.provenance = made
    return report_of(task, made)


def _media(task: FileUrlTask, tally: Tally) -> Generator[pa.RecordBatch]:
    if task.file is None:
        with open_documents(task.lake, task.key, task.documents or "") as documents:
            yield from document_media(documents, tally)
        return
    assert task.file.url is not None
    with open_ranged(task.file.url, task.storage) as file:
        if task.file.version and file.version != task.file.version:
            raise SourceChanged(
                "The WAT file is no longer the one that the task was made for",
                where=file.url,
                rule=f"version {task.file.version}",
                got=f"version {file.version}",
                action="Run the crawl file again.",
            )
        yield from wat_media(file, task.settings.wat, tally)


def _gathered(batches: pa.RecordBatchReader, order: BucketSort) -> tuple[Counter[str], int]:
    """Put rows in order; return ``seen`` by kind, and the bytes of URLs and domains."""
    seen, text_bytes = Counter[str](), 0
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        for of_kind in rows.group_by("kind").aggregate([("seen", "sum")]).to_pylist():
            seen[of_kind["kind"]] += of_kind["seen_sum"]
        text_bytes += sum(pc.sum(pc.binary_length(rows[name])).as_py() for name in ("url", "domain"))
        order.add(batch)
    return seen, text_bytes


def _write(writer: TableWriter, tables: Iterable[pa.Table]) -> None:
    """Write rows in row groups of whole buckets."""
    waiting = SCHEMA.empty_table()
    for rows in tables:
        waiting = _write_groups(writer, pa.concat_tables([waiting, rows.cast(SCHEMA)]).combine_chunks())
    if len(waiting):
        writer.write(waiting.combine_chunks())


def _write_groups(writer: TableWriter, rows: pa.Table) -> pa.Table:
    """Write the row groups that are complete; return the rows that are left. What is written depends on rows alone."""
    start = 0
    for end in (np.flatnonzero(np.diff(rows["bucket"].to_numpy())) + 1).tolist():
        if end - start >= LEAST_GROUP_ROWS:
            writer.write(rows.slice(start, end - start).combine_chunks())
            start = end
    return rows.slice(start)


def _reused_report(task: FileUrlTask) -> FileUrlReport | None:
    made = task.lake.provenance(TABLE, task.key)
    is_current = task.lake.is_made_from(task.inputs, TABLE, task.key)
    return report_of(task, made, is_reused=True) if made is not None and is_current else None
