"""A polynomial SVM's screen, from embeddings and their exact scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import SVM, MapClassifier
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.screen import COARSE, FINE, REMAINDER_POWERS, Screen

# Of the subspace. With 32, 48 and 64 dimensions 3.1, 3.0 and 2.9 % of the rows of three pools pass on average (1.8 %
# are maps), in the same time. With 128 and a margin of ρ³ a map was missed: the subspace fits the calibration rows
# better than the pool's.
RANK = 64

# Of the coarse stage's directions. With 0, 6, 14 and 30 of them 18, 17, 14 and 9 % of one pool's rows pass, and 89, 50,
# 9 and 7 % of another's.
COARSE_RANK = 14

# Rows that could be misjudged are those with an exact score near the threshold: within the SVM's own margin of 1.
NEAR_THRESHOLD = 1.0

# With fewer calibration rows near the threshold, the largest need among them says little: so many of the nearest ones
# are taken then.
LEAST_NEAR_ROWS = 50

# The margin exceeds the mean need of the calibration rows by this many times what the largest need does. Twelve pools
# of 250,000 rows (four SVMs, 55,000 maps) needed 0.25 to 0.55 times in the coarse stage, 0.6 to 1.95 in the fine one.
SAFETY = {COARSE: 1.25, FINE: 2.5}

# A row at the mean would need an infinite margin for the rounding of its score.
LEAST_DISTANCE = 0.1

_MARGINS = {COARSE: "coarse_margin", FINE: "fine_margin"}
_UNBOUNDED = *_MARGINS.values(), "rounding"


def calibrate_screen(classifier: MapClassifier, embeddings: npt.NDArray[np.floating]) -> Screen:
    """Make a classifier's screen from embeddings like those it will see; labels are not needed.

    A row needs a margin of ``(score − approximation) / ρ^power``. The margin is the mean need plus the stage's
    ``SAFETY`` times the largest excess over it, among rows with a score within ``NEAR_THRESHOLD`` of the threshold.
    Support vectors say nothing about rows never seen, as each carries its own term in the score, and only count towards
    the mean and the covariance.

    Parameters
    ----------
    classifier : MapClassifier
    embeddings : array of float16 or float32, shape (n, d)
        Training and evaluation embeddings. Those that are no support vectors decide the margin. Same rows, same
        screen: nothing is drawn.

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
    unseen = np.flatnonzero(~_is_support(classifier, embeddings))
    if len(unseen) < LEAST_NEAR_ROWS:
        unseen = np.arange(len(embeddings))
    arrays, parameters = _approximations(classifier, embeddings, unseen)
    plain = Screen(classifier.classifier_id, arrays, parameters | dict.fromkeys(_UNBOUNDED, 0.0))
    decisive = _nearest(scores, classifier.threshold, unseen)
    distances = np.linalg.norm(embeddings[decisive].astype(np.float64) - arrays["centre"], axis=1)
    distances = np.maximum(distances, LEAST_DISTANCE)
    margins = {"rounding": classifier.float32_error}
    for stage, name in _MARGINS.items():
        needed = (scores[decisive] - plain.bounds(embeddings[decisive], stage)) / distances ** REMAINDER_POWERS[stage]
        margins[name] = float(needed.mean() + SAFETY[stage] * (needed.max() - needed.mean()))
    return Screen(classifier.classifier_id, arrays, parameters | margins)


def _nearest(scores: npt.NDArray[np.float32], threshold: float, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return those of some rows that are near the threshold, ``LEAST_NEAR_ROWS`` at least where there are as many."""
    distances = np.abs(scores[rows] - threshold)
    count = max(LEAST_NEAR_ROWS, np.count_nonzero(distances <= NEAR_THRESHOLD))
    return rows[np.argsort(distances, kind="stable")[:count]]


def _approximations(
    classifier: MapClassifier, embeddings: npt.NDArray[np.floating], unseen: npt.NDArray[np.intp]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float]]:
    """Expand the decision function about the mean, and restrict it to a subspace, in float64."""
    rows = embeddings.astype(np.float64)
    centre = rows.mean(axis=0)
    support, dual = (classifier.arrays[name].astype(np.float64) for name in ("support_vectors", "dual_coefficients"))
    gamma, coef0, degree = (classifier.parameters[name] for name in ("gamma", "coef0", "degree"))
    intercept = float(classifier.arrays["intercept"][0])
    root = _root_of_covariance(rows)

    def gradients(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        kernel = gamma * points @ support.T + coef0
        return gamma * degree * (dual * kernel ** (degree - 1)) @ support

    kernel = gamma * support @ centre + coef0
    weights = 0.5 * gamma**2 * degree * (degree - 1) * dual * kernel ** max(degree - 2, 0)
    directions, signs = _leading_directions((support.T * weights) @ support, root)
    subspace, lift = _varying_subspace(gradients(rows[unseen]), root)
    arrays = {
        "centre": centre,
        "gradient": gradients(centre[None])[0],
        "directions": directions,
        "signs": signs,
        "subspace": subspace,
        "support": gamma * (support @ lift).T,
        "offsets": kernel - gamma * (centre @ subspace) @ (support @ lift).T,
        "dual_coefficients": dual,
    }
    parameters = {
        "value": float(dual @ kernel**degree + intercept),
        "degree": degree,
        "intercept": intercept,
        "threshold": classifier.threshold,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}, parameters


def _root_of_covariance(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the triangular root (d, d) of the rows' covariance: the map from unit covariance to theirs.

    A thousandth of the mean variance is added to every direction, for rows fewer than dimensions.
    """
    width = rows.shape[1]
    covariance = np.cov(rows.T, bias=True).reshape(width, width)
    ridge = 1e-3 * np.trace(covariance) / width + np.finfo(np.float64).tiny
    return np.linalg.cholesky(covariance + ridge * np.eye(width))


def _leading_directions(
    form: npt.NDArray[np.float64], root: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the ``COARSE_RANK`` directions (d, k) that carry most of a quadratic form over the rows, and their signs.

    The eigenvectors of the form in coordinates in which the rows have unit covariance.
    """
    weights, vectors = np.linalg.eigh(root.T @ form @ root)
    leading = np.argsort(-np.abs(weights), kind="stable")[:COARSE_RANK]
    directions = np.linalg.solve(root.T, vectors[:, leading])
    return directions * np.sqrt(np.abs(weights[leading])), np.sign(weights[leading])


def _varying_subspace(
    gradients: npt.NDArray[np.float64], root: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return an orthonormal base (d, r) of the subspace in which a function varies most, and the way back (d, r).

    The leading eigenvectors of the mean outer product of the gradients, in coordinates in which the rows have unit
    covariance ("active subspace", Constantine, Dow and Wang, 2014). The way back from ``(x − c) · base`` is to the
    mean of all rows with that value, were they normally distributed.
    """
    scaled = gradients @ root
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    leading = vectors[:, ::-1][:, :RANK]
    base, triangle = np.linalg.qr(np.linalg.solve(root.T, leading))
    return base, root @ leading @ triangle.T


def _is_support(classifier: MapClassifier, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    support = {row.tobytes() for row in classifier.arrays["support_vectors"].astype(np.float32)}
    return np.fromiter((row.tobytes() in support for row in embeddings.astype(np.float32)), bool, len(embeddings))
