"""Jobs, the sensor that finds new shards, and the schedule that publishes; both are off until switched on."""

from collections.abc import Sequence

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.mappool.published_dataset import published_dataset
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.partitions import POOL_SHARD, pool_shard
from mappool_assets.defs.resources import PoolResource
from mappool_assets.lib.pool import list_pool

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
def new_pool_shards(context: dg.SensorEvaluationContext, pool: PoolResource) -> dg.SensorResult | dg.SkipReason:
    """Look at the pool every hour; where it has shards that are no partitions yet, add them and list them.

    A listing that fails fails this tick and removes nothing.
    """
    with as_failures():
        listing = list_pool(pool.source, pool.storage())
    known = set(context.instance.get_dynamic_partitions(POOL_SHARD))
    new: Sequence[str] = [shard.shard for shard in listing.shards if shard.shard not in known]
    if not new:
        return dg.SkipReason(f"All {len(listing.shards):,} shards at {pool.source} are known")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(tags={"mappool/new_shards": str(len(new))})],
        dynamic_partitions_requests=[pool_shard.build_add_request(new)],
    )


SENSORS = [new_pool_shards]
