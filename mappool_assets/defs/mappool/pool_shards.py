"""The pool's shards, found at its source."""

from urllib.parse import quote

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import table_metadata
from mappool_assets.defs.partitions import POOL_SHARD, add_partitions
from mappool_assets.defs.resources import LakeResource, PoolResource
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import TABLE, known_shards, pool_name, write_pool_shards

KEY = dg.AssetKey(["mappool", "pool_shards"])


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "huggingface"},
    owners=["team:mappool"],
    code_version="1",
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
)
def pool_shards(context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource) -> dg.MaterializeResult:
    """One row is one shard of the pool: its key, its two files, their sizes and versions at a pinned revision.

    Found at a Hub dataset, a folder, an S3 prefix or an HTTP listing. Each shard becomes a partition of
    `shard_maps`. A shard that is listed no more stays, marked, so that nothing made from it is forgotten.
    """
    with as_failures():
        listing = list_pool(pool.source, pool.storage())
        write_pool_shards(lake.open(), listing)
    new = add_partitions(context.instance, POOL_SHARD, list(known_shards(lake.open())))
    context.log.info(f"{len(listing.shards):,} shards at {pool.source}, {len(new):,} of them new")
    return dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "source": pool.source,
            "revision": listing.revision or "none (each file's version stands)",
            "new_shards": len(new),
            "launch_all": dg.MetadataValue.md(_launch_page(context.instance)),
            "pool_gigabytes": round(sum(s.parquet_bytes + s.npz_bytes for s in listing.shards) / 1e9, 3),
        },
        # The pool, not its content: each shard has its own version, and one more must not make all others stale.
        data_version=dg.DataVersion(pool_name(pool.source)),
        check_results=list(sql_check_results(KEY, lake.open(), table=TABLE)),
    )


def _launch_page(instance: dg.DagsterInstance) -> str:
    """Return a link to the page of `shard_maps` whose dialog has all shards chosen.

    The dialog's own button turns 25,000 keys into text and looks each up among all, which holds the browser up for
    ten seconds; a range by its ends it reads at once.
    """
    shards = instance.get_dynamic_partitions(POOL_SHARD)
    chosen = quote(f"[{shards[0]}...{shards[-1]}]")
    return f"[{len(shards):,} shards chosen](/assets/mappool/shard_maps?view=partitions&default_range={chosen})"
