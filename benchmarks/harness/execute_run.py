"""Execute one run of ``shard_maps`` for the shards given, and print the seconds that each spent in the filter."""

import json
import sys

import dagster as dg

from mappool_assets.definitions import defs
from mappool_assets.defs.partitions import POOL_SHARD, add_shards

SHARD_MAPS = dg.AssetKey(["mappool", "shard_maps"])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(shards: list[str]) -> None:
    with dg.DagsterInstance.get() as instance:
        add_shards(instance, shards)
        ordered = [key for key in instance.get_dynamic_partitions(POOL_SHARD) if key in set(shards)]
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            run_config=QUIET,
            asset_selection=[SHARD_MAPS],
            tags={"dagster/asset_partition_range_start": ordered[0], "dagster/asset_partition_range_end": ordered[-1]},
        )
        assert result.success
        recorded = [
            event.materialization.metadata["seconds"].value
            for event in result.all_events
            if event.is_step_materialization and event.asset_key == SHARD_MAPS
        ]
    print(json.dumps(recorded))


if __name__ == "__main__":
    main(sys.argv[1:])
