"""The images of each shard's maps."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.metadata import image
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import (
    FilterResource,
    ImagesResource,
    LakeResource,
    ScratchResource,
    TakeDownResource,
    WebResource,
)
from mappool_assets.lib.map_images.image_archive import IMAGES
from mappool_assets.lib.map_images.map_images import TABLE, ImageReport, ImageTask, fetch_map_images, map_image_tasks

KEY = dg.AssetKey(["mappool", "map_images"])
FIRST_DRAW = dg.AssetKey(["curation", "balanced_pool"])
SHARDS_A_RUN = 16  # a shard of 3,800 images takes minutes: a lost run should not cost hours


class MapImagesConfig(dg.Config):
    """Run configuration of `map_images`."""

    force: bool = False
    """Try again what was given up; images that are there stay."""


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "file"},
    owners=["team:mappool"],
    code_version="1",
    deps=[shard_maps],
    partitions_def=pool_shard,
    backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="map_images",
)
def map_images(
    context: dg.AssetExecutionContext,
    config: MapImagesConfig,
    lake: LakeResource,
    web: WebResource,
    images: ImagesResource,
    take_down: TakeDownResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one map of a shard with what became of its image: fetched, or why not.

    img2dataset fetches what `shard_maps` kept, or of that what curation's first draw left (`MAPPOOL_IMAGES_OF`), as
    served and verified by sha256, under our rules for the servers of strangers. The images lie beside the table, as
    webdataset tars or files. What failed is tried again by a later run, up to a limit; what is there is not touched.
    """
    with as_failures():
        settings = images.settings(web.rules(obeys_robots=True), take_down.read(), scratch.folder())
        tasks = map_image_tasks(lake.open(), context.partition_keys, settings)
    outcomes = fetch_map_images(tasks, workers=filtering.worker_count(), force=config.force)
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "shards", "images"),
        outcomes,
        len(tasks),
        _metadata,
        MEASURED,
        partitioned_parents=sorted(context.assets_def.asset_deps[KEY]),
    )


def after_the_first_draw(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return `map_images` with curation's first draw before it, for settings by which it says whose images are fetched.

    Other assets are returned as they are.
    """
    return spec.merge_attributes(deps=[FIRST_DRAW]) if spec.key == KEY else spec


def _metadata(task: ImageTask, report: ImageReport) -> dict[str, Any]:
    sample = image(report.contact_sheet, "sample images") if report.contact_sheet else "no image yet"
    return {
        "dagster/partition_row_count": report.rows_in,
        "images": dg.MetadataValue.path(task.lake.url(f"{IMAGES}/{report.shard}")),
        "image_bytes": report.image_bytes,
        "rows_to_try_again": report.rows_to_retry,
        **({} if report.is_reused else {"sample": sample}),
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "images_per_second": lambda report, seconds: round(report.rows_tried / max(seconds, 1e-9), 1),
}
