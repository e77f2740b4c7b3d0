"""Jobs, the sensor that finds new shards, and the schedule that publishes; both are off until switched on."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.mappool.published_dataset import published_dataset
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.resources import LakeResource, PoolResource
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import has_changed

train_job = dg.define_asset_job(
    "train",
    selection=dg.AssetSelection.assets(classifier).upstream() | dg.AssetSelection.assets(pool_shards),
    description="From labelled images to a fitted classifier, with the encoder's parity with the pool checked.",
)
filter_job = dg.define_asset_job(
    "filter",
    selection=dg.AssetSelection.assets(shard_maps),
    description="The maps of chosen shards. For many shards backfill the asset shard_maps instead: only asset "
    "backfills put many shards into one run.",
)
publish_job = dg.define_asset_job(
    "publish",
    selection=dg.AssetSelection.assets(published_dataset),
    description="Publish whatever was filtered since the last time.",
)
JOBS = [train_job, filter_job, publish_job]

publish_daily = dg.ScheduleDefinition(
    name="publish_daily",
    job=publish_job,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at three, publish what is new; an unchanged corpus writes nothing.",
)
SCHEDULES = [publish_daily]


@dg.sensor(
    target=dg.AssetSelection.assets(pool_shards),
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def new_pool_shards(pool: PoolResource, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Look at the pool every hour; where it has other shards or files than the lake knows, list it into the lake.

    That run adds the new partitions. A listing that fails fails this tick and removes nothing.
    """
    with as_failures():
        listing = list_pool(pool.source, pool.storage())
        is_new = has_changed(lake.open(), listing)
    if not is_new:
        return dg.SkipReason(f"All {len(listing.shards):,} shards at {pool.source} are known")
    return dg.RunRequest()


SENSORS = [new_pool_shards]
