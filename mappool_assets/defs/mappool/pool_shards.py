"""The pool's shards, found at its source."""

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import table_metadata
from mappool_assets.defs.partitions import add_shards
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
    new = add_shards(context.instance, list(known_shards(lake.open())))
    context.log.info(f"{len(listing.shards):,} shards at {pool.source}, {len(new):,} of them new")
    return dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "source": pool.source,
            "revision": listing.revision or "none (each file's version stands)",
            "new_shards": len(new),
            "pool_gigabytes": round(sum(s.parquet_bytes + s.npz_bytes for s in listing.shards) / 1e9, 3),
        },
        # The pool, not its content: each shard has its own version, and one more must not make all others stale.
        data_version=dg.DataVersion(pool_name(pool.source)),
        check_results=list(sql_check_results(KEY, lake.open(), table=TABLE)),
    )
