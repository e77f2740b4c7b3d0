"""What a crawl file's reader and the child process that reads for it say to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from mappool_assets.lib.crawl.warc_pages import CrawlPage, RefusedRecord, WarcLimits
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.ranged_file.base import Storage

OVER_MEMORY_STATUS = 86  # with which a child ends itself; none of Python's, the shell's or sysexits.h's
MOST_RESULT_BYTES = 16 * 2**20  # of one page, as sent: three times the largest page that Common Crawl stores


class Refused(NamedTuple):
    """Why nothing is made of a page: the reason, and its detail for people."""

    reason: str
    detail: str = ""


Make = Callable[[CrawlPage], Any]


@dataclass(frozen=True)
class PageBudget:
    """What a page may take before it is given up.

    Attributes
    ----------
    cpu_seconds : float
        Of processor time, to make something of a page that was read; not of waiting, so that a busy machine is no
        reason. 5 s: a page of 80 kB takes 0.003 s, an honest one of 5 MB 0.2 s (measured), and there are machines ten
        times slower.
    read_cpu_seconds : float
        Of processor time, to read a record. 60 s: the reader's own limits come first, of which the widest, 4 GiB
        inflated, takes 5 s.
    memory_bytes : int
        Of memory, besides the 120 MB that the child takes for itself. 128 MiB: honest pages of 5 MB take 30 to 60 MB,
        of which some stays in use (with 96 MiB every tenth of them needed a fresh child, with 128 MiB none); pages of
        nothing but tags take more. Parent and child together stay below 500 MB, whatever they read. Linux alone has
        such a limit; elsewhere there is none.
    """

    cpu_seconds: float = 5.0
    read_cpu_seconds: float = 60.0
    memory_bytes: int = 128 * 2**20

    def __post_init__(self) -> None:
        for name, rule, is_right in (
            ("cpu_seconds", "above 0", self.cpu_seconds > 0),
            ("read_cpu_seconds", "above 0", self.read_cpu_seconds > 0),
            ("memory_bytes", "16 MiB or more", self.memory_bytes >= 16 * 2**20),
        ):
            if not is_right:
                raise BadSetting(
                    "A page's budget cannot be used",
                    where=name,
                    rule=rule,
                    got=str(getattr(self, name)),
                    action="Correct the setting.",
                )


@dataclass(frozen=True)
class PageOrder:
    """What a child is to do: read a crawl file from an offset, and make something of each page.

    Attributes
    ----------
    url, storage
        The file, for :func:`~mappool_assets.lib.ranged_file.stores.open_ranged`.
    limits : WarcLimits
        Of records.
    prepare : callable
        Returns what makes something, or :class:`Refused`, of a page; called once a child, which loads then all that it
        needs. Importable by name, as a ``functools.partial`` too.
    budget : PageBudget
        Of each page.
    start : int
        Byte of the file at which to begin.
    """

    url: str
    storage: Storage
    limits: WarcLimits
    prepare: Callable[[], Make]
    budget: PageBudget
    start: int = 0


class Opened(NamedTuple):
    """The file is open: its version and size in bytes."""

    version: str
    size: int


class Begun(NamedTuple):
    """Something is about to be made of a page that was read."""

    url: str
    offset: int
    length: int


class Result(NamedTuple):
    """What was made of a record, or why nothing was; the next one begins at an offset."""

    next_offset: int
    value: Any | RefusedRecord


class Ended(NamedTuple):
    """All was read: so many bytes by this child."""

    bytes_read: int


class Failed(NamedTuple):
    """The file cannot be read."""

    error: Exception
