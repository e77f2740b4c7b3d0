import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from mappool_assets.lib.classifiers import FitSettings, fit_candidates
from mappool_assets.lib.decision import KINDS, SVM
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.screen import COARSE, FINE, STAGES, Screen, ScreenedClassifier
from mappool_assets.lib.screen_calibration import RANK, calibrate_screen
from mappool_assets_tests.hard_embeddings import hard_embeddings

DIMENSION = 128  # a sixth of the real one: the same clusters and tails, faster
MARGINS = ("coarse_margin", "fine_margin", "rounding")
ROUNDING = 2e-5  # of float32 sums in another order; 6e-6 against float64 was the most among 1,500 scores


def fitted(kind=SVM, draw=1, rows=1500, **changes):
    embeddings, is_map = hard_embeddings(rows, draw=draw, dimension=DIMENSION)
    (candidate,) = fit_candidates(
        embeddings,
        is_map,
        encoder_id="encoder",
        training_set_id="set",
        settings=FitSettings(mlp_hidden_layers=(8,), **changes),
        kinds=[kind],
    )
    return candidate.classifier, embeddings


def screened(classifier, training, draw=2):
    held_out, _ = hard_embeddings(1000, draw=draw, dimension=DIMENSION)
    return calibrate_screen(classifier, np.concatenate([training, held_out]))


def pool(rows, draw):
    """Rows of which few are maps: draws with half of these left out."""
    embeddings, is_map = hard_embeddings(rows, draw=draw, dimension=DIMENSION)
    return embeddings[~is_map | (np.arange(rows) % 50 == 0)]


@pytest.fixture(scope="module")
def svm():
    classifier, training = fitted()
    return classifier, screened(classifier, training)


@pytest.fixture(scope="module")
def judged_alone(svm):
    """Embeddings, and which of them pass when each is judged by itself."""
    embeddings = pool(3000, draw=9)
    bounds = np.array([[svm[1].bounds(row[None], stage)[0] for stage in STAGES] for row in embeddings])
    assert np.abs(bounds - svm[0].threshold).min() > 1e-6  # none so near that rounding decides
    return embeddings, (bounds > svm[0].threshold).all(axis=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"svm_c": 10.0},
        {"svm_coef0": 1.0},
        {"svm_degree": 2, "svm_coef0": 0.5},
        {"svm_degree": 4, "svm_coef0": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("draw", [1, 21])
def test_no_map_of_an_independent_draw_is_missed_and_most_others_are_refused(changes, draw):
    classifier, training = fitted(draw=draw, **changes)
    scorer = ScreenedClassifier(classifier, screened(classifier, training, draw=draw + 1))
    others = pool(12_000, draw=draw + 2)
    exact, scores = classifier.scores(others), scorer.scores(others)
    np.testing.assert_array_equal(scores > scorer.threshold, exact > classifier.threshold)
    assert 0.01 < (exact > classifier.threshold).mean() < 0.2
    assert np.isfinite(scores).mean() < 0.55  # measured: 0.26 to 0.49, of which 0.09 to 0.18 are kept


@pytest.mark.parametrize("threshold", [-0.5, 0.8])
def test_the_screen_follows_the_threshold(threshold):
    plain, training = fitted()
    classifier = dataclasses.replace(plain, threshold=threshold)
    scorer = ScreenedClassifier(classifier, screened(classifier, training))
    others = pool(10_000, draw=5)
    exact = classifier.scores(others)
    np.testing.assert_array_equal(scorer.scores(others) > threshold, exact > threshold)
    assert (exact > threshold).any()


def without_margin(screen):
    return dataclasses.replace(screen, parameters=screen.parameters | dict.fromkeys(MARGINS, 0.0))


def in_float64(classifier):
    arrays = {name: array.astype(np.float64) for name, array in classifier.arrays.items()}
    return dataclasses.replace(classifier, arrays=arrays)


def test_without_margin_the_coarse_bound_is_the_expansion_to_second_order(svm, monkeypatch):
    monkeypatch.setattr("mappool_assets.lib.screen_calibration.COARSE_RANK", DIMENSION)  # nothing of the form left out
    classifier, training = fitted()
    screen = without_margin(screened(classifier, training))
    centre = screen.arrays["centre"].astype(np.float64)
    direction = np.random.default_rng(0).standard_normal(DIMENSION)
    errors = []
    for step in (0.08, 0.04):
        rows = centre + step * np.array([direction, -direction]) / np.linalg.norm(direction)
        exact = in_float64(classifier)._svm_scores(rows)
        errors.append(np.abs(exact - screen.bounds(rows.astype(np.float32), COARSE)).max())
    # the remainder of a second order shrinks with the third power; a few thousandths are float32's
    assert errors[1] < errors[0] / 4 + 1e-4
    assert errors[0] < 0.02


def test_without_margin_the_fine_bound_is_the_score_where_rows_are_moved_to_the_subspace(svm):
    classifier, screen = svm
    rows, _ = hard_embeddings(40, draw=7, dimension=DIMENSION)
    training, _ = hard_embeddings(1500, draw=1, dimension=DIMENSION)
    held_out, _ = hard_embeddings(1000, draw=2, dimension=DIMENSION)
    seen = np.concatenate([training, held_out]).astype(np.float64)
    centre, base = seen.mean(axis=0), screen.arrays["subspace"].astype(np.float64)
    np.testing.assert_allclose(base.T @ base, np.eye(RANK), atol=1e-5)
    covariance = np.cov(seen.T, bias=True)
    covariance += 1e-3 * np.trace(covariance) / DIMENSION * np.eye(DIMENSION)
    # the mean of normally distributed rows, given what they are in the subspace
    back = covariance @ base @ np.linalg.inv(base.T @ covariance @ base)
    moved = centre + (rows - centre) @ base @ back.T
    expected = in_float64(classifier)._svm_scores(moved)
    np.testing.assert_allclose(without_margin(screen).bounds(rows, FINE), expected, atol=2e-4)


def test_the_fine_bound_is_exact_where_embeddings_fill_no_more_dimensions_than_the_subspace():
    """Also where they are centred at zero, and an expansion of third powers about their mean is nothing at all."""
    random = np.random.default_rng(0)
    base = np.linalg.qr(random.standard_normal((DIMENSION, 40)))[0]
    inner = random.standard_normal((1600, 40))
    is_map = (inner[:, :3] ** 3).sum(axis=1) > 1.5
    rows = (inner / np.linalg.norm(inner, axis=1, keepdims=True) @ base.T).astype(np.float32)
    (candidate,) = fit_candidates(rows[:800], is_map[:800], encoder_id="e", training_set_id="t", kinds=[SVM])
    classifier = candidate.classifier
    screen = calibrate_screen(classifier, rows[:1200])
    others, exact = rows[1200:], classifier.scores(rows[1200:])
    np.testing.assert_allclose(screen.bounds(others, FINE), exact, atol=2e-3)
    assert (screen.bounds(others, FINE) > exact).all()
    assert (screen.bounds(others, COARSE) > 0).mean() > 0.9
    scores = ScreenedClassifier(classifier, screen).scores(others)
    np.testing.assert_array_equal(scores > 0, exact > 0)
    assert np.isfinite(scores).mean() < (exact > 0).mean() + 0.02


@pytest.mark.parametrize("stage", STAGES)
def test_bounds_are_the_formula(svm, stage):
    _, screen = svm
    rows, _ = hard_embeddings(40, draw=7, dimension=DIMENSION)
    arrays = {name: array.astype(np.float64) for name, array in screen.arrays.items()}
    expected = []
    for row in rows.astype(np.float64):
        step = row - arrays["centre"]
        squares = (arrays["directions"].T @ step) ** 2
        coarse = screen.parameters["value"] + arrays["gradient"] @ step + arrays["signs"] @ squares
        kernel = arrays["offsets"] + arrays["support"].T @ (arrays["subspace"].T @ row)
        fine = screen.parameters["intercept"] + arrays["dual_coefficients"] @ kernel**3
        approximation, power = (coarse, 6) if stage == COARSE else (fine, 8)
        margin = screen.parameters[f"{stage}_margin"] * np.linalg.norm(step) ** power
        expected.append(approximation + margin + screen.parameters["rounding"])
    np.testing.assert_allclose(screen.bounds(rows, stage), expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 1500), start=st.integers(0, 500), dtype=st.sampled_from([np.float16, np.float32]))
def test_rows_that_pass_have_the_exact_score_whatever_is_scored_with_them(svm, judged_alone, rows, start, dtype):
    classifier, screen = svm
    embeddings, passes = (array[start : start + rows] for array in judged_alone)
    embeddings = embeddings.astype(dtype)
    scores = ScreenedClassifier(classifier, screen).scores(embeddings)
    np.testing.assert_array_equal(screen.passes(embeddings), passes)
    np.testing.assert_allclose(scores[passes], classifier.scores(embeddings)[passes], atol=ROUNDING)
    assert (scores[~passes] == -np.inf).all()
    assert scores.dtype == np.float32


@pytest.mark.parametrize("block_rows", [1, 37, 10**6])
def test_block_sizes_do_not_matter(svm, judged_alone, monkeypatch, block_rows):
    embeddings, passes = judged_alone
    expected = ScreenedClassifier(*svm).scores(embeddings)
    monkeypatch.setattr("mappool_assets.lib.screen.BLOCK_ROWS", block_rows)
    monkeypatch.setattr("mappool_assets.lib.screen.EXACT_ROWS", max(7, block_rows))
    np.testing.assert_array_equal(svm[1].passes(embeddings), passes)
    np.testing.assert_allclose(ScreenedClassifier(*svm).scores(embeddings), expected, atol=ROUNDING)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != SVM])
def test_screens_of_the_other_kinds_pass_everything(kind):
    classifier, training = fitted(kind, rows=300)
    screen = calibrate_screen(classifier, training)
    others = pool(400, draw=3)
    assert screen.passes_all
    assert screen.passes(others).all()
    assert (screen.bounds(others, FINE) == np.inf).all()
    np.testing.assert_array_equal(ScreenedClassifier(classifier, screen).scores(others), classifier.scores(others))


def test_a_row_with_nan_passes_and_is_no_map(svm):
    rows = pool(100, draw=3).astype(np.float32)
    rows[3, 5] = np.nan
    scores = ScreenedClassifier(*svm).scores(rows)
    assert np.isnan(scores[3])
    assert not np.isnan(np.delete(scores, 3)).any()


def test_the_same_embeddings_give_the_same_screen(svm):
    classifier, training = fitted()
    again = screened(classifier, training)
    assert again.screen_id == svm[1].screen_id
    assert again.parameters == svm[1].parameters
    assert screened(classifier, training, draw=3).screen_id != again.screen_id


def test_it_survives_safetensors_and_json(svm):
    _, screen = svm
    again = Screen(
        screen.classifier_id, load(save(dict(screen.arrays))), json.loads(json.dumps(dict(screen.parameters)))
    )
    assert again.screen_id == screen.screen_id
    rows = pool(500, draw=3)
    np.testing.assert_array_equal(again.bounds(rows, FINE), screen.bounds(rows, FINE))


@pytest.mark.parametrize("stage", STAGES)
def test_support_vectors_do_not_decide_the_margin(svm, stage):
    classifier, training = fitted()
    held_out, _ = hard_embeddings(1000, draw=2, dimension=DIMENSION)
    support = classifier.arrays["support_vectors"]
    alone = np.concatenate([training, held_out])[~is_one_of(np.concatenate([training, held_out]), support)]
    near = alone[np.abs(classifier.scores(alone)) <= 1]
    screen = svm[1]

    def needed(rows):
        distances = np.linalg.norm(rows.astype(np.float64) - screen.arrays["centre"], axis=1)
        excess = classifier.scores(rows) - without_margin(screen).bounds(rows, stage)
        return excess / distances ** {COARSE: 6, FINE: 8}[stage]

    mean, largest = needed(near).mean(), needed(near).max()
    safety = {COARSE: 1.25, FINE: 2.5}[stage]
    assert screen.parameters[f"{stage}_margin"] == pytest.approx(mean + safety * (largest - mean), rel=1e-3)


def is_one_of(rows, others):
    known = {tuple(row) for row in others.astype(np.float32).tolist()}
    return np.array([tuple(row) in known for row in rows.astype(np.float32).tolist()])


def test_with_few_rows_near_the_threshold_the_nearest_decide(svm):
    classifier, training = fitted()
    unseen = training[~is_one_of(training, classifier.arrays["support_vectors"])]
    scores = classifier.scores(unseen)
    assert calibrate_screen(classifier, training[:60]).parameters["fine_margin"] > 0
    far = unseen[np.abs(scores) > 1.01]
    others = pool(2000, draw=3)
    exact = classifier.scores(others)
    for few in (far, np.concatenate([far, unseen[np.abs(scores) < 1][:10]])):
        screen = calibrate_screen(classifier, few)
        np.testing.assert_array_equal(ScreenedClassifier(classifier, screen).scores(others) > 0, exact > 0)
        assert screen.passes(others).mean() < 0.5


@pytest.mark.parametrize("shape", [(4, DIMENSION + 1), (4,), (2, 2, DIMENSION)])
def test_embeddings_of_another_width_are_refused(svm, shape):
    for method in (svm[1].passes, ScreenedClassifier(*svm).scores):
        with pytest.raises(BadModel, match=f"{DIMENSION} numbers"):
            method(np.zeros(shape, np.float32))


def test_a_screen_of_another_classifier_is_refused(svm):
    other = dataclasses.replace(svm[0], threshold=0.5)
    with pytest.raises(BadModel, match=r"another classifier's.*Calibrate it again"):
        ScreenedClassifier(other, svm[1])


@pytest.mark.parametrize("damage", [lambda e: e[:0], lambda e: np.where(np.arange(len(e))[:, None] == 1, np.nan, e)])
def test_embeddings_that_cannot_calibrate_are_refused(svm, damage):
    with pytest.raises(BadModel, match="cannot be calibrated"):
        calibrate_screen(svm[0], damage(pool(50, draw=3)))


def test_malformed_screens_are_refused(svm):
    screen = svm[1]
    arrays, parameters = dict(screen.arrays), dict(screen.parameters)
    damages = [
        ({"centre": arrays["centre"]}, parameters),
        (arrays, {}),
        ({}, parameters),
        (arrays | {"signs": arrays["signs"][1:]}, parameters),
        (arrays | {"offsets": arrays["offsets"][1:]}, parameters),
        (arrays | {"subspace": arrays["subspace"][:, 1:]}, parameters),
        (arrays | {"support": arrays["support"][0]}, parameters),
        (arrays | {"gradient": arrays["gradient"][1:]}, parameters),
        (arrays | {"centre": arrays["centre"].astype(np.float64)}, parameters),
        (arrays | {"centre": np.full_like(arrays["centre"], np.nan)}, parameters),
        (arrays, parameters | {"fine_margin": float("inf")}),
    ]
    for damaged in damages:
        with pytest.raises(BadModel, match="screen is malformed"):
            Screen(screen.classifier_id, *damaged)
