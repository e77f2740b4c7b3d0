"""What the image index consists of: the ledger ``geo_subset/index_shards``, and the files that its rows name.

One row of the ledger is one shard. Its ordinal and its positions are given once and never to another shard:

- the id of an image, as a service gives it out, is ``ordinal * 2**32 + row``, a whole number below 2^53;
- inside index files a row is known by its position, ``first_position + row``, so that a set of rows is a bitmap. A
  shard that was filtered again gets new positions, and leaves a hole where it was.

Files are never written a second time: their names say all that decides their content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake, Provenance

INDEX_SHARDS = "geo_subset/index_shards"
PENDING_SHARDS = "geo_subset/index_shards_pending"  # what a build has done so far; gone when it is through
FOLDER = "geo_subset/image_index"

ORDINAL_STEP = 2**32  # ids of one shard; a row's number fits into the lower half
MOST_SHARDS = 2**21  # so that ids stay below 2**53, which JSON's numbers hold exactly
MOST_POSITIONS = 2**32  # row numbers of the exact scan


class BadIndex(MappoolError):
    """An index that is damaged, out of date, or too large."""


@dataclass(frozen=True)
class IndexedShard:
    """One shard of the index.

    Attributes
    ----------
    shard : str
        Its key.
    ordinal : int
        Its number, from 0 in the order of first appearance.
    first_position : int
        Position of its row 0.
    rows : int
        Rows of its maps, each with a position.
    rows_indexed : int
        Those that can be found: finite and not zero.
    dimension : int
        Width of the rows.
    fingerprint : str
        Of its maps.
    quantiser_id : str or None
        The quantiser of its index file; None where there is no index file, because there are too few rows.
    encoder_id : str
        What made its vectors.
    bytes, sha256
        Of its index file; 0 and "" where there is none.
    rows_bytes, rows_sha256
        Of the file of its float16 rows.
    is_removed : bool
        The shard has no maps any more; its files are gone.
    """

    shard: str
    ordinal: int
    first_position: int
    rows: int
    rows_indexed: int
    dimension: int
    fingerprint: str
    quantiser_id: str | None
    encoder_id: str
    bytes: int
    sha256: str
    rows_bytes: int
    rows_sha256: str
    is_removed: bool = False

    @property
    def index_path(self) -> str:
        """Where its index file lies in the lake."""
        return f"{FOLDER}/{self.shard}.{self.fingerprint}.{self.quantiser_id}.{self.first_position}.faiss"

    @property
    def rows_path(self) -> str:
        """Where its float16 rows lie in the lake."""
        return f"{FOLDER}/{self.shard}.{self.fingerprint}.npy"

    @property
    def paths(self) -> list[str]:
        """All of its files."""
        if self.is_removed:
            return []
        return [self.rows_path] if self.quantiser_id is None else [self.rows_path, self.index_path]

    @property
    def end_position(self) -> int:
        """One more than the position of its last row."""
        return self.first_position + self.rows

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of some of its rows."""
        return self.ordinal * ORDINAL_STEP + rows


SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), False),
        pa.field("ordinal", pa.int32(), False),
        pa.field("first_position", pa.int64(), False),
        pa.field("rows", pa.int64(), False),
        pa.field("rows_indexed", pa.int64(), False),
        pa.field("dimension", pa.int32(), False),
        pa.field("fingerprint", pa.string(), False),
        pa.field("quantiser_id", pa.string()),
        pa.field("encoder_id", pa.string(), False),
        pa.field("bytes", pa.int64(), False),
        pa.field("sha256", pa.string(), False),
        pa.field("rows_bytes", pa.int64(), False),
        pa.field("rows_sha256", pa.string(), False),
        pa.field("is_removed", pa.bool_(), False),
    ]
)


def read_ledger(lake: Lake, table: str = INDEX_SHARDS) -> list[IndexedShard]:
    """Return all shards that ever were in the index, by ordinal; none where there is no index."""
    if not lake.exists(lake.table_path(table)):
        return []
    return [IndexedShard(**row) for row in lake.read_table(table).to_pylist()]


def write_ledger(lake: Lake, shards: Sequence[IndexedShard], table: str = INDEX_SHARDS) -> None:
    """Write the ledger, shards by ordinal, whole or not at all."""
    rows = [dataclasses.asdict(shard) for shard in shards]
    inputs = {"shards": [[row["shard"], row["sha256"], row["rows_sha256"], row["is_removed"]] for row in rows]}
    lake.write_table(table, pa.Table.from_pylist(rows, schema=SCHEMA), Provenance(inputs, len(rows), len(rows)))


def free_place(shards: Sequence[IndexedShard]) -> tuple[int, int]:
    """Return the next ordinal and the next position that no shard ever had.

    Raises
    ------
    BadIndex
        The numbers are used up.
    """
    ordinal = max((shard.ordinal for shard in shards), default=-1) + 1
    position = max((shard.end_position for shard in shards), default=0)
    if ordinal >= MOST_SHARDS or position >= MOST_POSITIONS:
        raise BadIndex(
            "The index is full",
            where=INDEX_SHARDS,
            rule=f"{MOST_SHARDS:,} shards and {MOST_POSITIONS:,} rows in all, with those that were replaced",
            got=f"{ordinal:,} shards, {position:,} rows",
            action=f"Delete {FOLDER} and {INDEX_SHARDS} and build the index anew; ids change.",
        )
    return ordinal, position
