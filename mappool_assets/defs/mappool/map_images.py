"""The images of each shard's maps."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.metadata import file_metadata, image, previous_metadata, row_counts
from mappool_assets.defs.partition_runs import PartitionResult, fail_with, materialise_each
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import (
    FilterResource,
    ImagesResource,
    LakeResource,
    ScratchResource,
    TakeDownResource,
    WebResource,
)
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import IMAGES
from mappool_assets.lib.map_images.map_images import TABLE, ImageReport, ImageTask, fetch_map_images, map_image_tasks
from mappool_assets.lib.workers import Outcome

KEY = dg.AssetKey(["mappool", "map_images"])
SHARDS_A_RUN = 16  # a shard of 3,800 images takes minutes: a lost run should not cost hours
MEASURED = ("seconds", "images_per_second")


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
) -> Iterator[dg.AssetCheckResult]:
    """One row is one map of a shard with what became of its image: fetched, or why not.

    img2dataset fetches what `shard_maps` kept, as served and verified by sha256, under our rules for the servers of
    strangers. The images lie beside the table, as webdataset tars or files. What failed is tried again by a later run,
    up to a limit; what is there is not touched.
    """
    with as_failures():
        settings = images.settings(web.rules(obeys_robots=True), take_down.read(), scratch.folder())
        tasks = map_image_tasks(lake.open(), context.partition_keys, settings)
    outcomes = fetch_map_images(tasks, workers=filtering.worker_count(), force=config.force)
    failed = materialise_each(
        context, _results(context, outcomes, lake.open(), len(tasks)), partitioned_parents=[shard_maps.key]
    )
    done = sorted({task.key for task in tasks} - {result.partition for result in failed})
    if done:
        yield from sql_check_results(KEY, lake.open(), table=TABLE, partitions=done)
    if failed:
        raise fail_with(failed, planned=len(tasks))


def _results(
    context: dg.AssetExecutionContext, outcomes: Generator[Outcome[ImageTask, ImageReport]], lake: Lake, planned: int
) -> Generator[PartitionResult]:
    with contextlib.closing(outcomes):
        for done, outcome in enumerate(outcomes, start=1):
            shard, report = outcome.task.key, outcome.result
            if report is None:
                yield PartitionResult(shard, error=outcome.error)
                continue
            what = "unchanged, skipped" if report.is_reused else f"{outcome.seconds:.1f} s"
            yield PartitionResult(
                shard,
                report.fingerprint,
                {**_metadata(report, lake), **_measured(context, report, outcome.seconds)},
                f"{done}/{planned} shards: {shard} has {report.rows_kept:,} of {report.rows_in:,} images ({what})",
            )


def _metadata(report: ImageReport, lake: Lake) -> dict[str, Any]:
    return {
        **row_counts(report.rows_in, report.rows_kept, report.rows_dropped),
        **file_metadata(lake, lake.table_path(TABLE, report.shard)),
        "dagster/partition_row_count": report.rows_in,
        "images": dg.MetadataValue.path(lake.url(f"{IMAGES}/{report.shard}")),
        "image_bytes": report.image_bytes,
        "rows_to_try_again": report.rows_to_retry,
        "is_reused": report.is_reused,
    }


def _measured(context: dg.AssetExecutionContext, report: ImageReport, seconds: float) -> dict[str, Any]:
    """Return what was measured while the images were fetched, now or, if the shard is reused, then."""
    if report.is_reused:
        before = previous_metadata(context.instance, context.asset_key, report.shard)
        return {name: before[name] for name in MEASURED if name in before}
    rate = round(report.rows_tried / max(seconds, 1e-9), 1)
    sample = image(report.contact_sheet, "sample images") if report.contact_sheet else "no image yet"
    return {**dict(zip(MEASURED, (round(seconds, 3), rate), strict=True)), "sample": sample}
