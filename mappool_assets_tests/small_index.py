"""Small lakes for an image index: images of many topics, and texts that are far from all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.image_index import build_image_index
from mappool_assets.lib.retrieval.index_ledger import FOLDER, read_ledger
from mappool_assets.lib.retrieval.open_index import open_index
from mappool_assets.lib.vectors import as_vectors
from mappool_assets_tests.small_lake import shard_key, write_maps

DIMENSION, TOPICS, ENCODER = 64, 60, "tiny/seed0"


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def images(rows, draw):
    """Return float16 unit vectors."""
    topics, random = _topics(), np.random.default_rng([draw, 1])
    noise = random.standard_normal((rows, DIMENSION)) / np.sqrt(random.standard_gamma(1.5, (rows, 1)))
    return unit(1.5 * topics[0] + 4 * topics[random.integers(1, TOPICS, rows)] + 0.3 * noise).astype(np.float16)


def texts(rows, draw):
    """Return float32 unit vectors on another cone than the images'."""
    topics, random = _topics(), np.random.default_rng([draw, 2])
    between = topics[random.integers(1, TOPICS, (2, rows))].sum(axis=0)
    own = random.standard_normal((rows, DIMENSION))
    return unit(6 * topics[TOPICS] + 2 * between + 0.25 * own).astype(np.float32)


def write_shard(lake: Lake, number: int, rows: int, *, draw: int | None = None, change=lambda vectors: vectors):
    """Write a shard of maps with the vectors of a draw, return its key and its image vectors."""
    draw = number if draw is None else draw
    shard, vectors = shard_key(f"{number % 16:x}", number), change(images(rows, draw))
    columns = {"l14_img": as_vectors(vectors), "l14_txt": as_vectors(texts(rows, draw).astype(np.float16))}
    write_maps(lake, shard, rows, dimension=vectors.shape[1] if rows else DIMENSION, seed=draw, columns=columns)
    return shard, vectors


def build(lake, **settings):
    return build_image_index(lake, **{"encoder_id": ENCODER, **settings})


def opened(lake, **settings):
    return open_index(lake, **{"encoder_id": ENCODER, **settings})


def files(lake):
    """The index's files: content and when it was written."""
    folder = Path(lake.root) / FOLDER
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()}


def by_shard(lake):
    return {entry.shard: entry for entry in read_ledger(lake)}


def found_ids(lake, **settings):
    search = opened(lake, **settings)
    return [found.ids.tolist() for found in search.search(texts(5, draw=77), 20)]


def _topics():
    return unit(np.random.default_rng(20_240).standard_normal((TOPICS + 1, DIMENSION)))
