"""The most similar of many prompts for each image, other than those of its own place; the exact scan's similarities.

A similarity is the inner product of the prompt, rounded to multiples of 2^-27, with the image's embedding divided by
its length, worked out in float64, where the product is exact, and rounded to float32
(:mod:`mappool_assets.lib.retrieval.exact_scan`). Only pairs that may be the best are worked out so: a product in
float32, whose error is bounded, tells which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.row_blocks import Float32, for_row_blocks

NO_PLACE = -1  # of an image: all prompts count

_TILE_PROMPTS = 2048  # with 1,024 rows 8 MB of products a thread
_GRID = 2.0**27
_FLOAT32_UNIT = 2.0**-24


class BestPrompts:
    """Prompts to compare images with.

    Parameters
    ----------
    prompts : float32 array of shape (q, d)
        Unit rows.
    places : int32 array of shape (q,)
        Whose each is.
    """

    def __init__(self, prompts: Float32, places: NDArray[np.int32]) -> None:
        self._exact = np.rint(prompts.astype(np.float64) * _GRID) / _GRID
        self._float32, self._places = self._exact.astype(np.float32), places
        # As the exact scan's bound: d roundings of the sum and a few of query, row and length.
        self._error = np.float32((prompts.shape[1] + 8) * _FLOAT32_UNIT * 1.001)

    def similarities(self, vectors: NDArray[np.float16], own_places: NDArray[np.int32]) -> Float32:
        """Return each image's similarity to the prompt of another place that is most like it.

        Parameters
        ----------
        vectors : float16 array of shape (n, d)
            Finite and not zero; of any length.
        own_places : int32 array of shape (n,)
            The place whose prompts do not count; :data:`NO_PLACE` where all do.

        Returns
        -------
        float32 array of shape (n,)
            ``-inf`` where there is no other place.
        """
        best = np.full(len(vectors), -np.inf, dtype=np.float32)

        def compare(where: slice, rows: Float32) -> None:
            best[where] = self._of_block(rows, own_places[where])

        for_row_blocks(vectors, compare)
        return best

    def _of_block(self, rows: Float32, own_places: NDArray[np.int32]) -> Float32:
        exact = rows.astype(np.float64)
        lengths = np.sqrt(np.vecdot(exact, exact))
        unit = rows * (1 / lengths).astype(np.float32)[:, np.newaxis]
        best, floor = (np.full(len(rows), -np.inf, dtype=np.float32) for _ in range(2))
        for start in range(0, len(self._exact), _TILE_PROMPTS):
            tile = slice(start, start + _TILE_PROMPTS)
            products = unit @ self._float32[tile].T
            products[own_places[:, np.newaxis] == self._places[tile]] = -np.inf
            floor = np.maximum(floor, products.max(axis=1))
            is_candidate = (products >= (floor - 2 * self._error)[:, np.newaxis]) & np.isfinite(products)
            row, prompt = np.nonzero(is_candidate)
            found = np.vecdot(self._exact[prompt + start], exact[row]) / lengths[row]
            np.maximum.at(best, row, found.astype(np.float32))
        return best
