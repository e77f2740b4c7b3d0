"""The decision whether an embedding shows a map: plain arrays and NumPy, no estimator, no pickle.

What a score means, by kind; higher always means more like a map, and 0 is where scikit-learn's own ``predict``
changes its answer:

=======================  =======================================================================================
``centroid_l2``          L2 distance to the averaged non-map minus L2 distance to the averaged map
``logistic_regression``  log-odds, ``x · coefficients + intercept``
``mlp``                  log-odds before the logistic output, hidden layers with ReLU
``svm_poly``             decision function, ``Σ dual · (gamma ⟨x, support⟩ + coef0)^degree + intercept``
=======================  =======================================================================================
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.row_blocks import BLOCK_ROWS, for_row_blocks

CENTROID, LOGISTIC_REGRESSION, MLP, SVM = "centroid_l2", "logistic_regression", "mlp", "svm_poly"
KINDS = (CENTROID, LOGISTIC_REGRESSION, MLP, SVM)  # in the order of the paper's table

# Error of the float32 kernel sum, measured against float64: 0.1–0.8 × 2^-24 × Σ|dual| (1,500–2,900 support vectors,
# C 1–1,000, mean cosine 0.43–0.96). Scores within 16 × 2^-24 × Σ|dual| of the threshold are computed again in float64.
FLOAT32_ERROR_BOUND = 16 * 2.0**-24

MOST_DEGREE = 16  # a power is a product for each degree: a model from elsewhere must not take for ever

_PARAMETERS = {SVM: ("coef0", "degree", "gamma")}
_SHAPES = {  # dimensions by letter; a letter means one size within a classifier
    CENTROID: {"map_centroid": "d", "non_map_centroid": "d"},
    LOGISTIC_REGRESSION: {"coefficients": "d", "intercept": "1"},
    SVM: {"support_vectors": "nd", "dual_coefficients": "n", "intercept": "1"},
}

FloatArray = npt.NDArray[np.floating]
Block = Any  # rows as a NumPy array or a PyTorch tensor; the formulas use only what both have


@dataclass(frozen=True, eq=False)
class MapClassifier:
    """A fitted classifier that scores embeddings.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`; decides what a score means (see the module).
    arrays : mapping of str to float32 or float64 array
        ``centroid_l2``: map_centroid (d,), non_map_centroid (d,). ``logistic_regression``: coefficients (d,),
        intercept (1,). ``mlp``: weights_0 (d, h), bias_0 (h,), … weights_k (h, 1), bias_k (1,). ``svm_poly``:
        support_vectors (n, d), dual_coefficients (n,), intercept (1,). Copied and made read-only.
    parameters : mapping of str to float
        ``svm_poly``: degree, gamma, coef0; none for the others.
    encoder_id, training_set_id : str
        What made the embeddings, and which labelled images it was fitted on.
    threshold : float
        ``score > threshold`` is a map. 0 decides as scikit-learn's ``predict``.

    Raises
    ------
    BadModel
        Arrays or parameters that are missing, unknown, misshapen or not finite.
    """

    kind: str
    arrays: Mapping[str, FloatArray]
    encoder_id: str
    training_set_id: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.0

    def __post_init__(self) -> None:
        arrays = {name: np.array(self.arrays[name], order="C") for name in sorted(self.arrays)}
        for array in arrays.values():
            array.setflags(write=False)
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "parameters", {name: float(v) for name, v in sorted(self.parameters.items())})
        object.__setattr__(self, "threshold", float(self.threshold))
        _check(self)

    @property
    def dimension(self) -> int:
        """Width of the embeddings it scores."""
        first = {CENTROID: "map_centroid", LOGISTIC_REGRESSION: "coefficients", MLP: "weights_0"}
        if self.kind == SVM:
            return int(self.arrays["support_vectors"].shape[1])
        return int(self.arrays[first[self.kind]].shape[0])

    @functools.cached_property
    def classifier_id(self) -> str:
        """The kind and 12 hex digits over everything that decides an answer, and what it was made from."""
        header = {
            "parameters": self.parameters,
            "threshold": self.threshold,
            "encoder_id": self.encoder_id,
            "training_set_id": self.training_set_id,
            "arrays": {name: [a.dtype.newbyteorder("<").str, a.shape] for name, a in self.arrays.items()},
        }
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for array in self.arrays.values():
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        return f"{self.kind}-{digest.hexdigest()[:12]}"

    def scores(self, embeddings: FloatArray, block_rows: int | None = None) -> npt.NDArray[np.float32]:
        """Score embeddings; higher is more like a map.

        A row's score depends on that row only; the block size changes memory, not results (the last bit of a
        float32 sum aside). A row with a NaN scores NaN, which is never a map.

        Parameters
        ----------
        embeddings : array of float16 or float32, shape (n, d)
        block_rows : int, optional
            Rows converted to float32 and scored at a time, by default ``BLOCK_ROWS``; peak memory is ``block_rows ×
            (d + 2 n_support)`` float32 numbers a thread for the SVM. There are as many threads as BLAS has.

        Returns
        -------
        array of float32, shape (n,)

        Raises
        ------
        BadModel
            The width of the embeddings is not the classifier's.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dimension:
            raise BadModel(
                "The classifier does not fit these embeddings",
                where=self.classifier_id,
                rule=f"rows of {self.dimension} numbers, made by {self.encoder_id}",
                got=f"shape {embeddings.shape}",
                action="Score embeddings of that encoder, or train a classifier on embeddings of this width.",
            )
        scores = self._block_scores(embeddings, block_rows)
        if self.kind == SVM:
            self._sharpen_near_threshold(embeddings, scores)
        return scores

    def is_map(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Tell which scores are maps: those above the threshold."""
        return np.asarray(scores > self.threshold)

    def _block_scores(self, embeddings: FloatArray, block_rows: int | None) -> npt.NDArray[np.float32]:
        scores = np.empty(len(embeddings), dtype=np.float32)

        def score(rows: slice, block: npt.NDArray[np.float32]) -> None:
            scores[rows] = self._score(block)

        for_row_blocks(embeddings, score, block_rows or BLOCK_ROWS)
        return scores

    def _score(self, block: Block) -> Block:
        score_block = {
            CENTROID: self._centroid_scores,
            LOGISTIC_REGRESSION: self._linear_scores,
            MLP: self._mlp_scores,
            SVM: self._svm_scores,
        }[self.kind]
        return score_block(block)

    def _centroid_scores(self, block: Block) -> Block:
        operands = self._operands(block)
        to_map, to_non_map = (
            ((block - operands[name]) ** 2).sum(axis=1) ** 0.5 for name in ("map_centroid", "non_map_centroid")
        )
        return to_non_map - to_map

    def _linear_scores(self, block: Block) -> Block:
        operands = self._operands(block)
        return block @ operands["coefficients"] + operands["intercept"]

    def _mlp_scores(self, block: Block) -> Block:
        operands = self._operands(block)
        layers = len(operands) // 2
        for layer in range(layers):
            block = block @ operands[f"weights_{layer}"]
            block += operands[f"bias_{layer}"]
            if layer < layers - 1:
                block = block.clip(0)
        return block[:, 0]

    def _svm_scores(self, block: Block) -> Block:
        """Return the decision function in the block's own precision; the block's kernel stays in the cache."""
        operands, degree = self._operands(block), int(self.parameters["degree"])
        kernel = block @ operands["support_vectors"]
        if self.parameters["coef0"]:
            kernel += self.parameters["coef0"]
        power = kernel * kernel if degree > 1 else kernel
        for _ in range(degree - 2):
            power *= kernel
        return power @ operands["dual_coefficients"] + operands["intercept"]

    def _operands(self, block: Block) -> Mapping[str, Block]:
        """Return what the formulas take beside a block: of its kind of array, its precision, and where it lies."""
        return self._numpy_operands[block.dtype]

    @functools.cached_property
    def _numpy_operands(self) -> dict[np.dtype, dict[str, FloatArray]]:
        """The arrays in both precisions, support vectors times gamma as columns (d, n); made once, a block's work."""
        arrays = dict(self.arrays)
        if self.kind == SVM:
            arrays["support_vectors"] = arrays["support_vectors"].T.astype(np.float64) * self.parameters["gamma"]
        return {
            np.dtype(kind): {name: np.ascontiguousarray(array, dtype=kind) for name, array in arrays.items()}
            for kind in (np.float32, np.float64)
        }

    def _sharpen_near_threshold(self, embeddings: FloatArray, scores: npt.NDArray[np.float32]) -> None:
        """Recompute in float64 the rows whose side of the threshold float32 cannot tell, in place."""
        (near,) = np.nonzero(np.abs(scores - np.float32(self.threshold)) <= self.float32_error)
        for start in range(0, len(near), BLOCK_ROWS):
            rows = near[start : start + BLOCK_ROWS]
            scores[rows] = self._svm_scores(embeddings[rows].astype(np.float64))

    @functools.cached_property
    def float32_error(self) -> float:
        """Most by which rounding moves an SVM's float32 score of a unit vector (``FLOAT32_ERROR_BOUND``)."""
        support = self.arrays["support_vectors"]
        kernel_bound = self.parameters["gamma"] * float(np.einsum("nd,nd->n", support, support).max())
        kernel_bound += abs(self.parameters["coef0"])
        dual_sum = float(np.abs(self.arrays["dual_coefficients"]).sum())
        return FLOAT32_ERROR_BOUND * dual_sum * max(1.0, kernel_bound ** self.parameters["degree"])


def _check(classifier: MapClassifier) -> None:
    kind, arrays, parameters = classifier.kind, classifier.arrays, classifier.parameters
    _require(kind in KINDS, classifier, f"a kind of {', '.join(KINDS)}", kind)
    shapes = _SHAPES.get(kind) or _mlp_shapes(max(1, len(arrays) // 2))
    _require(set(arrays) == set(shapes), classifier, f"the arrays {sorted(shapes)}", str(sorted(arrays)))
    sizes = {"1": 1}
    for name, letters in shapes.items():
        array = arrays[name]
        is_float = array.dtype in (np.float32, np.float64)
        _require(is_float, classifier, f"{name} as float32 or float64", str(array.dtype))
        fits = array.ndim == len(letters) and array.size > 0
        fits = fits and all(sizes.setdefault(letter, n) == n for letter, n in zip(letters, array.shape, strict=True))
        _require(fits, classifier, f"{name} of a shape that fits the other arrays", str(array.shape))
        _require(bool(np.isfinite(array).all()), classifier, f"finite numbers in {name}", "NaN or infinity")
    names = _PARAMETERS.get(kind, ())
    _require(tuple(parameters) == names, classifier, f"the parameters {list(names)}", str(list(parameters)))
    numbers = [*parameters.values(), classifier.threshold]
    _require(all(map(math.isfinite, numbers)), classifier, "finite parameters and threshold", str(numbers))
    if kind == SVM:
        degree, gamma = parameters["degree"], parameters["gamma"]
        is_kernel = 1 <= degree <= MOST_DEGREE and degree == int(degree) and gamma > 0
        rule = f"a whole degree from 1 to {MOST_DEGREE} and gamma > 0"
        _require(is_kernel, classifier, rule, f"degree {degree}, gamma {gamma}")


def _mlp_shapes(layers: int) -> dict[str, str]:
    widths = ["d", *(chr(ord("h") + layer) for layer in range(layers - 1)), "1"]
    shapes = {f"weights_{i}": widths[i] + widths[i + 1] for i in range(layers)}
    return shapes | {f"bias_{i}": widths[i + 1] for i in range(layers)}


def _require(holds: bool, classifier: MapClassifier, rule: str, got: str) -> None:
    if not holds:
        raise BadModel(
            "The classifier is malformed",
            where=f"{classifier.kind} trained on {classifier.training_set_id}",
            rule=rule,
            got=got,
            action="Train it again: materialise mappool/classifier.",
        )
