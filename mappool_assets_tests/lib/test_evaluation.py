import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.decision import KINDS, LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.errors import BadTrainingSet
from mappool_assets.lib.evaluation import (
    EVALUATION_SCHEMA,
    METHOD_NAMES,
    PAPER_ACCURACY,
    Evaluation,
    Seconds,
    accuracy_markdown,
    accuracy_table,
    evaluate,
    wilson_interval,
)

# One number an image, which is its score: six images, of which the second, third and fifth are maps.
FIRST_COMPONENT = MapClassifier(
    LOGISTIC_REGRESSION,
    {"coefficients": np.array([1, 0], np.float32), "intercept": np.zeros(1, np.float32)},
    encoder_id="encoder",
    training_set_id="set",
)
SCORES = np.array([-2, 1, -0.5, 0.25, 3, 0])
IS_MAP = np.array([False, True, True, False, True, False])
EMBEDDINGS = np.column_stack([SCORES, np.ones(6)]).astype(np.float16)


def test_counts_and_rates_by_hand():
    evaluation, seconds = evaluate(FIRST_COMPONENT, EMBEDDINGS, IS_MAP)
    counts = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    assert [getattr(evaluation, name) for name in counts] == [2, 1, 2, 1]
    assert evaluation.accuracy == evaluation.precision == evaluation.recall == pytest.approx(2 / 3)
    # by descending score: map, map, other, other, map, other; precision where recall rises: 1, 1, 3/5
    assert evaluation.average_precision == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert (evaluation.accuracy_low, evaluation.accuracy_high) == wilson_interval(4, 6)
    assert evaluation.classifier_id == FIRST_COMPONENT.classifier_id
    assert seconds > 0


def test_threshold_moves_decisions_but_not_average_precision():
    strict = dataclasses.replace(FIRST_COMPONENT, threshold=0.5)
    at_zero, at_half = (evaluate(c, EMBEDDINGS, IS_MAP)[0] for c in (FIRST_COMPONENT, strict))
    assert (at_zero.false_positives, at_half.false_positives) == (1, 0)
    assert at_half.precision == 1.0
    assert at_half.threshold == 0.5
    assert at_half.average_precision == at_zero.average_precision


def test_precision_is_unknown_where_nothing_is_called_a_map():
    silent = dataclasses.replace(FIRST_COMPONENT, threshold=10.0)
    evaluation = evaluate(silent, EMBEDDINGS, IS_MAP)[0]
    assert evaluation.precision is None
    assert evaluation.recall == 0.0
    assert accuracy_table([evaluation])["precision"].null_count == 1
    assert "| – |" in accuracy_markdown([evaluation])


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_rates_are_scikit_learns(rows):
    from sklearn import metrics

    scores, is_map = (np.array(column) for column in zip(*rows, strict=True))
    embeddings = np.column_stack([scores, scores]).astype(np.float16)
    if is_map.all() or not is_map.any():
        with pytest.raises(BadTrainingSet):
            evaluate(FIRST_COMPONENT, embeddings, is_map)
        return
    evaluation = evaluate(FIRST_COMPONENT, embeddings, is_map)[0]
    decided = scores > 0
    (tn, fp), (fn, tp) = metrics.confusion_matrix(is_map, decided)
    assert (evaluation.true_negatives, evaluation.false_positives) == (tn, fp)
    assert (evaluation.false_negatives, evaluation.true_positives) == (fn, tp)
    assert tp + fp + tn + fn == evaluation.rows
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(is_map, decided))
    assert evaluation.recall == pytest.approx(metrics.recall_score(is_map, decided))
    if decided.any():
        assert evaluation.precision == pytest.approx(metrics.precision_score(is_map, decided))
    assert evaluation.average_precision == pytest.approx(metrics.average_precision_score(is_map, scores))


@given(trials=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_solves_its_equation(trials, share):
    successes = round(share * trials)
    low, high = wilson_interval(successes, trials)
    p = successes / trials
    assert 0 <= low <= p
    assert p <= high <= 1
    for limit in (low, high):  # both limits lie 1.96 standard errors, by their own variance, from p
        assert abs(p - limit) == pytest.approx(1.959964 * math.sqrt(limit * (1 - limit) / trials), abs=1e-6)


def test_wilson_interval_against_a_published_value():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263 gives 0.2553 to 0.3662
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def evaluations():
    base = evaluate(FIRST_COMPONENT, EMBEDDINGS, IS_MAP)[0]
    return [dataclasses.replace(base, method=kind) for kind in KINDS]


def test_table_holds_what_is_reproducible():
    table = accuracy_table(evaluations())
    assert table.schema == EVALUATION_SCHEMA
    assert table["method"].to_pylist() == list(KINDS)
    assert table["paper_accuracy"].to_pylist() == [0.967, 0.979, 0.982, 0.985]
    assert not any("seconds" in name for name in table.column_names)
    assert set(table.column_names) == {f.name for f in dataclasses.fields(Evaluation)} | {"paper_accuracy"}
    assert accuracy_table([]).equals(pa.Table.from_pylist([], schema=EVALUATION_SCHEMA))


def test_markdown_shows_the_papers_numbers_beside_ours():
    seconds = {kind: Seconds(1.25, 0.0625) for kind in KINDS}
    lines = accuracy_markdown(evaluations(), seconds, chosen="svm_poly").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(KINDS)
    assert lines[0].startswith("| method | accuracy % (95 % interval) | paper % |")
    assert lines[-1].startswith("| **SVM, polynomial, degree 3** | 66.7 (30.0–90.3) | 98.5 |")
    assert lines[-1].endswith("| 1.25 | 0.062 |")
    assert "fit s" not in accuracy_markdown(evaluations())


def test_every_method_has_a_name_and_a_figure_of_the_paper():
    assert set(METHOD_NAMES) == set(PAPER_ACCURACY) == set(KINDS)
