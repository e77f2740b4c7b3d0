"""A program with all the processes that it starts, ended together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

GRACE_SECONDS = 2.0  # for what cleans up after itself when told to end, as multiprocessing's keeper of semaphores does
POLL_SECONDS = 0.01


class ProcessGroup:
    """A program in a session, and so a process group, of its own.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    first_line : bytes
        Written to its standard input, which then stays open until :meth:`end`, or until this process ends, however
        it does: the program is to end its group with it.
    log : Path
        What the group prints is appended here. The file is locked as long as any of its processes runs: two groups
        that share it are never there at once.

    Raises
    ------
    BlockingIOError
        Another group uses the log.
    """

    def __init__(self, command: Sequence[str], first_line: bytes, log: Path) -> None:
        self._log = log.open("ab")  # to ask for the lock with; not by name, which may be gone by then
        with log.open("ab") as output:
            _lock(output.fileno(), GRACE_SECONDS)  # inherited with this open file by all of the group
            self._leader = subprocess.Popen(  # noqa: S603 - the caller's command; no shell
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        assert self._leader.stdin is not None
        self._input = self._leader.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._input.write(first_line)
            self._input.flush()

    @property
    def is_running(self) -> bool:
        """Whether the program itself, the group's leader, still runs."""
        return self._leader.poll() is None

    def end(self) -> None:
        """End whatever is left of the group, and wait for it; to be called once or more."""
        if self._log.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        for order in (signal.SIGTERM, signal.SIGKILL):
            # The leader may be gone: the group keeps its number, which no other process is given, while it has members.
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter: macOS, of zombies
                os.killpg(self._leader.pid, order)
            if self._ends_within(GRACE_SECONDS):
                break
        self._leader.wait()
        self._log.close()

    def _ends_within(self, seconds: float) -> bool:
        # Not killpg(…, 0): a process that has ended, but whose parent has not asked after it yet, counts there.
        try:
            _lock(self._log.fileno(), seconds)
        except BlockingIOError:
            return False
        return True


def _lock(file: int, seconds: float) -> None:
    """Lock an open file, waiting for others that hold the lock; BlockingIOError where they do not let go in time."""
    until = time.perf_counter() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.perf_counter() > until:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return
