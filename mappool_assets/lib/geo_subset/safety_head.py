"""A linear head over the images' embeddings that tells what should not be shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.linear_head import LinearHead


@dataclass(frozen=True)
class SafetyHead(LinearHead):
    """A head whose output, put through the logistic function, is near 1 where an image is unsafe."""

    def scores(self, vectors: NDArray[np.float16]) -> NDArray[np.float32]:
        """Return the score, 0 to 1, of each embedding (n, d); higher is less safe."""
        return (0.5 * (1 + np.tanh(0.5 * self.outputs(vectors)))).astype(np.float32)  # the logistic, without overflow
