import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.classifiers import DEFAULT_SETTINGS, new_estimator, to_map_classifier
from mappool_assets.lib.decision import BLOCK_ROWS, CENTROID, KINDS, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier
from mappool_assets.lib.device_classifier import on_device
from mappool_assets.lib.errors import BadModel
from mappool_assets_tests.hard_embeddings import hard_embeddings

MARGIN = 1e-4  # rows nearer to the threshold than this may fall either way

# Where blocks are scored. PyTorch's CPU runs the code that CUDA runs.
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
PLACES = ["numpy", "cpu", pytest.param("cuda", marks=needs_cuda)]


def placed(classifier, place):
    return classifier if place == "numpy" else on_device(classifier, place)


@pytest.fixture(scope="module")
def held_out():
    return hard_embeddings(2500, draw=2)  # more than one block


@pytest.fixture(scope="module", params=KINDS)
def fitted(request):
    """The estimator of plain scikit-learn and what it becomes."""
    embeddings, is_map = hard_embeddings(600, draw=1)
    estimator = new_estimator(request.param, embeddings, DEFAULT_SETTINGS, is_accelerated=False)
    estimator.fit(embeddings.astype(np.float32), is_map.astype(np.int64))
    return estimator, to_map_classifier(request.param, estimator, encoder_id="encoder", training_set_id="set")


def tiny(kind, **changes):
    """A classifier in two dimensions whose answers can be worked out by hand."""
    arrays = {
        CENTROID: {"map_centroid": [1, 0], "non_map_centroid": [0, 1]},
        LOGISTIC_REGRESSION: {"coefficients": [2, -1], "intercept": [0.5]},
        MLP: {
            "weights_0": [[1, -1, 0], [0, 1, 2]],
            "bias_0": [0, 0.5, -1],
            "weights_1": [[1], [2], [3]],
            "bias_1": [-1],
        },
        SVM: {
            "support_vectors": [[1, 0], [0, 1], [0.5, 0.5]],
            "dual_coefficients": [1, -2, 1],
            "intercept": [0.25],
        },
    }[kind]
    fields = {
        "kind": kind,
        "arrays": {name: np.array(array, np.float32) for name, array in arrays.items()},
        "parameters": {"degree": 3, "gamma": 2.0, "coef0": 0.5} if kind == SVM else {},
        "encoder_id": "encoder",
        "training_set_id": "set",
    }
    return MapClassifier(**(fields | changes))


@pytest.mark.parametrize("place", PLACES)
def test_decisions_are_those_of_scikit_learn(fitted, held_out, place):
    estimator, classifier = fitted[0], placed(fitted[1], place)
    embeddings, is_map = held_out
    scores = classifier.scores(embeddings)
    expected = estimator.predict(embeddings.astype(np.float32)).astype(bool)
    is_clear = np.abs(scores) > MARGIN
    assert (classifier.is_map(scores)[is_clear] == expected[is_clear]).all()
    assert is_clear.mean() > 0.99  # the comparison is not empty
    assert 0.6 < (expected == is_map).mean() < 0.999  # nor is the data easy


@pytest.mark.parametrize("place", PLACES)
def test_scores_are_scikit_learns_own_quantities(fitted, held_out, place):
    estimator, classifier = fitted[0], placed(fitted[1], place)
    embeddings = held_out[0].astype(np.float32)
    if classifier.kind == MLP:
        probability = estimator.predict_proba(embeddings)[:, 1].astype(np.float64)
        is_resolved = (probability > 0.02) & (probability < 0.98)  # float32 saturates
        expected = np.log(probability[is_resolved] / (1 - probability[is_resolved]))
        scores = classifier.scores(embeddings)[is_resolved]
    elif classifier.kind == CENTROID:
        to_non_map, to_map = np.linalg.norm(embeddings[:, None] - estimator.centroids_, axis=2).T
        scores, expected = classifier.scores(embeddings), to_non_map - to_map
    else:
        scores, expected = classifier.scores(embeddings), estimator.decision_function(embeddings)
    np.testing.assert_allclose(scores, expected, atol=5e-5)


@pytest.mark.parametrize("place", PLACES)
def test_the_svm_holds_where_float32_cancels(place):
    # Vectors with much in common (mean cosine 0.96) and a C of 10^4 make large terms of both signs, of which float32
    # loses the fourth digit; near the threshold the scores must still be exact.
    embeddings, is_map = hard_embeddings(600, draw=1, shared=6.0)
    settings_ = dataclasses.replace(DEFAULT_SETTINGS, svm_c=1e4)
    estimator = new_estimator(SVM, embeddings, settings_, is_accelerated=False)
    estimator.fit(embeddings.astype(np.float64), is_map.astype(np.int64))
    plain = to_map_classifier(SVM, estimator, encoder_id="encoder", training_set_id="set")
    others = hard_embeddings(2000, draw=2, shared=6.0)[0]
    exact = estimator.decision_function(others.astype(np.float64))
    rounded = plain._svm_scores(others.astype(np.float32))
    assert np.abs(rounded - exact).max() > 0.1 * MARGIN
    for threshold in np.quantile(exact, [0.3, 0.5, 0.7]):
        classifier = placed(dataclasses.replace(plain, threshold=float(threshold)), place)
        is_clear = np.abs(exact - threshold) > 1e-6
        decided = classifier.is_map(classifier.scores(others))
        assert (decided[is_clear] == (exact > threshold)[is_clear]).all()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_formula_by_hand(kind, place):
    x = np.array([[0.6, 0.8]], np.float16)
    a, b = (float(v) for v in x[0])
    cubic = [(2 * dot + 0.5) ** 3 for dot in (a, b, 0.5 * (a + b))]
    expected = {
        CENTROID: np.hypot(a, b - 1) - np.hypot(a - 1, b),
        LOGISTIC_REGRESSION: 2 * a - b + 0.5,
        MLP: max(a, 0) + 2 * max(b - a + 0.5, 0) + 3 * max(2 * b - 1, 0) - 1,
        SVM: cubic[0] - 2 * cubic[1] + cubic[2] + 0.25,
    }[kind]
    assert placed(tiny(kind), place).scores(x)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("degree", "coef0"), [(1, 0.0), (1, 0.5), (2, 0.0), (4, -1.0)])
def test_kernels_of_any_degree(degree, coef0, place):
    classifier = tiny(SVM, parameters={"degree": degree, "gamma": 2.0, "coef0": coef0})
    x = np.array([[0.6, 0.8], [-1, 0.25]])
    kernel = (2 * x @ np.array([[1, 0, 0.5], [0, 1, 0.5]]) + coef0) ** degree
    expected = kernel @ [1, -2, 1] + 0.25
    np.testing.assert_allclose(placed(classifier, place).scores(x), expected, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), rows=st.integers(0, 40), block_rows=st.integers(1, 45), seed=st.integers(0, 9))
def test_block_size_and_order_do_not_matter(place, kind, rows, block_rows, seed):
    embeddings = np.random.default_rng(seed).standard_normal((rows, 2)).astype(np.float16)
    classifier = placed(tiny(kind), place)
    scores = classifier.scores(embeddings)
    assert scores.shape == (rows,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(classifier.scores(embeddings, block_rows), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(classifier.scores(embeddings[::-1])[::-1], scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_block_size_does_not_change_decisions(fitted, held_out, place):
    classifier, embeddings = placed(fitted[1], place), held_out[0]
    scores = classifier.scores(embeddings)
    for block_rows in (1, 37, 1000, BLOCK_ROWS, 10**6):
        others = classifier.scores(embeddings[:300] if block_rows < 100 else embeddings, block_rows)
        np.testing.assert_allclose(others, scores[: len(others)], atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_is_never_a_map(kind, place):
    classifier = placed(tiny(kind), place)
    embeddings = np.array([[np.nan, 1], [1, 0]], np.float16)
    scores = classifier.scores(embeddings)
    assert np.isnan(scores[0])
    assert not classifier.is_map(scores)[0]
    assert np.isfinite(scores[1])


def test_threshold_is_exclusive():
    classifier = tiny(CENTROID, threshold=0.5)
    assert classifier.is_map(np.array([0.4, 0.5, 0.6], np.float32)).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_identity_covers_everything_that_decides(kind):
    classifier = tiny(kind)
    assert tiny(kind).classifier_id == classifier.classifier_id
    assert classifier.classifier_id.startswith(f"{kind}-")
    changes = [{"threshold": 0.1}, {"encoder_id": "other"}, {"training_set_id": "other"}]
    for name, array in classifier.arrays.items():
        changed = array.copy()
        changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(9))
        changes.append({"arrays": {**classifier.arrays, name: changed}})
    if kind == SVM:
        changes += [{"parameters": {**classifier.parameters, name: 2.0}} for name in ("degree", "coef0")]
    ids = {dataclasses.replace(classifier, **change).classifier_id for change in changes}
    assert len(ids) == len(changes)
    assert classifier.classifier_id not in ids


def test_arrays_are_copied_and_read_only():
    mine = {"map_centroid": np.ones(2, np.float32), "non_map_centroid": np.zeros(2, np.float32)}
    classifier = tiny(CENTROID, arrays=mine)
    mine["map_centroid"][0] = 5
    assert classifier.arrays["map_centroid"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        classifier.arrays["map_centroid"][0] = 5


def test_travels_to_worker_processes():
    classifier = tiny(SVM)
    copy = pickle.loads(pickle.dumps(classifier))
    x = np.array([[0.6, 0.8]], np.float16)
    assert copy.classifier_id == classifier.classifier_id
    assert copy.scores(x) == classifier.scores(x)


def test_scoring_on_the_cpu_loads_no_pytorch():
    code = """
import sys
import numpy as np
from mappool_assets.lib import shard_maps
from mappool_assets.lib.decision import MapClassifier
arrays = {"map_centroid": np.ones(2, "f4"), "non_map_centroid": np.zeros(2, "f4")}
print(MapClassifier("centroid_l2", arrays, "encoder", "set").scores(np.ones((3, 2), "f2")), "torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("] False")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", [(3, 5), (2,), (1, 2, 2)])
def test_embeddings_of_another_width_are_refused(shape, place):
    with pytest.raises(BadModel, match="rows of 2 numbers, made by encoder"):
        placed(tiny(SVM), place).scores(np.zeros(shape, np.float16))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("forest", {}),
        (CENTROID, {"arrays": {"map_centroid": np.ones(2, np.float32)}}),
        (CENTROID, {"arrays": {"map_centroid": np.ones(2, "f4"), "non_map_centroid": np.ones(3, "f4")}}),
        (CENTROID, {"arrays": {"map_centroid": np.ones(0, "f4"), "non_map_centroid": np.ones(0, "f4")}}),
        (CENTROID, {"arrays": {"map_centroid": np.ones(2, "i4"), "non_map_centroid": np.ones(2, "i4")}}),
        (LOGISTIC_REGRESSION, {"arrays": {"coefficients": np.array([1, np.inf]), "intercept": np.ones(1)}}),
        (LOGISTIC_REGRESSION, {"parameters": {"gamma": 1.0}}),
        (LOGISTIC_REGRESSION, {"threshold": float("nan")}),
        (MLP, {"arrays": {}}),
        (MLP, {"arrays": {"weights_0": np.ones((2, 3)), "bias_0": np.ones(3)}}),
        (SVM, {"parameters": {"degree": 3, "gamma": 1.0}}),
        (SVM, {"parameters": {"degree": 2.5, "gamma": 1.0, "coef0": 0.0}}),
        (SVM, {"parameters": {"degree": 3, "gamma": 0.0, "coef0": 0.0}}),
    ],
)
def test_malformed_classifiers_are_refused(kind, changes):
    fields = dataclasses.asdict(tiny(kind if kind in KINDS else CENTROID)) | {"kind": kind} | changes
    with pytest.raises(BadModel, match="The classifier is malformed"):
        MapClassifier(**fields)
