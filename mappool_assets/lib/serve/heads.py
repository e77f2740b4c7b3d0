"""What may be known of an index's images beside their vectors: safety, violence and beauty, each by a head or not.

Without a head what a request asks of it cannot be done. clip-retrieval's client asks for all three unless told
otherwise and takes an error for an answer, so such a request is answered without, and the answer says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.geo_subset.safety_head import SafetyHead
from mappool_assets.lib.row_blocks import Float32, as_float32
from mappool_assets.lib.serve.knn_request import AESTHETIC_SCORES

UNSAFE_SCORE = 0.5  # clip_back.py: what scores higher is removed


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads that are there.

    Attributes
    ----------
    safety : SafetyHead or None
    violence : float32 array of shape (2, d), or None
        Prompts' vectors; an image nearer to the second than to the first is removed (clip_back.py's rule).
    aesthetics : float32 array of shape (10, d), or None
        The direction of each score, added to a query (clip_back.py's rule).
    """

    safety: SafetyHead | None = None
    violence: Float32 | None = None
    aesthetics: Float32 | None = None

    @classmethod
    def read(
        cls,
        encoder_id: str,
        dimension: int,
        safety: Path | None = None,
        violence: Path | None = None,
        aesthetics: Path | None = None,
    ) -> Heads:
        """Read what is given.

        Parameters
        ----------
        safety : Path, optional
            As :mod:`mappool_assets.lib.geo_subset.safety_head` says.
        violence : Path, optional
            A ``.npy`` file of shape (2, d), such as LAION's ``violence_detection_vit_l_14.npy``.
        aesthetics : Path, optional
            A folder with ``rating0.npy`` to ``rating9.npy``, as LAION's aesthetic-predictor has them.

        Raises
        ------
        BadModel
            A file is none of these, or of another width or encoder.
        """
        directions = None
        if aesthetics is not None:
            files = [aesthetics / f"rating{score}.npy" for score in range(AESTHETIC_SCORES)]
            directions = np.concatenate([_matrix(file, 1, dimension) for file in files])
        return cls(
            SafetyHead.read(safety, encoder_id, dimension) if safety else None,
            _matrix(violence, 2, dimension) if violence else None,
            directions,
        )

    def is_removed(self, vectors: NDArray[np.float16], *, by_safety: bool, by_violence: bool) -> NDArray[np.bool_]:
        """Return which images (n, d) the heads that are there, and asked for, remove."""
        removed = np.zeros(len(vectors), dtype=bool)
        if by_safety and self.safety is not None:
            removed |= self.safety.scores(vectors) > UNSAFE_SCORE
        if by_violence and self.violence is not None:
            removed |= np.argmax(as_float32(vectors) @ self.violence.T, axis=1) == 1
        return removed


def _matrix(file: Path, rows: int, dimension: int) -> Float32:
    try:
        matrix = np.load(file, allow_pickle=False).astype(np.float32).reshape(rows, dimension)
        if not np.isfinite(matrix).all():
            raise ValueError("numbers that are not finite")
    except (OSError, ValueError, EOFError) as error:
        raise BadModel(
            "A head of the service cannot be used",
            where=str(file),
            rule=f"a NumPy file of {rows} × {dimension} finite numbers",
            got=f"{type(error).__name__}: {error}",
            action="Give the head of the index's encoder, or leave it out.",
        ) from error
    return matrix
