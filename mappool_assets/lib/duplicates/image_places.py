"""The images of a lake in order of preference: names stay in a file, memory holds numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake

BATCH_ROWS = 65_536  # some 10 MB of names


@dataclass(frozen=True)
class ImagePlaces:
    """All n images that were fetched, of which m differ in their bytes.

    Images of different bytes are numbered, by preference; files of the same bytes share a number.

    Attributes
    ----------
    file : Path
        A row an image, by shard and uid; columns as in ``sql/steps/image_places.sql``.
    places : int32 array of shape (n,)
        Of each row, in order of preference.
    numbers : int32 array of shape (n,)
        Of each row.
    place_of_number : int32 array of shape (m,)
        Where the first image of that number stands.
    """

    file: Path
    places: NDArray[np.int32]
    numbers: NDArray[np.int32]
    place_of_number: NDArray[np.int32]

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """Tell of each row whether it is the first of its bytes; the others are its exact duplicates."""
        return self.place_of_number[self.numbers] == self.places

    def hashes(self, column: str) -> NDArray[np.uint64]:
        """Return a column of hashes, by number."""
        hashes = np.empty(len(self.place_of_number), dtype=np.uint64)
        for rows, batch in batches(self.file, column):
            hashes[self.numbers[rows]] = batch.column(0).to_numpy()
        return hashes


def find_places(lake: Lake, file: Path) -> ImagePlaces:
    """Put the images of a lake in order of preference; names go to ``file``."""
    sql_files.run(lake, "steps/image_places", file=str(file))
    places, first_places = (_column(file, name) for name in ("place", "first_place"))
    is_first = np.zeros(len(places), dtype=bool)
    is_first[first_places] = True
    number_of_place = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
    return ImagePlaces(file, places, number_of_place[first_places], np.flatnonzero(is_first).astype(np.int32))


def batches(file: Path, *columns: str) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Yield columns of a parquet file in batches, each with the rows that it holds."""
    start = 0
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns)):
            yield slice(start, start + batch.num_rows), batch
            start += batch.num_rows


def _column(file: Path, name: str) -> NDArray[np.int32]:
    column = np.empty(pq.read_metadata(file).num_rows, dtype=np.int32)
    for rows, batch in batches(file, name):
        column[rows] = batch.column(0).to_numpy()
    return column
