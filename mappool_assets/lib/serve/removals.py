"""Which of some images are nearly the same as a better one: clip-retrieval's threshold, on the stored rows.

An image is removed where its cosine with one that is kept, and ranked before it, is more than 0.94. clip-retrieval
removes all but one of a chain in which each is near the next: along a chain it joins images that have nothing in
common, and maps of a series are such a chain. It also compares what its compressed codes say of images; here it is the
float16 rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.row_blocks import Float32, as_float32

DUPLICATE_SIMILARITY = 0.94  # clip_back.py, connected_components_dedup
_BLOCK_ROWS = 256


class KeptImages:
    """What was kept so far, to compare further images with."""

    def __init__(self, similarity: float = DUPLICATE_SIMILARITY) -> None:
        self._similarity = similarity
        self._kept: list[Float32] = []

    def keep(self, vectors: NDArray[np.float16], is_eligible: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of some further images (n, d), best first, are kept; those not eligible are not."""
        is_kept = is_eligible.copy()
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            rows = as_float32(vectors[block])
            rows = rows / np.maximum(np.sqrt(np.vecdot(rows, rows)), 1e-20)[:, np.newaxis]
            is_kept[block] &= ~self._is_near_kept(rows)
            self._drop_within(rows, is_kept[block])
            self._kept.append(rows[is_kept[block]])
        return is_kept

    def _is_near_kept(self, rows: Float32) -> NDArray[np.bool_]:
        is_near = np.zeros(len(rows), dtype=bool)
        for kept in self._kept:
            if len(kept):
                is_near |= (rows @ kept.T).max(axis=1) > self._similarity
        return is_near

    def _drop_within(self, rows: Float32, is_kept: NDArray[np.bool_]) -> None:
        is_near = rows @ rows.T > self._similarity
        for number in range(len(rows)):
            if is_kept[number]:
                is_kept[number + 1 :] &= ~is_near[number, number + 1 :]
