"""The images nearest to each prompt."""

from collections.abc import Iterator, Sequence

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.geo_subset.place_queries import place_queries
from mappool_assets.defs.metadata import data_version, table_metadata
from mappool_assets.defs.resources import FilterResource, GeoSubsetResource, LakeResource
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_MAPS, NeighbourTask, neighbour_tasks
from mappool_assets.lib.retrieval.neighbours import find_shard_neighbours, merge_or_find_again

KEY = dg.AssetKey(["geo_subset", "neighbours"])


class NeighboursConfig(dg.Config):
    """Run configuration of `neighbours`."""

    force: bool = False
    """Scan shards again whose neighbours were found from the same inputs."""


@dg.asset(
    key=KEY,
    group_name="geo_subset",
    kinds={"parquet", "numpy"},
    owners=["team:mappool"],
    code_version="1",
    deps=[place_queries, dg.AssetKey(["mappool", "shard_maps"])],
    check_specs=sql_check_specs(KEY),
    pool="neighbours",
)
def neighbours(
    context: dg.AssetExecutionContext,
    config: NeighboursConfig,
    lake: LakeResource,
    geo_subset: GeoSubsetResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one of the images nearest to a prompt, of all shards, with its rank and similarity.

    Exact: every shard is scanned with all prompts at once, and no index is asked. Shards that were scanned before with
    the same prompts and settings are not scanned again, unless maps changed so that rows of theirs move up.
    """
    with as_failures():
        shards = lake.open().partitions(SHARD_MAPS)
        tasks = neighbour_tasks(lake.open(), shards, geo_subset.neighbour_settings())
        workers = filtering.worker_count()
        _scan(context, tasks, workers, force=config.force)
        made = merge_or_find_again(tasks, lambda again: _scan_again(context, again, workers))
    yield from sql_check_results(KEY, lake.open(), table=NEIGHBOURS)
    yield dg.MaterializeResult(
        metadata={**table_metadata(lake.open(), NEIGHBOURS), "shards": len(tasks)}, data_version=data_version(made)
    )


def _scan_again(context: dg.AssetExecutionContext, tasks: Sequence[NeighbourTask], workers: int) -> None:
    context.log.info(f"{len(tasks)} shards are scanned again: maps of others that they were compared with have changed")
    _scan(context, tasks, workers, force=True)


def _scan(context: dg.AssetExecutionContext, tasks: Sequence[NeighbourTask], workers: int, *, force: bool) -> None:
    failed = []
    for done, outcome in enumerate(find_shard_neighbours(tasks, workers=workers, force=force), start=1):
        if outcome.error is not None:
            failed.append(f"{outcome.task.key}: {outcome.error}")
            continue
        assert outcome.result is not None
        what = "unchanged, skipped" if outcome.result.is_reused else f"{outcome.seconds:.1f} s"
        context.log.info(f"{done}/{len(tasks)} shards: {outcome.task.key} ({what})")
    if failed:
        raise dg.Failure(
            f"{len(failed)} of {len(tasks)} shards could not be scanned, the others are done: " + "; ".join(failed),
            allow_retries=False,
        )
