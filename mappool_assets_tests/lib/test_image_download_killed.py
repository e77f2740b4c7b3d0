"""A parent that is ended, however it is, takes its download along, and the next call goes on where it was."""

import contextlib
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.image_download import downloads
from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.waiting_downloads import FILES, ROWS, Gate, group_started_by, members

RULES = FetchRules(allow_private_addresses=True)
PARENT = """
import signal
import sys
from pathlib import Path
import pyarrow.parquet as pq
from mappool_assets.lib.image_download import downloads
from mappool_assets.lib.web.web_fetch import FetchRules

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes what it runs in the background ignore it
downloads.ROWS_A_SUB_SHARD = int(sys.argv[3])
requests, rules = pq.read_table(sys.argv[1]), FetchRules(allow_private_addresses=True)
for download in downloads.download_images(requests, Path(sys.argv[2]), rules):
    print(download.key, flush=True)
"""


@contextlib.contextmanager
def downloading_parent(gate, folder):
    """Yield a process that has taken the first three files and waits for the next, and its download's group."""
    pq.write_table(gate.requests, folder / "requests.parquet")
    command = [sys.executable, "-c", PARENT, str(folder / "requests.parquet"), str(folder / "work"), str(ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert [parent.stdout.readline() for _ in range(ROWS)] == ["0\n", "1\n", "2\n"]
        assert gate.is_waited_at.wait(60)
        yield parent, group_started_by(parent.pid)


def ends(group):
    until = time.perf_counter() + 30
    while members(group) and time.perf_counter() < until:
        time.sleep(0.02)
    return not members(group)


@pytest.fixture
def gate():
    with running() as server:
        gate = Gate(server)
        yield gate
        gate.is_open.set()


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_its_processes_end_with_a_parent_that_is_told_to_end(gate, tmp_path, order):
    with downloading_parent(gate, tmp_path) as (parent, group):
        parent.send_signal(order)
        assert parent.wait(60) != 0
        assert ends(group)


def test_a_killed_parent_leaves_no_process_and_the_next_call_goes_on(gate, tmp_path, monkeypatch):
    with downloading_parent(gate, tmp_path) as (parent, group):
        parent.kill()
        assert parent.wait(60) == -signal.SIGKILL
        assert ends(group)
    monkeypatch.setattr(downloads, "ROWS_A_SUB_SHARD", ROWS)
    gate.server.requests.clear()
    gate.is_open.set()
    assert list(download_images(gate.requests, tmp_path / "work", RULES)) == gate.expected
    assert sorted(gate.server.requests) == [f"/{index}" for index in range(ROWS, FILES)]
