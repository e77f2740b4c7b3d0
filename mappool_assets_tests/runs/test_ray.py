"""The same shards on a Ray cluster of two nodes: the same bytes, also where a node is killed in mid-run."""

import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from mappool_assets.lib import ray_workers
from mappool_assets.lib.errors import BadEnvironment, BadSetting, BadShard, SourceUnavailable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import known_shards, write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ray_workers import FEWEST_TASKS, run_tasks_on_ray
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets.lib.workers import WorkerKilled
from mappool_assets_tests.runs.test_killed_run import files_of

SHARDS = 12
# A loopback address that Ray does not take for the machine's own, as it does 127.0.0.1.
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.2", "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose first node stays; tests add the second."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it: their paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
        try:
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def second_node(cluster):
    node = cluster.add_node(**NODE)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


@pytest.fixture
def lakes(platform, tmp_path):
    """A lake filtered by the process pool, and one like it still to be filtered."""
    for seed in range(SHARDS):
        platform.add_shard(seed, rows=200)
    write_pool_shards(platform.lake, list_pool(str(platform.folder / "pool"), Storage()))
    shutil.copytree(platform.lake.root, tmp_path / "by_processes")
    by_processes = Lake(str(tmp_path / "by_processes"))
    assert [outcome.error for outcome in filter_shards(tasks_of(by_processes), workers=1)] == [None] * SHARDS
    return by_processes, platform.lake


def tasks_of(lake):
    return filter_tasks(lake, list(known_shards(lake)), Storage())


def test_the_same_bytes_as_from_the_process_pool(cluster, second_node, lakes, tmp_path, monkeypatch):
    by_processes, lake = lakes
    monkeypatch.chdir(tmp_path)  # a lake named relatively is the same for nodes that work elsewhere
    relative = Lake(Path(lake.root).relative_to(tmp_path).as_posix())
    outcomes = list(filter_shards(tasks_of(relative), workers=1, ray_address=cluster.address))
    assert [outcome.error for outcome in outcomes] == [None] * SHARDS
    assert files_of(lake) == files_of(by_processes)
    assert all(outcome.seconds > 0 for outcome in outcomes)
    again = list(filter_shards(tasks_of(lake), workers=1, ray_address="127.0.0.1:1"))  # nothing to do: no cluster
    assert [outcome.result.is_reused for outcome in again] == [True] * SHARDS


def test_a_node_killed_in_mid_run_costs_no_shard(cluster, second_node, lakes, tmp_path):
    by_processes, lake = lakes
    starts = tmp_path / "starts"
    starts.mkdir()

    def kill_once_it_works():
        wait_for(lambda: list(starts.glob(f"{second_node.node_id}-*")))
        cluster.remove_node(second_node, allow_graceful=False)

    killer = threading.Thread(target=kill_once_it_works)
    killer.start()
    outcomes = list(run_tasks_on_ray(mark_and_filter, [(starts, task) for task in tasks_of(lake)], cluster.address))
    killer.join()
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    assert sorted(outcome.result for outcome in outcomes) == sorted(known_shards(lake))
    assert files_of(lake) == files_of(by_processes)
    assert len(list(starts.iterdir())) > SHARDS  # what was under way on the node that died began twice


def test_an_error_or_a_killed_worker_costs_its_task_only(cluster):
    outcomes = {outcome.task: outcome for outcome in run_tasks_on_ray(fail_or_die, range(6), cluster.address)}
    assert sorted(outcomes) == list(range(6))
    assert isinstance(outcomes[3].error, BadShard)
    assert outcomes[3].error.where == "task 3"
    assert isinstance(outcomes[4].error, WorkerKilled)
    assert "memory" in str(outcomes[4].error)
    assert isinstance(outcomes[5].error, BadEnvironment)
    assert "cannot pickle" in str(outcomes[5].error)
    assert {task: outcomes[task].result for task in (0, 1, 2)} == {0: 0, 1: 1, 2: 4}


def test_few_tasks_are_under_way_however_many_there_are(cluster):
    asked = []
    tasks = (asked.append(task) or task for task in range(100))
    outcomes = run_tasks_on_ray(square, tasks, cluster.address)
    next(outcomes)
    assert len(asked) <= FEWEST_TASKS + 1
    outcomes.close()  # ends what is under way and leaves the cluster
    assert len(list(run_tasks_on_ray(square, range(3), cluster.address))) == 3


def test_this_program_travels_to_the_nodes_and_uses_one_core(cluster, tmp_path, monkeypatch):
    (tmp_path / "travelling").mkdir()
    (tmp_path / "travelling" / "__init__.py").write_text(
        "import threadpoolctl, mappool_assets\n"
        "def look(task):\n"
        "    threads = {pool['num_threads'] for pool in threadpoolctl.threadpool_info()}\n"
        "    return __file__, mappool_assets.__file__, threads\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    look = importlib.import_module("travelling").look
    try:
        (outcome,) = run_tasks_on_ray(look, [0], cluster.address)
    finally:
        del sys.modules["travelling"]
    function_file, package_file, threads = outcome.result
    assert "runtime_resources" in function_file  # the copy that was sent, not ours
    assert "runtime_resources" in package_file
    assert threads == {1}


@pytest.mark.parametrize("address", ["", "somewhere", "ray://", "http://localhost:1", "localhost:port"])
def test_an_address_that_is_none(address):
    with pytest.raises(BadSetting, match="ray://host:port"):
        next(run_tasks_on_ray(square, [1], address))


def test_a_cluster_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(ray_workers, "CONNECT_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SourceUnavailable, match="no answer in 4 s"):
        next(run_tasks_on_ray(square, [1], f"127.0.0.1:{server.getsockname()[1]}"))


def test_without_ray_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadEnvironment, match=r"pip install 'mappool-assets\[ray\]'"):
        next(run_tasks_on_ray(square, [1], "auto"))


def square(task):
    return task * task


def fail_or_die(task):
    if task == 3:
        raise BadShard("bad", where="task 3", rule="r", got="g", action="a")
    if task == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 5:
        return (nothing for nothing in ())  # a result that cannot be sent
    return task * task


def mark_and_filter(marked_task):
    """Filter one shard, slowly, and leave a mark at the start; returns its key."""
    import ray

    starts, task = marked_task
    (starts / f"{ray.get_runtime_context().get_node_id()}-{task.key}-{uuid.uuid4()}").touch()
    time.sleep(0.3)
    (outcome,) = filter_shards([task], workers=1)
    if outcome.error:
        raise outcome.error
    return outcome.task.key


def wait_for(look, seconds=30.0):
    until = time.monotonic() + seconds
    while not look() and time.monotonic() < until:
        time.sleep(0.05)
