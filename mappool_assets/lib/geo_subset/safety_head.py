"""A linear head over the images' embeddings that tells what should not be shown.

The file is a safetensors file with

- ``weight``, float32 of shape (d,) or (1, d), and ``bias``, float32 of shape (1,) or (): the score of an embedding v is
  ``1 / (1 + exp(-(weight · v / |v| + bias)))``, near 1 where the image is unsafe;
- ``encoder_id`` in its metadata: the encoder whose embeddings it was trained on.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.row_blocks import as_float32

ENCODER_KEY = "encoder_id"
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class SafetyHead:
    """A head that was read.

    Attributes
    ----------
    weight : float64 ndarray of shape (d,)
    bias : float
    sha256 : str
        Of the file.
    """

    weight: NDArray[np.float64]
    bias: float
    sha256: str

    @classmethod
    def read(cls, path: Path, encoder_id: str, dimension: int) -> SafetyHead:
        """Read a file of the format of this module.

        Raises
        ------
        BadModel
            It is none, of another encoder, of another width, or holds numbers that are not finite.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            content = path.read_bytes()
            tensors, found = load(content), _metadata(content).get(ENCODER_KEY)
            weight = tensors["weight"].astype(np.float64).reshape(-1)
            bias = float(tensors["bias"].astype(np.float64).reshape(()))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise _unusable(
                path, "a safetensors file with weight and bias", f"{type(error).__name__}: {error}"
            ) from error
        if found != encoder_id:
            raise _unusable(path, f"metadata {ENCODER_KEY} {encoder_id}", str(found))
        if weight.shape != (dimension,) or not np.isfinite([*weight, bias]).all():
            raise _unusable(path, f"{dimension} finite weights and a bias", f"{weight.size} weights, or not finite")
        return cls(weight, bias, hashlib.sha256(content).hexdigest())

    def scores(self, vectors: NDArray[np.float16]) -> NDArray[np.float32]:
        """Return the score, 0 to 1, of each embedding (n, d); higher is less safe."""
        scores = np.empty(len(vectors), dtype=np.float32)
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            rows = as_float32(vectors[start : start + _ROWS_AT_A_TIME]).astype(np.float64)
            logits = np.vecdot(rows, self.weight) / np.sqrt(np.vecdot(rows, rows)) + self.bias
            scores[start : start + len(rows)] = 0.5 * (1 + np.tanh(0.5 * logits))  # the logistic, without overflow
        return scores


def _metadata(content: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def _unusable(path: Path, rule: str, got: str) -> BadModel:
    return BadModel(
        "The safety head cannot be used",
        where=str(path),
        rule=rule,
        got=got,
        action="Give a head of the encoder of the maps, in the format of mappool_assets.lib.geo_subset.safety_head.",
    )
