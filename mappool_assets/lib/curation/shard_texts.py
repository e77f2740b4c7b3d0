"""The texts of one shard, a batch at a time: those of its maps, or all that the pool's own file has.

Further columns of strings that both have, such as ``url`` and ``sha256``, come with them where they are asked for. They
are as the file has them: nulls, and strings that are no UTF-8, are the reader's to see to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance
from mappool_assets.lib.pool import PoolShard
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets.lib.shard_files import PARQUET_BUFFER_BYTES

MAPS_TABLE = "mappool/shard_maps"
COLUMNS = ["uid", "text"]
# Whichever is less, where texts are of like length; ten times the bytes are in memory while they are matched.
BATCH_ROWS, BATCH_BYTES = 4096, 4 * 2**20
# At a time where texts may be long. How long is known only then: what a row group stores once may be in many rows.
READ_ROWS = 128


class ShardTexts(Protocol):
    """Where the texts of a shard are."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides which texts they are."""

    def open(
        self, lake: Lake, shard: str, further: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Yield ``uid``, ``text`` and ``further``, each strings or a dictionary of them, of all rows in order."""


@dataclass(frozen=True)
class MapTexts:
    """The captions of a shard's maps.

    Attributes
    ----------
    fingerprint : str
        Of the shard's maps; empty where there are none yet.
    """

    fingerprint: str

    @property
    def inputs(self) -> dict[str, Any]:
        """The fingerprint."""
        return {"shard_maps": self.fingerprint}

    @contextlib.contextmanager
    def open(self, lake: Lake, shard: str, further: Sequence[str] = ()) -> Iterator[Iterator[pa.RecordBatch]]:
        """Yield batches; ``MissingInput`` where there are no maps, ``SourceChanged`` where they are others by now."""
        path = lake.table_path(MAPS_TABLE, shard)
        try:
            file = lake.filesystem.open_input_file(path)
        except FileNotFoundError:
            raise MissingInput(
                "The shard's maps are not there",
                where=lake.url(path),
                rule="the maps of every shard that is matched",
                got="nothing",
                action="Materialise shard_maps of this shard first.",
            ) from None
        with file:
            maps = _parquet(file, lake.url(path))
            made = recorded(maps)
            if made is None:
                raise SourceChanged(
                    "The shard's maps do not say what made them",
                    where=lake.url(path),
                    rule="maps that filtering has written",
                    got="a file without provenance",
                    action="Materialise shard_maps of this shard again.",
                )
            if made.fingerprint != self.fingerprint:
                raise SourceChanged(
                    "The shard's maps were made anew while their task waited for its turn",
                    where=shard,
                    rule=self.fingerprint or "none",
                    got=made.fingerprint,
                    action="Run the shard again.",
                )
            yield _batches(maps, lambda short: _parquet(file, lake.url(path), short), lake.url(path), further)


@dataclass(frozen=True)
class PoolTexts:
    """All captions of a shard, from the pool's own parquet file.

    Attributes
    ----------
    listed : PoolShard or None
        Where it lies; None where no listing of the pool has it.
    storage : Storage
        How to read it.
    """

    listed: PoolShard | None
    storage: Storage

    @property
    def inputs(self) -> dict[str, Any]:
        """The version of the file."""
        return {"parquet_version": self.listed.parquet_version if self.listed else None}

    @contextlib.contextmanager
    def open(self, lake: Lake, shard: str, further: Sequence[str] = ()) -> Iterator[Iterator[pa.RecordBatch]]:
        """Yield batches; ``BadShard`` where the file cannot be read, ``SourceChanged`` where it is another by now."""
        if self.listed is None:
            raise MissingInput(
                "No listing of the pool has this shard",
                where=shard,
                rule="a shard of the pool",
                got="a partition of another pool, or of a listing that was not written",
                action="Materialise pool_shards; if the shard is of another pool, leave its partition out.",
            )
        url, version = self.listed.parquet_url, self.listed.parquet_version
        with open_ranged(url, self.storage) as file:
            if not url.startswith("hf://") and file.version != version:  # the Hub's are pinned by commit
                raise SourceChanged(
                    "The file is not the one that was listed",
                    where=url,
                    rule=f"version {version}",
                    got=f"version {file.version}",
                    action="List the pool anew (materialise pool_shards), then match this shard again.",
                )
            rows = _parquet(file.as_stream(), url)
            _check_columns(url, rows, further)
            yield _batches(rows, lambda short: _parquet(file.as_stream(), url, short), url, further)
            file.check_unchanged()


def recorded(file: pq.ParquetFile) -> Provenance | None:
    """Return what an open table says it was made of; of the very file, which may have been replaced since."""
    metadata = (file.metadata.metadata or {}).get(PROVENANCE_KEY)
    return Provenance.from_json(metadata) if metadata else None


def _parquet(file: Any, url: str, dictionaries: list[str] | None = None) -> pq.ParquetFile:
    with _reading(url):
        return pq.ParquetFile(file, buffer_size=PARQUET_BUFFER_BYTES, read_dictionary=dictionaries)


def _batches(
    rows: pq.ParquetFile, with_dictionaries: Callable[[list[str]], pq.ParquetFile], url: str, further: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows, those of one batch all of one row group.

    Texts that fit are read as a dictionary, and so are further columns: what is there a thousand times takes the memory
    of one. Of larger row groups Arrow would make a dictionary of all texts, and again for every batch; they are read a
    few rows at a time.
    """
    opened = dict[tuple[str, ...], pq.ParquetFile]()
    for group in range(rows.metadata.num_row_groups):
        of_group = rows.metadata.row_group(group)
        columns = [of_group.column(number) for number in range(of_group.num_columns)]
        sizes = {column.path_in_schema: column.total_uncompressed_size for column in columns}
        short = tuple(name for name in ("text", *further) if sizes[name] <= BATCH_BYTES)
        if short not in opened:
            opened[short] = with_dictionaries([*short])
        size = sum(sizes[name] for name in ("text", *further))
        batch_rows = min(max(BATCH_BYTES * of_group.num_rows // max(size, 1), 1), BATCH_ROWS)
        read_rows = batch_rows if len(short) == 1 + len(further) else min(READ_ROWS, batch_rows)
        with _reading(url):
            batches = opened[short].iter_batches(read_rows, row_groups=[group], columns=[*COLUMNS, *further])
        yield from _gathered(_read(batches, url), batch_rows - read_rows)


def _read(batches: Iterator[pa.RecordBatch], url: str) -> Iterator[pa.RecordBatch]:
    while True:
        with _reading(url):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _gathered(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches put together: to more than so many rows, or to :data:`BATCH_BYTES` of what is no dictionary."""
    waiting, held, size = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        waiting.append(batch)
        held += len(batch)
        size += sum(column.nbytes for column in batch.columns if not pa.types.is_dictionary(column.type))
        if held > rows or size > BATCH_BYTES:
            yield waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
            waiting, held, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def _check_columns(url: str, file: pq.ParquetFile, further: Sequence[str]) -> None:
    types = {field.name: field.type for field in file.schema_arrow}
    for name in (*COLUMNS, *further):
        kind = types.get(name)
        kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
        if kind not in (pa.string(), pa.large_string()):
            got = str(kind) if kind else f"columns {sorted(types)}"
            what = "no captions" if name in COLUMNS else f"no {name}"
            raise _bad(url, f"The parquet has {what}", f"a column {name} of strings", got)


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into our error."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the operating system's; Arrow's own on corrupt pages has no number
        raise _bad(url, "The parquet cannot be read", "a complete parquet file", str(error)) from error


def _bad(url: str, what: str, rule: str, got: str) -> BadShard:
    return BadShard(
        what, where=url, rule=rule, got=got, action="Fetch this shard again, or leave it out; other shards go on."
    )
