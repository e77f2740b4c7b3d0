"""One shard of ``shard_maps`` in, its rows and its lists in the index's folder out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.index_ledger import IndexedShard
from mappool_assets.lib.retrieval.index_places import Place
from mappool_assets.lib.retrieval.inverted_lists import ListWriter
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_MAPS
from mappool_assets.lib.retrieval.quantiser import Quantiser, unit_rows
from mappool_assets.lib.retrieval.row_file import file_sha256, write_rows
from mappool_assets.lib.retrieval.shard_vectors import check_made_from, vector_blocks, vector_width


def index_shard(
    lake: Lake,
    place: Place,
    quantiser: Quantiser | None,
    dimension: int | None,
    encoder_id: str,
    rows_there: Mapping[str, IndexedShard],
) -> IndexedShard:
    """Write the files of one shard.

    Parameters
    ----------
    quantiser : Quantiser or None
        None writes the rows alone.
    dimension : int or None
        The width of the index's rows; None where this is the first shard.
    rows_there : mapping of str to IndexedShard
        By path, files of rows that are there and need not be written.

    Raises
    ------
    BadShard
        Vectors are null, of another type or width, or as many as the provenance does not say.
    SourceChanged
        The maps are not those that were planned for.
    """
    quantiser_id = quantiser.quantiser_id if quantiser else None
    writer = ListWriter(quantiser, place.first_position) if quantiser else None
    indexed = 0

    def coded(blocks: Iterator[NDArray[np.float16]]) -> Iterator[NDArray[np.float16]]:
        nonlocal indexed
        for block in blocks:
            indexed += writer.add(block) if writer else int(unit_rows(block)[1].sum())
            yield block

    with lake.open_table(SHARD_MAPS, place.shard) as file:
        check_made_from(file, place.fingerprint, place.shard)
        width = vector_width(file, place.shard)
        _check_shape(place, dimension, file.metadata.num_rows, width)
        identity = (place.shard, place.ordinal, place.first_position, place.rows)
        entry = IndexedShard(*identity, 0, width, place.fingerprint, quantiser_id, encoder_id, 0, "", 0, "")
        entry = _with_rows(lake, entry, coded(vector_blocks(file, place.shard)), rows_there)
    entry = dataclasses.replace(entry, rows_indexed=indexed)
    if writer is None:
        return entry
    with lake.writing(entry.index_path) as path:
        writer.write(path)
        return dataclasses.replace(entry, bytes=path.stat().st_size, sha256=file_sha256(path))


def _with_rows(
    lake: Lake,
    entry: IndexedShard,
    blocks: Iterator[NDArray[np.float16]],
    rows_there: Mapping[str, IndexedShard],
) -> IndexedShard:
    """Go through the blocks, and write them where they are not there."""
    there = rows_there.get(entry.rows_path)
    if there is not None:
        for _ in blocks:
            pass  # to code them
        return dataclasses.replace(entry, rows_bytes=there.rows_bytes, rows_sha256=there.rows_sha256)
    with lake.writing(entry.rows_path) as path:
        write_rows(path, blocks, entry.rows, entry.dimension)
        return dataclasses.replace(entry, rows_bytes=path.stat().st_size, rows_sha256=file_sha256(path))


def _check_shape(place: Place, dimension: int | None, rows: int, width: int) -> None:
    expected = place.rows, width if dimension is None else dimension
    if (rows, width) != expected:
        raise bad_maps(place.shard, f"{expected[0]} rows of width {expected[1]}", f"{rows} rows of width {width}")


def bad_maps(shard: str, rule: str, got: str) -> BadShard:
    """Return the error of a shard that cannot be indexed."""
    return BadShard(
        "A shard's maps cannot be indexed",
        where=shard,
        rule=rule,
        got=got,
        action=f"Materialise its partition of {SHARD_MAPS} again; of another encoder, build the image index anew.",
    )
