"""Partitions: a shard of the pool is one, its key the shard's file hash; a file of a crawl is one, its key its name."""

import dagster as dg

POOL_SHARD, CRAWL_FILE = "pool_shard", "crawl_file"
pool_shard = dg.DynamicPartitionsDefinition(name=POOL_SHARD)
crawl_file = dg.DynamicPartitionsDefinition(name=CRAWL_FILE)

ADD_AT_ONCE = 10_000  # partitions added in one call; larger calls hold the instance's database too long


def add_partitions(instance: dg.DagsterInstance, name: str, keys: list[str]) -> list[str]:
    """Add the partitions that are not there yet and return them; none is ever removed."""
    known = set(instance.get_dynamic_partitions(name))
    new = [key for key in keys if key not in known]
    for start in range(0, len(new), ADD_AT_ONCE):
        instance.add_dynamic_partitions(name, new[start : start + ADD_AT_ONCE])
    return new
