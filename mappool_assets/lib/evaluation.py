"""How good a classifier is on images it has not seen, beside the figures of the paper."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mappool_assets.lib.decision import CENTROID, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier
from mappool_assets.lib.errors import BadTrainingSet

METHOD_NAMES = {
    CENTROID: "averaged embedding, L2",
    LOGISTIC_REGRESSION: "logistic regression",
    MLP: "MLP, 3 × 256",
    SVM: "SVM, polynomial, degree 3",
}

# MapPool's paper: CLIP ViT-L/14 embeddings, 1,240 maps and 1,240 others for evaluation.
PAPER_ACCURACY = {CENTROID: 0.967, LOGISTIC_REGRESSION: 0.979, MLP: 0.982, SVM: 0.985}

NORMAL_QUANTILE_95 = 1.959963984540054  # two-sided 95 % of the standard normal distribution


@dataclass(frozen=True)
class Evaluation:
    """What a classifier answered on the evaluation split; the same input gives the same numbers.

    Attributes
    ----------
    method, classifier_id, threshold
        Which classifier (its kind), deciding at which score.
    rows : int
        Images; the sum of the four counts.
    accuracy, accuracy_low, accuracy_high : float
        Share of right answers, and its 95 % interval (Wilson).
    precision : float or None
        Share of maps among what was called a map; None where nothing was.
    recall : float
        Share of the maps that was called a map.
    average_precision : float
        Area under the precision–recall steps, over all thresholds.
    """

    method: str
    classifier_id: str
    threshold: float
    rows: int
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    precision: float | None
    recall: float
    average_precision: float


@dataclass(frozen=True)
class Seconds:
    """Measured durations, kept apart from what is reproducible."""

    fit: float
    predict: float


EVALUATION_SCHEMA = pa.schema(
    {
        "method": pa.string(),
        "classifier_id": pa.string(),
        "threshold": pa.float64(),
        "rows": pa.int64(),
        "true_positives": pa.int64(),
        "false_positives": pa.int64(),
        "true_negatives": pa.int64(),
        "false_negatives": pa.int64(),
        "accuracy": pa.float64(),
        "accuracy_low": pa.float64(),
        "accuracy_high": pa.float64(),
        "precision": pa.float64(),
        "recall": pa.float64(),
        "average_precision": pa.float64(),
        "paper_accuracy": pa.float64(),
    }
)


def evaluate(
    classifier: MapClassifier, embeddings: npt.NDArray[np.floating], is_map: npt.NDArray[np.bool_]
) -> tuple[Evaluation, float]:
    """Compare a classifier's decisions with the labels.

    Parameters
    ----------
    classifier : MapClassifier
    embeddings : array of float16 or float32, shape (n, d)
        Images not used for fitting.
    is_map : array of bool, shape (n,)
        Their labels.

    Returns
    -------
    evaluation : Evaluation
    predict_seconds : float
        Time to score and decide.

    Raises
    ------
    BadTrainingSet
        Labels of one class: neither recall nor precision would mean anything.
    """
    from sklearn.metrics import average_precision_score

    _check_both_classes(is_map)
    start = time.perf_counter()
    scores = classifier.scores(embeddings)
    decided = classifier.is_map(scores)
    predict_seconds = time.perf_counter() - start
    rows, maps = len(is_map), int(np.count_nonzero(is_map))
    true_positives = int(np.count_nonzero(decided & is_map))
    false_positives = int(np.count_nonzero(decided & ~is_map))
    true_negatives = rows - maps - false_positives
    low, high = wilson_interval(true_positives + true_negatives, rows)
    called = true_positives + false_positives
    evaluation = Evaluation(
        method=classifier.kind,
        classifier_id=classifier.classifier_id,
        threshold=classifier.threshold,
        rows=rows,
        true_positives=true_positives,
        false_positives=false_positives,
        true_negatives=true_negatives,
        false_negatives=maps - true_positives,
        accuracy=(true_positives + true_negatives) / rows,
        accuracy_low=low,
        accuracy_high=high,
        precision=true_positives / called if called else None,
        recall=true_positives / maps,
        average_precision=float(average_precision_score(is_map, scores)),
    )
    return evaluation, predict_seconds


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion, (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Wilson (1927), "Probable inference, the law of succession, and statistical inference"; unlike p ± 1.96 σ it
    stays within 0 … 1 and does not vanish at p = 1.

    >>> [round(limit, 4) for limit in wilson_interval(985, 1000)]
    [0.9754, 0.9909]
    """
    z, p = NORMAL_QUANTILE_95, successes / trials
    centre = p + z * z / (2 * trials)
    half_width = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # in floating point the limits may miss p = 0 and p = 1 by a rounding error
    return min(p, max(0.0, (centre - half_width) / scale)), max(p, min(1.0, (centre + half_width) / scale))


def accuracy_table(evaluations: Sequence[Evaluation]) -> pa.Table:
    """Return one row a method, ``EVALUATION_SCHEMA``: what is reproducible, and the paper's accuracy."""
    rows = [
        dataclasses.asdict(evaluation) | {"paper_accuracy": PAPER_ACCURACY[evaluation.method]}
        for evaluation in evaluations
    ]
    return pa.Table.from_pylist(rows, schema=EVALUATION_SCHEMA)


def accuracy_markdown(
    evaluations: Sequence[Evaluation], seconds: Mapping[str, Seconds] | None = None, chosen: str | None = None
) -> str:
    """Render the table for people.

    Parameters
    ----------
    evaluations : sequence of Evaluation
    seconds : mapping of method to Seconds, optional
        Adds the two columns of durations.
    chosen : str, optional
        The method set in bold.
    """
    head = ["method", "accuracy % (95 % interval)", "paper %", "precision %", "recall %", "AP %"]
    head += ["fit s", "predict s"] if seconds else []  # eight columns are what Dagster's page shows without scrolling
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for e in evaluations:
        name = METHOD_NAMES[e.method]
        line = [
            f"**{name}**" if e.method == chosen else name,
            f"{e.accuracy:.1%} ({e.accuracy_low:.1%}–{e.accuracy_high:.1%})".replace("%", ""),
            f"{100 * PAPER_ACCURACY[e.method]:.1f}",
            "–" if e.precision is None else f"{100 * e.precision:.1f}",
            f"{100 * e.recall:.1f}",
            f"{100 * e.average_precision:.1f}",
        ]
        if seconds:
            line += [f"{seconds[e.method].fit:.2f}", f"{seconds[e.method].predict:.3f}"]
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check_both_classes(is_map: npt.NDArray[np.bool_]) -> None:
    maps, rows = int(np.count_nonzero(is_map)), len(is_map)
    if not 0 < maps < rows:
        raise BadTrainingSet(
            "Nothing can be evaluated on one class",
            where="evaluation split",
            rule="at least one map and one other image",
            got=f"{maps} maps and {rows - maps} others",
            action="Add labelled images and materialise mappool/training_set again.",
        )
