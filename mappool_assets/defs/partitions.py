"""Partitions: a shard of the pool is one, its key the shard's file hash."""

import dagster as dg

POOL_SHARD = "pool_shard"
pool_shard = dg.DynamicPartitionsDefinition(name=POOL_SHARD)

ADD_AT_ONCE = 10_000  # partitions added in one call; larger calls hold the instance's database too long


def add_shards(instance: dg.DagsterInstance, shards: list[str]) -> list[str]:
    """Add the partitions that are not there yet and return them; none is ever removed."""
    known = set(instance.get_dynamic_partitions(POOL_SHARD))
    new = [shard for shard in shards if shard not in known]
    for start in range(0, len(new), ADD_AT_ONCE):
        instance.add_dynamic_partitions(POOL_SHARD, new[start : start + ADD_AT_ONCE])
    return new
