"""The maps of each shard."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import dagster as dg
import numpy as np

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.metadata import file_metadata, image, previous_metadata, row_counts
from mappool_assets.defs.partition_runs import PartitionResult, fail_with, materialise_each
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import FilterResource, LakeResource, PoolResource
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.plots import score_histogram_plot
from mappool_assets.lib.shard_filter import HISTOGRAM_EDGES, TABLE, ShardReport
from mappool_assets.lib.shard_maps import FilterTask, filter_shards, filter_tasks
from mappool_assets.lib.workers import Outcome

KEY = dg.AssetKey(["mappool", "shard_maps"])
SHARDS_A_RUN = 64  # Dagster's own cost is then 0.1 s a shard; more would make a lost run cost more than it saves


MEASURED = ("seconds", "rows_per_second", "bytes_read", "bytes_in_source")


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
    failed = materialise_each(
        context,
        _results(context, outcomes, lake.open(), len(tasks)),
        parents=[classifier.key, pool_shards.key],
    )
    done = sorted({task.key for task in tasks} - {result.partition for result in failed})
    if done:
        yield from sql_check_results(KEY, lake.open(), table=TABLE, partitions=done)
    if failed:
        raise fail_with(failed, planned=len(tasks))


def _results(
    context: dg.AssetExecutionContext, outcomes: Generator[Outcome[FilterTask, ShardReport]], lake: Lake, planned: int
) -> Generator[PartitionResult]:
    rows = maps = seconds = 0.0
    with contextlib.closing(outcomes):
        for done, outcome in enumerate(outcomes, start=1):
            shard, report = outcome.task.key, outcome.result
            if report is None:
                yield PartitionResult(shard, error=outcome.error)
                continue
            rows, maps, seconds = rows + report.rows_in, maps + report.rows_kept, seconds + outcome.seconds
            what = "unchanged, skipped" if report.is_reused else f"{outcome.seconds:.1f} s"
            yield PartitionResult(
                shard,
                report.fingerprint,
                {**_metadata(report, outcome, lake), **_measured(context, report, outcome.seconds)},
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


def _measured(context: dg.AssetExecutionContext, report: ShardReport, seconds: float) -> dict[str, Any]:
    """Return what was measured while the shard was filtered, now or, if it is reused, then."""
    if report.is_reused:
        before = previous_metadata(context.instance, context.asset_key, report.shard)
        return {name: before[name] for name in MEASURED if name in before}
    figures = (round(seconds, 3), round(report.rows_in / max(seconds, 1e-9)), report.bytes_read, report.bytes_listed)
    return dict(zip(MEASURED, figures, strict=True))
