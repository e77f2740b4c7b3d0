"""Small lakes for an image index: images of many topics, and texts that are far from all of them."""

from __future__ import annotations

import numpy as np

from mappool_assets.lib.lake import Lake
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


def _topics():
    return unit(np.random.default_rng(20_240).standard_normal((TOPICS + 1, DIMENSION)))
