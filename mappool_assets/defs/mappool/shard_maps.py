"""The maps of each shard."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.metadata import image
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import FilterResource, LakeResource, PoolResource
from mappool_assets.lib.plots import score_histogram_plot
from mappool_assets.lib.shard_filter import HISTOGRAM_EDGES, TABLE, ShardReport
from mappool_assets.lib.shard_maps import FilterTask, filter_shards, filter_tasks

KEY = dg.AssetKey(["mappool", "shard_maps"])
SHARDS_A_RUN = 64  # Dagster's own cost is then 0.1 s a shard; more would make a lost run cost more than it saves


class ShardMapsConfig(dg.Config):
    """Run configuration of `shard_maps`."""

    force: bool = False
    """Filter again what was made from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "scikitlearn"},
    owners=["team:mappool"],
    code_version="1",
    deps=[pool_shards, classifier],
    partitions_def=pool_shard,
    backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="shard_maps",
)
def shard_maps(
    context: dg.AssetExecutionContext,
    config: ShardMapsConfig,
    lake: LakeResource,
    pool: PoolResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one map of the pool, in MapPool's columns and with its score: kept from a shard of CommonPool.

    A run filters many shards with a pool of workers and records each when it is done. A shard that is malformed
    fails alone. A shard whose inputs are unchanged is skipped. Embeddings stay float16 as the pool has them.
    """
    with as_failures():
        tasks = filter_tasks(
            lake.open(),
            context.partition_keys,
            pool.storage(),
            is_screened=filtering.is_screened,
            device=filtering.scoring_device(),
        )
    outcomes = filter_shards(
        tasks, workers=filtering.worker_count(), force=config.force, ray_address=filtering.ray_address or None
    )
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "shards", "rows"),
        outcomes,
        len(tasks),
        _metadata,
        MEASURED,
        parents=[classifier.key, pool_shards.key],
    )


def _metadata(task: FilterTask, report: ShardReport) -> dict[str, Any]:
    plot = score_histogram_plot(HISTOGRAM_EDGES, np.asarray(report.score_counts), task.threshold)
    return {
        "dagster/partition_row_count": report.rows_kept,
        "score_histogram": image(plot, "scores"),
        "classifier_id": task.classifier_id,
        **_screened(report),
    }


def _screened(report: ShardReport) -> dict[str, Any]:
    """Return what the screen did, and what it may have cost."""
    if report.screen is None:
        return {"screen": "off: every row was scored exactly"}
    audit = report.screen
    return {
        "screen_refused_percent": round(100 * audit.refused / max(report.rows_in, 1), 3),
        "screen_sampled": audit.sampled,
        "screen_missed": audit.missed,
        "screen_miss_rate_upper": audit.miss_rate_upper,
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "rows_per_second": lambda report, seconds: round(report.rows_in / max(seconds, 1e-9)),
    "bytes_read": lambda report, seconds: report.bytes_read,
    "bytes_in_source": lambda report, seconds: report.bytes_listed,
}
