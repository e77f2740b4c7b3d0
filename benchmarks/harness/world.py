"""A lake with a trained classifier and a pool of synthetic shards, made from seeds under a folder of the caller's."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.classifiers import DEFAULT_SETTINGS
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, SVM
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.screen import ScreenedClassifier
from mappool_assets.lib.shard_filter import Scorer
from mappool_assets.lib.train_classifier import EVALUATION, TRAINING, LabelledEmbeddings, read_splits, train

# Half of them maps. MapPool trained on 3,720; of these rows as few would leave 950 support vectors.
TRAINING_ROWS, EVALUATION_ROWS = 6000, 2480
MAP_SHARE = 0.0075  # of MapPool in CommonPool, its upper figure
TRAINING_SEED, POOL_SEED = 99, 1
LEAST_SUPPORT_VECTORS = 1000  # fewer would make the exact classifier cheaper than MapPool's


def scorer(lake: Lake) -> Scorer:
    """Return what workers of ``shard_maps`` score with: the classifier behind its screen."""
    record = classifier_record(lake)
    if record.screen is None or record.screen.passes_all:
        return record.classifier
    return ScreenedClassifier(record.classifier, record.screen)


def training_split(lake: Lake) -> LabelledEmbeddings:
    """Return what the lake's classifier was fitted on."""
    return read_splits(lake)[TRAINING]


def make_lake(folder: Path) -> Lake:
    """Train a classifier on hard synthetic embeddings, and say how hard they are."""
    lake = Lake(str(folder / "lake"))
    _alone(_train, lake)
    return lake


def make_shard(folder: Path, rows: int, map_share: float = MAP_SHARE, seed: int = POOL_SEED) -> str:
    """Write one shard into a folder and return its key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = shard_key("benchmark", rows, seed)
    _alone(_write, folder, key, rows, map_share, seed)
    return key


def link_copies(folder: Path, key: str, copies: int) -> list[str]:
    """Give a shard further keys by hard links: more to read and to filter, no more to store."""
    keys = [shard_key(key, copy) for copy in range(copies)]
    for copy in keys:
        for suffix in ("parquet", "npz"):
            os.link(folder / f"{key}.{suffix}", folder / f"{copy}.{suffix}")
    return keys


def list_into(lake: Lake, source: str) -> None:
    """List a pool into the lake, as the asset ``pool_shards`` does."""
    write_pool_shards(lake, list_pool(source, Storage()))


def _alone(function: Callable[..., None], *arguments: object) -> None:
    # Making rows takes 8 kB each: in a process of its own, the memory is given back.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        executor.submit(function, *arguments).result()


def _write(folder: Path, key: str, rows: int, map_share: float, seed: int) -> None:
    write_shard(folder, key, synthetic_rows(rows, seed, map_share))


def _train(lake: Lake) -> None:
    rows = TRAINING_ROWS + EVALUATION_ROWS
    drawn = synthetic_rows(rows, TRAINING_SEED, map_share=0.5)
    vectors = drawn.members["l14_img"]
    table = pa.table(
        {
            "sha256": [hashlib.sha256(row.tobytes()).hexdigest() for row in vectors],
            "label": np.where(drawn.is_map, "map", "non_map"),
            "is_map": drawn.is_map,
            "split": np.where(np.arange(rows) < TRAINING_ROWS, TRAINING, EVALUATION),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    inputs = {"encoder_id": "synthetic", "training_set_id": "synthetic"}
    lake.write_table("mappool/training_embeddings", table, Provenance(inputs, rows, rows))
    warnings.simplefilter("ignore")  # of the perceptron, which nobody uses here and which is left untrained
    report = train(lake, SVM, settings=dataclasses.replace(DEFAULT_SETTINGS, mlp_max_iterations=1))
    support_vectors = len(report.classifier.arrays["dual_coefficients"])
    assert support_vectors >= LEAST_SUPPORT_VECTORS, f"{support_vectors} support vectors are too few to be fair"
    accuracies = ", ".join(
        f"{e.method} {e.accuracy:.1%}" for e in report.evaluations if e.method in (LOGISTIC_REGRESSION, SVM)
    )
    print(f"classifier: {support_vectors:,} support vectors; accuracy on held-out rows: {accuracies}", flush=True)
