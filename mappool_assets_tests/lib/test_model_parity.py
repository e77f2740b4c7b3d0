import hashlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load, save

from mappool_assets.lib import model_parity
from mappool_assets.lib.decision import CENTROID, LOGISTIC_REGRESSION, MLP, SVM
from mappool_assets.lib.errors import BadModel
from mappool_assets_tests.lib.test_model_file import SHAPES, WIDTH, record


def embeddings(rows=20, seed=3):
    vectors = np.random.default_rng(seed).standard_normal((rows, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def plain_scores(classifier, rows):
    """The formulas as they are written, a row at a time."""
    a = {name: array.astype(np.float64) for name, array in classifier.arrays.items()}
    p = classifier.parameters
    for x in rows.astype(np.float64):
        if classifier.kind == CENTROID:
            yield np.linalg.norm(x - a["non_map_centroid"]) - np.linalg.norm(x - a["map_centroid"])
        elif classifier.kind == LOGISTIC_REGRESSION:
            yield x @ a["coefficients"] + a["intercept"][0]
        elif classifier.kind == MLP:
            yield (np.maximum(x @ a["weights_0"] + a["bias_0"], 0) @ a["weights_1"] + a["bias_1"])[0]
        else:
            kernel = [(p["gamma"] * (x @ s) + p["coef0"]) ** p["degree"] for s in a["support_vectors"]]
            yield sum(d * k for d, k in zip(a["dual_coefficients"], kernel, strict=True)) + a["intercept"][0]


@pytest.mark.parametrize("kind", SHAPES)
def test_recorded_scores_are_those_of_the_plain_formula(kind):
    classifier = record(kind).classifier
    arrays = load(model_parity.to_bytes(classifier, embeddings(), "test"))
    assert arrays["scores"].dtype == np.float64
    np.testing.assert_allclose(arrays["scores"], list(plain_scores(classifier, arrays["embeddings"])), rtol=1e-12)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_same_classifier_passes_and_a_slightly_other_one_does_not(kind):
    classifier = record(kind).classifier
    parity = model_parity.to_bytes(classifier, embeddings(), "test")
    assert model_parity.largest_difference(classifier, parity, "file") < 1e-10
    other = record(kind, seed=1).classifier
    with pytest.raises(BadModel, match="does not score as it did"):
        model_parity.largest_difference(other, parity, "file")


@pytest.mark.parametrize(("offset", "is_refused"), [(9e-5, False), (-9e-5, False), (1.1e-4, True), (np.nan, True)])
def test_the_bound(offset, is_refused):
    classifier = record().classifier
    arrays = load(model_parity.to_bytes(classifier, embeddings(), "test"))
    arrays["scores"][7] += offset
    if is_refused:
        with pytest.raises(BadModel, match=r"within 0\.0001"):
            model_parity.largest_difference(classifier, save(arrays), "file")
    else:
        assert model_parity.largest_difference(classifier, save(arrays), "file") == pytest.approx(9e-5, rel=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no safetensors",
        save({"embeddings": embeddings()}),
        save({"embeddings": embeddings(), "scores": np.zeros(19)}),
        save({"embeddings": embeddings(), "scores": np.zeros(20, np.float32)}),
        save({"embeddings": embeddings(), "scores": np.zeros((20, 1))}),
        save({"embeddings": embeddings().astype(np.float32), "scores": np.zeros(20)}),
        save({"embeddings": embeddings()[:, :3].copy(), "scores": np.zeros(20)}),
        save({"embeddings": embeddings()[:0], "scores": np.zeros(0)}),
        save({"embeddings": embeddings(1), "scores": np.array(0.0)}),
    ],
)
def test_files_that_prove_nothing_are_refused(content):
    with pytest.raises(BadModel, match="folder/parity"):
        model_parity.largest_difference(record().classifier, content, "folder/parity")


def test_chosen_rows_span_all_scores_and_repeat_none():
    scores = np.random.default_rng(0).standard_normal(1000)
    rows = model_parity.chosen_rows(scores)
    assert len(rows) == len(set(rows)) == model_parity.ROWS
    chosen = scores[rows]
    assert (chosen[0], chosen[-1]) == (scores.min(), scores.max())
    assert (np.diff(chosen) > 0).all()
    assert sorted(model_parity.chosen_rows(scores[:5])) == [0, 1, 2, 3, 4]


def test_seeded_vectors_are_unit_and_always_the_same():
    vectors = model_parity.seeded_unit_vectors(768)
    assert (vectors.shape, vectors.dtype) == ((model_parity.ROWS, 768), np.float16)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-3)
    assert (model_parity.seeded_unit_vectors(768) == vectors).all()


def test_same_bytes_in_another_process():
    program = (
        "from mappool_assets_tests.lib.test_model_parity import *;"
        "print(hashlib.sha256(model_parity.to_bytes(record(SVM).classifier, embeddings(), 'test')).hexdigest())"
    )
    here = hashlib.sha256(model_parity.to_bytes(record(SVM).classifier, embeddings(), "test")).hexdigest()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == here
