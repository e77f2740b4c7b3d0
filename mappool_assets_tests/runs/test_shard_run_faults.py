"""Dagster runs with two workers in which a worker, or the run itself, is killed while a shard is half read."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import dagster as dg
import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_shards import known_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets_tests.range_server import From, fine, serve
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.runs.test_killed_run import files_of

SHARD_MAPS = dg.AssetKey(["mappool", "shard_maps"])
SHARDS = 5

SCRIPT = """
import sys
from pathlib import Path
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.runs.test_shard_run_faults import instance_in

if __name__ == "__main__":
    folder, pool, *shards = sys.argv[1:]
    with instance_in(Path(folder)) as instance:
        platform = platform_in(Path(folder), instance, MAPPOOL_POOL=pool, MAPPOOL_WORKERS="2")
        platform.materialise("shard_maps", shards=shards)
"""


def instance_in(folder):
    """An instance whose event log other processes see too."""
    (folder / "instance").mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(str(folder / "instance"), overrides={"telemetry": {"enabled": False}})


@pytest.fixture
def served(tmp_path, trained):
    """A platform whose pool is a server's, and that server."""
    shutil.copytree(trained, tmp_path / "lake")
    (tmp_path / "pool").mkdir()
    with serve(tmp_path / "pool") as server, instance_in(tmp_path) as instance:
        yield platform_in(tmp_path, instance, MAPPOOL_POOL=server.url, MAPPOOL_WORKERS="2"), server


@pytest.fixture
def listed(served, tmp_path):
    """Five shards, listed; and what is asked for and what becomes of them where nothing goes wrong."""
    platform, server = served
    for seed in range(SHARDS):
        platform.add_shard(seed, rows=600)
    assert platform.materialise("pool_shards").success
    server.requests.clear()
    shutil.copytree(platform.lake.root, tmp_path / "undisturbed")
    undisturbed = Lake(str(tmp_path / "undisturbed"))
    tasks = filter_tasks(undisturbed, list(known_shards(undisturbed)), Storage())
    assert [outcome.error for outcome in filter_shards(tasks, workers=1)] == [None] * SHARDS
    asked, server.requests = server.requests, []
    return platform, server, platform.instance.get_dynamic_partitions("pool_shard"), files_of(undisturbed), asked


def in_the_middle(platform, shard):
    """A shard's npz, and a byte of it that is asked for when ``l14_img`` is half read, its maps half written."""
    npz = platform.folder / "pool" / f"{shard}.npz"
    with zipfile.ZipFile(npz) as archive:
        member = archive.getinfo("l14_img.npy")
    return npz.name, member.header_offset + member.file_size // 2


def kill_client(handler):
    """Kill the worker that asks, as the kernel does where memory is short."""
    os.kill(client_of(handler), signal.SIGKILL)
    handler.close_connection = True
    return True


def client_of(handler):
    """Return the id of the worker process at the other end of a connection, from what Linux tells of sockets."""
    ends = tuple(f"0100007F:{port:04X}" for port in (handler.client_address[1], handler.server.server_port))
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    (wanted,) = (f"socket:[{socket[9]}]" for socket in sockets if (socket[1], socket[2]) == ends)
    for worker in multiprocessing.active_children():
        for file in Path(f"/proc/{worker.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if str(file.readlink()) == wanted:
                    return worker.pid
    raise AssertionError("no worker has this connection")


def shard_of(request):
    """Return the shard that a request is for."""
    return request.split(".")[0].strip("/")


def npz_requests(requests):
    """Return those for the npz: how Arrow's threads cut a parquet into ranges differs from time to time."""
    return [request for request in requests if ".npz" in request]


def recorded(platform, shard):
    """Every materialisation of a shard's partition."""
    wanted = dg.AssetRecordsFilter(asset_key=SHARD_MAPS, asset_partitions=[shard])
    records = platform.instance.fetch_materializations(wanted, limit=10).records
    return [record.asset_materialization.metadata for record in records]


def hidden_files(platform):
    return [path for path in (platform.folder / "lake").rglob(".*") if path.is_file()]


def test_a_worker_killed_once_costs_nothing_but_its_shard_alone_again(listed):
    platform, server, shards, expected, undisturbed_requests = listed
    deadly = shards[0]
    server.always = killing = From(*in_the_middle(platform, deadly), kill_client)
    assert platform.materialise("shard_maps", shards=shards).success
    assert killing.has_begun
    assert files_of(platform.lake) == expected
    assert {shard: len(recorded(platform, shard)) for shard in shards} == dict.fromkeys(shards, 1)
    assert hidden_files(platform) == []
    assert platform.lake.partitions("mappool/shard_failures") == []
    stretches = [(shard, list(requests)) for shard, requests in itertools.groupby(server.requests, shard_of)]
    last = npz_requests([requests for shard, requests in stretches if shard == deadly][-1])
    whole = npz_requests([request for request in undisturbed_requests if shard_of(request) == deadly])
    assert sorted(last[-len(whole) :]) == sorted(whole)  # from its first byte, with no other shard in between


def test_a_shard_that_kills_its_worker_twice_fails_alone_and_a_second_run_does_only_it(listed):
    platform, server, shards, expected, _ = listed
    deadly = shards[2]
    place = in_the_middle(platform, deadly)
    server.always = lambda handler: handler.asks_for(*place) and kill_client(handler)
    result = platform.materialise("shard_maps", shards=shards)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "1 of 5 partitions failed" in failure.event_specific_data.user_failure_data.description
    assert f"{deadly}: The worker process was killed" in failure.event_specific_data.user_failure_data.description
    others = set(shards) - {deadly}
    assert platform.instance.get_materialized_partitions(SHARD_MAPS) == others
    assert files_of(platform.lake) == {shard: expected[shard] for shard in others}
    (row,) = platform.lake.read_table("mappool/shard_failures", deadly).to_pylist()
    assert (row["error"], "memory" in row["action"]) == ("WorkerKilled", True)

    server.always = fine
    server.requests.clear()
    assert platform.materialise("shard_maps", shards=shards).success
    assert set(map(shard_of, server.requests)) == {deadly}
    assert files_of(platform.lake) == expected
    assert hidden_files(platform) == []
    assert platform.lake.partitions("mappool/shard_failures") == []


def test_a_run_that_is_killed_keeps_what_it_recorded_and_a_second_run_does_the_rest(listed, tmp_path):
    platform, server, shards, expected, _ = listed
    slow = shards[2]
    place, held = in_the_middle(platform, slow), set()

    def hold(handler):
        if not handler.asks_for(*place):
            return False
        held.add(handler)
        handler.connection.recv(1)  # nothing comes but the end of the connection
        held.remove(handler)
        handler.close_connection = True
        return True

    server.always = hold
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen([sys.executable, str(script), str(tmp_path), server.url, *shards])
    try:
        others = set(shards) - {slow}
        assert wait_for(lambda: held and platform.instance.get_materialized_partitions(SHARD_MAPS) == others)
    finally:
        run.kill()
        run.wait()
    assert wait_for(lambda: not held, seconds=10.0)  # the worker has ended too
    assert files_of(platform.lake) == {shard: expected[shard] for shard in others}

    server.always = fine
    server.requests.clear()
    assert platform.materialise("shard_maps", shards=shards).success
    assert set(map(shard_of, server.requests)) == {slow}
    assert {shard: recorded(platform, shard)[0]["is_reused"].value for shard in shards} == {
        shard: shard != slow for shard in shards
    }
    assert files_of(platform.lake) == expected
    assert hidden_files(platform) == []


def wait_for(look, seconds=120.0):
    until = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return found
