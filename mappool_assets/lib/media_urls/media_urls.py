"""The media URLs of all crawl files: a row is an image, sound or film by its canonical URL, on how many pages and on
pages of how many domains it was seen.

URLs are parted by the first byte of their MD5. Each part is one SQL statement over all files' rows, which spills to
disk what does not fit into memory, and one file ``media_urls/<first bucket>-<last>.parquet``. Of each crawl file a part
reads the footer, and of its rows the row groups with its buckets alone, since they lie in this order. Parts that were
made from the same files stay.

What it costs when a file is added: ``domains`` counts different domains, which cannot be added up, so that all rows of
all files are read again, once over all parts: 1.5 CPU seconds a million rows with 256 MB, and some three ranged reads
a file and part. Merge after a number of files, not after each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.media_urls.file_media_url_task import TABLE as FILES_TABLE
from mappool_assets.lib.media_urls.media_url_task import TABLE, MergeReport, MergeTask, overlapping, report_of
from mappool_assets.lib.scratch_folder import scratch_folder
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

FAILURES_TABLE = "web_documents/media_url_failures"
SAME_URL = "same_url"
GROUP_ROWS = 65_536  # 6 MB of URLs
ROWS_IN = "rows"  # of the statement, how many rows of files a URL has
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), False),
        pa.field("url", pa.string(), False),
        pa.field("seen", pa.int64(), False),
        pa.field("domains", pa.int32(), False),
    ]
)


def make_media_urls(
    tasks: Sequence[MergeTask], workers: int, force: bool = False
) -> Generator[Outcome[MergeTask, MergeReport]]:
    """Merge parts with a pool of workers; yield each outcome as it comes.

    Those that were made from the same files are left as they are (unless ``force``): their outcome comes first, with
    ``is_reused`` set. A failure is stored in ``web_documents/media_url_failures`` until the part succeeds.

    Parameters
    ----------
    workers : int
        Parts under way at once, each with the memory and threads of its settings. One worker uses all cores.
    """
    reused = (lambda _: None) if force else _reused_report
    return run_shards(tasks, reused, lambda pending: run_tasks(merge_part, pending, workers), FAILURES_TABLE)


def merge_part(task: MergeTask) -> MergeReport:
    """Write one part.

    Where the number of parts has changed, those of the old number that hold URLs of this one are removed just before
    it appears: no URL is there twice at any time, and a killed run leaves some missing until the next.

    Raises
    ------
    BadSetting
        Memory and scratch space do not suffice; nothing is written.
    """
    settings, lake = task.settings, task.lake
    files = [Lake.sql_file(FILES_TABLE, file) for file in task.files]
    with (
        scratch_folder(settings.scratch, lake, f"media_urls-{task.key}") as scratch,
        lake.query_batches(
            sql_files.statement("steps/media_urls"),
            {"files": files, "first": task.first, "last": task.last},
            limits=SqlLimits(settings.memory, settings.threads, scratch),
            batch_rows=GROUP_ROWS,
        ) as rows,
        lake.table_writer(TABLE, SCHEMA, task.key) as writer,
    ):
        made = _write(task, writer, rows)
        for table in (TABLE, FAILURES_TABLE):
            for partition in overlapping(task, table):
                lake.delete(lake.table_path(table, partition))
    return report_of(task, made)


def _write(task: MergeTask, writer: TableWriter, batches: pa.RecordBatchReader) -> Provenance:
    rows_in, urls, seen = 0, Counter[str](), Counter[str]()
    waiting = SCHEMA.empty_table()
    for batch in batches:
        rows_in += pc.sum(batch[ROWS_IN]).as_py() or 0
        rows = pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA)
        for of_kind in rows.group_by("kind").aggregate([("seen", "sum"), ("seen", "count")]).to_pylist():
            urls[of_kind["kind"]] += of_kind["seen_count"]
            seen[of_kind["kind"]] += of_kind["seen_sum"]
        waiting = pa.concat_tables([waiting, rows])
        while len(waiting) >= GROUP_ROWS:
            writer.write(waiting.slice(0, GROUP_ROWS).combine_chunks())
            waiting = waiting.slice(GROUP_ROWS)
    if len(waiting):
        writer.write(waiting.combine_chunks())
    dropped = {SAME_URL: rows_in - writer.rows_written} if rows_in > writer.rows_written else {}
    measures = {"urls": dict(sorted(urls.items())), "seen": dict(sorted(seen.items()))}
    writer.provenance = Provenance(task.inputs, rows_in, writer.rows_written, dropped, measures)
    return writer.provenance


def _reused_report(task: MergeTask) -> MergeReport | None:
    made = task.lake.provenance(TABLE, task.key)
    is_current = task.lake.is_made_from(task.inputs, TABLE, task.key)
    return report_of(task, made, is_reused=True) if made is not None and is_current else None
