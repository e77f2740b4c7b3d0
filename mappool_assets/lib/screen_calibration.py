"""A polynomial SVM's screen, from embeddings and their exact scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import SVM, MapClassifier
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.screen import COARSE, FINE, Screen

# With 32, 64 and 96 directions the least margin that loses nothing passes 4.8, 4.2 and 4.2 % of a pool's rows, and
# 4.6, 4.4 and 4.3 % of another's (1.8 and 3.4 % kept).
RANK = 64

# With the calibrated margin, 0, 6, 14 and 30 directions pass 18, 17, 14 and 9 % of the first pool's rows and 89, 50, 9
# and 7 % of the second's.
COARSE_RANK = 14

# Rows that could be misjudged are those with an exact score near the threshold: within the SVM's own margin of 1.
NEAR_THRESHOLD = 1.0

# The margin is this many times the largest that a calibration row needs. On pools of 100,000 rows drawn independently
# the factor 1 was already 1.15 to 2.9 times what the pool needed; with this one, none of 36,000 maps in 1.8 million
# rows was missed (nine SVMs, three seeds, two kinds of data).
SAFETY = 1.25

# With fewer calibration rows near the threshold, the largest need among them says little: all rows are taken then.
LEAST_NEAR_ROWS = 50

_MARGINS = {COARSE: "coarse_margin", FINE: "fine_margin"}


def calibrate_screen(classifier: MapClassifier, embeddings: npt.NDArray[np.floating]) -> Screen:
    """Make a classifier's screen from embeddings like those it will see; labels are not needed.

    The margin is ``SAFETY`` times the largest that any of these rows needs to be bounded, among those with a score
    within ``NEAR_THRESHOLD`` of the threshold. Support vectors among them say nothing about rows never seen, as each
    carries its own term in the score, and only count towards the mean and the directions.

    Parameters
    ----------
    classifier : MapClassifier
    embeddings : array of float16 or float32, shape (n, d)
        Training and evaluation embeddings, and rows of the pool where there are some. The evaluation embeddings, or
        the pool's, decide the margin. Same rows, same screen: nothing is drawn.

    Raises
    ------
    BadModel
        No embeddings, or none of the classifier's width.
    """
    if classifier.kind != SVM:
        return Screen(classifier.classifier_id, {}, {})
    scores = classifier.scores(embeddings)
    if not len(embeddings) or not np.isfinite(scores).all():
        raise BadModel(
            "The screen cannot be calibrated",
            where=classifier.classifier_id,
            rule="embeddings with finite scores",
            got=f"{len(embeddings)} rows, {np.count_nonzero(~np.isfinite(scores))} of them without a finite score",
            action="Materialise mappool/training_embeddings again.",
        )
    arrays, parameters = _expansion(classifier, embeddings)
    unbounded = Screen(classifier.classifier_id, arrays, parameters | dict.fromkeys(_MARGINS.values(), 0.0))
    distances = np.linalg.norm(embeddings.astype(np.float64) - arrays["centre"], axis=1)
    is_near = (np.abs(scores - classifier.threshold) <= NEAR_THRESHOLD) & ~_is_support(classifier, embeddings)
    decisive = is_near if np.count_nonzero(is_near) >= LEAST_NEAR_ROWS else np.ones_like(is_near)
    cubes = np.maximum(distances[decisive], np.finfo(np.float32).eps) ** 3
    margins = {}
    for stage, name in _MARGINS.items():
        needed = (scores[decisive] - unbounded.bounds(embeddings[decisive], stage)) / cubes
        margins[name] = SAFETY * max(0.0, float(needed.max()))
    return Screen(classifier.classifier_id, arrays, parameters | margins)


def _expansion(
    classifier: MapClassifier, embeddings: npt.NDArray[np.floating]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float]]:
    """Expand the decision function to second order about the mean, in float64."""
    rows = embeddings.astype(np.float64)
    centre = rows.mean(axis=0)
    support, dual = (classifier.arrays[name].astype(np.float64) for name in ("support_vectors", "dual_coefficients"))
    gamma, coef0, degree = (classifier.parameters[name] for name in ("gamma", "coef0", "degree"))
    kernel = gamma * support @ centre + coef0
    value = float(dual @ kernel**degree + classifier.arrays["intercept"][0])
    gradient = gamma * degree * (dual * kernel ** (degree - 1)) @ support
    weights = 0.5 * gamma**2 * degree * (degree - 1) * dual * kernel ** max(degree - 2, 0)
    directions, signs = _leading_directions((support.T * weights) @ support, rows)
    arrays = {"centre": centre, "gradient": gradient, "directions": directions, "signs": signs}
    parameters = {
        "value": value,
        "coarse_directions": min(COARSE_RANK, len(signs)),
        "threshold": classifier.threshold,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}, parameters


def _leading_directions(
    form: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the ``RANK`` directions (d, r) that carry most of a quadratic form over the rows, and their signs.

    The eigenvectors of the form in coordinates in which the rows have unit covariance. A thousandth of the mean
    variance is added to every direction, for rows fewer than dimensions.
    """
    width = rows.shape[1]
    covariance = np.cov(rows.T, bias=True).reshape(width, width)
    ridge = 1e-3 * np.trace(covariance) / width + np.finfo(np.float64).tiny
    root = np.linalg.cholesky(covariance + ridge * np.eye(width))
    weights, vectors = np.linalg.eigh(root.T @ form @ root)
    leading = np.argsort(-np.abs(weights), kind="stable")[:RANK]
    directions = np.linalg.solve(root.T, vectors[:, leading])
    return directions * np.sqrt(np.abs(weights[leading])), np.sign(weights[leading])


def _is_support(classifier: MapClassifier, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    support = {row.tobytes() for row in classifier.arrays["support_vectors"].astype(np.float32)}
    return np.fromiter((row.tobytes() in support for row in embeddings.astype(np.float32)), bool, len(embeddings))
