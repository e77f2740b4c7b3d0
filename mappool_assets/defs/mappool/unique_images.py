"""Which images are there twice, over all shards."""

import functools
from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.map_images import map_images
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.metadata import data_version, log_progress, table_metadata
from mappool_assets.defs.resources import LakeResource, ScratchResource
from mappool_assets.lib.duplicates.unique_images import TABLE, find_unique_images

KEY = dg.AssetKey(["mappool", "unique_images"])


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    deps=[map_images, shard_maps],
    check_specs=sql_check_specs(KEY),
    pool="unique_images",
)
def unique_images(
    context: dg.AssetExecutionContext, lake: LakeResource, scratch: ScratchResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """One row is one fetched image, kept or a duplicate of the one named beside it, over all shards.

    Duplicates are the same bytes, look-alikes (perceptual hash, also mirrored) and near-duplicates by embedding. Each
    lies within the stated distance of the image that is kept for it: the one with the most pixels, then bytes, then the
    highest score.
    """
    with as_failures():
        made = find_unique_images(lake.open(), scratch.folder(), functools.partial(log_progress, context))
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    metadata = {**table_metadata(lake.open(), TABLE), **made.measures["captions"]}
    yield dg.MaterializeResult(metadata=metadata, data_version=data_version(made))
