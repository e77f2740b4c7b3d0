"""Lakes of a few places and shards whose neighbours are found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mappool_assets.lib.classifier_store import store_classifier
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.places.place_queries import GENERIC_QUERIES, queries_schema
from mappool_assets.lib.retrieval.merged_neighbours import merge_neighbours
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES, NeighbourSettings, neighbour_tasks
from mappool_assets.lib.retrieval.neighbours import find_shard_neighbours
from mappool_assets.lib.shard_filter import output_schema
from mappool_assets.lib.vectors import as_vectors

DIMENSION, ENCODER = 16, "tiny/seed0"
SHARDS = ("a" * 32, "b" * 32, "c" * 32)
SETTINGS = NeighbourSettings(k=30)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@functools.cache
def classifier() -> MapClassifier:
    arrays = {"coefficients": np.ones(DIMENSION), "intercept": np.zeros(1)}
    return MapClassifier(LOGISTIC_REGRESSION, arrays, encoder_id=ENCODER, training_set_id="t", threshold=0.0)


def place(number: int, **changed: Any) -> dict[str, Any]:
    """One prompt of a place; its vector follows from the prompt."""
    row = {
        "place_id": f"geonames:{number:04d}",
        "place": f"Place {number}",
        "prompt": f"a map of Place {number}",
        "prompt_kind": "name",
        "template": "a map of {name}",
        "admin1": "Somewhere",
        "country": "GB" if number % 2 else "CH",
        "feature_class": "P",
        "latitude": -50.0 + 10 * number,
        "longitude": -150.0 + 25 * number,
        "population": 1000 * number,
        "homonyms": 1,
        "same_prompt_places": 1,
        "is_cut": False,
    }
    return {**row, **changed}


def write_places(lake: Lake, places: Sequence[dict[str, Any]], *, encoder_id: str = ENCODER) -> np.ndarray:
    """Write the places' prompts and return their vectors."""
    vectors = np.stack([prompt_vector(row["prompt"]) for row in places])
    rows = [{**row, "vector": vector} for row, vector in zip(places, vectors.tolist(), strict=True)]
    table = pa.Table.from_pylist(rows, schema=queries_schema(DIMENSION))
    inputs = {"encoder_id": encoder_id, "prompts": [row["prompt"] for row in places]}
    lake.write_table(QUERIES, table, Provenance(inputs, len(places), len(places)))
    return vectors


def write_generic(lake: Lake, prompts: Sequence[str], *, encoder_id: str = ENCODER) -> None:
    """Write prompts that name no place."""
    vectors = np.stack([prompt_vector(prompt) for prompt in prompts])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION)
    table = pa.table({"prompt": list(prompts), "is_cut": [False] * len(prompts), "vector": column})
    inputs = {"prompts": list(prompts), "encoder_id": encoder_id}
    lake.write_table(GENERIC_QUERIES, table, Provenance(inputs, len(prompts), len(prompts)))


def prompt_vector(prompt: str) -> np.ndarray:
    random = np.random.default_rng(list(prompt.encode()))
    return unit(random.standard_normal(DIMENSION)).astype(np.float32)


def write_shard(
    lake: Lake,
    shard: str,
    rows: int = 40,
    *,
    revision: int = 1,
    change: Callable[[np.ndarray], None] = lambda vectors: None,
    **columns: Sequence[Any],
) -> None:
    """Write a shard's maps: rows of any length near 1, of four domains."""
    random = np.random.default_rng([revision, *shard.encode()])
    vectors = 1.001 * unit(random.standard_normal((rows, DIMENSION)))
    change(vectors)
    data = {
        "uid": [f"{shard[:8]}{row:024x}" for row in range(rows)],
        "url": [f"https://www.{'abcd'[row % 4]}.example/{row}.png" for row in range(rows)],
        "text": [f"map {row}" for row in range(rows)],
        "original_width": [500 + 10 * row for row in range(rows)],
        "original_height": [700] * rows,
        "sha256": [f"{row:064x}" for row in range(rows)],
        "l14_img": as_vectors(vectors.astype(np.float16)),
        "l14_txt": as_vectors(vectors.astype(np.float16)),
        "clip_l14_similarity_score": np.full(rows, 0.3, np.float32),
        "map_score": np.full(rows, 0.5, np.float32),
        **columns,
    }
    table = pa.table(data, schema=output_schema(DIMENSION))
    inputs = {"classifier_id": classifier().classifier_id, "revision": revision}
    with lake.table_writer("mappool/shard_maps", table.schema, shard) as writer:
        for start in range(0, max(rows, 1), 15):
            writer.write(table.slice(start, 15))
        writer.provenance = Provenance(inputs, rows, rows)


def find_neighbours(lake: Lake, settings: NeighbourSettings = SETTINGS, shards: Sequence[str] = SHARDS) -> None:
    """Find and merge the neighbours of all prompts."""
    outcomes = list(find_shard_neighbours(neighbour_tasks(lake, shards, settings), workers=1))
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    merge_neighbours(neighbour_tasks(lake, shards, settings))


def write_classifier(lake: Lake) -> None:
    store_classifier(lake, ClassifierRecord(classifier(), (), {}))
