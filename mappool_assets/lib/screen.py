"""A cheap upper bound of a polynomial SVM's score, so that few rows need the exact one.

The decision function ``f`` is a polynomial of the embedding ``x``. Its expansion to second order about the mean
embedding ``c``, with the quadratic form reduced to the ``r`` directions along which it varies most over the
embeddings, costs ``r + 2`` products of vectors a row instead of one a support vector. What that leaves out grows with
the third power of the distance ``ρ = ‖x − c‖``. The bound of a row is

    ``f(c) + ∇f(c) · (x − c) + Σ ± (directions · (x − c))² + margin · ρ³``

and the row passes unless its bound is at or below the classifier's threshold. There are two stages: the coarse one
takes the first few directions, the fine one all of them for the rows that passed the coarse. The margins are
calibrated on exact scores (:mod:`mappool_assets.lib.screen_calibration`) and no proof: whoever refuses rows should
score a sample of them.

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
from mappool_assets.lib.row_blocks import for_row_blocks

# Of 128, 256, … 1,024 rows of width 768, the conversion and a bound of 64 directions were fastest at 512 and 1,024.
BLOCK_ROWS = 512

EXACT_ROWS = 16_384  # rows that passed are gathered this many at a time: 25 MB of float16 at width 768

COARSE, FINE = STAGES = ("coarse", "fine")

_ARRAYS = ("centre", "directions", "gradient", "signs")
_PARAMETERS = ("coarse_directions", "coarse_margin", "fine_margin", "threshold", "value")


@dataclass(frozen=True, eq=False)
class Screen:
    """An upper bound of one classifier's score.

    Parameters
    ----------
    classifier_id : str
        The classifier it was calibrated for.
    arrays : mapping of str to float32 array
        ``centre`` (d,): the mean embedding. ``gradient`` (d,): of the score there. ``directions`` (d, r): of the
        quadratic form, the weightiest first, each scaled by the root of its weight. ``signs`` (r,): 1 or -1. None for
        a screen that passes every row. Copied and made read-only.
    parameters : mapping of str to float
        ``value``: the score at the centre. ``coarse_directions``: how many directions the coarse stage takes.
        ``coarse_margin``, ``fine_margin``: of the bounds, in units of the score at distance 1. ``threshold``: the
        classifier's.

    Raises
    ------
    BadModel
        Arrays or parameters that are missing, unknown, misshapen or not finite.
    """

    classifier_id: str
    arrays: Mapping[str, npt.NDArray[np.float32]]
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

        def judge(rows: slice, block: npt.NDArray[np.float32]) -> None:
            left = np.flatnonzero(~(self._bounds_of(block, COARSE) <= threshold))
            is_left = np.zeros(len(block), dtype=bool)
            is_left[left] = ~(self._bounds_of(block[left], FINE) <= threshold)
            passes[rows] = is_left

        for_row_blocks(embeddings, judge, BLOCK_ROWS)
        return passes

    def bounds(self, embeddings: npt.NDArray[np.floating], stage: str) -> npt.NDArray[np.float32]:
        """Return one stage's bound of every row's score, (n,); arguments and errors as :meth:`passes`."""
        bounds = np.full(len(embeddings), np.inf, dtype=np.float32)
        if self.passes_all:
            return bounds
        self._check_width(embeddings)

        def bound(rows: slice, block: npt.NDArray[np.float32]) -> None:
            bounds[rows] = self._bounds_of(block, stage)

        for_row_blocks(embeddings, bound, BLOCK_ROWS)
        return bounds

    def _bounds_of(self, block: npt.NDArray[np.float32], stage: str) -> npt.NDArray[np.float32]:
        columns, at_centre, signs = self._projections[stage]
        projected = block @ columns
        squared_distance = np.vecdot(block, block) - 2 * projected[:, 1] + at_centre[1]
        np.maximum(squared_distance, 0, out=squared_distance)
        projected -= at_centre
        bounds = projected[:, 0] + np.float32(self.parameters["value"])
        projected *= projected
        bounds += projected[:, 2:] @ signs
        bounds += np.float32(self.parameters[f"{stage}_margin"]) * squared_distance * np.sqrt(squared_distance)
        return bounds

    @functools.cached_property
    def _projections(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return for each stage gradient, centre and directions as columns, the centre's products, the signs."""
        projections = {}
        for stage, rank in ((COARSE, int(self.parameters["coarse_directions"])), (FINE, None)):
            directions = self.arrays["directions"][:, :rank]
            columns = np.column_stack([self.arrays["gradient"], self.arrays["centre"], directions])
            projections[stage] = columns, self.arrays["centre"] @ columns, self.arrays["signs"][:rank]
        return projections

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

    def scores(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
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
    is_whole = tuple(screen.arrays) == _ARRAYS and tuple(screen.parameters) == _PARAMETERS
    if not is_whole and (screen.arrays or screen.parameters):
        raise _malformed(screen, f"{_ARRAYS} and {_PARAMETERS}", f"{[*screen.arrays]} and {[*screen.parameters]}")
    if screen.passes_all:
        return
    shapes = {name: array.shape for name, array in screen.arrays.items()}
    width = len(screen.arrays["centre"])
    fits = shapes["centre"] == shapes["gradient"] == (width,)
    fits = fits and shapes["directions"] == (width, len(screen.arrays["signs"])) and len(shapes["signs"]) == 1
    if not fits or any(array.dtype != np.float32 for array in screen.arrays.values()):
        raise _malformed(screen, "float32 arrays (d,), (d, r), (d,) and (r,)", str(shapes))
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
