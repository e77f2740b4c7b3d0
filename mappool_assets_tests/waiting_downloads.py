"""What the tests of downloads' processes share: a server that makes them wait, and a look at what runs (Linux)."""

import threading
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mappool_assets.lib.image_download.engine import PROGRAM

FILES, ROWS = 9, 3  # in three sub-shards


class Gate:
    """A server of nine files, of which those from the fourth on wait until it is opened."""

    def __init__(self, server):
        self.server = server
        self.is_open = threading.Event()
        self.is_waited_at = threading.Event()
        urls = [server.serve(f"/{index}", b"%d" % index * 5000) for index in range(FILES)]
        for index in range(ROWS, FILES):
            server.routes[f"/{index}"] = self.behind(server.routes[f"/{index}"])
        keys = [str(index) for index in range(FILES)]
        self.requests = pa.table({"key": keys, "url": urls, "sha256": pa.nulls(FILES, pa.string())})
        self.expected = [(key, "ok", "", key.encode() * 5000) for key in keys]

    def behind(self, route):
        def wait(handler):
            self.is_waited_at.set()
            assert self.is_open.wait(60)
            route(handler)

        return wait


class Process(NamedTuple):
    pid: int
    parent: int
    group: int
    command: bytes


def running_processes():
    """Yield all processes that have not ended."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                command = (folder / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in "ZX":
                yield Process(int(folder.name), int(parent), int(group), command)


def members(group):
    """Return the pids of a group's processes."""
    return {process.pid for process in running_processes() if process.group == group}


def workers(group):
    """Return the pids of those that multiprocessing started."""
    return {p.pid for p in running_processes() if p.group == group and b"multiprocessing-fork" in p.command}


def group_started_by(parent):
    """Return the group of the download that a process has started."""
    (leader,) = (p for p in running_processes() if p.parent == parent and PROGRAM.encode() in p.command)
    assert leader.group == leader.pid
    return leader.group
