"""The classifiers of the paper's table, fitted with scikit-learn or its Intel extension.

The methods are those of MapPool's paper, on CLIP ViT-L/14 image embeddings: L2 distance to the averaged embeddings
of each class, logistic regression, a perceptron of three hidden layers with 256 units, a support vector machine
with a polynomial kernel of degree 3. What the paper does not state is scikit-learn's default, named below.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.decision import CENTROID, KINDS, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier
from mappool_assets.lib.errors import BadEnvironment, BadSetting, BadTrainingSet

AUTO, INTEL, SCIKIT_LEARN = "auto", "intel", "scikit-learn"
ACCELERATIONS = (AUTO, INTEL, SCIKIT_LEARN)
ACCELERATED = (LOGISTIC_REGRESSION, SVM)  # of these methods the Intel extension has its own implementation

_ESTIMATORS = {
    CENTROID: ("neighbors", "NearestCentroid"),
    LOGISTIC_REGRESSION: ("linear_model", "LogisticRegression"),
    MLP: ("neural_network", "MLPClassifier"),
    SVM: ("svm", "SVC"),
}


@dataclass(frozen=True)
class FitSettings:
    """Constants of the methods.

    Attributes
    ----------
    logistic_regression_c : float
        Inverse strength of the L2 penalty; scikit-learn's default.
    logistic_regression_tolerance, logistic_regression_max_iterations : float, int
        Scikit-learn stops at 1e-4, where its log-odds and the Intel extension's still differ by 7e-3; at 1e-8 by
        7e-6, reached in about 50 iterations.
    mlp_hidden_layers : tuple of int
        The paper: three layers of 256 units. ReLU, Adam and batches of 200 are scikit-learn's defaults.
    mlp_max_iterations : int
        Scikit-learn's 200 epochs are too few for sets of some hundred images (three batches an epoch); training
        stops by itself when the loss no longer falls.
    svm_degree : int
        The paper: polynomial kernel of degree 3.
    svm_c, svm_coef0 : float
        Scikit-learn's defaults; its default gamma, "scale", is 1 / (d × variance), computed here in float64.
    svm_tolerance : float
        Scikit-learn stops at 1e-3, where its decision function and the Intel extension's differ by 4e-4; at 1e-6 by
        4e-7, for no measurable time.
    random_state : int
        Seeds the perceptron's first weights and batches; the other methods draw nothing.
    """

    logistic_regression_c: float = 1.0
    logistic_regression_tolerance: float = 1e-8
    logistic_regression_max_iterations: int = 1000
    mlp_hidden_layers: tuple[int, ...] = (256, 256, 256)
    mlp_max_iterations: int = 1000
    svm_degree: int = 3
    svm_c: float = 1.0
    svm_coef0: float = 0.0
    svm_tolerance: float = 1e-6
    random_state: int = 0


DEFAULT_SETTINGS = FitSettings()


@dataclass(frozen=True)
class FittedCandidate:
    """A fitted classifier, how long fitting took, and the package that fitted it."""

    classifier: MapClassifier
    fit_seconds: float
    fitted_by: str


def fit_candidates(
    embeddings: npt.NDArray[np.floating],
    is_map: npt.NDArray[np.bool_],
    *,
    encoder_id: str,
    training_set_id: str,
    settings: FitSettings = DEFAULT_SETTINGS,
    acceleration: str = AUTO,
    kinds: Sequence[str] = KINDS,
) -> list[FittedCandidate]:
    """Fit every method of the table on the same embeddings.

    Parameters
    ----------
    embeddings : array of float16 or float32, shape (n, d)
        Unit vectors.
    is_map : array of bool, shape (n,)
    encoder_id, training_set_id : str
        Written into the classifiers.
    settings : FitSettings
    acceleration : {"auto", "intel", "scikit-learn"}
        "intel" demands scikit-learn-intelex; "auto" uses it where it can be loaded. Both give the same decisions.
    kinds : sequence of str
        Which methods, by :data:`~mappool_assets.lib.decision.KINDS`.

    Returns
    -------
    list of FittedCandidate
        In the order of ``kinds``.

    Raises
    ------
    BadTrainingSet
        One class only, or a number that is not finite.
    BadSetting
        An unknown ``acceleration`` or kind.
    BadEnvironment
        "intel" where the extension cannot be loaded.
    """
    _check(embeddings, is_map)
    _check_kinds(kinds)
    has_intel = _has_intel_extension(acceleration)
    candidates = []
    for kind in kinds:
        is_accelerated = has_intel and kind in ACCELERATED
        estimator = new_estimator(kind, embeddings, settings, is_accelerated)
        # the Intel extension computes in the precision it is given; the perceptron is faster in float32
        exact = embeddings.astype(np.float32 if kind == MLP else np.float64)
        start = time.perf_counter()
        estimator.fit(exact, is_map.astype(np.int64))
        seconds = time.perf_counter() - start
        classifier = to_map_classifier(kind, estimator, encoder_id=encoder_id, training_set_id=training_set_id)
        fitted_by = "scikit-learn-intelex" if is_accelerated else "scikit-learn"
        candidates.append(FittedCandidate(classifier, seconds, fitted_by))
    return candidates


def new_estimator(kind: str, embeddings: npt.NDArray[np.floating], settings: FitSettings, is_accelerated: bool) -> Any:
    """Return the unfitted estimator of a method, from scikit-learn or its Intel extension.

    The embeddings decide the SVM's gamma.
    """
    package = "sklearnex" if is_accelerated else "sklearn"
    module, name = _ESTIMATORS[kind]
    estimator = getattr(importlib.import_module(f"{package}.{module}"), name)
    if kind == LOGISTIC_REGRESSION:
        return estimator(
            C=settings.logistic_regression_c,
            tol=settings.logistic_regression_tolerance,
            max_iter=settings.logistic_regression_max_iterations,
        )
    if kind == MLP:
        return estimator(
            hidden_layer_sizes=settings.mlp_hidden_layers,
            max_iter=settings.mlp_max_iterations,
            random_state=settings.random_state,
        )
    if kind == SVM:
        variance = float(embeddings.astype(np.float64).var())
        return estimator(
            kernel="poly",
            degree=settings.svm_degree,
            C=settings.svm_c,
            coef0=settings.svm_coef0,
            gamma=1.0 / (embeddings.shape[1] * variance) if variance else 1.0,
            tol=settings.svm_tolerance,
        )
    return estimator()


def to_map_classifier(kind: str, estimator: Any, *, encoder_id: str, training_set_id: str) -> MapClassifier:
    """Take a fitted estimator's numbers; its classes are 0 and 1, and an SVM's gamma is a number.

    Support vectors are training embeddings, exact in float32; an SVM's coefficients keep float64.
    """
    arrays: dict[str, Any]
    parameters: dict[str, float] = {}
    if kind == CENTROID:
        arrays = dict(zip(("non_map_centroid", "map_centroid"), estimator.centroids_, strict=True))
    elif kind == LOGISTIC_REGRESSION:
        arrays = {"coefficients": estimator.coef_.ravel(), "intercept": estimator.intercept_.ravel()}
    elif kind == MLP:
        arrays = {f"weights_{i}": weights for i, weights in enumerate(estimator.coefs_)}
        arrays |= {f"bias_{i}": bias for i, bias in enumerate(estimator.intercepts_)}
    else:
        arrays = {
            "support_vectors": estimator.support_vectors_,
            "dual_coefficients": estimator.dual_coef_.ravel(),
            "intercept": np.asarray(estimator.intercept_).ravel(),
        }
        parameters = {"degree": estimator.degree, "gamma": estimator.gamma, "coef0": estimator.coef0}
    keeps_float64 = ("dual_coefficients", "intercept") if kind == SVM else ()
    arrays = {name: array.astype(np.float64 if name in keeps_float64 else np.float32) for name, array in arrays.items()}
    return MapClassifier(kind, arrays, encoder_id=encoder_id, training_set_id=training_set_id, parameters=parameters)


def _has_intel_extension(acceleration: str) -> bool:
    if acceleration not in ACCELERATIONS:
        raise BadSetting(
            "The acceleration is unknown",
            where="acceleration",
            rule=f"one of {', '.join(ACCELERATIONS)}",
            got=acceleration,
            action='Leave it at "auto".',
        )
    if acceleration == SCIKIT_LEARN:
        return False
    try:
        for kind in ACCELERATED:
            importlib.import_module(f"sklearnex.{_ESTIMATORS[kind][0]}")
    except (ImportError, OSError) as error:  # OSError: its shared libraries do not load on this processor
        if acceleration == AUTO:
            return False
        raise BadEnvironment(
            "The Intel extension for scikit-learn cannot be loaded",
            where="acceleration=intel",
            rule="an x86-64 processor and the package scikit-learn-intelex",
            got=str(error),
            action='Install scikit-learn-intelex, or set the acceleration to "auto".',
        ) from error
    return True


def _check_kinds(kinds: Sequence[str]) -> None:
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise BadSetting(
            "The kind of classifier is unknown",
            where="kinds",
            rule=f"some of {', '.join(KINDS)}",
            got=", ".join(unknown),
            action="Choose from these.",
        )


def _check(embeddings: npt.NDArray[np.floating], is_map: npt.NDArray[np.bool_]) -> None:
    maps, rows = int(np.count_nonzero(is_map)), len(is_map)
    if not 0 < maps < rows:
        raise BadTrainingSet(
            "Nothing can be learnt from one class",
            where="training split",
            rule="at least one map and one other image",
            got=f"{maps} maps and {rows - maps} others",
            action="Add labelled images of the missing class and materialise mappool/training_set again.",
        )
    (bad,) = np.nonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise BadTrainingSet(
            "Training embeddings hold numbers that are not finite",
            where=f"row {bad[0]} of the training split",
            rule="finite numbers",
            got=f"NaN or infinity in {len(bad)} rows",
            action="Materialise mappool/training_embeddings again.",
        )
