"""Near duplicates among more images than are compared all with all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib.duplicates.coarse_lists import list_count
from mappool_assets.lib.geo_subset.near_duplicates import LISTS_A_VECTOR, find_near_duplicates
from mappool_assets.lib.retrieval.row_file import RowFile, write_rows
from mappool_assets_tests.hard_embeddings import hard_embeddings

SIMILARITY, CROWD, CROWDS, DIMENSION = 0.94, 50, 400, 64
COUNT = CROWD * CROWDS


def crowds(seed: int) -> np.ndarray:
    """Images in crowds, each at a cosine of 0.94 to 0.99 to the middle of its own, towards the middle of another."""
    random = np.random.default_rng(seed)
    middles = hard_embeddings(CROWDS, draw=seed, dimension=DIMENSION)[0].astype(np.float32)
    towards = middles[random.integers(0, CROWDS, (CROWDS, CROWD))] + 1e-4
    towards -= (towards * middles[:, None]).sum(-1, keepdims=True) * middles[:, None]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    cosines = random.uniform(SIMILARITY, 0.99, (CROWDS, CROWD, 1)).astype(np.float32)
    members = cosines * middles[:, None] + np.sqrt(1 - cosines**2) * towards
    members[:, 0] = middles
    return members.reshape(COUNT, DIMENSION).astype(np.float16)


def kept_by_all_pairs(vectors: np.ndarray) -> np.ndarray:
    """The slow, obvious way: in order of preference, an image stays unless it is like one that stays."""
    rows = vectors.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    is_kept = np.ones(len(rows), dtype=bool)
    for number in range(len(rows)):
        if is_kept[number]:
            is_kept[number + 1 :] &= rows[number + 1 :] @ rows[number] < SIMILARITY
    return is_kept


@pytest.mark.parametrize("seed", [1, 2])
def test_hardly_a_near_duplicate_is_left(tmp_path: Path, seed: int) -> None:
    vectors = crowds(seed)[np.random.default_rng(seed).permutation(COUNT)]
    write_rows(tmp_path / "rows.npy", [vectors], COUNT, DIMENSION)
    (tmp_path / "lists").mkdir()
    assert list_count(COUNT, LISTS_A_VECTOR) == 20
    found = find_near_duplicates(
        RowFile.open(tmp_path / "rows.npy"),
        np.arange(COUNT, dtype=np.int32),
        np.ones(COUNT, dtype=bool),
        SIMILARITY,
        tmp_path / "lists",
    )
    expected = kept_by_all_pairs(vectors)
    duplicates = (~expected).sum()
    assert (found.is_kept & ~expected).sum() < 0.001 * duplicates
    assert (~found.is_kept & expected).sum() < 0.001 * duplicates, "dropped for one of those"
