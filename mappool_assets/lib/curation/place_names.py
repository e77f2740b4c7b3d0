"""The names of places in gazetteers, those of more people first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.source_stream import unusable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.places.checked_places import checked_places
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.source_files import SourceFiles
from mappool_assets.lib.places.sources import PlaceSource, SourceReader
from mappool_assets.lib.ranged_file.base import Storage

BATCH_ROWS = 1 << 16
SCHEMA = pa.schema([("name", pa.string()), ("population", pa.int64())])


@dataclass(frozen=True, slots=True)
class ReadPlaces:
    """What gazetteers held.

    Attributes
    ----------
    versions : list of str
        Of the files of places, sorted.
    rows : RowCounts
        Their rows, and those that are left out, see :func:`~mappool_assets.lib.places.checked_places.checked_places`.
    file : Path
        Parquet of :data:`SCHEMA`: a row is a place, the same one perhaps from several gazetteers.
    """

    versions: list[str]
    rows: RowCounts
    file: Path


def read_place_names(sources: Sequence[str], place_filter: PlaceFilter, storage: Storage, scratch: Path) -> ReadPlaces:
    """Read the wanted places of gazetteers, a batch at a time.

    A place's own name is read, not its further ones: those of GeoNames are 18 million in all languages.

    Parameters
    ----------
    sources : sequence of str
        Addresses as in :mod:`mappool_assets.lib.places.sources`.

    Raises
    ------
    BadSetting
        A source cannot be understood, or holds no wanted place.
    MissingInput, SourceChanged, SourceUnavailable
        See :meth:`~mappool_assets.lib.places.source_files.SourceFiles.text`.
    """
    read = ReadPlaces([], RowCounts(), scratch / "places.parquet")
    with pq.ParquetWriter(read.file, SCHEMA, compression="zstd") as writer:
        for address in sources:
            source, rows, named = PlaceSource.parse(address), RowCounts(), 0
            reader = SourceReader(source, SourceFiles(storage), place_filter, wants_alternates=False)
            for raw in reader.batches(rows):
                names = checked_places(raw, place_filter, rows).select(SCHEMA.names).cast(SCHEMA)
                writer.write_table(names)
                named += len(names)
            if not named:
                raise unusable(str(source), f"{source.rule}; among the rows some that the filter wants", str(rows))
            read.rows.add(rows)
            read.versions.extend(reader.files.versions.values())
    read.versions.sort()
    return read


def place_names(lake: Lake, read: ReadPlaces, limits: SqlLimits) -> Iterator[pa.Array]:
    """Yield the names, those of the greatest population first, then by code points; some are there several times."""
    statement = sql_files.statement("steps/place_names")
    with lake.query_batches(statement, {"files": [str(read.file)]}, limits=limits, batch_rows=BATCH_ROWS) as rows:
        for batch in rows:
            yield batch["entry"]
