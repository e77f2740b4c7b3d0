"""The images of each crawl file's pages, scored."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import image
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import crawl_file
from mappool_assets.defs.resources import EncoderResource, LakeResource, PagesResource
from mappool_assets.defs.web_documents.documents import FILES_A_RUN
from mappool_assets.defs.web_documents.packed_documents import packed_documents
from mappool_assets.lib.page_maps.image_scores import image_scorer
from mappool_assets.lib.page_maps.page_images import (
    TABLE,
    PageImagesReport,
    PageImagesTask,
    page_image_tasks,
    score_page_images,
)

KEY = dg.AssetKey(["web_documents", "page_images"])
CLASSIFIER = dg.AssetKey(["mappool", "classifier"])


class PageImagesConfig(dg.Config):
    """Run configuration of `page_images`."""

    force: bool = False
    """Score again what was made from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet", "pytorch"},
    owners=["team:mappool"],
    code_version="1",
    deps=[packed_documents, CLASSIFIER],
    partitions_def=crawl_file,
    backfill_policy=dg.BackfillPolicy.multi_run(FILES_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="page_images",
)
def page_images(
    context: dg.AssetExecutionContext,
    config: PageImagesConfig,
    lake: LakeResource,
    encoder: EncoderResource,
    pages: PagesResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one image of a packed page: is it a map, and is it closer to the text beside it than to the rest?

    The scores are columns; no page is taken apart by them.
    """
    with as_failures():
        scorer = image_scorer(lake.open(), encoder.load(), pages.aesthetic_head_file())
        tasks = page_image_tasks(lake.open(), context.partition_keys, scorer)
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "crawl files", "images"),
        score_page_images(tasks, scorer, config.force),
        len(tasks),
        _metadata,
        MEASURED,
        parents=[CLASSIFIER],
        partitioned_parents=[packed_documents.key],
    )


def _metadata(task: PageImagesTask, report: PageImagesReport) -> dict[str, Any]:
    share = report.closer_to_neighbours
    return {
        "dagster/partition_row_count": report.rows_kept,
        "maps": report.maps,
        "closer_to_neighbours_percent": "no page with enough text" if share is None else round(100 * share, 1),
        "classifier_id": task.classifier_id,
        **({"most_like_maps": image(report.contact_sheet, "most like maps")} if report.contact_sheet else {}),
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "images_per_second": lambda report, seconds: round(report.rows_in / max(seconds, 1e-9), 1),
}
