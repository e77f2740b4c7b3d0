import dataclasses
import sys

import numpy as np
import pytest

from mappool_assets.lib.classifiers import AUTO, INTEL, SCIKIT_LEARN, FitSettings, fit_candidates
from mappool_assets.lib.decision import KINDS, LOGISTIC_REGRESSION, MLP, SVM
from mappool_assets.lib.errors import BadEnvironment, BadSetting, BadTrainingSet
from mappool_assets_tests.hard_embeddings import hard_embeddings

IDS = {"encoder_id": "encoder", "training_set_id": "set"}


@pytest.fixture(scope="module")
def training():
    return hard_embeddings(600, draw=1)


@pytest.fixture(scope="module")
def candidates(training):
    return fit_candidates(*training, acceleration=SCIKIT_LEARN, **IDS)


def test_every_method_of_the_table_is_fitted(candidates):
    assert [c.classifier.kind for c in candidates] == list(KINDS)
    assert all(c.fit_seconds > 0 and c.fitted_by == "scikit-learn" for c in candidates)
    assert {(c.classifier.encoder_id, c.classifier.training_set_id) for c in candidates} == {("encoder", "set")}


def test_the_constants_are_the_papers(candidates):
    arrays = {c.classifier.kind: c.classifier for c in candidates}
    widths = [arrays[MLP].arrays[f"weights_{i}"].shape for i in range(4)]
    assert widths == [(768, 256), (256, 256), (256, 256), (256, 1)]
    assert arrays[SVM].parameters["degree"] == 3


def test_gamma_is_scikit_learns_scale(training, candidates):
    from sklearn.svm import SVC

    embeddings, is_map = training
    reference = SVC(kernel="poly", degree=3).fit(embeddings.astype(np.float64), is_map)
    assert candidates[-1].classifier.parameters["gamma"] == pytest.approx(reference._gamma, rel=1e-12)


def test_methods_learn(candidates):
    embeddings, is_map = hard_embeddings(1500, draw=2)
    accuracy = {
        c.classifier.kind: (c.classifier.is_map(c.classifier.scores(embeddings)) == is_map).mean() for c in candidates
    }
    assert min(accuracy.values()) > 0.8
    assert accuracy[SVM] > accuracy[LOGISTIC_REGRESSION]  # the clusters are not linearly separable


def test_intel_extension_decides_the_same(training, candidates):
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is for x86-64 only")
    accelerated = fit_candidates(*training, acceleration=INTEL, **IDS)
    assert [c.fitted_by for c in accelerated].count("scikit-learn-intelex") == 2
    embeddings = hard_embeddings(3000, draw=2)[0]
    for plain, fast in zip(candidates, accelerated, strict=True):
        scores, others = (c.classifier.scores(embeddings) for c in (plain, fast))
        is_clear = np.abs(scores) > 1e-4
        assert is_clear.mean() > 0.99
        assert ((scores > 0) == (others > 0))[is_clear].all()
        np.testing.assert_allclose(others, scores, atol=1e-4)


def test_fitting_twice_gives_the_same_classifier(training):
    first, second = (fit_candidates(*training, acceleration=AUTO, **IDS) for _ in range(2))
    assert [c.classifier.classifier_id for c in first] == [c.classifier.classifier_id for c in second]


def test_the_seed_reaches_the_perceptron(training):
    ids = {
        fit_candidates(*training, settings=FitSettings(random_state=seed), kinds=[MLP], **IDS)[
            0
        ].classifier.classifier_id
        for seed in (0, 1)
    }
    assert len(ids) == 2


def test_inputs_are_left_alone(training):
    embeddings, is_map = (array.copy() for array in training)
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    fit_candidates(embeddings, is_map, **IDS)
    assert (embeddings == training[0]).all()
    assert (is_map == training[1]).all()
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_refused(label):
    with pytest.raises(BadTrainingSet, match="Nothing can be learnt from one class"):
        fit_candidates(np.eye(4, dtype=np.float16), np.full(4, label), **IDS)


def test_no_images_are_refused():
    with pytest.raises(BadTrainingSet, match="0 maps and 0 others"):
        fit_candidates(np.empty((0, 4), np.float16), np.empty(0, bool), **IDS)


def test_one_image_a_class_is_enough():
    embeddings = np.array([[1, 0], [0, 1]], np.float16)
    for candidate in fit_candidates(embeddings, np.array([True, False]), **IDS):
        assert candidate.classifier.is_map(candidate.classifier.scores(embeddings)).tolist() == [True, False]


def test_not_finite_embeddings_are_refused(training):
    embeddings = training[0].copy()
    embeddings[5, 3] = np.nan
    with pytest.raises(BadTrainingSet, match="row 5 of the training split"):
        fit_candidates(embeddings, training[1], **IDS)


def test_constant_embeddings_do_not_break_the_scale():
    embeddings = np.full((6, 4), 0.5, np.float16)
    candidate = fit_candidates(embeddings, np.arange(6) < 3, kinds=[SVM], **IDS)[0]
    assert candidate.classifier.parameters["gamma"] == 1.0


@pytest.mark.parametrize("change", [{"acceleration": "gpu"}, {"kinds": ["forest"]}])
def test_unknown_names_are_refused(training, change):
    with pytest.raises(BadSetting, match=r"gpu|forest"):
        fit_candidates(*training, **IDS, **change)


def test_without_the_extension(training, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearnex.svm", None)  # as on a processor it is not built for
    with pytest.raises(BadEnvironment, match='set the acceleration to "auto"'):
        fit_candidates(*training, acceleration=INTEL, kinds=[SVM], **IDS)
    assert fit_candidates(*training, acceleration=AUTO, kinds=[SVM], **IDS)[0].fitted_by == "scikit-learn"


def test_scikit_learn_itself_is_not_patched(training):
    fit_candidates(*training, kinds=[SVM], **IDS)
    from sklearn.svm import SVC

    assert SVC.__module__.startswith("sklearn.")


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitSettings().svm_c = 2.0
