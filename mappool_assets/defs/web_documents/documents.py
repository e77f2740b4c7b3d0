"""The documents of each crawl file."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table, sample
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import CrawlResource, FilterResource, LakeResource, PagesResource
from mappool_assets.defs.web_documents.crawl_files import crawl_files
from mappool_assets.lib.web_documents.document_task import TABLE, DocumentsReport, DocumentsTask, document_tasks
from mappool_assets.lib.web_documents.documents import make_documents

KEY = dg.AssetKey(["web_documents", "documents"])
FILES_A_RUN = 16  # a WARC of 1 GB takes minutes: a lost run should not cost hours


class DocumentsConfig(dg.Config):
    """Run configuration of `documents`."""

    force: bool = False
    """Read again what was made from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[crawl_files],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="documents",
)
def documents(
    context: dg.AssetExecutionContext,
    config: DocumentsConfig,
    lake: LakeResource,
    crawl: CrawlResource,
    pages: PagesResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one web page in natural language, its texts, images, sounds and films in their order.

    From one WARC file, read once. Pages that are none are in the table `dropped_pages`, with the reason. A page that
    takes too much time or memory is given up; the file goes on.
    """
    with as_failures():
        tasks = document_tasks(lake.open(), context.partition_keys, pages.document_settings(), crawl.storage())
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "pages"),
        make_documents(tasks, filtering.worker_count(), config.force),
        len(tasks),
        _metadata,
        MEASURED,
        parents=[crawl_files.key],
    )


def _metadata(task: DocumentsTask, report: DocumentsReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        "items": dg.MetadataValue.md(counts_table("kind", "items", report.items)),
        "languages": dg.MetadataValue.md(counts_table("language", "pages", report.languages)),
        "file_bytes": report.file_bytes,
        **({"sample": sample(_titles(report))} if report.sample else {}),
    }


def _titles(report: DocumentsReport) -> list[dict[str, str]]:
    return [{"title": title, "language": language} for title, language in report.sample]


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "pages_per_second": lambda report, seconds: round(report.rows_in / max(seconds, 1e-9), 1),
}
