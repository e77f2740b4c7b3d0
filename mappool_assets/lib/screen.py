"""A cheap upper bound of a polynomial SVM's score, so that few rows need the exact one.

Two stages, each an approximation of the decision function ``f`` plus a margin that grows with the distance ``ρ`` of
the embedding ``x`` from the mean embedding ``c``. A row passes unless one of its bounds is at or below the
classifier's threshold.

- coarse, for all rows: the expansion of ``f`` to second order about ``c``, its quadratic form reduced to a few
  directions: ``f(c) + ∇f(c) · (x − c) + Σ ± (directions · (x − c))² + coarse_margin · ρ⁶``
- fine, for the rows that passed it: ``f`` itself where all rows have been moved to the subspace in which it varies
  most, ``Σ dual · (offsets + (subspace · x) · support)^degree + intercept + fine_margin · ρ⁸``. A kernel then costs as
  many products as the subspace has dimensions, a twelfth of the embedding's.

The margins are calibrated on exact scores (:mod:`mappool_assets.lib.screen_calibration`) and no proof: whoever refuses
rows should score a sample of them.

The other classifiers cost about as much as this bound (centroid, logistic regression) or are no polynomials
(perceptron, a quarter of the SVM's cost): their screen passes every row.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.row_blocks import Float32, for_row_blocks

# Of width 768. With 1,024 the coarse stage, nearly all of which is conversion, took 1.1 to 1.2 times as long.
BLOCK_ROWS = 2048

FINE_ROWS = 256  # most that are in the fine stage at a time: 2 MB of kernel for 2,000 support vectors

EXACT_ROWS = 16_384  # rows that passed are gathered this many at a time: 25 MB of float16 at width 768

COARSE, FINE = STAGES = ("coarse", "fine")

# Of the distance, in the margins' terms. With 3, the power of what an expansion to second order leaves out, the rare
# rows far from everything need a larger margin than calibration shows: the fine stage needed up to 4.5 times what the
# calibration rows do with 3, up to 1.95 times with 8 (twelve generated pools, three SVMs).
REMAINDER_POWERS = {COARSE: 6, FINE: 8}

_SHAPES = {  # dimensions by letter; a letter means one size within a screen
    "centre": "d",
    "directions": "dk",
    "dual_coefficients": "n",
    "gradient": "d",
    "offsets": "n",
    "signs": "k",
    "subspace": "dr",
    "support": "rn",
}
_PARAMETERS = ("coarse_margin", "degree", "fine_margin", "intercept", "rounding", "threshold", "value")


@dataclass(frozen=True, eq=False)
class Screen:
    """An upper bound of one classifier's score.

    Parameters
    ----------
    classifier_id : str
        The classifier it was calibrated for.
    arrays : mapping of str to float32 array
        ``centre`` (d,): the mean embedding. ``gradient`` (d,): of the score there. ``directions`` (d, k): of the
        quadratic form, each scaled by the root of its weight; ``signs`` (k,): 1 or -1. ``subspace`` (d, r):
        orthonormal columns. ``support`` (r, n), ``offsets`` (n,), ``dual_coefficients`` (n,): of the score in the
        subspace. None for a screen that passes every row. Copied and made read-only.
    parameters : mapping of str to float
        ``value``: the score at the centre. ``degree``, ``intercept``: of the score in the subspace. ``coarse_margin``,
        ``fine_margin``: of the bounds, in units of the score, for a row at distance 1. ``rounding``: of both,
        at any distance, for the errors of float32. ``threshold``: the classifier's.

    Raises
    ------
    BadModel
        Arrays or parameters that are missing, unknown, misshapen or not finite.
    """

    classifier_id: str
    arrays: Mapping[str, Float32]
    parameters: Mapping[str, float]

    def __post_init__(self) -> None:
        arrays = {name: np.array(self.arrays[name], order="C") for name in sorted(self.arrays)}
        for array in arrays.values():
            array.setflags(write=False)
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "parameters", {name: float(v) for name, v in sorted(self.parameters.items())})
        _check(self)

    @property
    def passes_all(self) -> bool:
        """Whether it refuses nothing, because the classifier is as cheap as a screen."""
        return not self.arrays

    @functools.cached_property
    def screen_id(self) -> str:
        """12 hex digits over everything that decides what passes."""
        header = {
            "classifier_id": self.classifier_id,
            "parameters": self.parameters,
            "arrays": {name: array.shape for name, array in self.arrays.items()},
        }
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for array in self.arrays.values():
            digest.update(array.astype("<f4", copy=False).tobytes())
        return f"screen-{digest.hexdigest()[:12]}"

    def passes(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Tell which rows need the exact score: those that neither stage refuses, and rows with a NaN.

        Parameters
        ----------
        embeddings : array of float16 or float32, shape (n, d)

        Returns
        -------
        array of bool, shape (n,)

        Raises
        ------
        BadModel
            The width of the embeddings is not the screen's.
        """
        passes = np.ones(len(embeddings), dtype=bool)
        if self.passes_all:
            return passes
        self._check_width(embeddings)
        threshold = np.float32(self.parameters["threshold"])

        def judge(rows: slice, block: Float32) -> None:
            bounds, squared_distances = self._coarse_bounds(block)
            left = np.flatnonzero(~(bounds <= threshold))
            bounds[left] = self._fine_bounds(block[left], squared_distances[left])
            passes[rows] = ~(bounds <= threshold)

        for_row_blocks(embeddings, judge, BLOCK_ROWS)
        return passes

    def bounds(self, embeddings: npt.NDArray[np.floating], stage: str) -> Float32:
        """Return one stage's bound of every row's score, (n,); arguments and errors as :meth:`passes`."""
        bounds = np.full(len(embeddings), np.inf, dtype=np.float32)
        if self.passes_all:
            return bounds
        self._check_width(embeddings)

        def bound(rows: slice, block: Float32) -> None:
            coarse, squared_distances = self._coarse_bounds(block)
            bounds[rows] = coarse if stage == COARSE else self._fine_bounds(block, squared_distances)

        for_row_blocks(embeddings, bound, BLOCK_ROWS)
        return bounds

    def _coarse_bounds(self, block: Float32) -> tuple[Float32, Float32]:
        """Return the bounds and ``ρ²``, both (n,)."""
        columns, at_centre = self._coarse_columns
        projected = block @ columns
        squared_distances = np.vecdot(block, block) - 2 * projected[:, 1] + at_centre[1]
        np.maximum(squared_distances, 0, out=squared_distances)
        projected -= at_centre
        bounds = projected[:, 0] + np.float32(self.parameters["value"])
        projected *= projected
        bounds += projected[:, 2:] @ self.arrays["signs"]
        bounds += self._margin_term(COARSE, squared_distances)
        return bounds, squared_distances

    @functools.cached_property
    def _coarse_columns(self) -> tuple[Float32, Float32]:
        """Gradient, centre and directions as columns, and the centre's products with them."""
        columns = np.column_stack([self.arrays[name] for name in ("gradient", "centre", "directions")])
        return columns, self.arrays["centre"] @ columns

    def _margin_term(self, stage: str, squared_distances: Float32) -> Float32:
        remainders = squared_distances ** (REMAINDER_POWERS[stage] // 2)
        return np.float32(self.parameters[f"{stage}_margin"]) * remainders + np.float32(self.parameters["rounding"])

    def _fine_bounds(self, block: Float32, squared_distances: Float32) -> Float32:
        bounds = self._margin_term(FINE, squared_distances) + np.float32(self.parameters["intercept"])
        for start in range(0, len(block), FINE_ROWS):
            rows = slice(start, start + FINE_ROWS)
            kernel = block[rows] @ self.arrays["subspace"] @ self.arrays["support"]
            kernel += self.arrays["offsets"]
            power = kernel
            for _ in range(int(self.parameters["degree"]) - 1):
                power = np.multiply(power, kernel, out=None if power is kernel else power)
            bounds[rows] += power @ self.arrays["dual_coefficients"]
        return bounds

    def _check_width(self, embeddings: npt.NDArray[np.floating]) -> None:
        width = len(self.arrays["centre"])
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise BadModel(
                "The screen does not fit these embeddings",
                where=f"{self.screen_id} of {self.classifier_id}",
                rule=f"rows of {width} numbers",
                got=f"shape {embeddings.shape}",
                action="Score embeddings of the encoder that the classifier was trained with.",
            )


@dataclass(frozen=True, eq=False)
class ScreenedClassifier:
    """A classifier behind its screen: the same maps for a fraction of the work.

    Parameters
    ----------
    classifier : MapClassifier
    screen : Screen

    Raises
    ------
    BadModel
        The screen was calibrated for another classifier.
    """

    classifier: MapClassifier
    screen: Screen

    def __post_init__(self) -> None:
        if self.screen.classifier_id != self.classifier.classifier_id:
            raise BadModel(
                "The screen is another classifier's",
                where=self.screen.screen_id,
                rule=f"a screen calibrated for {self.classifier.classifier_id}",
                got=f"one for {self.screen.classifier_id}",
                action="Calibrate it again: materialise mappool/classifier.",
            )

    @property
    def threshold(self) -> float:
        """Score over which a row is a map."""
        return self.classifier.threshold

    @property
    def dimension(self) -> int:
        """Width of the embeddings it takes."""
        return self.classifier.dimension

    def scores(self, embeddings: npt.NDArray[np.floating]) -> Float32:
        """Return the exact score of each row that passes the screen, minus infinity for the others.

        Parameters
        ----------
        embeddings : array of float16 or float32, shape (n, d)

        Returns
        -------
        array of float32, shape (n,)

        Raises
        ------
        BadModel
            The width of the embeddings is not the classifier's.
        """
        if self.screen.passes_all:
            return self.classifier.scores(embeddings)
        scores = np.full(len(embeddings), -np.inf, dtype=np.float32)
        passed = np.flatnonzero(self.screen.passes(embeddings))
        for start in range(0, len(passed), EXACT_ROWS):
            rows = passed[start : start + EXACT_ROWS]
            scores[rows] = self.classifier.scores(embeddings[rows])
        return scores


def _check(screen: Screen) -> None:
    is_whole = tuple(screen.arrays) == tuple(_SHAPES) and tuple(screen.parameters) == _PARAMETERS
    if not is_whole and (screen.arrays or screen.parameters):
        got = f"{[*screen.arrays]} and {[*screen.parameters]}"
        raise _malformed(screen, f"{[*_SHAPES]} and {[*_PARAMETERS]}", got)
    sizes: dict[str, int] = {}
    for name, array in screen.arrays.items():
        letters = _SHAPES[name]
        fits = array.dtype == np.float32 and array.ndim == len(letters)
        if not fits or any(sizes.setdefault(letter, n) != n for letter, n in zip(letters, array.shape, strict=True)):
            rule = f"{name} in float32, ({', '.join(letters)}), of a size that fits the others"
            raise _malformed(screen, rule, f"{array.dtype} {array.shape}")
    is_finite = all(np.isfinite(array).all() for array in screen.arrays.values())
    if not is_finite or not all(map(math.isfinite, screen.parameters.values())):
        raise _malformed(screen, "finite numbers", "NaN or infinity")


def _malformed(screen: Screen, rule: str, got: str) -> BadModel:
    return BadModel(
        "The screen is malformed",
        where=f"the screen of {screen.classifier_id}",
        rule=rule,
        got=got,
        action="Calibrate it again: materialise mappool/classifier.",
    )
