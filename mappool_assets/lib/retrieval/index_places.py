"""Which place each shard has in the index, and which of its files are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.fs as pafs

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.index_ledger import FOLDER, IndexedShard, free_place


@dataclass(frozen=True)
class Place:
    """What a shard is to be in the index; see :class:`~mappool_assets.lib.retrieval.index_ledger.IndexedShard`."""

    shard: str
    fingerprint: str
    rows: int
    ordinal: int
    first_position: int


def place_shards(
    maps: Mapping[str, Provenance], ledger: Sequence[IndexedShard], pending: Sequence[IndexedShard]
) -> list[Place]:
    """Return every shard's ordinal and first position: those it had, or the next free ones.

    Parameters
    ----------
    maps : mapping of str to Provenance
        What made the maps of each shard.
    ledger, pending : sequence of IndexedShard
        Shards that are or were in the index, and those that an unfinished build has done.

    Raises
    ------
    BadIndex
        The numbers are used up.
    """
    in_ledger, begun = ({entry.shard: entry for entry in entries} for entries in (ledger, pending))
    ordinal, position = free_place([*ledger, *pending])
    places = []
    for shard, made in maps.items():
        had = [entries[shard] for entries in (in_ledger, begun) if shard in entries]
        same = next((entry for entry in had if entry.fingerprint == made.fingerprint), None)
        if same is not None:
            places.append(Place(shard, made.fingerprint, same.rows, same.ordinal, same.first_position))
            continue
        places.append(Place(shard, made.fingerprint, made.rows_kept, had[0].ordinal if had else ordinal, position))
        ordinal, position = ordinal + (not had), position + made.rows_kept
    return places


def files_there(lake: Lake, shards: Sequence[IndexedShard]) -> list[IndexedShard]:
    """Return those whose files are there, of the right size."""
    sizes = file_sizes(lake)
    return [
        shard
        for shard in shards
        if sizes.get(shard.rows_path) == shard.rows_bytes
        and (shard.quantiser_id is None or sizes.get(shard.index_path) == shard.bytes)
    ]


def file_sizes(lake: Lake) -> dict[str, int]:
    """Return the size of each file in the index's folder, by path."""
    files = lake.filesystem.get_file_info(pafs.FileSelector(FOLDER, allow_not_found=True))
    return {f"{FOLDER}/{file.base_name}": file.size for file in files}
