"""What the lake knows of an image, by its id: rows of ``mappool/shard_maps``, read group by group where they lie.

Nothing is loaded beforehand and nothing is copied: an id names a shard and a row, a row lies in a row group of about
a thousand, and the groups read last are kept, up to a bound. A shard that was filtered again since it was indexed is
noticed by its fingerprint; its rows would be other images.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.index_ledger import ORDINAL_STEP, IndexedShard
from mappool_assets.lib.retrieval.shard_vectors import SHARD_MAPS, check_made_from
from mappool_assets.lib.serve.refusals import refused

OPEN_FILES = 128  # a descriptor and a footer each
CACHE_BYTES = 64 << 20  # some 250 row groups

RENAMED = {"text": "caption"}  # as clip-retrieval's clients know it


@dataclass
class _OpenShard:
    file: pq.ParquetFile
    columns: list[str]
    starts: NDArray[np.int64]  # row 0 of each row group, and the end
    lock: threading.Lock = field(default_factory=threading.Lock)  # a ParquetFile is for one thread at a time


class IndexMetadata:
    """The metadata of an index's images; safe to share between threads.

    Parameters
    ----------
    shards : sequence of IndexedShard
        Those that can be searched.
    """

    def __init__(self, lake: Lake, shards: Sequence[IndexedShard]) -> None:
        self._lake = lake
        self.shards = {shard.ordinal: shard for shard in shards}
        self._files: OrderedDict[int, _OpenShard] = OrderedDict()
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def check(self, ids: Sequence[int]) -> None:
        """Raise :class:`RequestRefused` where an id is none of the index's."""
        for image in ids:
            ordinal, row = divmod(image, ORDINAL_STEP)
            if ordinal not in self.shards or row >= self.shards[ordinal].rows:
                raise refused(
                    "There is no such image in the index",
                    "id",
                    "an id that a search of this index returned",
                    str(image),
                    "Search again: its shard may have been filtered again or removed.",
                    status=404,
                )

    def shard_of(self, image: int) -> str:
        """Return the shard of an image of this index."""
        return self.shards[image // ORDINAL_STEP].shard

    def rows(self, ids: Sequence[int], check: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
        """Return the metadata of images, in their order.

        Parameters
        ----------
        ids : sequence of int
            Of this index.
        check : callable
            Called between row groups; what it raises ends the work.

        Raises
        ------
        RequestRefused
            An id is none of the index's.
        SourceChanged
            A shard was filtered again since it was indexed.
        """
        self.check(ids)
        wanted: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for place, image in enumerate(ids):
            ordinal, row = divmod(image, ORDINAL_STEP)
            starts = self._open(ordinal).starts
            group = int(np.searchsorted(starts, row, side="right")) - 1
            wanted[ordinal, group].append((place, row - int(starts[group])))
        found: list[dict[str, Any]] = [{}] * len(ids)
        for key in sorted(wanted):
            check()
            places, rows = zip(*wanted[key], strict=True)
            for place, row in zip(places, self._group(*key).take(list(rows)).to_pylist(), strict=True):
                found[place] = {RENAMED.get(name, name): _finite(value) for name, value in row.items()}
        return found

    @contextlib.contextmanager
    def open_shard(self, shard: IndexedShard) -> Iterator[pq.ParquetFile]:
        """Yield a shard's maps, known to be those that were indexed."""
        with self._lake.open_table(SHARD_MAPS, shard.shard) as file:
            check_made_from(file, shard.fingerprint, shard.shard)
            yield file

    def _open(self, ordinal: int) -> _OpenShard:
        with self._lock:
            if ordinal in self._files:
                self._files.move_to_end(ordinal)
                return self._files[ordinal]
        opened = self._opened(self.shards[ordinal])
        with self._lock:
            self._files[ordinal] = opened
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)  # closed when the last reader lets go of it
        return opened

    def _opened(self, shard: IndexedShard) -> _OpenShard:
        file = pq.ParquetFile(self._lake.filesystem.open_input_file(self._lake.table_path(SHARD_MAPS, shard.shard)))
        check_made_from(file, shard.fingerprint, shard.shard)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        columns = [entry.name for entry in file.schema_arrow if not pa.types.is_nested(entry.type)]
        return _OpenShard(file, columns, np.cumsum([0, *sizes], dtype=np.int64))

    def _group(self, ordinal: int, group: int) -> pa.Table:
        with self._lock:
            if (ordinal, group) in self._groups:
                self._groups.move_to_end((ordinal, group))
                return self._groups[ordinal, group]
        opened = self._open(ordinal)
        with opened.lock:
            table = opened.file.read_row_group(group, columns=opened.columns, use_threads=False)
        with self._lock:
            if (ordinal, group) not in self._groups:
                self._groups[ordinal, group] = table
                self._bytes += table.nbytes
            while self._bytes > CACHE_BYTES and len(self._groups) > 1:
                self._bytes -= self._groups.popitem(last=False)[1].nbytes
        return table


def _finite(value: Any) -> Any:
    """Return a value that JSON has."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
