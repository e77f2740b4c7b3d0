import hashlib
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from mappool_assets.lib.classifiers import fit_candidates
from mappool_assets.lib.decision import CENTROID, KINDS, MLP
from mappool_assets.lib.publish.scikit_estimator import scikit_estimator, skops_bytes

skops_io = pytest.importorskip("skops.io")

D = 16


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def labelled():
    random = np.random.default_rng(0)
    is_map = np.arange(120) % 3 == 0  # classes of unequal size
    return unit(random.standard_normal((120, D)) + 0.6 * is_map[:, None]), is_map


def classifiers(acceleration="auto"):
    found = fit_candidates(*labelled(), encoder_id="e", training_set_id="t", acceleration=acceleration)
    return {candidate.classifier.kind: candidate.classifier for candidate in found}


@pytest.fixture(scope="module")
def fitted():
    return classifiers()


OTHERS = unit(np.random.default_rng(1).standard_normal((400, D)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_skops_loads_scores_and_decides_as_the_classifier(fitted, kind):
    content = skops_bytes(fitted[kind])
    assert skops_io.get_untrusted_types(data=content) == []
    estimator = skops_io.loads(content)
    scores, rows = fitted[kind].scores(OTHERS), OTHERS.astype(np.float64)
    assert 20 < np.count_nonzero(scores > 0) < 380
    assert (estimator.predict(rows) == (scores > 0)).all()
    if kind == MLP:
        probability = estimator.predict_proba(rows)[:, 1]
        np.testing.assert_allclose(np.log(probability / (1 - probability)), scores, atol=1e-4)
    elif kind == CENTROID:
        assert ((estimator.decision_function(rows) > 0) == (scores > 0)).all()
    else:
        np.testing.assert_allclose(estimator.decision_function(rows), scores, atol=1e-5)


@pytest.mark.parametrize("acceleration", ["auto", "scikit-learn"])
def test_the_estimator_is_scikit_learns_whoever_fitted(acceleration):
    for classifier in classifiers(acceleration).values():
        assert type(scikit_estimator(classifier)).__module__.startswith("sklearn.")
        assert (scikit_estimator(classifier).predict(OTHERS.astype(float)) == (classifier.scores(OTHERS) > 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_archive_holds_no_date_and_no_address(fitted, kind):
    content = skops_bytes(fitted[kind])
    assert skops_bytes(fitted[kind]) == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = archive.namelist()
    assert sorted(names) == sorted([*(f"{n}.npy" for n in range(len(names) - 1)), "schema.json"])


def test_same_bytes_in_another_process(fitted):
    program = (
        "import hashlib; from mappool_assets_tests.lib.test_scikit_estimator import classifiers, skops_bytes;"
        "print([hashlib.sha256(skops_bytes(c)).hexdigest() for c in classifiers().values()])"
    )
    here = str([hashlib.sha256(skops_bytes(classifier)).hexdigest() for classifier in fitted.values()])
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == here


def test_nothing_where_skops_is_not_installed(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)  # as Python says that a module cannot be imported
    assert skops_bytes(fitted[CENTROID]) is None
