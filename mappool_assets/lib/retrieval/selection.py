"""Which rows of an index may be found: a bitmap over its positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retrieval.index_ledger import ORDINAL_STEP, IndexedShard


@dataclass(frozen=True, eq=False)
class Selection:
    """Some positions.

    Attributes
    ----------
    bits : uint8 array
        A bit for each position, lowest first.
    count : int
        Positions in it.
    """

    bits: NDArray[np.uint8]
    count: int

    @classmethod
    def of(cls, bits: NDArray[np.uint8]) -> Selection:
        """Count the bits."""
        return cls(bits, int(np.bitwise_count(bits).sum()))

    def __and__(self, other: Selection) -> Selection:
        """Return the positions that both have."""
        return Selection.of(self.bits & other.bits)

    def positions(self) -> NDArray[np.int64]:
        """Return the positions, ascending."""
        places = np.flatnonzero(self.bits)  # bytes with any bit: few where little is selected
        bits = np.unpackbits(self.bits[places, np.newaxis], axis=1, bitorder="little")
        byte, bit = np.nonzero(bits)
        return 8 * places[byte] + bit

    def mask(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return which of some consecutive positions are in it."""
        first = start // 8
        bits = np.unpackbits(self.bits[first : -(-stop // 8)], bitorder="little")
        return bits[start - 8 * first : stop - 8 * first].astype(bool)


def select_rows(
    shards: Sequence[IndexedShard],
    allowed: Mapping[str, NDArray[np.bool_]] | None = None,
    removed: NDArray[np.int64] | None = None,
) -> Selection:
    """Return the positions of rows that may be found.

    Parameters
    ----------
    shards : sequence of IndexedShard
        Of the index; those that are removed have no positions.
    allowed : mapping of str to bool array, optional
        For shards by key, which of their rows; no row of a shard that is not named. None means all rows of all shards.
    removed : int64 array, optional
        Ids of rows that may not be found.

    Raises
    ------
    BadSetting
        A mask of another length than its shard, a shard or an id that the index never had.
    """
    present = [shard for shard in shards if not shard.is_removed]
    is_selected = np.zeros(max((shard.end_position for shard in shards), default=0), dtype=bool)
    if allowed is None:
        for shard in present:
            is_selected[shard.first_position : shard.end_position] = True
    else:
        _check_named(allowed, shards)
        for shard in present:
            if shard.shard in allowed:
                is_selected[shard.first_position : shard.end_position] = _checked_mask(allowed[shard.shard], shard)
    if removed is not None and len(removed):
        is_selected[positions_of(np.asarray(removed, dtype=np.int64), shards)] = False
    return Selection.of(np.packbits(is_selected, bitorder="little"))


def positions_of(ids: NDArray[np.int64], shards: Sequence[IndexedShard]) -> NDArray[np.int64]:
    """Return the positions of ids, without those of shards that are removed.

    Raises
    ------
    BadSetting
        An id that the index never had.
    """
    by_ordinal = sorted(shards, key=lambda shard: shard.ordinal)
    ordinals, rows = np.divmod(ids, ORDINAL_STEP)
    place = np.searchsorted([shard.ordinal for shard in by_ordinal], ordinals)
    counts, starts, is_removed = (
        np.array([getattr(shard, name) for shard in by_ordinal] + [0], dtype=np.int64)
        for name in ("rows", "first_position", "is_removed")
    )
    known = np.array([shard.ordinal for shard in by_ordinal] + [-1])
    is_known = (known[place] == ordinals) & ((rows < counts[place]) | (is_removed[place] > 0))
    if not is_known.all():
        first = int(ids[~is_known][0])
        raise BadSetting(
            "An id is not of this index",
            where="ids",
            rule="ordinal × 2³² + row of a shard of the index",
            got=str(first),
            action="Look the image up again by its uid; its shard may have been filtered again.",
        )
    return (starts[place] + rows)[is_removed[place] == 0]


def _check_named(allowed: Mapping[str, NDArray[np.bool_]], shards: Sequence[IndexedShard]) -> None:
    if unknown := set(allowed) - {shard.shard for shard in shards}:
        raise BadSetting(
            "Rows of a shard are allowed that the index does not have",
            where="allowed",
            rule="shards of the index",
            got=min(unknown),
            action="Build the image index again, or leave the shard out.",
        )


def _checked_mask(mask: NDArray[np.bool_], shard: IndexedShard) -> NDArray[np.bool_]:
    if mask.shape != (shard.rows,) or mask.dtype != np.bool_:
        raise BadSetting(
            "A mask does not fit its shard",
            where=shard.shard,
            rule=f"{shard.rows} truth values, one a row",
            got=f"{mask.dtype} of shape {mask.shape}",
            action="Make the mask from the maps that the index was built from.",
        )
    return mask
