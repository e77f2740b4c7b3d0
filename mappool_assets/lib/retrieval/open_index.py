"""From the lake to an index that can be searched: what is damaged, out of date or of another encoder is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput
from mappool_assets.lib.lake import Lake, fingerprint, replacing
from mappool_assets.lib.retrieval.calibration import Calibrated
from mappool_assets.lib.retrieval.index_ledger import INDEX_SHARDS, BadIndex, IndexedShard, read_ledger
from mappool_assets.lib.retrieval.inverted_lists import ShardLists, StackedLists
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_MAPS
from mappool_assets.lib.retrieval.quantiser import Quantiser, damaged
from mappool_assets.lib.retrieval.quantiser_store import read_figures, read_quantiser
from mappool_assets.lib.retrieval.row_file import RowFile, file_sha256
from mappool_assets.lib.retrieval.search import ImageSearch
from mappool_assets.lib.retrieval.shard_vectors import maps_made_from

FILES_AT_A_TIME = 8  # hashed, or fetched, by threads


def open_index(lake: Lake, *, encoder_id: str, cache: Path | None = None) -> ImageSearch:
    """Open the image index of a lake.

    Index files are compared with the ledger's checksums, which reads them once; files of rows, fifteen times as large
    in all, only with their sizes (:func:`~mappool_assets.lib.retrieval.index_checks.damaged_files` reads them too).

    Parameters
    ----------
    encoder_id : str
        What the queries are made with.
    cache : Path, optional
        A folder of this machine for the index files of lakes that are none, each in a folder of its own. Those that
        are there already are used; those of the lake that its index does not have any more are deleted.

    Raises
    ------
    MissingInput
        There is no index, or no shard in it.
    BadModel
        The index is of another encoder.
    BadIndex
        A file is damaged or missing, or shards were filtered again, or removed, since the index was built.
    BadSetting
        The lake is no folder, and no cache is given.
    """
    ledger = read_ledger(lake)
    shards = [shard for shard in ledger if not shard.is_removed]
    if not shards:
        raise MissingInput(
            "There is no image index",
            where=lake.url(INDEX_SHARDS),
            rule="an index of a shard, at least",
            got="nothing",
            action="Materialise the asset geo_subset/image_index first.",
        )
    check_encoder(shards, encoder_id)
    _check_current(lake, shards)
    quantiser, calibrated = _quantiser_of(lake, shards)
    search = open_shards(lake, ledger, quantiser, calibrated, cache)
    if cache is not None and not lake.is_local:
        _sweep(_folder_of(lake, cache), shards)
    return search


def open_shards(
    lake: Lake,
    ledger: Sequence[IndexedShard],
    quantiser: Quantiser | None,
    calibrated: Sequence[Calibrated],
    cache: Path | None,
) -> ImageSearch:
    """Open given shards as one index; errors as of :func:`open_index`."""
    # By position: of copies of an image, which tie, lists then propose those that an exact scan finds first.
    shards = sorted((s for s in ledger if not s.is_removed), key=lambda s: s.first_position)

    def opened(shard: IndexedShard) -> tuple[RowFile, ShardLists | None]:
        return _rows_of(lake, shard, cache), _lists_of(lake, shard, quantiser, cache)

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        files = list(pool.map(opened, shards))
    rows = {shard.shard: file for shard, (file, _) in zip(shards, files, strict=True)}
    lists = [shard_lists for _, shard_lists in files if shard_lists is not None]
    return ImageSearch(ledger, rows, StackedLists(lists, quantiser) if quantiser else None, calibrated)


def check_encoder(shards: Sequence[IndexedShard], encoder_id: str) -> None:
    """Raise :class:`BadModel` where shards are of another encoder than the queries."""
    others = sorted({shard.encoder_id for shard in shards} - {encoder_id})
    if others:
        raise BadModel(
            "Index and queries are of different encoders",
            where=INDEX_SHARDS,
            rule=f"{encoder_id}, the queries' encoder",
            got=", ".join(others),
            action="Set the index's encoder, or build the image index anew.",
        )


def check_maps_encoder(lake: Lake, encoder_id: str) -> None:
    """Raise :class:`BadModel` where the classifier, which chose the maps by their vectors, is of another encoder.

    Nothing else tells what made the maps' vectors: an index of them under another encoder's id would answer, wrongly.

    Raises
    ------
    MissingInput
        The lake has no classifier.
    """
    found = classifier_record(lake).classifier.encoder_id
    if found != encoder_id:
        raise BadModel(
            "Maps and index are of different encoders",
            where=lake.url(SHARD_MAPS),
            rule=f"{encoder_id}, the index's encoder",
            got=f"{found}, the encoder of the classifier that chose the maps",
            action="Set the encoder of the pool and its classifier.",
        )


def stale_shards(lake: Lake, shards: Sequence[IndexedShard]) -> list[str]:
    """Return the shards whose maps are gone, or were made from something else since they were indexed."""
    made = maps_made_from(lake, (shard.shard for shard in shards))
    return [shard.shard for shard in shards if getattr(made[shard.shard], "fingerprint", None) != shard.fingerprint]


def _check_current(lake: Lake, shards: Sequence[IndexedShard]) -> None:
    if stale := stale_shards(lake, shards):
        raise BadIndex(
            "The index is out of date: its rows are not those of the maps",
            where=INDEX_SHARDS,
            rule="every shard indexed since it was filtered last",
            got=f"{len(stale)} filtered again or removed since: {', '.join(stale[:5])}",
            action="Materialise the asset geo_subset/image_index again.",
        )


def _quantiser_of(lake: Lake, shards: Sequence[IndexedShard]) -> tuple[Quantiser | None, tuple[Calibrated, ...]]:
    ids = {shard.quantiser_id for shard in shards}
    if len(ids) != 1:
        raise damaged(lake.url(INDEX_SHARDS), "shards of one quantiser", f"shards of {len(ids)}")
    quantiser_id = ids.pop()
    if quantiser_id is None:
        return None, ()
    figures = read_figures(lake, quantiser_id)
    return read_quantiser(lake, quantiser_id), figures.calibrated if figures else ()


def _rows_of(lake: Lake, shard: IndexedShard, cache: Path | None) -> RowFile:
    path = _local(lake, shard.rows_path, shard.rows_bytes, shard.rows_sha256, cache)
    file = RowFile.open(path)
    if (file.rows, file.dimension) != (shard.rows, shard.dimension):
        rule = f"{shard.rows} rows of width {shard.dimension}, as the ledger says"
        raise damaged(str(path), rule, f"{file.rows} of width {file.dimension}")
    return file


def _lists_of(lake: Lake, shard: IndexedShard, quantiser: Quantiser | None, cache: Path | None) -> ShardLists | None:
    if quantiser is None:
        return None
    path = _local(lake, shard.index_path, shard.bytes, shard.sha256, cache)
    if (found := file_sha256(path)) != shard.sha256:
        raise damaged(str(path), f"sha256 {shard.sha256}, the ledger's", found)
    lists = ShardLists(path, quantiser)
    if lists.rows != shard.rows_indexed:
        raise damaged(str(path), f"{shard.rows_indexed} rows, as the ledger says", f"{lists.rows}")
    return lists


def _local(lake: Lake, path: str, size: int, sha256: str, cache: Path | None) -> Path:
    """Return a file of this machine: the lake's own, or one fetched into the cache, once."""
    if lake.is_local:
        file = Path(lake.root) / path
        if not file.is_file():
            raise damaged(str(file), f"a file of {size:,} bytes", "nothing")
        return file
    if cache is None:
        raise BadSetting(
            "The index of a lake that is no folder needs a folder of this machine",
            where=lake.root,
            rule="cache",
            got="none",
            action="Name a folder with room for all rows, 1.5 kB each.",
        )
    file = _folder_of(lake, cache) / Path(path).name
    if not file.is_file() or file.stat().st_size != size:
        with replacing(file) as temporary:
            found = _fetched(lake, path, temporary)
            if found != sha256:
                raise damaged(lake.url(path), f"sha256 {sha256}, the ledger's", found)
    return file


def _folder_of(lake: Lake, cache: Path) -> Path:
    """Return where a lake's files are kept: a service may have indexes of several lakes, and sweeps those it opens."""
    return cache / fingerprint({"lake": lake.url(""), "endpoint": lake.s3_endpoint})


def _fetched(lake: Lake, path: str, target: Path) -> str:
    try:
        with lake.filesystem.open_input_stream(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 22)
    except FileNotFoundError as error:
        raise damaged(lake.url(path), "a file of the index", "nothing") from error
    return file_sha256(target)


def _sweep(folder: Path, shards: Sequence[IndexedShard]) -> None:
    wanted = {Path(path).name for shard in shards for path in shard.paths}
    for file in folder.iterdir():
        if file.suffix in {".faiss", ".npy"} and file.name not in wanted:
            file.unlink(missing_ok=True)
