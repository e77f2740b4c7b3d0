"""The classifier as a scikit-learn estimator in skops' format, for people who work with scikit-learn.

The estimator is built anew from the classifier's numbers: what was fitted may have been the Intel extension's. Its
``predict`` decides as the score does at 0, whatever the classifier's threshold. Its ``decision_function`` is the
score, but for the centroids (where it compares squared distances) and the perceptron (which has none; the score is the
log-odds of ``predict_proba``).

skops (0.16) names arrays and objects by their addresses in memory and stamps files with the time. Both are replaced, so
that the same classifier gives the same bytes.
"""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from mappool_assets.lib.decision import CENTROID, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier

SCHEMA = "schema.json"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold


def skops_bytes(classifier: MapClassifier) -> bytes | None:
    """Return the content of ``model.skops``; None where skops (extra ``skops``) is not installed.

    Only types that skops trusts by itself are in it.
    """
    if importlib.util.find_spec("skops") is None:
        return None
    import skops.io

    return _without_addresses_and_times(skops.io.dumps(scikit_estimator(classifier)))


def scikit_estimator(classifier: MapClassifier) -> Any:
    """Return a fitted scikit-learn estimator with the classifier's numbers; its classes are 0 and 1, 1 being a map."""
    build: dict[str, Callable[[MapClassifier], Any]] = {
        CENTROID: _nearest_centroid,
        LOGISTIC_REGRESSION: _logistic_regression,
        MLP: _perceptron,
        SVM: _support_vector_machine,
    }
    estimator = build[classifier.kind](classifier)
    estimator.classes_ = np.array([0, 1])
    estimator.n_features_in_ = classifier.dimension
    return estimator


def _nearest_centroid(classifier: MapClassifier) -> Any:
    from sklearn.neighbors import NearestCentroid

    estimator = NearestCentroid()
    estimator.centroids_ = np.stack([classifier.arrays["non_map_centroid"], classifier.arrays["map_centroid"]])
    # not known any more; these keep decision_function on the side of predict, which uses neither
    estimator.class_prior_ = np.array([0.5, 0.5])
    estimator.within_class_std_dev_ = np.ones(classifier.dimension)
    return estimator


def _logistic_regression(classifier: MapClassifier) -> Any:
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression()
    estimator.coef_ = classifier.arrays["coefficients"][np.newaxis].astype(np.float64)
    estimator.intercept_ = classifier.arrays["intercept"].astype(np.float64)
    return estimator


def _perceptron(classifier: MapClassifier) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    arrays, layers = classifier.arrays, len(classifier.arrays) // 2
    estimator = MLPClassifier(hidden_layer_sizes=tuple(len(arrays[f"bias_{i}"]) for i in range(layers - 1)))
    estimator.coefs_ = [np.array(arrays[f"weights_{i}"]) for i in range(layers)]
    estimator.intercepts_ = [np.array(arrays[f"bias_{i}"]) for i in range(layers)]
    estimator.n_layers_, estimator.n_outputs_, estimator.out_activation_ = layers + 1, 1, "logistic"
    estimator._label_binarizer = LabelBinarizer().fit([0, 1])
    return estimator


def _support_vector_machine(classifier: MapClassifier) -> Any:
    """Fill in what scikit-learn's binding to libsvm reads, which is undocumented but as old as the binding.

    libsvm wants the support vectors of class 0, whose coefficients are negative, first; scikit-learn turns the sign of
    its coefficients around for two classes.
    """
    from sklearn.svm import SVC

    parameters, duals = classifier.parameters, classifier.arrays["dual_coefficients"].astype(np.float64)
    order = np.argsort(duals >= 0, kind="stable")
    estimator = SVC(kernel="poly", degree=int(parameters["degree"]), gamma=parameters["gamma"],
                    coef0=parameters["coef0"])  # fmt: skip
    estimator.support_vectors_ = classifier.arrays["support_vectors"][order].astype(np.float64)
    estimator.support_ = np.arange(len(duals), dtype=np.int32)
    estimator._n_support = np.array([np.count_nonzero(duals < 0), np.count_nonzero(duals >= 0)], dtype=np.int32)
    estimator.dual_coef_ = duals[order][np.newaxis]
    estimator.intercept_ = classifier.arrays["intercept"].astype(np.float64)
    estimator._dual_coef_, estimator._intercept_ = -estimator.dual_coef_, -estimator.intercept_
    estimator._probA = estimator._probB = np.empty(0)
    estimator._sparse, estimator._gamma, estimator.fit_status_ = False, parameters["gamma"], 0
    estimator.class_weight_ = np.ones(2)
    estimator.shape_fit_ = estimator.support_vectors_.shape
    return estimator


def _without_addresses_and_times(content: bytes) -> bytes:
    """Return the same archive with its objects and arrays numbered in order of appearance, and one date."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        names: dict[str, str] = {}
        _number(schema, names, iter(range(1, 1_000_000)))
        files = {new: archive.read(old) for old, new in names.items()}
    files[SCHEMA] = json.dumps(schema, indent=2).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
    return buffer.getvalue()


def _number(node: Any, names: dict[str, str], numbers: Any) -> None:
    """Number the objects below a node, each by itself (skops would load those of one number once), and the arrays."""
    if isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = next(numbers)
        if isinstance(file := node.get("file"), str):
            node["file"] = names.setdefault(file, f"{len(names)}.npy")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _number(child, names, numbers)
