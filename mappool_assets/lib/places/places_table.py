"""The places that are wanted, from all sources, each once: ``geo_subset/places``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.places.checked_places import checked_places
from mappool_assets.lib.places.place import EXAMPLES, PLACE_SCHEMA, RowCounts
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.source_files import SourceFiles
from mappool_assets.lib.places.sources import PlaceSource, SourceReader
from mappool_assets.lib.ranged_file.base import Storage

PLACES = "geo_subset/places"
CODE_VERSION = "1"  # raised when the same files would give other places
HASHED_ROWS = 8192
READING = "places read"

# Told a step's name, what is done of it, and of how many where that is known.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class PlacesRead:
    """What sources held.

    Attributes
    ----------
    rows : pyarrow.Table of ``PLACE_SCHEMA``
        Sources in the order given, places in their file's.
    counts : RowCounts
        Rows read, and dropped by reason.
    origin : dict of str to str
        By source the files that were read, with their checksums.
    joined : dict
        Rows and dropped rows of files that were joined, by name.
    """

    rows: pa.Table
    counts: RowCounts
    origin: dict[str, str]
    joined: dict[str, Any]


def read_places(
    sources: Sequence[str],
    place_filter: PlaceFilter,
    storage: Storage,
    *,
    wants_alternates: bool,
    progress: Progress,
) -> PlacesRead:
    """Read the wanted places of some sources.

    The places kept are held in memory, 0.8 GB at the most for a million; what the filter drops is not.

    Parameters
    ----------
    sources : sequence of str
        Addresses as in :mod:`mappool_assets.lib.places.sources`.
    place_filter : PlaceFilter
    storage : Storage
        How remote files are reached.
    wants_alternates : bool
        Whether further names are read.
    progress : callable

    Raises
    ------
    BadSetting
        A source cannot be understood or holds no place at all, or the filter leaves none.
    MissingInput
        A file is not there.
    """
    counts = RowCounts()
    tables, origin, joined = [], {}, {}
    for source in sources:
        reader = SourceReader(PlaceSource.parse(source), SourceFiles(storage), place_filter, wants_alternates)
        tables.append(_wanted(reader, place_filter, counts, source, progress))
        origin[str(reader.source)] = str(reader.files)
        joined.update(reader.joined)
    rows = _without_copies(pa.concat_tables(tables), counts)
    return PlacesRead(rows, counts, origin, joined)


def _wanted(
    reader: SourceReader, place_filter: PlaceFilter, total: RowCounts, source: str, progress: Progress
) -> pa.Table:
    counts = RowCounts()
    kept = [PLACE_SCHEMA.empty_table()]
    for raw in reader.batches(counts):
        kept.append(checked_places(raw, place_filter, counts))
        progress(READING, total.rows_in + counts.rows_in, None)
    rows = _without_copies(pa.concat_tables(kept), counts)
    if not rows.num_rows:
        raise BadSetting(
            "No place is left",
            where=source,
            rule=f"{reader.source.rule}; among the rows some that the filter wants",
            got=str(counts),
            action="Correct the file, the source's address or the filter.",
        )
    total.add(counts)
    return reader.finished(rows)


def _without_copies(rows: pa.Table, counts: RowCounts) -> pa.Table:
    """Return the first row of each place; the others are dropped (``duplicate_place_id``)."""
    numbered = pa.table({"place_id": rows["place_id"], "row": np.arange(rows.num_rows)})
    first = numbered.group_by("place_id").aggregate([("row", "min")])["row_min"].to_numpy()
    if len(first) < rows.num_rows:
        is_copy = np.ones(rows.num_rows, bool)
        is_copy[first] = False
        copies = np.flatnonzero(is_copy)
        counts.drop("duplicate_place_id", rows["place_id"].take(copies[:EXAMPLES]).to_pylist(), len(copies))
        rows = rows.take(np.sort(first))
    return rows.combine_chunks()


def write_places(lake: Lake, read: PlacesRead, place_filter: PlaceFilter) -> Provenance:
    """Write ``geo_subset/places``.

    Returns
    -------
    Provenance
        Its inputs hold ``content``, the hash of all rows: it decides the prompts, whatever file they came from.
    """
    counts, dropped = read.counts, dict(sorted(read.counts.dropped.items()))
    provenance = Provenance(
        {"content": content_of(read.rows), "place_filter": asdict(place_filter), "code_version": CODE_VERSION},
        rows_in=counts.rows_in,
        rows_kept=read.rows.num_rows,
        rows_dropped=dropped,
        measures={"examples": {reason: counts.examples[reason] for reason in dropped}, "joined": read.joined},
        origin=read.origin,
    )
    lake.write_table(PLACES, read.rows, provenance)
    return provenance


def content_of(rows: pa.Table) -> str:
    """Return the hash of all rows in their order."""
    content = hashlib.sha256()
    for batch in rows.to_batches(HASHED_ROWS):
        for row in zip(*batch.to_pydict().values(), strict=True):
            content.update(json.dumps(row, ensure_ascii=False).encode())
            content.update(b"\n")
    return content.hexdigest()
