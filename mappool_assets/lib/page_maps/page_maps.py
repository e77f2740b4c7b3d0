"""The maps among the images of web pages, in MapPool's columns, with the page around them.

The images of all crawl files that the classifier calls maps, once each place: an image that another page shows too, or
that is nearly the same as one, stays with its page and names the one that is kept for it. What is a duplicate is
decided as for ``unique_images``: same bytes, perceptual hash, mirror image, cosine of the embeddings.

Memory holds some 650 bytes a map (measured) and, beside them, files of embeddings on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.duplicates.coarse_lists import SAMPLED_VECTORS_A_LIST, fit_centroids, list_count
from mappool_assets.lib.duplicates.edges import EXACT, RELATIONS
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.duplicates.representatives import KEPT, Representatives, choose_representatives
from mappool_assets.lib.duplicates.unique_images import DEFAULT_SETTINGS, DuplicateSettings
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.page_maps.page_images import TABLE as PAGE_IMAGES
from mappool_assets.lib.page_maps.page_images import schema
from mappool_assets.lib.scratch_folder import scratch_folder
from mappool_assets.lib.vectors import as_matrix
from mappool_assets.lib.workers import available_cores

TABLE = "web_documents/page_maps"
CODE_VERSION = "1"  # raise when the same inputs would give other rows
BATCH_ROWS = 1024
_SOURCE_OF = {  # MapPool's names of what page_images has under its own
    "text": "alt",
    "original_width": "width",
    "original_height": "height",
    "clip_l14_similarity_score": "similarity_alt",
}
SCORED_BY = ("classifier_id", "aesthetic_head")  # inputs of page_images
_DECIDING = ["sha256", "width", "height", "bytes", "map_score", "perceptual_hash", "perceptual_hash_mirrored"]


class _Maps(NamedTuple):
    """All maps, in the order of files and rows.

    ``numbers``: of each map, its image's place in the order of preference. ``is_first``: whether it is the first map
    with its bytes. ``hashes``: (images, 2), by number.
    """

    numbers: NDArray[np.int32]
    is_first: NDArray[np.bool_]
    hashes: NDArray[np.uint64]


def find_page_maps(
    lake: Lake, scratch: Path, duplicates: DuplicateSettings = DEFAULT_SETTINGS, *, force: bool = False
) -> Provenance:
    """Write ``web_documents/page_maps``: one row is one map on a page, kept or a duplicate of one that is.

    Nothing is done where the images and the settings are those that the table was made from.

    Parameters
    ----------
    lake : Lake
        Has ``web_documents/page_images``.
    scratch : Path
        A folder on a local disk; takes some 3.5 kB a map while this runs.

    Returns
    -------
    Provenance
        The table's. Rows dropped are duplicates, by relation to the map that is kept.

    Raises
    ------
    MissingInput
        No crawl file's images have been scored.
    SourceChanged
        They were scored by different classifiers, whose scores and embeddings cannot be compared.
    """
    made_of = {file: _provenance(lake, file) for file in lake.partitions(PAGE_IMAGES)}
    _check_scored_alike(lake, made_of)
    sources = {file: made.fingerprint for file, made in made_of.items()}
    inputs = {"page_images": fingerprint(sources), **asdict(duplicates), "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if not force and made is not None and made.fingerprint == fingerprint(inputs):
        return made
    maps = _gathered(lake, list(sources))
    with scratch_folder(scratch, lake, "page_maps") as folder:
        chosen = _chosen(lake, list(sources), maps, folder, duplicates)
    return _write(lake, list(sources), maps, chosen, inputs)


def _provenance(lake: Lake, file: str) -> Provenance:
    made = lake.provenance(PAGE_IMAGES, file)
    assert made is not None
    return made


def _check_scored_alike(lake: Lake, made_of: dict[str, Provenance]) -> None:
    """Raise where no images were scored, or not all by one classifier and one head."""
    if not made_of:
        raise MissingInput(
            "No images of web pages have been scored",
            where=lake.url(PAGE_IMAGES),
            rule="page_images of one crawl file or more",
            got="none",
            action="Materialise page_images first.",
        )
    scored_by: dict[tuple[Any, ...], list[str]] = {}
    for file, made in made_of.items():
        scored_by.setdefault(tuple(made.inputs[name] for name in SCORED_BY), []).append(file)
    if len(scored_by) > 1:
        names = " and ".join(SCORED_BY)
        raise SourceChanged(
            "The images of web pages were not all scored by the same classifier and head",
            where=lake.url(PAGE_IMAGES),
            rule=f"one {names}",
            got="; ".join(f"{by} in {len(files)} files, as {files[0]}" for by, files in scored_by.items()),
            action="Materialise page_images of all crawl files again; those of the present ones are left as they are.",
        )


def _batches(lake: Lake, files: list[str], columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    """Yield the maps of all files, batch by batch, with the file's key."""
    for file in files:
        with lake.open_table(PAGE_IMAGES, file) as parquet:
            wanted = [*columns, "is_map"] if columns else None
            for batch in parquet.iter_batches(BATCH_ROWS, columns=wanted):
                yield file, pa.table(batch).filter(pc.field("is_map"))


def _gathered(lake: Lake, files: list[str]) -> _Maps:
    """Return the maps' images in order of preference: more pixels, more bytes, a higher score, the smaller checksum."""
    nothing = schema(1).empty_table().select([*_DECIDING, "is_map"])
    found = pa.concat_tables([nothing, *(batch for _, batch in _batches(lake, files, _DECIDING))])
    _, first, images = np.unique(found["sha256"].to_numpy(), return_index=True, return_inverse=True)
    of_image = {name: found[name].to_numpy()[first] for name in _DECIDING}
    pixels = of_image["width"].astype(np.int64) * of_image["height"]
    # The last key comes first; images are by checksum already.
    order = np.lexsort((np.arange(len(first)), -of_image["map_score"], -of_image["bytes"], -pixels))
    place = np.empty(len(first), dtype=np.int32)
    place[order] = np.arange(len(first), dtype=np.int32)
    is_first = np.zeros(len(found), dtype=bool)
    is_first[first] = True
    hashes = np.stack([of_image["perceptual_hash"], of_image["perceptual_hash_mirrored"]], axis=1)[order]
    return _Maps(place[images], is_first, hashes.astype(np.uint64))


def _chosen(lake: Lake, files: list[str], maps: _Maps, folder: Path, duplicates: DuplicateSettings) -> Representatives:
    """Return which images are kept."""
    count = len(maps.hashes)
    relations: list[Any] = [LookAlikes(maps.hashes[:, 0], maps.hashes[:, 1], duplicates.hash_distance)]
    if count:
        wanted = SAMPLED_VECTORS_A_LIST * list_count(count)
        step = max(1, count // wanted)
        sample = np.concatenate([vectors[numbers % step == 0] for numbers, vectors in _embeddings(lake, files, maps)])
        lists = EmbeddingLists(folder, fit_centroids(sample, min(list_count(count), len(sample))), count)
        for numbers, vectors in _embeddings(lake, files, maps):
            lists.add(numbers, vectors)
        relations.append(EmbeddingNeighbours(lists, count, duplicates.similarity, available_cores()))
    return choose_representatives(count, relations)


def _embeddings(lake: Lake, files: list[str], maps: _Maps) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float16]]]:
    """Yield the numbers and embeddings of all images, each once."""
    done = 0
    for _, batch in _batches(lake, files, ["l14_img"]):
        rows = slice(done, done + len(batch))
        done = rows.stop
        is_first = maps.is_first[rows]
        if is_first.any():
            yield maps.numbers[rows][is_first], as_matrix(batch["l14_img"])[is_first]


def _write(lake: Lake, files: list[str], maps: _Maps, chosen: Representatives, inputs: dict[str, Any]) -> Provenance:
    relation = chosen.relation[maps.numbers]
    relation[(relation == KEPT) & ~maps.is_first] = EXACT
    kept_uids = _uids_of_images(lake, files, maps)
    names = np.array([f"{name}_duplicate" for name in RELATIONS])
    counts = {str(name): int(np.sum(relation == code)) for code, name in enumerate(names)}
    dropped = {reason: rows for reason, rows in counts.items() if rows}
    provenance = Provenance(inputs, len(relation), int(np.sum(relation == KEPT)), dropped)
    done = 0
    with lake.open_table(PAGE_IMAGES, files[0]) as parquet:
        columns = _schema(parquet.schema_arrow)
    with lake.table_writer(TABLE, columns, is_ledger=True) as writer:
        for file, batch in _batches(lake, files):
            rows = slice(done, done + len(batch))
            done = rows.stop
            is_kept = relation[rows] == KEPT
            representative = kept_uids[chosen.representative[maps.numbers[rows]]]
            added = {
                "uid": _uids(batch),
                "crawl_file": [file] * len(batch),
                "dropped": pa.array(names[np.where(is_kept, 0, relation[rows])], pa.string(), mask=is_kept),
                "duplicate_of": pa.array(representative, pa.string(), mask=is_kept),
            }
            arrays = [
                added[name] if name in added else batch[_SOURCE_OF.get(name, name)].cast(columns.field(name).type)
                for name in columns.names
            ]
            writer.write(pa.table(arrays, schema=columns))
        writer.provenance = provenance
    return provenance


def _uids_of_images(lake: Lake, files: list[str], maps: _Maps) -> NDArray[np.object_]:
    """Return the uid of the first map of each image, by number."""
    uids = np.empty(len(maps.hashes), dtype=object)
    done = 0
    for _, batch in _batches(lake, files, ["document_id", "position"]):
        rows = slice(done, done + len(batch))
        done = rows.stop
        is_first = maps.is_first[rows]
        uids[maps.numbers[rows][is_first]] = np.array(_uids(batch), dtype=object)[is_first]
    return uids


def _uids(batch: pa.Table) -> list[str]:
    """Return the uid of each map, 32 hex digits as CommonPool's: the hash of its page and place."""
    places = zip(batch["document_id"].to_pylist(), batch["position"].to_pylist(), strict=True)
    return [hashlib.sha256(f"{document} {position}".encode()).hexdigest()[:32] for document, position in places]


def _schema(images: pa.Schema) -> pa.Schema:
    """Return the columns: MapPool's, then the page's, then what became of the map."""

    def same(*names: str) -> list[pa.Field]:
        return [images.field(name) for name in names]

    return pa.schema(
        [
            pa.field("uid", pa.string(), nullable=False),
            pa.field("url", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("original_width", pa.int64(), nullable=False),
            pa.field("original_height", pa.int64(), nullable=False),
            pa.field("clip_l14_similarity_score", pa.float32()),
            *same("sha256", "map_score", "l14_img", "l14_txt"),
            pa.field("crawl_file", pa.string(), nullable=False),
            *same("document_id", "page_url", "language", "image", "position", "text_before", "text_after"),
            *same("similarity_before", "similarity_after", "similarity_distant", "aesthetic_score"),
            pa.field("dropped", pa.string()),
            pa.field("duplicate_of", pa.string()),  # the uid of the map that is kept for it
        ]
    )
