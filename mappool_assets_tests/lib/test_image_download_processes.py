"""No process outlives its download, and one that is killed costs time alone."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.image_download import downloads, process_group
from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.image_download.engine import DownloadBroken
from mappool_assets.lib.image_download.process_group import ProcessGroup
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.loopback_server import answer, running
from mappool_assets_tests.waiting_downloads import ROWS, Gate, group_started_by, members, running_processes, workers

SECRET = "a-password-of-some-proxy"
RULES = FetchRules(allow_private_addresses=True, user_agent=SECRET)


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(downloads, "ROWS_A_SUB_SHARD", ROWS)
    with running() as server:
        gate = Gate(server)
        yield gate
        gate.is_open.set()


def test_closing_the_iterator_ends_all_processes(gate, tmp_path):
    found = download_images(gate.requests, tmp_path, RULES, processes=2)
    assert next(found) == gate.expected[0]
    assert gate.is_waited_at.wait(60)
    group = group_started_by(os.getpid())
    assert len(workers(group)) == 3  # two that fetch, and img2dataset's logger
    for pid in members(group):
        for what in ("cmdline", "environ"):
            assert SECRET.encode() not in (Path("/proc") / str(pid) / what).read_bytes()
    assert SECRET not in "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(BadSetting, match="in use"):
        next(download_images(gate.requests, tmp_path, RULES))
    found.close()
    assert members(group) == set()


def test_an_exception_where_images_are_taken_ends_all_processes(gate, tmp_path):
    groups = []

    def take():
        for _ in download_images(gate.requests, tmp_path, RULES):
            groups.append(group_started_by(os.getpid()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take()
    assert [members(group) for group in groups] == [set()]


@pytest.mark.parametrize("victim", ["leader", "worker"])
def test_a_process_that_was_killed_costs_one_more_run(gate, tmp_path, victim):
    found = download_images(gate.requests, tmp_path, RULES)
    first = [next(found) for _ in range(ROWS)]
    assert gate.is_waited_at.wait(60)
    group = group_started_by(os.getpid())
    for pid in [group] if victim == "leader" else workers(group):
        os.kill(pid, signal.SIGKILL)
    gate.server.requests.clear()
    gate.is_open.set()
    assert first + list(found) == gate.expected
    assert members(group) == set()
    assert [path for path in gate.server.requests if int(path[1:]) < ROWS] == []


def test_two_runs_that_were_killed_are_an_error(gate, tmp_path):
    killed, lock = [], threading.Lock()

    def kill(handler):
        with lock:
            group = group_started_by(os.getpid())
            os.kill(group, signal.SIGKILL)  # the leader
            killed.append(group)
        answer(handler, 200)

    gate.server.routes["/4"] = kill
    found = download_images(gate.requests, tmp_path, RULES)
    assert [next(found).key for _ in range(ROWS)] == ["0", "1", "2"]
    with pytest.raises(DownloadBroken, match=r"sub-shards 00001, 00002.*2 runs"):
        next(found)
    assert len(killed) == 2
    assert [members(group) for group in killed] == [set(), set()]


def test_what_does_not_end_when_told_to_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "GRACE_SECONDS", 0.2)
    log = tmp_path / "log"
    stubborn = "trap '' TERM; sleep 61 & read line; echo $line; cat; sleep 61"
    group = ProcessGroup(["sh", "-c", stubborn], b"told\n", log)
    while b"told" not in log.read_bytes():
        time.sleep(0.01)
    (sleeping,) = (p for p in running_processes() if p.command == b"sleep\x0061\x00" and p.group in of_this_process())
    assert group.is_running
    group.end()
    assert not group.is_running
    assert members(sleeping.group) == set()


def of_this_process():
    return {process.pid for process in running_processes() if process.parent == os.getpid()}


def test_a_program_that_ends_by_itself_is_no_trouble(tmp_path):
    group = ProcessGroup(["true"], b"unread\n", tmp_path / "log")
    while group.is_running:
        time.sleep(0.01)
    group.end()
    group.end()
    with pytest.raises(FileNotFoundError):
        ProcessGroup(["no such program"], b"", tmp_path / "log")
