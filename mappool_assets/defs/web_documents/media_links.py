"""The media of each crawl file's pages, with the text around them."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import FilterResource, LakeResource, PagesResource
from mappool_assets.defs.web_documents.documents import FILES_A_RUN, documents
from mappool_assets.lib.web_documents.media_links import (
    TABLE,
    LinkReport,
    LinkTask,
    make_media_links,
    media_link_tasks,
)

KEY = dg.AssetKey(["web_documents", "media_links"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[documents],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="media_links",
)
def media_links(
    context: dg.AssetExecutionContext, lake: LakeResource, pages: PagesResource, filtering: FilterResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one page with its images, sounds and films, each with the text before and after it.

    The text is in `documents`: here are the offsets. `read_media_links` puts both together.
    """
    with as_failures():
        tasks = media_link_tasks(lake.open(), context.partition_keys, pages.link_settings())
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "pages"),
        make_media_links(tasks, filtering.worker_count()),
        len(tasks),
        _metadata,
        MEASURED,
        partitioned_parents=[documents.key],
    )


def _metadata(task: LinkTask, report: LinkReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        "media": dg.MetadataValue.md(counts_table("kind", "media", report.media)),
        "tokens_a_window": round(report.mean_window_tokens, 1),
        "tokenizer": task.settings.tokenizer,
    }


MEASURED = {"seconds": lambda report, seconds: round(seconds, 3)}
