"""Seeded embeddings that are hard to classify, as those of a real pool."""

import numpy as np
import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance

# Sizes of the parts of a vector, found by trial so that the SVM beats the linear methods by some points, as in the
# paper: what all images share, which cluster it is, how far it lies from it.
SHARED, CLUSTER, TAIL = 1.0, 0.55, 0.6


def hard_embeddings(rows: int, draw: int, *, dimension: int = 768, shared: float = SHARED):
    """Return float16 unit vectors and which of them are maps.

    Twelve clusters of maps, thirty of others, Student-t tails with 3 degrees of freedom, 15 % of the others drawn
    towards a cluster of maps. The clusters are the same in every draw.
    """
    world = np.random.default_rng(20240)
    common = shared * world.standard_normal(dimension)
    maps = CLUSTER * world.standard_normal((12, dimension))
    others = CLUSTER * world.standard_normal((30, dimension))
    random = np.random.default_rng(draw)
    is_map = random.random(rows) < 0.5
    centre = np.where(is_map[:, None], maps[random.integers(0, 12, rows)], others[random.integers(0, 30, rows)])
    near = ~is_map & (random.random(rows) < 0.15)
    centre[near] = 0.55 * centre[near] + 0.45 * maps[random.integers(0, 12, int(near.sum()))]
    vectors = common + centre + TAIL * random.standard_t(3, (rows, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), is_map


def write_training_embeddings(lake: Lake, rows: int = 300, dimension: int = 32, **inputs) -> None:
    """Put ``mappool/training_embeddings`` into a lake, two thirds of it for training."""
    embeddings, is_map = hard_embeddings(rows, draw=1, dimension=dimension)
    split = np.where(np.arange(rows) % 3 < 2, "training", "evaluation")
    write_embeddings_table(lake, embeddings, is_map, split.tolist(), **inputs)


def write_embeddings_table(lake: Lake, embeddings, is_map, split, **inputs) -> None:
    """Put given rows into ``mappool/training_embeddings``."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
    rows = pa.table(
        {
            "sha256": [f"{i:064x}" for i in range(len(embeddings))],
            "label": ["map" if m else "non_map" for m in is_map],
            "is_map": is_map,
            "split": split,
            "embedding": vectors,
        }
    )
    made_from = {"encoder_id": "small/seed0", "training_set_id": "0123456789abcdef"} | inputs
    lake.write_table("mappool/training_embeddings", rows, Provenance(made_from, len(rows), len(rows)))
