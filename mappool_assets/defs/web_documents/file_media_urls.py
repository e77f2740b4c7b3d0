"""The media URLs of each crawl file."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import CrawlResource, FilterResource, LakeResource, ScratchResource
from mappool_assets.defs.web_documents.documents import FILES_A_RUN, documents
from mappool_assets.lib.media_urls.file_media_url_task import (
    TABLE,
    FileUrlReport,
    FileUrlSettings,
    FileUrlTask,
    media_url_file_tasks,
)
from mappool_assets.lib.media_urls.file_media_urls import make_file_media_urls

KEY = dg.AssetKey(["web_documents", "file_media_urls"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    deps=[documents],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="file_media_urls",
)
def file_media_urls(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    crawl: CrawlResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one image, sound or film that pages of a domain show, with the number of these pages.

    Of a WARC file from its `documents`; of a WAT file straight, without any page's HTML: materialise this asset alone
    then.
    """
    with as_failures():
        settings = FileUrlSettings(scratch.folder())
        tasks = media_url_file_tasks(lake.open(), context.partition_keys, settings, crawl.storage())
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "links"),
        make_file_media_urls(tasks, filtering.worker_count()),
        len(tasks),
        _metadata,
        MEASURED,
        partitioned_parents=[documents.key],
    )


def _metadata(task: FileUrlTask, report: FileUrlReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        "pages": report.pages,
        "seen": dg.MetadataValue.md(counts_table("kind", "on pages", report.seen)),
        "made_of": "documents" if task.file is None else "the WAT file",
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "pages_per_second": lambda report, seconds: round(report.pages / max(seconds, 1e-9), 1),
}
