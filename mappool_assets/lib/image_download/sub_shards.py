"""What img2dataset wrote: for each sub-shard of the requests a tar, a parquet file and, once both are closed, counts.

None of it is trusted: a killed run leaves halves, and img2dataset's exit code is 0 where a sub-shard failed.
"""

from __future__ import annotations

import json
import math
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class NotWhole(Exception):
    """A sub-shard that is not there, or not wholly."""


@dataclass(frozen=True)
class SubShard:
    """A whole sub-shard.

    Attributes
    ----------
    tar : Path
        Holds the images, in the order in which they came.
    rows : list of (int, int), str or None
        For each request, in their order: first byte and size of its image in the tar, or img2dataset's text on why
        there is none, or None where img2dataset lost the row.
    """

    tar: Path
    rows: list[tuple[int, int] | str | None]

    def results(self) -> Iterator[bytes | str | None]:
        """Yield the rows with images in the place of their positions, one in memory at a time."""
        with self.tar.open("rb") as file:
            for row in self.rows:
                if isinstance(row, tuple):
                    file.seek(row[0])
                    yield file.read(row[1])
                else:
                    yield row


@dataclass(frozen=True)
class SubShards:
    """img2dataset's output folder.

    Attributes
    ----------
    folder : Path
        It need not be there yet.
    row_count : int
        Number of requests.
    rows_each : int
        Requests a sub-shard; the last may have fewer.
    """

    folder: Path
    row_count: int
    rows_each: int

    def __len__(self) -> int:
        return math.ceil(self.row_count / self.rows_each)

    def find(self, index: int) -> SubShard:
        """Return a sub-shard, or raise :class:`NotWhole`. What lies there may be half-written or damaged."""
        tar, parquet, stats = self._files(index)
        expected = min(self.rows_each, self.row_count - index * self.rows_each)
        try:
            if json.loads(stats.read_bytes())["count"] != expected:
                raise NotWhole(f"{stats} counts other rows than the {expected} asked for")
            return SubShard(tar, self._rows(index, expected, pq.read_table(parquet), _members(tar)))
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException, tarfile.TarError) as error:
            raise NotWhole(f"{type(error).__name__}: {error}") from None

    def missing(self) -> list[int]:
        """Return the sub-shards that are not there."""
        return [index for index in range(len(self)) if not self._is_whole(index)]

    def discard(self, index: int) -> None:
        """Remove what is there of a sub-shard, so that img2dataset makes it anew."""
        for file in self._files(index):
            file.unlink(missing_ok=True)

    def _is_whole(self, index: int) -> bool:
        try:
            self.find(index)
        except NotWhole:
            return False
        return True

    def _files(self, index: int) -> tuple[Path, Path, Path]:
        name = f"{index:05d}"
        return self.folder / f"{name}.tar", self.folder / f"{name}.parquet", self.folder / f"{name}_stats.json"

    def _rows(
        self, index: int, count: int, table: pa.Table, members: dict[str, tuple[int, int]]
    ) -> list[tuple[int, int] | str | None]:
        rows: list[tuple[int, int] | str | None] = [None] * count
        first_key = index * 10 ** math.ceil(math.log10(self.rows_each))  # img2dataset numbers them so
        columns = (table[name].to_pylist() for name in ("key", "status", "error_message"))
        for key, status, error in zip(*columns, strict=True):
            # Every file is called .jpg, whatever it is.
            rows[range(count)[int(key) - first_key]] = members[f"{key}.jpg"] if status == "success" else error or ""
        return rows


def _members(tar: Path) -> dict[str, tuple[int, int]]:
    """Return first byte and size of each file that is wholly in a tar."""
    with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as members:
        end = os.fstat(file.fileno()).st_size
        found = {member.name: (member.offset_data, member.size) for member in members}
    return {name: (offset, size) for name, (offset, size) in found.items() if offset + size <= end}
