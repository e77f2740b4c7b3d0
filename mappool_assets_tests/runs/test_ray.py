"""Shards on a Ray cluster: the same bytes from a whole run, and from two nodes of which one is killed in mid-run."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from itertools import chain, repeat

import pytest

import mappool_assets
from mappool_assets.lib import ray_workers
from mappool_assets.lib.errors import BadEnvironment, BadSetting, BadShard, SourceUnavailable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ray_workers import ASK_AFTER, FEWEST_TASKS, TASKS_PER_CPU, run_tasks_on_ray
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets.lib.workers import WorkerKilled
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.runs.test_killed_run import files_of
from mappool_assets_tests.runs.test_shard_runs import SHARD_MAPS, metadata_of

SHARDS = 12
# A loopback address that Ray does not take for the machine's own, as it does 127.0.0.1.
NODE = {"object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.2", "include_dashboard": False}
WITHOUT = {"include_log_monitor": False, "no_monitor": True}  # processes that tests do not need


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node, which also takes clients and is the one that ``auto`` finds."""
    ray, cluster_utils = pytest.importorskip("ray"), pytest.importorskip("ray.cluster_utils")
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it: their paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {**NODE, "num_cpus": 1, "ray_client_server_port": free_port(), **WITHOUT}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            ray.shutdown()  # where a test failed in mid-run; a cluster with a driver would not end
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def outcomes_by_client(cluster):
    """What came of tasks that report or misbehave, sent from outside the cluster."""
    address = f"ray://127.0.0.2:{cluster.head_node._ray_params.ray_client_server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_workers, "RETRIES", 1)  # each is another worker to start
        return {outcome.task: outcome for outcome in run_tasks_on_ray(report_or_misbehave, range(5), address)}


@pytest.fixture
def lakes(platform, tmp_path):
    """A lake filtered by the process pool, one like it still to be filtered, and their shards as partitions go."""
    for seed in range(SHARDS):
        platform.add_shard(seed, rows=200)
    assert platform.materialise("pool_shards").success
    shards = list(platform.instance.get_dynamic_partitions("pool_shard"))
    shutil.copytree(platform.lake.root, tmp_path / "by_processes")
    by_processes = Lake(str(tmp_path / "by_processes"))
    outcomes = filter_shards(filter_tasks(by_processes, shards, Storage()), workers=1)
    assert [outcome.error for outcome in outcomes] == [None] * SHARDS
    return by_processes, platform.lake, shards


def test_a_whole_run_on_the_cluster_records_each_shard_once_and_a_bad_one_fails_alone(
    cluster, platform, lakes, tmp_path, monkeypatch
):
    by_processes, lake, (*good, bad) = lakes
    expected = {shard: content for shard, content in files_of(by_processes).items() if shard != bad}
    platform.spoil(bad)
    assert platform.materialise("pool_shards").success
    monkeypatch.chdir(tmp_path)  # a lake named relatively is the same for nodes that work elsewhere
    on_ray = platform_in(tmp_path, platform.instance, MAPPOOL_LAKE="lake", MAPPOOL_RAY_ADDRESS=cluster.address)

    result = on_ray.materialise("shard_maps", shards=[*good, bad])
    (failure,) = result.get_step_failure_events()
    description = failure.event_specific_data.user_failure_data.description
    assert "1 of 12 partitions failed" in description
    assert f"{bad}: The npz cannot be read as a zip file" in description
    assert recorded(platform.instance) == sorted(good)
    assert files_of(lake) == expected
    assert all(metadata_of(platform, shard)[0]["seconds"] > 0 for shard in good)
    assert lake.partitions("mappool/shard_failures") == [bad]
    assert all(check.passed for check in result.get_asset_check_evaluations())

    nowhere = platform_in(tmp_path, platform.instance, MAPPOOL_LAKE="lake", MAPPOOL_RAY_ADDRESS="127.0.0.1:1")
    assert nowhere.materialise("shard_maps", shards=good).success  # nothing to do: no cluster is needed
    assert all(metadata_of(platform, shard)[0]["is_reused"] for shard in good)


def recorded(instance):
    """The partition of every materialisation there is."""
    records = instance.fetch_materializations(SHARD_MAPS, limit=100).records
    return sorted(record.asset_materialization.partition for record in records)


def test_a_node_killed_in_mid_run_costs_no_shard(cluster, lakes, tmp_path):
    """Two shards are under way on it: one not begun, one whose maps are written but not reported."""
    by_processes, lake, shards = lakes
    doomed = cluster.add_node(**NODE, num_cpus=2)
    marks = tmp_path / "marks"
    marks.mkdir()
    tasks = [(marks, doomed.node_id, task) for task in filter_tasks(lake, shards, Storage())]
    outcomes = run_tasks_on_ray(filter_or_hang, tasks, cluster.address)
    first = next(outcomes)  # from the node that stays
    wait_for(lambda: (marks / "hangs_before").exists() and (marks / "hangs_after").exists())
    cluster.remove_node(doomed, allow_graceful=False)
    outcomes = [first, *outcomes]

    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    assert sorted(outcome.result for outcome in outcomes) == sorted(shards)
    assert files_of(lake) == files_of(by_processes)
    starts = [mark.name.split("-")[:2] for mark in marks.glob("*-*-*")]
    lost = sorted(shard for node, shard in starts if node == doomed.node_id)
    assert len(set(lost)) == 2
    assert Counter(shard for _, shard in starts) == Counter(shards) + Counter(lost)  # these twice, all others once


def filter_or_hang(marked_task):
    """Filter a shard and return its key; on the node that will be killed hang instead, before the work or after it."""
    import ray

    marks, doomed, task = marked_task
    node = ray.get_runtime_context().get_node_id()
    (marks / f"{node}-{task.key}-{uuid.uuid4()}").touch()
    if node == doomed:
        try:
            (marks / "hangs_before").touch(exist_ok=False)
        except FileExistsError:
            list(filter_shards([task], workers=1))
            (marks / "hangs_after").touch()
        threading.Event().wait(300)
        raise TimeoutError("the node was not killed")
    (outcome,) = filter_shards([task], workers=1)
    if outcome.error:
        raise outcome.error
    return outcome.task.key


def test_an_error_or_a_killed_worker_costs_its_task_only(outcomes_by_client):
    outcomes = outcomes_by_client
    assert sorted(outcomes) == list(range(5))
    assert isinstance(outcomes[2].error, BadShard)
    assert outcomes[2].error.where == "task 2"
    assert isinstance(outcomes[3].error, WorkerKilled)
    assert "memory" in str(outcomes[3].error)
    assert isinstance(outcomes[4].error, BadEnvironment)
    assert "cannot pickle" in str(outcomes[4].error)
    assert [outcomes[task].error for task in (0, 1)] == [None, None]


def test_this_program_travels_to_the_nodes_and_uses_one_core(outcomes_by_client):
    function_file, package_file, threads = outcomes_by_client[0].result
    assert "runtime_resources" in function_file  # the copy that was sent, not ours
    assert "runtime_resources" in package_file
    assert threads == {1}


def report_or_misbehave(task):
    if task == 2:
        raise BadShard("bad", where="task 2", rule="r", got="g", action="a")
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 4:
        return (nothing for nothing in ())  # a result that cannot be sent
    import numpy  # noqa: F401  its BLAS has threads
    import threadpoolctl

    return __file__, mappool_assets.__file__, {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}


def test_few_tasks_are_under_way_more_when_the_cluster_has_grown(cluster, monkeypatch):
    import ray

    sizes = chain([{"CPU": 1}], repeat({"CPU": 40}))
    answers, submitted = [], []
    monkeypatch.setattr(ray, "cluster_resources", lambda: answers.append(next(sizes)) or answers[-1])
    outcomes = run_tasks_on_ray(square, (submitted.append(task) or task for task in range(1_000)), "auto")
    assert next(outcomes).error is None
    assert len(submitted) <= FEWEST_TASKS + 1
    results = [next(outcomes).result for _ in range(2 * ASK_AFTER)]
    assert FEWEST_TASKS + 3 * ASK_AFTER < len(submitted) <= TASKS_PER_CPU * 40 + 3 * ASK_AFTER
    assert len(answers) <= 3  # not at every task: it takes longer than to submit one
    assert set(results) <= {task * task for task in submitted}
    outcomes.close()  # ends what is under way and leaves the cluster
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["", "somewhere", "ray://", "http://localhost:1", "localhost:port"])
def test_an_address_that_is_none(address):
    with pytest.raises(BadSetting, match="ray://host:port"):
        next(run_tasks_on_ray(square, [1], address))


@pytest.mark.filterwarnings("ignore:Ray Client connection timed out")
@pytest.mark.parametrize(("scheme", "got"), [("", "no answer in 2 s"), ("ray://", "connection timeout")])
def test_a_cluster_that_does_not_answer(scheme, got, monkeypatch):
    client = pytest.importorskip("ray.util.client.worker")
    monkeypatch.setattr(ray_workers, "CONNECT_SECONDS", 2.0)
    monkeypatch.setattr(client, "INITIAL_TIMEOUT_SEC", 0.5)
    monkeypatch.setattr(client, "MAX_TIMEOUT_SEC", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SourceUnavailable, match=got):
        next(run_tasks_on_ray(square, [1], f"{scheme}127.0.0.1:{server.getsockname()[1]}"))


def test_without_ray_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadEnvironment, match=r"pip install 'mappool-assets\[ray\]'"):
        next(run_tasks_on_ray(square, [1], "auto"))


def square(task):
    return task * task


def free_port():
    with socket.create_server(("127.0.0.2", 0)) as server:
        return server.getsockname()[1]


def wait_for(look, seconds=120.0):
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.05)
