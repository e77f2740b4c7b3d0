"""A run that is killed, then repeated, gives what an undisturbed one gives."""

import shutil
import subprocess
import sys
import time

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import known_shards, write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks

SCRIPT = """
import sys
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks

if __name__ == "__main__":
    lake = Lake(sys.argv[1])
    for outcome in filter_shards(filter_tasks(lake, list(known_shards(lake)), Storage()), workers=int(sys.argv[2])):
        print(outcome.task.key, flush=True)
"""


def files_of(lake):
    return {
        shard: lake.read_bytes(f"mappool/shard_maps/{shard}.parquet") for shard in lake.partitions("mappool/shard_maps")
    }


def test_killed_at_many_moments(platform, tmp_path):
    for seed in range(6):
        platform.add_shard(seed, rows=2_000)
    write_pool_shards(platform.lake, list_pool(str(platform.folder / "pool"), Storage()))
    shutil.copytree(platform.lake.root, tmp_path / "undisturbed")
    undisturbed = Lake(str(tmp_path / "undisturbed"))
    tasks = filter_tasks(undisturbed, list(known_shards(undisturbed)), Storage())
    assert [outcome.error for outcome in filter_shards(tasks, workers=1)] == [None] * 6

    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = 0
    for workers, wait_seconds in (("1", 0.0), ("2", 0.02), ("1", 0.05)):
        process = subprocess.Popen([sys.executable, str(script), platform.lake.root, workers], stdout=subprocess.PIPE)
        for _ in range(done + 1):  # what earlier runs did comes first, then one more shard
            process.stdout.readline()
        time.sleep(wait_seconds)
        process.kill()
        process.wait()
        process.stdout.close()
        done = len(files_of(platform.lake))
        assert 0 < done <= 6
        if done == 6:
            break
    expected = files_of(undisturbed)
    assert {shard: expected[shard] for shard in files_of(platform.lake)} == files_of(platform.lake)

    tasks = filter_tasks(platform.lake, list(known_shards(platform.lake)), Storage())
    outcomes = list(filter_shards(tasks, workers=1))
    assert sum(outcome.result.is_reused for outcome in outcomes) >= done
    assert files_of(platform.lake) == expected
    assert list((tmp_path / "lake" / "mappool" / "shard_maps").glob(".*")) == []
