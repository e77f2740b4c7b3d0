"""A lake of synthetic images, with known duplicates of each kind among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from mappool_assets.demo.commonpool import shard_key
from mappool_assets.demo.embeddings import image_vectors, unit_rows
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_ledger import SCHEMA
from mappool_assets.lib.shard_filter import output_schema
from mappool_assets.lib.vectors import as_vectors

ROWS_A_SHARD = 4000  # of MapPool's shards
COPIED_SHARE = 0.1  # of the rows of every second shard: a third each exact, perceptual and by embedding
NOISE = 0.004  # of a copy's embedding, a coordinate: a cosine of 0.994


def write_image_lake(folder: Path, rows: int) -> Lake:
    """Write shards of maps and the ledgers of their images."""
    lake, before = Lake(str(folder)), None
    for shard in range(-(-rows // ROWS_A_SHARD)):
        random = np.random.default_rng([7, shard])
        columns = _columns(random, min(ROWS_A_SHARD, rows - shard * ROWS_A_SHARD))
        if before is not None and shard % 2:
            _copy_some(columns, before, random)
        _write(lake, shard_key("images", shard), columns)
        before = columns
    return lake


def _columns(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {
        "uid": np.array([random.bytes(16).hex() for _ in range(rows)]),
        "sha256": np.array([random.bytes(32).hex() for _ in range(rows)]),
        "perceptual_hash": random.integers(0, 2**64, rows, dtype=np.uint64),
        "perceptual_hash_mirrored": random.integers(0, 2**64, rows, dtype=np.uint64),
        "width": random.integers(200, 2000, rows, dtype=np.int32),
        "height": random.integers(200, 2000, rows, dtype=np.int32),
        "bytes": random.integers(10_000, 1_000_000, rows),
        "vector": image_vectors(np.ones(rows, bool), random),
        "text": np.array([f"map number {number}" for number in random.integers(0, 10 * rows, rows)]),
        "map_score": random.random(rows, dtype=np.float32),
    }


def _copy_some(columns: dict[str, np.ndarray], before: dict[str, np.ndarray], random: np.random.Generator) -> None:
    rows = len(columns["uid"])
    copies = random.choice(rows, int(COPIED_SHARE * rows), replace=False)
    originals = random.integers(0, len(before["uid"]), len(copies))
    exact, perceptual, embedding = (slice(kind, None, 3) for kind in range(3))
    for name in ("sha256", "perceptual_hash", "perceptual_hash_mirrored", "width", "height", "bytes", "vector"):
        columns[name][copies[exact]] = before[name][originals[exact]]
    flipped = np.uint64(1) << random.integers(0, 64, len(copies[perceptual]), dtype=np.uint64)
    columns["perceptual_hash"][copies[perceptual]] = before["perceptual_hash"][originals[perceptual]] ^ flipped
    near = before["vector"][originals[embedding]]
    columns["vector"][copies[embedding]] = unit_rows(near + np.float32(NOISE) * _noise(near.shape, random))


def _noise(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)


def _write(lake: Lake, key: str, columns: dict[str, np.ndarray]) -> None:
    rows = len(columns["uid"])
    url = [f"https://maps.example/{uid}.jpg" for uid in columns["uid"]]
    known = {name: values for name, values in columns.items() if name != "vector"}
    text = {"file": "00000.tar", "extension": "jpg", "mime": "image/jpeg", "status": "ok", "detail": ""}
    ledger = {**known, "url": url, "expected_sha256": columns["sha256"], "attempts": np.ones(rows, np.int16)}
    ledger |= {name: [value] * rows for name, value in text.items()}
    maps = {**known, "url": url, "original_width": columns["width"], "original_height": columns["height"]}
    vectors = as_vectors(columns["vector"].astype(np.float16))
    maps |= {"l14_img": vectors, "l14_txt": vectors, "clip_l14_similarity_score": columns["map_score"]}
    for table, values, schema, is_ledger in (
        ("mappool/map_images", ledger, SCHEMA, True),
        ("mappool/shard_maps", maps, output_schema(columns["vector"].shape[1]), False),
    ):
        cast = pa.table({field.name: pa.array(values[field.name]).cast(field.type) for field in schema}, schema=schema)
        lake.write_table(table, cast, Provenance({"shard": key}, rows, rows), key, is_ledger=is_ledger)
