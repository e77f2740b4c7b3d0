"""Vectors that are as hard to search as CLIP's: images on one cone, texts on another, and lakes of them.

An image is its modality's mean, a topic (64 coarse × 48 fine ones, of unequal size; three in ten images are between
two), deviations that its coarse topic's images share (24 directions), others with a spectrum that falls as 1/rank, and
noise in all dimensions; the deviations have Student-t tails of 3 degrees of freedom. A text is another mean, one to
three topics, and deviations of its own that hardly any image has: its nearest images are spread over many clusters,
and lists that suit images overlook them. Two axes are large, as in CLIP's vectors.

Of a million such images: mean cosine between two 0.45, to the nearest 0.82, to the thousandth nearest 0.68 (local
intrinsic dimension 23); of text and image 0.15, 0.4 to the nearest, 0.3 to the thousandth (local dimension 90).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.shard_filter import output_schema
from mappool_assets.lib.vectors import as_vectors

DIMENSION = 768
COARSE, FINE = 64, 48
SHARED_DIRECTIONS = 24
TOPIC_EXPONENT = 0.7
ENCODER_ID = "synthetic"
BLOCK_ROWS = 1_024  # 3 MB arrays, which malloc reuses; larger ones are mapped anew each time (three times as slow)
CAPTIONS = 256  # distinct text vectors of a shard: only a sample of them is ever read

MEAN, TOPIC, SHARED, SPECTRUM, NOISE = 0.62, 0.5, 0.25, 0.5, 0.15  # parts of an image
TEXT_MEAN, TEXT_TOPIC, TEXT_OWN, TEXT_SPECTRUM = 0.75, 0.35, 0.3, 0.25


class _World:
    """What all draws have in common."""

    def __init__(self) -> None:
        random = np.random.default_rng(20_240)

        def unit(*shape: int) -> NDArray[np.float32]:
            vectors = random.standard_normal((*shape, DIMENSION), dtype=np.float32)
            return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

        axes = np.zeros(DIMENSION, dtype=np.float32)
        axes[[92, 133]] = 0.5, -0.4
        self.of_images = _unit(unit() + axes)
        self.of_texts = _unit(unit() + axes)
        coarse, fine = unit(COARSE, 1), unit(COARSE, FINE)
        self.topics = ((coarse + fine) / 2**0.5).reshape(-1, DIMENSION)
        self.shared = unit(COARSE, SHARED_DIRECTIONS)
        weights = np.arange(1, COARSE * FINE + 1) ** -TOPIC_EXPONENT
        self.weights = random.permutation(weights / weights.sum())
        spectrum = 1 / np.arange(1, DIMENSION + 1)
        self.spectrum, self.text_spectrum = (
            (
                np.sqrt(spectrum / spectrum.sum())[:, np.newaxis]
                * np.linalg.qr(random.standard_normal((DIMENSION, DIMENSION)))[0]
            ).astype(np.float32)
            for _ in range(2)
        )


@functools.cache
def _world() -> _World:
    return _World()


def image_vectors(rows: int, draw: int) -> NDArray[np.float16]:
    """Return unit vectors (rows, 768); another draw, other vectors of the same kind."""
    return np.concatenate([np.empty((0, DIMENSION), np.float16), *_image_blocks(rows, draw)])


def text_vectors(rows: int, draw: int) -> NDArray[np.float32]:
    """Return unit vectors (rows, 768) of texts."""
    world, random = _world(), np.random.default_rng([draw, 1])
    topics = np.zeros((rows, DIMENSION), dtype=np.float32)
    of_text = random.integers(1, 4, rows)
    for number in range(3):
        part = random.uniform(0.5, 1, rows) * (of_text > number)
        topics += part[:, np.newaxis] * world.topics[random.integers(0, len(world.topics), rows)]
    own, like_images = (random.standard_normal((rows, DIMENSION), dtype=np.float32) for _ in range(2))
    vectors = TEXT_MEAN * world.of_texts + TEXT_TOPIC * _unit(topics)
    vectors = vectors + TEXT_OWN * (own @ world.text_spectrum) + TEXT_SPECTRUM * (like_images @ world.spectrum)
    return _unit(vectors).astype(np.float32)


def write_maps(lake: Lake, shard: str, rows: int, draw: int) -> None:
    """Write a shard of ``shard_maps``: vectors of a draw, and what else its rows must have."""
    schema = output_schema(DIMENSION)
    inputs = {"shard": shard, "draw": draw, "rows": rows}
    with lake.table_writer("mappool/shard_maps", schema, shard) as writer:
        start, captions = 0, text_vectors(CAPTIONS, draw).astype(np.float16)
        for images in _image_blocks(rows, draw):
            numbers = range(start, start + len(images))
            texts = captions[np.arange(len(images)) % CAPTIONS]
            similarity = np.einsum("ij,ij->i", images.astype(np.float32), texts.astype(np.float32))
            columns = {
                "uid": [f"{shard[:16]:0>16}{number:016x}" for number in numbers],
                "url": [f"https://maps.example/{shard}/{number}.png" for number in numbers],
                "text": [f"map {number} of {shard}" for number in numbers],
                "original_width": [1024] * len(images),
                "original_height": [768] * len(images),
                "sha256": [f"{number:064x}" for number in numbers],
                "l14_img": as_vectors(images),
                "l14_txt": as_vectors(texts),
                "clip_l14_similarity_score": pa.array(similarity),
                "map_score": np.ones(len(images), dtype=np.float32),
            }
            writer.write(pa.table(columns, schema=schema))
            start += len(images)
        writer.provenance = Provenance(inputs, rows, rows)


def write_lake(folder: Path, shards: int, rows_a_shard: int) -> Lake:
    """Write a lake with shards ``00000000``, ``00000001``, …"""
    lake = Lake(str(folder / "lake"))
    for shard in range(shards):
        write_maps(lake, f"{shard:08d}", rows_a_shard, draw=1 + shard)
    return lake


def _image_blocks(rows: int, draw: int) -> Iterator[NDArray[np.float16]]:
    world = _world()
    for start in range(0, rows, BLOCK_ROWS):
        random, count = np.random.default_rng([draw, 0, start]), min(BLOCK_ROWS, rows - start)
        topic, other = random.choice(len(world.weights), (2, count), p=world.weights)
        share = np.where(random.random(count) < 0.3, 0.5 * random.random(count), 0).astype(np.float32)[:, np.newaxis]
        of_topic = (1 - share) * world.topics[topic] + share * world.topics[other]
        tail = (1 / np.sqrt(random.standard_gamma(1.5, count) * 1.5)).astype(np.float32)[:, np.newaxis]
        along = random.standard_normal((count, SHARED_DIRECTIONS), dtype=np.float32) / SHARED_DIRECTIONS**0.5
        shared = np.zeros((count, DIMENSION), dtype=np.float32)
        for direction in range(SHARED_DIRECTIONS):
            shared += along[:, direction, np.newaxis] * world.shared[topic // FINE, direction]
        spectrum = random.standard_normal((count, DIMENSION), dtype=np.float32) @ world.spectrum
        noise = random.standard_normal((count, DIMENSION), dtype=np.float32) / DIMENSION**0.5
        vectors = MEAN * world.of_images + TOPIC * of_topic + tail * (SHARED * shared + SPECTRUM * spectrum)
        yield _unit(vectors + NOISE * noise).astype(np.float16)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
