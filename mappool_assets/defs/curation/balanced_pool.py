"""What the first draw leaves of each shard."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.curation.entry_counts import entry_counts
from mappool_assets.defs.curation.matches import matches
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import sample
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import CurationResource, FilterResource, LakeResource, PoolResource, ScratchResource
from mappool_assets.lib.curation.balance_task import BalanceReport, BalanceTask
from mappool_assets.lib.curation.balanced_pool import TABLE, balance_shards, balanced_pool_tasks
from mappool_assets.lib.curation.curation_samples import balanced_sample

KEY = dg.AssetKey(["curation", "balanced_pool"])
SHARDS_A_RUN = 64


class BalancedPoolConfig(dg.Config):
    """Run configuration of `balanced_pool`."""

    force: bool = False
    """Draw again what was drawn from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[matches, entry_counts],
    partitions_def=pool_shard,
    backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="balanced_pool",
)
def balanced_pool(
    context: dg.AssetExecutionContext,
    config: BalancedPoolConfig,
    lake: LakeResource,
    pool: PoolResource,
    curation: CurationResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one pair of a shard that the first draw left, with its entries and the chance that it had.

    A pair that no entry matches goes; of the others each stays by the chance that MetaCLIP's balancing gives it, at a t
    much higher than that of training. By a setting (`MAPPOOL_IMAGES_OF`), only these images are fetched. What stays
    depends on the pair's uid and the seed alone, not on shards or workers.
    """
    with as_failures():
        tasks = balanced_pool_tasks(
            lake.open(),
            context.partition_keys,
            curation.match_settings(scratch.folder()),
            curation.balance_settings(),
            pool.storage(),
        )
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "shards", "pairs"),
        balance_shards(tasks, filtering.worker_count(), config.force),
        len(tasks),
        _metadata,
        {**MEASURED, "sample": lambda report, _: sample(balanced_sample(lake.open(), report.shard))},
        parents=[entry_counts.key],
        partitioned_parents=[matches.key],
    )


def _metadata(task: BalanceTask, report: BalanceReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        "expected_pairs": round(report.expected_size, 1),
        "expected_sd": round(report.expected_sd, 1),
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "pairs_per_second": lambda report, seconds: round(report.rows_in / max(seconds, 1e-9), 1),
}
