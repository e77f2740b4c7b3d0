"""The images of all shards, each kept or attached to the one that is kept for it.

The steps: put the images in order of preference (SQL); deal their embeddings out to lists on disk; find duplicates by
hash and by embedding; choose what is kept, by the rule in :mod:`mappool_assets.lib.duplicates.representatives`; give
the numbers their names again (SQL) and write.

Memory holds numbers, never names or embeddings of all images: 1.13 GB at most for one million, 1.21 GB for two million
(SQL held to 512 MB), so some 10 GB for 75 million.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mappool_assets.lib import sql_files
from mappool_assets.lib.duplicates.coarse_lists import SAMPLED_VECTORS_A_LIST, fit_centroids, list_count
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours
from mappool_assets.lib.duplicates.image_embeddings import read_embeddings, sample_embeddings
from mappool_assets.lib.duplicates.image_places import ImagePlaces, find_places
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.duplicates.representatives import Relation, Representatives, choose_representatives
from mappool_assets.lib.duplicates.unique_table import TABLE, write_unique_images
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.scratch_folder import scratch_folder
from mappool_assets.lib.workers import available_cores

__all__ = ["TABLE", "DuplicateSettings", "find_unique_images"]

CODE_VERSION = "1"  # raise when the same inputs would give other rows

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class DuplicateSettings:
    """What counts as a duplicate.

    Attributes
    ----------
    hash_distance : int
        Bits of the 64-bit perceptual hash in which two images may differ. Of re-encoded, resized and mirrored copies of
        110 real maps (cartopy) 87, 92 and 89 % were attached to their own original at 0, 2 and 4 bits, and 97, 92 and
        87 % of what was attached belonged there. The training set allows 4: an image too many costs it little. Here it
        costs a map, and chance grows with the pool: of the 242 million pairs of 22,000 drawn maps none is within 2
        bits, one within 4, five within 6 and 45 within 8; at 4 bits that is one false neighbour for every third image
        of 75 million.
    similarity : float
        The least cosine of two ``l14_img``. A cautious choice, not a measurement: CLIP's weights were out of reach, and
        maps look more alike to it than pictures in general, for which clip-retrieval takes 0.94.
    """

    hash_distance: int = 2
    similarity: float = 0.98


DEFAULT_SETTINGS = DuplicateSettings()


def _tell_nobody(things: str) -> Progress:
    return lambda done, total: None


def find_unique_images(
    lake: Lake,
    scratch: Path,
    progress: Callable[[str], Progress] = _tell_nobody,
    settings: DuplicateSettings = DEFAULT_SETTINGS,
) -> Provenance:
    """Write ``mappool/unique_images``: one row an image that was fetched, kept or a duplicate of one that is.

    Nothing is done where the images, their embeddings and the settings are those that the table was made from.

    Parameters
    ----------
    lake : Lake
        Has ``mappool/map_images``, and ``mappool/shard_maps`` for embeddings, scores and captions.
    scratch : Path
        A folder on a local disk; takes some 3.5 kB an image while this runs.
    progress : callable
        Given the name of what is counted, returns what is told how many are done, of how many.
    settings : DuplicateSettings
        What counts as a duplicate.

    Returns
    -------
    Provenance
        The table's. Rows dropped are duplicates, by relation to the image that is kept.

    Raises
    ------
    MissingInput
        No shard's images were fetched yet.
    """
    sources = sql_files.run(lake, "steps/image_fingerprints").to_pylist()
    inputs = {"sources": fingerprint({"rows": sources}), **asdict(settings), "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if made is not None and made.fingerprint == fingerprint(inputs):
        return made
    with scratch_folder(scratch, lake, "unique_images") as folder:
        images = find_places(lake, folder / "places.parquet")
        chosen, embedded = _choose(lake, images, folder, progress, settings)
        measures = {
            "images_of_different_bytes": len(images.place_of_number),
            "of_these_without_embedding": len(images.place_of_number) - embedded,
            "captions": sql_files.run(lake, "reports/caption_counts").to_pylist()[0],
        }
        return write_unique_images(lake, images, chosen, folder, inputs, measures)


def _choose(
    lake: Lake, images: ImagePlaces, folder: Path, progress: Callable[[str], Progress], settings: DuplicateSettings
) -> tuple[Representatives, int]:
    """Return what becomes of the images of different bytes, and how many of them have an embedding."""
    count = len(images.place_of_number)
    lists, embedded = _deal_out(lake, images, folder, progress("shards read"))
    hashes, mirrored = images.hashes("perceptual_hash"), images.hashes("perceptual_hash_mirrored")
    compared = progress("images compared by hash")
    relations: list[Relation] = [LookAlikes(hashes, mirrored, settings.hash_distance, compared)]
    if lists is not None:
        compared = progress("files of embeddings compared")
        relations.append(EmbeddingNeighbours(lists, count, settings.similarity, available_cores(), compared))
    return choose_representatives(count, relations), embedded


def _deal_out(lake: Lake, images: ImagePlaces, folder: Path, progress: Progress) -> tuple[EmbeddingLists | None, int]:
    """Deal the embeddings out to lists, none where there is none; return how many there are, too."""
    count, embedded = len(images.place_of_number), 0
    sample = sample_embeddings(lake, SAMPLED_VECTORS_A_LIST * list_count(count))
    if not len(sample):
        return None, 0
    lists = EmbeddingLists(folder, fit_centroids(sample, min(list_count(count), len(sample))), count)
    del sample  # 1.2 GB for 75 million images
    for numbers, vectors in read_embeddings(lake, images, progress):
        lists.add(numbers, vectors)
        embedded += len(numbers)
    return lists, embedded
