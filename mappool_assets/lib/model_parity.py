"""The proof that a model scores here as it did where it was made: a few embeddings with the scores they had there."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import FloatArray, MapClassifier
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.model_file import METADATA_KEY

# Our choice. In float64 machines differ by less than 1e-10, so that whatever differs by more is another model or
# another formula. Float32 would not do: its error is up to 0.8 × 2^-24 × Σ|dual|, 1.4e-4 for 2,900 support vectors at
# C = 1.
TOLERANCE = 1e-4

ROWS = 32  # with both classes and all scores from the lowest to the highest; 50 kB at width 768
SEED = 20_240


def chosen_rows(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return which rows stand for all: evenly spaced by rank of their score, from the lowest to the highest.

    >>> chosen_rows(np.arange(100.0))[[0, 1, -1]].tolist()
    [0, 3, 99]
    """
    ranks = np.round(np.linspace(0, len(scores) - 1, min(ROWS, len(scores)))).astype(np.intp)
    return np.argsort(scores, kind="stable")[ranks]


def seeded_unit_vectors(dimension: int) -> npt.NDArray[np.float16]:
    """Return embeddings of nothing, (32, dimension), for where no embedding of an image can be had."""
    vectors = np.random.default_rng(SEED).standard_normal((ROWS, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def exact_scores(classifier: MapClassifier, embeddings: FloatArray) -> npt.NDArray[np.float64]:
    """Return the scores by the classifier's own formula in float64, (n,)."""
    return np.asarray(classifier._score(embeddings.astype(np.float64)))


def to_bytes(classifier: MapClassifier, embeddings: npt.NDArray[np.float16], origin: str) -> bytes:
    """Return the content of ``parity.safetensors``; the same input gives the same bytes.

    Parameters
    ----------
    classifier : MapClassifier
    embeddings : array of float16, shape (n, d)
    origin : str
        What they are embeddings of, for people.
    """
    from safetensors.numpy import save

    about = {
        "classifier_id": classifier.classifier_id,
        "encoder_id": classifier.encoder_id,
        "origin": origin,
        "tolerance": TOLERANCE,
    }
    arrays: dict[str, np.ndarray] = {
        "embeddings": np.ascontiguousarray(embeddings),
        "scores": exact_scores(classifier, embeddings),
    }
    return save(arrays, {METADATA_KEY: json.dumps(about, sort_keys=True)})


def largest_difference(classifier: MapClassifier, parity: bytes, where: str) -> float:
    """Return by how much a score differs at most from the recorded one.

    Parameters
    ----------
    classifier : MapClassifier
        As it was read.
    parity : bytes
        What :func:`to_bytes` returned.
    where : str
        The file, for the error.

    Raises
    ------
    BadModel
        A score differs by more than 1e-4, or the file holds no embeddings of this classifier's width with scores.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(parity)
        embeddings, expected = arrays["embeddings"], arrays["scores"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _refused(where, "embeddings with their scores", f"{type(error).__name__}: {error}") from error
    found = f"embeddings {embeddings.dtype} {embeddings.shape}, scores {expected.dtype} {expected.shape}"
    is_pair = (embeddings.dtype, expected.dtype) == (np.float16, np.float64) and expected.ndim == 1 and expected.size
    if not is_pair or embeddings.shape != (len(expected), classifier.dimension):
        raise _refused(where, f"float16 embeddings (n, {classifier.dimension}) and float64 scores (n,), n > 0", found)
    difference = float(np.abs(exact_scores(classifier, embeddings) - expected).max())
    if not difference <= TOLERANCE:  # so that a NaN is refused too
        raise _refused(where, f"the recorded scores within {TOLERANCE:g}", f"a difference of {difference:g}")
    return difference


def _refused(where: str, rule: str, got: str) -> BadModel:
    return BadModel(
        "The model does not score as it did where it was made",
        where=where,
        rule=rule,
        got=got,
        action="Fetch or publish the model again; if it stays so, do not use it with these versions of the packages.",
    )
