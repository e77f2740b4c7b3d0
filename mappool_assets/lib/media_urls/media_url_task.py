"""A bucket of all media URLs as a task: which of 256 it joins, what decides the result, and what is reported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.lake_sql import SQL_MEMORY

TABLE = "web_documents/media_urls"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
BUCKETS = 256  # by the first byte of a URL's MD5: as rows of files lie, and the most into which all are parted
PART = re.compile(r"([0-9a-f]{2})-([0-9a-f]{2})")
ROW_BYTES = 64  # of a row in DuckDB's hash table, besides its texts


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How the media URLs of all files are merged.

    Attributes
    ----------
    scratch : Path
        A folder on a local disk, for what does not fit into memory: at most some two times a part's bytes.
    memory : str
        For one part, see :class:`~mappool_assets.lib.lake_sql.SqlLimits`; as many are under way as there are workers.
    threads : int
        Of one part. Four get by with the memory also where all addresses are as long as can be, when sorting them
        takes 512 MB a thread.
    part_bytes : int
        A part holds about so many bytes of rows: there are as many parts, a power of two up to 256, as this takes. The
        number depends on nothing else, so that a machine with less memory does not make all anew. 1 GB: it fits a
        quarter of the memory, and is a file of some 200 MB. A whole crawl, 3 TB, is 256 parts of 12 GB, which spill.
    """

    scratch: Path
    memory: str = SQL_MEMORY
    threads: int = 4
    part_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.part_bytes < 1:
            raise BadSetting(
                "The size of parts cannot be used",
                where="part_bytes",
                rule="1 byte or more",
                got=str(self.part_bytes),
                action="Correct the setting.",
            )


@dataclass(frozen=True, slots=True)
class MergeTask:
    """What a worker needs to merge one part.

    Attributes
    ----------
    first, last : int
        Its buckets, both included.
    files : sequence of str
        Crawl files that have media URLs.
    files_id : str
        Changes when one of them is made anew, added or removed.
    lake : Lake
        Where they are, and the part goes.
    settings : MergeSettings
        How.
    """

    first: int
    last: int
    files: Sequence[str] = field(repr=False)
    files_id: str
    lake: Lake
    settings: MergeSettings

    def __str__(self) -> str:
        return f"media URLs {self.key}"

    @property
    def key(self) -> str:
        """The partition: its buckets, in hexadecimal digits."""
        return f"{self.first:02x}-{self.last:02x}"

    @property
    def origin(self) -> Mapping[str, str]:
        """Nothing: that is with the files."""
        return {}

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows; equal inputs mean there is nothing to do."""
        return {"file_media_urls": self.files_id, "buckets": self.key, "code_version": CODE_VERSION}


@dataclass(slots=True)
class MergeReport:
    """What became of a part.

    Attributes
    ----------
    shard : str
        Its partition.
    rows_in, rows_kept : int
        Rows of all files, and different media URLs.
    rows_dropped : dict of str to int
        Rows of URLs that are kept (``same_url``): of other domains and files.
    fingerprint : str
        Of the inputs; the data version of the partition.
    urls, seen : dict of str to int
        By kind, how many there are, and on how many pages they were seen, summed over all.
    is_reused : bool
        Nothing was done: the stored part was made from the same inputs.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    fingerprint: str
    urls: dict[str, int]
    seen: dict[str, int]
    is_reused: bool = False


def media_url_tasks(lake: Lake, settings: MergeSettings) -> list[MergeTask]:
    """Return the tasks of all parts, from the crawl files whose media URLs the lake holds.

    Raises
    ------
    MissingInput
        No crawl file has any yet.
    """
    files = sql_files.run(lake, "steps/media_url_files").to_pylist()
    names = [file["crawl_file"] for file in files]
    files_id = fingerprint({file["crawl_file"]: file["fingerprint"] for file in files})
    total_bytes = sum(file["text_bytes"] + ROW_BYTES * file["rows_kept"] for file in files)
    parts = 1
    while parts < BUCKETS and total_bytes > parts * settings.part_bytes:
        parts *= 2
    width = BUCKETS // parts
    return [MergeTask(first, first + width - 1, names, files_id, lake, settings) for first in range(0, BUCKETS, width)]


def overlapping(task: MergeTask, table: str) -> list[str]:
    """Return a table's partitions, other than the task's own, that hold some of its buckets: of more or fewer parts."""
    found = []
    for partition in task.lake.partitions(table):
        edges = PART.fullmatch(partition)
        if edges and partition != task.key and int(edges[1], 16) <= task.last and task.first <= int(edges[2], 16):
            found.append(partition)
    return found


def report_of(task: MergeTask, made: Provenance, *, is_reused: bool = False) -> MergeReport:
    """Return the report of a part that has this provenance."""
    return MergeReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.fingerprint,
        dict(made.measures["urls"]),
        dict(made.measures["seen"]),
        is_reused,
    )
