"""Dagster as ``make ui`` starts it, web server, daemon and code servers, on a port of loopback (Linux)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.ui_queries import ui_query

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
# At its default, info, the daemon prints all keys of a backfill every thirty seconds, 34 bytes a shard.
LOG_LEVEL = "warning"
STARTS_WITHIN_SECONDS = 180
ANSWERS_WITHIN_SECONDS = 60
STOPS_WITHIN_SECONDS = 60
# What a process is, by a part of its command line.
ROLES = {"dagster_webserver": "web server", "dagster._daemon": "daemon", "dagster": "code servers and launcher"}


class Answer(NamedTuple):
    """What the web server answered, and what that took."""

    data: dict[str, Any]
    seconds: float
    size_bytes: int


@dataclass(frozen=True)
class Services:
    """Dagster, running.

    Attributes
    ----------
    url : str
        Of the web server.
    log : Path
        What all of it prints.
    launcher : int
        The process that started the others.
    """

    url: str
    log: Path
    launcher: int

    def ask(self, operation: str, variables: Mapping[str, Any]) -> Answer:
        """Send one of the UI's operations."""
        document = {"operationName": operation, "query": ui_query(operation), "variables": variables}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/graphql", json.dumps(document).encode(), headers)
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_SECONDS) as response:
            body = response.read()
        seconds = time.perf_counter() - began
        answer = json.loads(body)
        assert "errors" not in answer, f"{operation}: {answer['errors']}"
        return Answer(answer["data"], seconds, len(body))

    def peak_bytes(self) -> dict[str, int]:
        """Return the most memory that the processes of each role ever held."""
        peaks = dict.fromkeys(ROLES.values(), 0)
        for process in _family(self.launcher):
            with contextlib.suppress(FileNotFoundError):
                command = (Path("/proc") / str(process) / "cmdline").read_text().replace("\0", " ")
                found = re.search(r"VmHWM:\s+(\d+) kB", (Path("/proc") / str(process) / "status").read_text())
                role = next((role for part, role in ROLES.items() if part in command), None)
                if role and found:
                    peaks[role] += int(found[1]) * 1024
        return peaks


@contextlib.contextmanager
def running_dagster(folder: Path, environment: Mapping[str, str]) -> Iterator[Services]:
    """Start Dagster in a folder, wait until it answers, and stop it with all that it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(port)]
    command = [sys.executable, "-m", "dagster", "dev", "--log-level", LOG_LEVEL, *where]
    log = folder / "dagster.log"
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=output, stderr=output, preexec_fn=_obey_interrupts
        )
    try:
        services = Services(f"http://127.0.0.1:{port}", log, launcher.pid)
        _wait_for(launcher, services)
        yield services
    finally:
        family = _family(launcher.pid)
        launcher.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.wait(STOPS_WITHIN_SECONDS)
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        launcher.wait()


def _obey_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background


def _wait_for(launcher: subprocess.Popen[bytes], services: Services) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and launcher.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{services.url}/server_info", timeout=ANSWERS_WITHIN_SECONDS).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"Dagster did not start: {services.log.read_text()[-2000:]}")


def _family(ancestor: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # PID (COMMAND) STATE PARENT …, and the command may hold spaces and brackets.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    family = [ancestor]
    for process in family:
        family.extend(children.get(process, []))
    return family
