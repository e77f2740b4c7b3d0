"""Which rows of a shard can be judged at all: the rules on embeddings and their pairing, on arrays alone."""

from __future__ import annotations

import numpy as np

from mappool_assets.lib.row_blocks import for_row_blocks

# float16 keeps a unit vector's norm within 2**-11; anything further off was not normalised.
NORM_TOLERANCE = 0.01
# The pool's score is the product of the float32 vectors; float16 storage moves it by less than 0.001 (measured on
# random unit vectors of width 768: 0.0003 at most). Vectors of different rows differ by some 0.1.
PAIR_TOLERANCE = 0.01
# A few damaged rows are dropped one by one; files whose rows do not belong together disagree nearly everywhere.
LEAST_AGREEING_SHARE = 0.9


def embedding_faults(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Tell which rows are no unit vectors, by reason.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d), float16 or float32

    Returns
    -------
    dict of str to bool ndarray of shape (n,)
        ``embedding_not_finite``, ``embedding_zero``, ``embedding_not_unit``; a row has at most one of them.
    """
    squares = np.empty(len(embeddings), dtype=np.float32)

    def square(rows: slice, block: np.ndarray) -> None:
        squares[rows] = np.vecdot(block, block)

    for_row_blocks(embeddings, square)
    is_finite = np.isfinite(squares)
    is_zero = squares == 0
    with np.errstate(invalid="ignore"):
        is_unit = np.abs(np.sqrt(squares) - 1) <= NORM_TOLERANCE
    return {
        "embedding_not_finite": ~is_finite,
        "embedding_zero": is_zero,
        "embedding_not_unit": is_finite & ~is_zero & ~is_unit,
    }


def pairs_agree(images: np.ndarray, texts: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Tell for which rows the product of image and text vector reproduces the pool's own score.

    Parameters
    ----------
    images, texts : ndarray of shape (n, d)
        ``l14_img`` and ``l14_txt``, any float type.
    scores : ndarray of shape (n,)
        ``clip_l14_similarity_score``, the cosine in [-1, 1].

    Returns
    -------
    bool ndarray of shape (n,)
        False also where anything is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        products = np.einsum("ij,ij->i", images.astype(np.float32), texts.astype(np.float32))
        return np.abs(products - scores.astype(np.float32)) <= PAIR_TOLERANCE
