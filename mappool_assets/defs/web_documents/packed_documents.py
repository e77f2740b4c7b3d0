"""The packed documents of each crawl file."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table, image
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import (
    FilterResource,
    ImagesResource,
    LakeResource,
    PagesResource,
    ScratchResource,
    TakeDownResource,
    WebResource,
)
from mappool_assets.defs.web_documents.documents import FILES_A_RUN
from mappool_assets.defs.web_documents.interleaved import interleaved
from mappool_assets.lib.packed_documents.packed_documents import (
    TABLE,
    PackReport,
    PackTask,
    pack_documents,
    packed_document_tasks,
)

KEY = dg.AssetKey(["web_documents", "packed_documents"])


class PackedDocumentsConfig(dg.Config):
    """Run configuration of `packed_documents`."""

    force: bool = False
    """Try again what was given up; images that are there stay."""


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet", "file"},
    owners=["team:mappool"],
    code_version="1",
    deps=[interleaved],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="map_images",  # they share connections, and the patience of the same servers
)
def packed_documents(
    context: dg.AssetExecutionContext,
    config: PackedDocumentsConfig,
    lake: LakeResource,
    pages: PagesResource,
    web: WebResource,
    images: ImagesResource,
    take_down: TakeDownResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one page with media, and where it is packed: its text, its first images and their order.

    Images are fetched under the rules of `map_images`. Beside the table lie tars of tars (`00000.tar` holds
    `000000000.tar` … with `0.jpg`, `page.txt`, `token.ids`, `page.json`), or parquet files with the same content.
    """
    with as_failures():
        fetching = images.settings(web.rules(obeys_robots=True), take_down.read(), scratch.folder())
        tasks = packed_document_tasks(lake.open(), context.partition_keys, pages.pack_settings(fetching))
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "pages"),
        pack_documents(tasks, filtering.worker_count(), config.force),
        len(tasks),
        _metadata,
        MEASURED,
        partitioned_parents=[interleaved.key],
    )


def _metadata(task: PackTask, report: PackReport) -> dict[str, Any]:
    sample = image(report.contact_sheet, "sample images") if report.contact_sheet else "no image yet"
    return {
        "dagster/partition_row_count": report.rows_in,
        "images": dg.MetadataValue.md(counts_table("outcome", "images", report.images)),
        "image_bytes": report.image_bytes,
        "images_to_try_again": report.images_to_retry,
        **({} if report.is_reused else {"sample": sample}),
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "images_per_second": lambda report, seconds: round(report.images_tried / max(seconds, 1e-9), 1),
}
