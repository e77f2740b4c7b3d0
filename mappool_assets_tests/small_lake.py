"""Lakes of a few rows, as the assets before publishing leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.pool_shards import SCHEMA as POOL_SHARDS_SCHEMA
from mappool_assets.lib.shard_filter import output_schema

SOURCE = "hf://datasets/mlfoundations/datacomp_small"
THRESHOLD = 0.35  # no float32: compared as float64 a score of exactly this would lie under it


def shard_key(first: str, number: int = 0) -> str:
    """A key of 32 hex digits with a given first one."""
    return f"{first}{number:031x}"


A, A2, B, C, D = shard_key("a"), shard_key("a", 2), shard_key("b"), shard_key("c"), shard_key("d")


def write_flat_pool(lake: Lake) -> None:
    """List five shards in no folder and write the maps of three: three rows, two, and none."""
    write_pool(lake, dict.fromkeys((A, A2, B, C, D), ""))
    for key, rows in ((A, 3), (A2, 2), (B, 0)):
        write_maps(lake, key, rows)


def write_pool(lake: Lake, shards: Mapping[str, str], unlisted: Sequence[str] = ()) -> None:
    """List shards, by key, in their parts."""
    rows = [
        {
            "shard": key,
            "part": part,
            "parquet_url": f"{SOURCE}/{key}.parquet",
            "npz_url": f"{SOURCE}/{key}.npz",
            "parquet_bytes": 100,
            "npz_bytes": 1000,
            "parquet_version": "1",
            "npz_version": "1",
            "is_listed": key not in unlisted,
        }
        for key, part in sorted(shards.items())
    ]
    table = pa.Table.from_pylist(rows, schema=POOL_SHARDS_SCHEMA)
    inputs = {"shards": sorted(shards.items())}
    origin = {"source": SOURCE, "revision": "0123abcd"}
    lake.write_table("mappool/pool_shards", table, Provenance(inputs, len(rows), len(rows), origin=origin))


def write_maps(
    lake: Lake,
    shard: str,
    rows: int = 3,
    *,
    dimension: int = 4,
    threshold: float = THRESHOLD,
    seed: int = 0,
    rows_a_group: int = 4096,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> pa.Table:
    """Write one shard's maps, other columns than the given ones made up, and return them."""
    random = np.random.default_rng([seed, *shard.encode()])

    def unit_vectors() -> pa.Array:
        vectors = random.standard_normal((rows, dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), dimension)

    data = {
        "uid": [f"{shard[:8]}{number:024x}" for number in range(rows)],
        "url": [f"https://maps.example/{shard}/{number}.png" for number in range(rows)],
        "text": [f"Mäppchen «{number}», a map" for number in range(rows)],
        "original_width": random.integers(100, 4000, rows),
        "original_height": random.integers(100, 4000, rows),
        "sha256": [random.bytes(32).hex() for _ in range(rows)],
        "l14_img": unit_vectors(),
        "l14_txt": unit_vectors(),
        "clip_l14_similarity_score": random.random(rows).astype(np.float32),
        "map_score": (threshold + 0.01 + random.random(rows)).astype(np.float32),
        **(columns or {}),
    }
    table = pa.table(data, schema=output_schema(dimension))
    inputs = {
        "shard": shard,
        "parquet_version": "1",
        "npz_version": "1",
        "classifier_id": "svm-1",
        "threshold": threshold,
        "seed": seed,
    }
    dropped = {"not_a_map": 4, "null_url": 1}
    provenance = Provenance(inputs, rows + 5, rows, dropped, origin={"source": SOURCE, "revision": "0123abcd"})
    with lake.table_writer("mappool/shard_maps", table.schema, shard) as writer:
        for start in range(0, max(rows, 1), rows_a_group):
            writer.write(table.slice(start, rows_a_group))
        writer.provenance = provenance
    return table


def write_failure(lake: Lake, shard: str) -> None:
    """Record that a shard's last attempt failed."""
    row = {
        "shard": shard,
        "error": "BadShard",
        "what": "A member is missing",
        "where": f"/home/me/{shard}.npz",
        "rule": "l14_img",
        "got": "b32_img",
        "action": "Fetch it again.",
    }
    lake.write_table("mappool/shard_failures", pa.Table.from_pylist([row]), Provenance({}, 1, 1), shard)


def write_training_set(lake: Lake, images: Sequence[tuple[str, str, str]]) -> None:
    """Write labelled images as (sha256, phash, split)."""
    rows = [
        {"sha256": sha256, "name": f"{number}.png", "label": "map", "is_map": True, "split": split, "phash": phash}
        for number, (sha256, phash, split) in enumerate(images)
    ]
    lake.write_table("mappool/training_set", pa.Table.from_pylist(rows), Provenance({}, len(rows), len(rows)))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return all of a folder's files that readers see."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(".")
    }
