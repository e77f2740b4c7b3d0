"""Something made of each page of a crawl file, in a child process that no page can take down for good.

A child reads the file and works on its pages one after the other. A page that exceeds its budget ends the child; the
next child begins right after it, and nothing that was handed on is done again. What becomes of a page follows from the
page, as far as its time and memory are not just at the limit:

* the timer of its processor time rang (SIGPROF): ``over_budget``, at once;
* it asked for too much memory: ``over_memory``; it crashed the parser (SIGSEGV, SIGABRT, …; some libraries abort where
  they get no memory): ``parser_crashed``. Only where it was the first page of its child: else it is tried again in a
  fresh one, for earlier pages may have left too little memory, or broken some;
* the child was ended from outside (SIGKILL of the kernel's out-of-memory killer, SIGTERM): never the page's fault. It
  is tried again; the third time without progress the whole file fails, with nothing written.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from multiprocessing import Pipe
from typing import Any

from mappool_assets.lib.crawl.warc_pages import RefusedRecord
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.web_documents.page_messages import (
    OVER_MEMORY_STATUS,
    Begun,
    Ended,
    Failed,
    Opened,
    PageOrder,
    Result,
)
from mappool_assets.lib.workers import WorkerKilled

PROGRAM = "mappool_assets.lib.web_documents.page_child"
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
MOST_KILLS = 3  # of children, from outside, without progress
GRACE_SECONDS = 5.0  # for a child that has closed its connection to end, with a status that says why


class PageProcess:
    """The pages of a crawl file, read and worked on by child processes, one at a time.

    Parameters
    ----------
    order : PageOrder
        What to read, and what to make of it.

    Attributes
    ----------
    file_version : str
        Of the file; empty before the first result.
    file_bytes, bytes_read : int
        The file's size, and what was read of it by children that lived to the end.
    """

    def __init__(self, order: PageOrder) -> None:
        self._order = order
        self._next_offset = order.start
        self._under_way: Begun | None = None
        self._pages_of_child = 0
        self._kills = 0
        self._rest_offset = -1  # of what is left of a record that could not be read: no record of its own
        self._is_finished = False
        self.file_version, self.file_bytes, self.bytes_read = "", 0, 0

    def results(self) -> Generator[Any | RefusedRecord]:
        """Yield what was made of each page, or why nothing was, in the file's order.

        To be closed where it is left early: the child ends with it.

        Raises
        ------
        SourceChanged, SourceUnavailable, MissingInput, BadSetting
            See :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
        WorkerKilled
            Children were ended from outside again and again.
        """
        while not self._is_finished:
            child = _Child(replace(self._order, start=self._next_offset))
            try:
                yield from self._results_of(child)
            finally:
                status = child.end()
            lost = None if self._is_finished else self._lost(status)
            if lost is not None:
                yield lost

    def _results_of(self, child: _Child) -> Generator[Any | RefusedRecord]:
        self._under_way, self._pages_of_child = None, 0
        for message in child.messages():
            if isinstance(message, Result):
                self._next_offset, self._under_way, self._kills = message.next_offset, None, 0
                if not (isinstance(message.value, RefusedRecord) and message.value.offset == self._rest_offset):
                    yield message.value
            elif isinstance(message, Begun):
                self._under_way = message
                self._pages_of_child += 1
            elif isinstance(message, Opened):
                self._check_version(message)
            elif isinstance(message, Failed):
                raise message.error
            elif isinstance(message, Ended):
                self.bytes_read += message.bytes_read
                self._is_finished = True

    def _check_version(self, opened: Opened) -> None:
        if self.file_version and opened.version != self.file_version:
            raise SourceChanged(
                "The crawl file changed while it was read",
                where=self._order.url,
                rule=f"version {self.file_version}",
                got=f"version {opened.version}",
                action="Run the crawl file again.",
            )
        self.file_version, self.file_bytes = opened.version, opened.size

    def _lost(self, status: int) -> RefusedRecord | None:
        """Return the record that ended the child; None where it is to be tried again."""
        reason, detail = self._cause(status)
        if not reason:
            self._kills += 1
            if self._kills < MOST_KILLS:
                return None
            raise self._killed(status)
        is_first = self._pages_of_child <= (self._under_way is not None)
        if reason != "over_budget" and not is_first:
            return None
        page = self._under_way
        if page is None:  # while it was read: its end is not known, the next child finds where a record begins again
            lost = RefusedRecord(None, self._next_offset, None, reason, f"{detail}, while the record was read")
            self._next_offset = self._rest_offset = self._next_offset + 1
        else:
            lost = RefusedRecord(page.url, page.offset, page.length, reason, detail)
            self._next_offset = page.offset + page.length
        self._kills = 0
        return lost

    def _cause(self, status: int) -> tuple[str, str]:
        """Return the reason that is the page's own, empty where there is none, and its detail."""
        budget = self._order.budget
        if status == -signal.SIGPROF:
            seconds = budget.cpu_seconds if self._under_way else budget.read_cpu_seconds
            return "over_budget", f"more than {seconds:g} s of processor time"
        if status == OVER_MEMORY_STATUS:
            return "over_memory", f"more than {budget.memory_bytes / 2**20:g} MiB"
        if -status in CRASHES:
            return "parser_crashed", signal.Signals(-status).name
        return "", ""

    def _killed(self, status: int) -> WorkerKilled:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return WorkerKilled(
            "The process that parses pages was ended from outside",
            where=f"{self._order.url}, byte {self._next_offset}",
            rule="a process that ends by itself",
            got=f"{MOST_KILLS} processes ended without progress, the last by {how}",
            action="Look for the kernel's out-of-memory killer; run fewer workers at once.",
        )


class _Child:
    """A running child and the messages that it sends."""

    def __init__(self, order: PageOrder) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
                [sys.executable, "-m", PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended already; its status says why
            self._connection.send(sys.path)
            self._connection.send(order)

    def messages(self) -> Generator[Any]:
        """Yield what the child sends until it ends."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):  # ended, perhaps within a message
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(GRACE_SECONDS)
                return
            yield message

    def end(self) -> int:
        """End the child, if it still runs; return its status, negative for a signal."""
        self._connection.close()
        self._process.kill()  # nothing happens to one that was waited for
        return self._process.wait()
