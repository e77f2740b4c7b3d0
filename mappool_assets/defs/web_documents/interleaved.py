"""The interleaved pages of each crawl file."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import FilterResource, LakeResource
from mappool_assets.defs.web_documents.documents import FILES_A_RUN
from mappool_assets.defs.web_documents.media_links import media_links
from mappool_assets.lib.web_documents.interleaved_pages import (
    TABLE,
    InterleavedReport,
    InterleavedTask,
    interleaved_tasks,
    make_interleaved,
)

KEY = dg.AssetKey(["web_documents", "interleaved"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[media_links],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="interleaved",
)
def interleaved(
    context: dg.AssetExecutionContext, lake: LakeResource, filtering: FilterResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one page as text – image – text …, and another time with its sounds and films.

    Made of the windows of `media_links` by merging what overlaps. `read_interleaved` fills in the texts.
    """
    with as_failures():
        tasks = interleaved_tasks(lake.open(), context.partition_keys)
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "pages"),
        make_interleaved(tasks, filtering.worker_count()),
        len(tasks),
        _metadata,
        MEASURED,
        partitioned_parents=[media_links.key],
    )


def _metadata(task: InterleavedTask, report: InterleavedReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        **{
            f"{form}_parts": dg.MetadataValue.md(counts_table("kind", "parts", counts))
            for form, counts in report.parts.items()
        },
    }


MEASURED = {"seconds": lambda report, seconds: round(seconds, 3)}
