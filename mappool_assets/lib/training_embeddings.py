"""The training set as unit vectors; what is finished survives a kill, and the bytes are the same either way.

While it runs, finished chunks lie in ``mappool/embedded_chunks``, a file each, named by encoder and images. They go
when the final table is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.images import open_image
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.training_set import TRAINING_SET
from mappool_assets.lib.vectors import as_matrix, as_vectors

TRAINING_EMBEDDINGS = "mappool/training_embeddings"
CHUNKS = "mappool/embedded_chunks"
CODE_VERSION = "1"  # raised when the same images would give other vectors

CHUNK_ROWS = 256  # lost at most by a kill; a multiple of usual batch sizes, so that few batches are filled up

Progress = Callable[[int, int | None], None]


def write_training_embeddings(lake: Lake, encoder: ClipEncoder, *, progress: Progress) -> Provenance:
    """Embed the training set; vectors that the same encoder made for an earlier one are taken over.

    Parameters
    ----------
    lake : Lake
        Holds ``mappool/training_set``; gets ``mappool/training_embeddings``: sha256, label, is_map, split and
        embedding (float16, of the encoder's dimension, unit length), sorted by sha256.
    encoder : ClipEncoder
        Makes the vectors. It is not loaded where none is missing.
    progress : callable
        Told how many images have a vector, of how many.

    Returns
    -------
    Provenance
        Its inputs hold ``training_set_id`` and ``encoder_id``. The table is left alone where it was made from the same.

    Raises
    ------
    MissingInput
        There is no training set.
    """
    images_made_by = lake.provenance(TRAINING_SET)
    if images_made_by is None:
        raise MissingInput(
            "There is no training set",
            where=lake.url(TRAINING_SET),
            rule="labelled images",
            got="nothing",
            action=f"Materialise the asset {TRAINING_SET} first.",
        )
    inputs = {
        "training_set_id": images_made_by.inputs["training_set_id"],
        "encoder_id": encoder.encoder_id,
        "code_version": CODE_VERSION,
    }
    if not lake.is_made_from(inputs, TRAINING_EMBEDDINGS):
        rows = lake.read_table(TRAINING_SET, columns=["sha256", "label", "is_map", "split"])
        max_pixels = images_made_by.inputs["settings"]["max_pixels"]
        vectors = _vectors(lake, encoder, rows["sha256"].to_pylist(), max_pixels, progress)
        table = rows.append_column(_embedding_field(encoder.dimension), as_vectors(vectors)).replace_schema_metadata()
        lake.write_table(TRAINING_EMBEDDINGS, table, Provenance(inputs, table.num_rows, table.num_rows))
    for chunk in lake.partitions(CHUNKS):
        lake.delete(lake.table_path(CHUNKS, chunk))
    made_by = lake.provenance(TRAINING_EMBEDDINGS)
    assert made_by is not None
    return made_by


def _vectors(
    lake: Lake, encoder: ClipEncoder, wanted: Sequence[str], max_pixels: int, progress: Progress
) -> NDArray[np.float16]:
    """Return a row for each wanted image, from an earlier table, a finished chunk or the encoder."""
    vectors = np.empty((len(wanted), encoder.dimension), dtype=np.float16)
    position = {sha256: row for row, sha256 in enumerate(wanted)}
    earlier = _earlier_vectors(lake, encoder.encoder_id)
    for sha256 in position.keys() & earlier.keys():
        vectors[position[sha256]] = earlier[sha256]
    missing = [sha256 for sha256 in wanted if sha256 not in earlier]
    done = len(wanted) - len(missing)
    progress(done, len(wanted))
    for start in range(0, len(missing), CHUNK_ROWS):
        chunk = missing[start : start + CHUNK_ROWS]
        vectors[[position[sha256] for sha256 in chunk]] = _chunk(lake, encoder, chunk, max_pixels)
        done += len(chunk)
        progress(done, len(wanted))
    return vectors


def _earlier_vectors(lake: Lake, encoder_id: str) -> dict[str, NDArray[np.float16]]:
    made_by = lake.provenance(TRAINING_EMBEDDINGS)
    if made_by is None or (made_by.inputs["encoder_id"], made_by.inputs["code_version"]) != (encoder_id, CODE_VERSION):
        return {}
    table = lake.read_table(TRAINING_EMBEDDINGS, columns=["sha256", "embedding"])
    return dict(zip(table["sha256"].to_pylist(), as_matrix(table["embedding"]), strict=True))


def _chunk(lake: Lake, encoder: ClipEncoder, chunk: Sequence[str], max_pixels: int) -> NDArray[np.float16]:
    """Return the vectors of a chunk, embedding and storing it unless that is done."""
    inputs = {"encoder_id": encoder.encoder_id, "code_version": CODE_VERSION, "images": list(chunk)}
    name = fingerprint(inputs)
    if lake.is_made_from(inputs, CHUNKS, name):
        return as_matrix(lake.read_table(CHUNKS, name)["embedding"])
    vectors = encoder.embed_images(open_image(data, max_pixels=max_pixels) for data in _images(lake, chunk))
    rows = pa.table([as_vectors(vectors)], schema=pa.schema([_embedding_field(encoder.dimension)]))
    lake.write_table(CHUNKS, rows, Provenance(inputs, len(chunk), len(chunk)), name)
    return vectors


def _images(lake: Lake, wanted: Sequence[str]) -> Iterator[bytes]:
    """Yield the bytes of images in the order of their hashes, reading only the row groups that hold them."""
    found = 0
    with lake.open_table(TRAINING_SET) as file:
        hash_column = file.schema_arrow.get_field_index("sha256")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(hash_column).statistics
            if found == len(wanted) or statistics.max < wanted[found]:
                continue
            rows = file.read_row_group(group, columns=["sha256", "image"])
            for sha256, image in zip(rows["sha256"], rows["image"], strict=True):
                if found < len(wanted) and sha256.as_py() == wanted[found]:
                    yield image["bytes"].as_py()
                    found += 1
    assert found == len(wanted), "the training set changed while it was read"


def _embedding_field(dimension: int) -> pa.Field:
    return pa.field("embedding", pa.list_(pa.float16(), dimension), nullable=False)
