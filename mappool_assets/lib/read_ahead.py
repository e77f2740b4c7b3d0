"""The next item is read while the present one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, each taken from ``items`` in a thread while its predecessor is with the caller.

    One item more than without is in memory. An error of ``items`` is raised where its item would have come. Who stops
    early waits for the item under way.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = thread.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, items, _END)
            yield item  # type: ignore[misc]  # not the end
            del item  # else it stays in memory until the next but one has been read
