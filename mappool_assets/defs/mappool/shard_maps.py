"""The maps of each shard."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.metadata import file_metadata, image, row_counts
from mappool_assets.defs.partition_runs import PartitionResult, fail_with, materialise_each
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import FilterResource, LakeResource, PoolResource
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.plots import score_histogram_plot
from mappool_assets.lib.shard_filter import HISTOGRAM_EDGES, TABLE, ShardReport
from mappool_assets.lib.shard_maps import FilterTask, filter_shards, filter_tasks
from mappool_assets.lib.workers import Outcome

KEY = dg.AssetKey(["mappool", "shard_maps"])
SHARDS_A_RUN = 64  # Dagster's own cost is then 0.2 s a shard; more would make a lost run cost more than it saves


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
) -> Iterator[dg.AssetCheckResult]:
    """One row is one map of the pool, in MapPool's columns and with its score: kept from a shard of CommonPool.

    A run filters many shards with a pool of workers and records each when it is done. A shard that is malformed
    fails alone. A shard whose inputs are unchanged is skipped. Embeddings stay float16 as the pool has them.
    """
    with as_failures():
        tasks = filter_tasks(lake.open(), context.partition_keys, pool.storage())
    outcomes = filter_shards(tasks, workers=filtering.worker_count(), force=config.force)
    failed = materialise_each(context, _results(outcomes, lake.open(), len(tasks)), [classifier.key, pool_shards.key])
    failed_shards = {result.partition for result in failed}
    done = [task.shard.shard for task in tasks if task.shard.shard not in failed_shards]
    yield from sql_check_results(KEY, lake.open(), table=TABLE, partitions=done)
    if failed:
        raise fail_with(failed, planned=len(tasks))


def _results(
    outcomes: Iterator[Outcome[FilterTask, ShardReport]], lake: Lake, planned: int
) -> Iterator[PartitionResult]:
    rows = maps = seconds = 0.0
    for done, outcome in enumerate(outcomes, start=1):
        shard, report = outcome.task.shard.shard, outcome.result
        if report is None:
            yield PartitionResult(shard, error=outcome.error)
            continue
        rows, maps, seconds = rows + report.rows_in, maps + report.rows_kept, seconds + outcome.seconds
        what = "unchanged, skipped" if report.is_reused else f"{outcome.seconds:.1f} s"
        yield PartitionResult(
            shard,
            report.fingerprint,
            _metadata(report, outcome, lake),
            f"{done}/{planned} shards, {rows:,.0f} rows, {maps:,.0f} maps: "
            f"{shard} kept {report.rows_kept:,} of {report.rows_in:,} ({what})",
        )


def _metadata(report: ShardReport, outcome: Outcome[FilterTask, ShardReport], lake: Lake) -> dict[str, Any]:
    plot = score_histogram_plot(HISTOGRAM_EDGES, np.asarray(report.score_counts), outcome.task.threshold)
    return {
        **row_counts(report.rows_in, report.rows_kept, report.rows_dropped),
        **file_metadata(lake, lake.table_path(TABLE, report.shard)),
        "dagster/partition_row_count": report.rows_kept,
        "score_histogram": image(plot, "scores"),
        "classifier_id": outcome.task.classifier_id,
        "is_reused": report.is_reused,
        **(
            {}
            if report.is_reused
            else {
                "seconds": round(outcome.seconds, 3),
                "rows_per_second": round(report.rows_in / max(outcome.seconds, 1e-9)),
                "bytes_read": report.bytes_read,
                "bytes_in_source": report.bytes_listed,
            }
        ),
    }
