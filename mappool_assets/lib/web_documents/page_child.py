"""The program that reads a crawl file and parses its pages, to be ended by the kernel where a page takes too much.

Started by :mod:`~mappool_assets.lib.web_documents.page_process`, to which it is connected. A page's processor time is
limited by a timer whose signal has its default effect: no code of this process needs to run, so that a parser that does
not return to Python is ended too. Memory is limited by what the kernel grants.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from mappool_assets.lib.crawl.warc_pages import CrawlPage, RefusedRecord, read_pages
from mappool_assets.lib.ranged_file.base import RangedFile
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.web_documents.page_messages import (
    MOST_RESULT_BYTES,
    OVER_MEMORY_STATUS,
    Begun,
    Ended,
    Failed,
    Make,
    Opened,
    PageOrder,
    Refused,
    Result,
)

MOST_DETAIL_CHARACTERS = 200  # parsers quote the page
NEAR_THE_LIMIT = 0.8  # of the memory a page may take: an exception beyond it, from whatever library, is for want of it


def main() -> None:
    """Do what the process at the other end of the connection orders."""
    connection = Connection(int(sys.argv[1]))
    sys.path[:] = connection.recv()  # first, for what the order names must be found
    order: PageOrder = connection.recv()
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # else each page that crashes us could leave a file
    try:
        make = order.prepare()
        with open_ranged(order.url, order.storage) as file:
            connection.send(Opened(file.version, file.size))
            try:
                _serve(connection, file, order, make)
            except MemoryError:
                os._exit(OVER_MEMORY_STATUS)
            connection.send(Ended(file.bytes_read))
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the parent wants no more
            connection.send(Failed(error))


def _serve(connection: Connection, file: RangedFile, order: PageOrder, make: Make) -> None:
    """Send a result for each record; each is read, and then worked on, within the budget."""
    records, limit = read_pages(file, order.limits, order.start), None
    while True:
        signal.setitimer(signal.ITIMER_PROF, order.budget.read_cpu_seconds)
        record = next(records, None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if record is None:
            return
        if limit is None:  # now that the store's client has its threads, whose stacks count
            limit = MemoryLimit(order.budget.memory_bytes)
        if isinstance(record, RefusedRecord):
            connection.send(Result(_end(record), record))
            continue
        connection.send(Begun(record.url, record.offset, record.length))
        signal.setitimer(signal.ITIMER_PROF, order.budget.cpu_seconds)
        payload = _payload(record, _made(record, make, limit))
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(payload)


def _made(page: CrawlPage, make: Make, limit: MemoryLimit) -> Any:
    try:
        return make(page)
    except MemoryError:
        raise
    except Exception as error:  # whatever a parser makes of a stranger's page is no reason to lose the other pages
        if limit.is_near():
            raise MemoryError from error
        detail = f"{type(error).__name__}: {error}"[:MOST_DETAIL_CHARACTERS]
        return Refused("parser_failed", detail.encode("utf-8", "replace").decode())


def _payload(page: CrawlPage, value: Any) -> memoryview:
    payload = ForkingPickler.dumps(Result(_end(page), _refusal(page, value) if isinstance(value, Refused) else value))
    if len(payload) <= MOST_RESULT_BYTES:
        return payload
    too_large = Refused("result_too_large", f"{len(payload)} bytes of {MOST_RESULT_BYTES}")
    return ForkingPickler.dumps(Result(_end(page), _refusal(page, too_large)))


def _refusal(page: CrawlPage, refused: Refused) -> RefusedRecord:
    return RefusedRecord(page.url, page.offset, page.length, refused.reason, refused.detail)


def _end(record: CrawlPage | RefusedRecord) -> int:
    return record.offset + (record.length or 1)


class MemoryLimit:
    """What this process may take from now on, besides what it has: allocations beyond it fail.

    Only the kernel of Linux has such a limit.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._is_enforced = sys.platform == "linux"
        if not self._is_enforced:
            return
        taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (taken + memory_bytes, resource.RLIM_INFINITY))
        self._near_bytes = _peak_bytes() + NEAR_THE_LIMIT * memory_bytes

    def is_near(self) -> bool:
        """Tell whether so much was ever in use that an exception may be for want of memory."""
        return self._is_enforced and _peak_bytes() > self._near_bytes


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _end_with_parent(connection: Connection) -> None:
    """End this process when the other end of the connection closes, as it does where its process is killed."""
    try:
        connection.recv()  # nothing more is sent
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main()
