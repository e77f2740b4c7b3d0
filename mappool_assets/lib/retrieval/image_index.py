"""Build the image index: one file a shard over one quantiser; what is there and still right is left alone.

The steps: see which shards' maps are new, changed or gone; train a quantiser where there are enough rows for one and
none is there; write the rows and the lists of shards that lack them; find out how to search a new quantiser's lists;
write the ledger, which makes all of it valid at once; delete what it names no more. A build that is killed goes on
where it was: what it did is in ``geo_subset/index_shards_pending``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.index_figures import measure_index
from mappool_assets.lib.retrieval.index_ledger import PENDING_SHARDS, IndexedShard, read_ledger, write_ledger
from mappool_assets.lib.retrieval.index_places import Place, file_sizes, files_there, place_shards
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_MAPS
from mappool_assets.lib.retrieval.open_index import check_encoder
from mappool_assets.lib.retrieval.quantiser import (
    POINTS_A_LIST,
    SEED,
    Quantiser,
    number_of_lists,
    train_quantiser,
    unit_rows,
)
from mappool_assets.lib.retrieval.quantiser_store import (
    quantiser_paths,
    read_figures,
    read_quantiser,
    store_figures,
    store_quantiser,
)
from mappool_assets.lib.retrieval.shard_index import bad_maps, index_shard
from mappool_assets.lib.retrieval.shard_vectors import choose_rows, maps_made_from, read_rows
from mappool_assets.lib.row_blocks import Float32

# A scan of so many rows takes 15 ms, the most that an interactive query may.
LEAST_INDEXED_ROWS = 20_000
UNREADABLE = (MappoolError, OSError, pa.ArrowException)
PENDING_EVERY = 64  # shards between notes of what is done


@dataclass
class IndexReport:
    """What a build did.

    Attributes
    ----------
    shards : list of IndexedShard
        The index, without removed shards.
    quantiser_id : str or None
        None where searches are exact, for want of rows.
    is_retrained : bool
        The quantiser is new.
    built, removed : list of str
        Shards that were indexed now, and those that are in the index no more.
    failed : dict of str to Exception
        Shards that could not be read; they are not in the index.
    """

    shards: list[IndexedShard] = field(default_factory=list)
    quantiser_id: str | None = None
    is_retrained: bool = False
    built: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index files, the quantiser's and the rows' aside."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def rows_bytes(self) -> int:
        """Bytes of the files of rows."""
        return sum(shard.rows_bytes for shard in self.shards)


def build_image_index(
    lake: Lake,
    *,
    encoder_id: str,
    classifier_id: str | None = None,
    rebuild: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> IndexReport:
    """Bring the index up to date with ``shard_maps``.

    Parameters
    ----------
    encoder_id : str
        What made the maps' image vectors: the encoder of the classifier that chose them.
    classifier_id : str, optional
        That classifier. Shards filtered by another one fail: nothing says that their vectors are the encoder's.
    rebuild : bool
        Train a new quantiser and write all index files again; ordinals stay.
    cache : Path, optional
        For a lake that is no folder, where :func:`open_index` keeps its files.
    progress : callable
        Called with shards done and shards to do.

    Raises
    ------
    BadModel
        The index is of another encoder, and ``rebuild`` is not set.
    BadIndex
        The quantiser is damaged, or numbers are used up.
    BadShard
        A new quantiser cannot be trained, or not be measured, with what the maps hold.
    """
    ledger, report = read_ledger(lake), IndexReport()
    present = [shard for shard in ledger if not shard.is_removed]
    if not rebuild:
        check_encoder(present, encoder_id)
    maps = _maps(lake, classifier_id, report)
    pending = _pending(lake, present, encoder_id, rebuild)
    earlier = pending if rebuild else [*present, *pending]
    quantiser = _quantiser(lake, pending or earlier, maps, report)
    places = place_shards(maps, ledger, pending)
    there = files_there(lake, earlier)
    todo = _recognise(places, there, report)
    rows_there = {entry.rows_path: entry for entry in there}
    valid = {(shard.shard, shard.fingerprint) for shard in present}
    for number, place in enumerate(todo):
        progress(number, len(todo))
        if number % PENDING_EVERY == PENDING_EVERY - 1:
            write_ledger(lake, sorted(set(report.shards) - set(present), key=_ordinal), PENDING_SHARDS)
        dimension = quantiser.dimension if quantiser else next((shard.dimension for shard in report.shards), None)
        try:
            report.shards.append(index_shard(lake, place, quantiser, dimension, encoder_id, rows_there))
        except UNREADABLE as error:
            if rebuild and (place.shard, place.fingerprint) in valid:
                raise  # else the index would lose what it has
            report.failed[place.shard] = error
        else:
            report.built.append(place.shard)
    progress(len(todo), len(todo))
    if quantiser and report.shards and (rebuild or read_figures(lake, quantiser.quantiser_id) is None):
        store_figures(lake, quantiser.quantiser_id, measure_index(lake, report.shards, quantiser, cache))
    report.shards.sort(key=_ordinal)
    _finish(lake, ledger, report)
    return report


def _ordinal(shard: IndexedShard) -> int:
    return shard.ordinal


def _maps(lake: Lake, classifier_id: str | None, report: IndexReport) -> dict[str, Provenance]:
    """Return what made the maps of each shard; shards that do not say fail."""
    maps = {}
    for shard, made in maps_made_from(lake, lake.partitions(SHARD_MAPS)).items():
        if isinstance(made, Exception):
            report.failed[shard] = made
        elif made is None:
            report.failed[shard] = bad_maps(shard, "maps that say what made them", "no provenance")
        elif classifier_id not in (None, made.inputs.get("classifier_id")):
            got = str(made.inputs.get("classifier_id"))
            report.failed[shard] = bad_maps(shard, f"the classifier {classifier_id}", got)
        else:
            maps[shard] = made
    return maps


def _pending(lake: Lake, present: Sequence[IndexedShard], encoder_id: str, rebuild: bool) -> list[IndexedShard]:
    """Return what an earlier build, which was not finished, did of this one."""
    outdated = {shard.quantiser_id for shard in present} if rebuild else set()
    pending = read_ledger(lake, PENDING_SHARDS)
    return [shard for shard in pending if shard.encoder_id == encoder_id and shard.quantiser_id not in outdated]


def _quantiser(
    lake: Lake, shards: Sequence[IndexedShard], maps: Mapping[str, Provenance], report: IndexReport
) -> Quantiser | None:
    """Return the quantiser of these shards, or a new one where they have none and there are rows enough."""
    for quantiser_id in {shard.quantiser_id: None for shard in shards}:
        if quantiser_id is not None and lake.exists(quantiser_paths(quantiser_id)[0]):
            report.quantiser_id = quantiser_id
            return read_quantiser(lake, quantiser_id)
    rows = {shard: made.rows_kept for shard, made in maps.items()}
    total = sum(rows.values())
    if total < LEAST_INDEXED_ROWS:
        return None
    lists = number_of_lists(total)
    sample = _sample(lake, rows, lists * POINTS_A_LIST)
    quantiser = train_quantiser(sample, min(lists, len(sample)))
    store_quantiser(lake, quantiser)
    report.quantiser_id, report.is_retrained = quantiser.quantiser_id, True
    return quantiser


def _sample(lake: Lake, rows: Mapping[str, int], count: int) -> Float32:
    """Return unit rows of shards that can be read, of the width that most have; the others fail in their turn."""
    by_width: dict[int, list[Float32]] = {}
    for shard, chosen in choose_rows(rows, count, SEED).items():
        with contextlib.suppress(*UNREADABLE):
            unit, _ = unit_rows(read_rows(lake, shard, chosen))
            by_width.setdefault(unit.shape[1], []).append(unit)
    samples = [np.concatenate(parts) for parts in by_width.values()]
    best = max(samples, key=len, default=np.empty((0, 0), dtype=np.float32))
    if not len(best):
        first = min(rows)
        raise bad_maps(first, "vectors to train a quantiser with", f"none in {len(rows)} shards")
    return best


def _recognise(places: Sequence[Place], there: Sequence[IndexedShard], report: IndexReport) -> list[Place]:
    """Take over the shards that are there as they should be; return the places of the others."""
    done = {(e.shard, e.fingerprint, e.first_position, e.quantiser_id): e for e in there}
    found = [done.get((p.shard, p.fingerprint, p.first_position, report.quantiser_id)) for p in places]
    report.shards = [shard for shard in found if shard is not None]
    return [place for place, shard in zip(places, found, strict=True) if shard is None]


def _finish(lake: Lake, ledger: Sequence[IndexedShard], report: IndexReport) -> None:
    """Make what was done valid, and delete what is not named any more."""
    now = {shard.shard for shard in report.shards}
    gone = [shard for shard in ledger if shard.shard not in now]
    report.removed = [shard.shard for shard in gone if not shard.is_removed]
    places_kept = [
        dataclasses.replace(shard, bytes=0, sha256="", rows_bytes=0, rows_sha256="", is_removed=True) for shard in gone
    ]
    new = sorted([*report.shards, *places_kept], key=_ordinal)
    if list(ledger) != new:
        write_ledger(lake, new)
    lake.delete(lake.table_path(PENDING_SHARDS))
    named = {path for shard in report.shards for path in shard.paths}
    named |= set(quantiser_paths(report.quantiser_id)) if report.quantiser_id else set()
    for path in file_sizes(lake):
        if path not in named:
            lake.delete(path)
