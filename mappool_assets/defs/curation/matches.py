"""Which entries match which text of a shard."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_specs
from mappool_assets.defs.curation.entries import entries
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import sample
from mappool_assets.defs.partition_runs import PartitionedTable, run_partitions
from mappool_assets.defs.partitions import pool_shard
from mappool_assets.defs.resources import CurationResource, FilterResource, LakeResource, PoolResource, ScratchResource
from mappool_assets.lib.curation.curation_samples import match_sample
from mappool_assets.lib.curation.matches import TABLE, MatchReport, MatchTask, match_shards, match_tasks

KEY = dg.AssetKey(["curation", "matches"])
SHARD_MAPS = dg.AssetKey(["mappool", "shard_maps"])
SHARDS_A_RUN = 64


class MatchesConfig(dg.Config):
    """Run configuration of `matches`."""

    force: bool = False
    """Match again what was made from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet", "numba"},
    owners=["team:mappool"],
    code_version="1",
    deps=[entries, SHARD_MAPS],
    partitions_def=pool_shard,
    backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_A_RUN),
    output_required=False,
    check_specs=sql_check_specs(KEY),
    pool="matches",
)
def matches(
    context: dg.AssetExecutionContext,
    config: MatchesConfig,
    lake: LakeResource,
    pool: PoolResource,
    curation: CurationResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one text of a shard with the entries that match it, as MetaCLIP matches: as substrings, case kept.

    The texts are the captions of the shard's maps or, by a setting, of all its pairs; each different one is matched
    once. How many texts each entry matches is in the table `shard_entry_counts`.
    """
    with as_failures():
        tasks = match_tasks(
            lake.open(), context.partition_keys, curation.match_settings(scratch.folder()), pool.storage()
        )
    yield from run_partitions(
        context,
        PartitionedTable(lake.open(), TABLE, "shards", "texts"),
        match_shards(tasks, filtering.worker_count(), config.force),
        len(tasks),
        _metadata,
        {**MEASURED, "sample": lambda report, _: sample(match_sample(lake.open(), report.shard))},
        parents=[entries.key],
        partitioned_parents=[SHARD_MAPS],
    )


def _metadata(task: MatchTask, report: MatchReport) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": report.rows_kept,
        "matched_texts": report.matched_rows,
        "matches": report.matches,
        "distinct_texts": report.distinct_texts,
        "matched_entries": report.entries,
    }


MEASURED = {
    "seconds": lambda report, seconds: round(seconds, 3),
    "texts_per_second": lambda report, seconds: round(report.rows_in / max(seconds, 1e-9), 1),
}
