"""From the lake's training embeddings to its classifier, with the paper's table on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.classifier_store import classifier_record, store_classifier
from mappool_assets.lib.classifiers import AUTO, DEFAULT_SETTINGS, FitSettings, fit_candidates
from mappool_assets.lib.decision import KINDS, SVM, MapClassifier
from mappool_assets.lib.errors import BadModel, BadSetting, BadTrainingSet, MissingInput
from mappool_assets.lib.evaluation import Evaluation, Seconds, accuracy_table, evaluate
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.screen_calibration import calibrate_screen
from mappool_assets.lib.vectors import as_matrix

EMBEDDINGS_TABLE = "mappool/training_embeddings"
EVALUATION_TABLE = "mappool/classifier_evaluation"
TRAINING, EVALUATION = "training", "evaluation"
CODE_VERSION = "1"  # raised when the same embeddings would give another classifier


@dataclass(frozen=True)
class TrainedReport:
    """What training gave.

    Attributes
    ----------
    classifier : MapClassifier
        The chosen one, as stored.
    evaluations : tuple of Evaluation
        One a method, in the order of the paper's table.
    seconds : mapping of method to Seconds
        Measured durations; empty where nothing was fitted.
    fitted_by : mapping of method to str
        The package that fitted it; empty where nothing was fitted.
    is_skipped : bool
        The stored classifier was made from the same inputs and was kept.
    training_rows, evaluation_rows : int
    """

    classifier: MapClassifier
    evaluations: tuple[Evaluation, ...]
    seconds: Mapping[str, Seconds]
    fitted_by: Mapping[str, str]
    is_skipped: bool
    training_rows: int
    evaluation_rows: int


@dataclass(frozen=True)
class LabelledEmbeddings:
    """One split: embeddings (n, d) float16 and which of them are maps (n,)."""

    embeddings: npt.NDArray[np.float16]
    is_map: npt.NDArray[np.bool_]


def train(
    lake: Lake,
    chosen: str = SVM,
    threshold: float = 0.0,
    *,
    settings: FitSettings = DEFAULT_SETTINGS,
    acceleration: str = AUTO,
    force: bool = False,
) -> TrainedReport:
    """Fit all methods, evaluate them on the other split, store the chosen one and the table.

    Parameters
    ----------
    lake : Lake
        With ``mappool/training_embeddings``.
    chosen : str
        The kind to store; the paper chose the SVM, its most accurate.
    threshold : float
        Score above which the chosen one says map; 0 is scikit-learn's own decision. The others are evaluated at 0.
    settings : FitSettings
    acceleration : {"auto", "intel", "scikit-learn"}
        Not among the inputs that decide whether to train again: the decisions are the same, and a lake that moves to
        another processor keeps its classifier and all shards scored with it.
    force : bool
        Train even if the stored classifier was made from the same inputs.

    Raises
    ------
    MissingInput
        There are no training embeddings.
    BadTrainingSet
        A split with one class only, or embeddings of unknown origin.
    BadSetting
        An unknown kind, or a threshold that is not a number.
    """
    _check_settings(chosen, threshold)
    inputs = _inputs(lake, chosen, threshold, settings)
    splits = read_splits(lake)
    rows = len(splits[TRAINING].is_map), len(splits[EVALUATION].is_map)
    kept = None if force else _record_from(lake, inputs)
    if kept is not None:
        return TrainedReport(kept.classifier, kept.evaluations, {}, {}, True, *rows)

    candidates = fit_candidates(
        splits[TRAINING].embeddings,
        splits[TRAINING].is_map,
        encoder_id=inputs["encoder_id"],
        training_set_id=inputs["training_set_id"],
        settings=settings,
        acceleration=acceleration,
    )
    classifiers = {c.classifier.kind: c.classifier for c in candidates}
    classifiers[chosen] = dataclasses.replace(classifiers[chosen], threshold=threshold)
    held_out = splits[EVALUATION]
    measured = [evaluate(classifier, held_out.embeddings, held_out.is_map) for classifier in classifiers.values()]
    evaluations = tuple(evaluation for evaluation, _ in measured)
    table = accuracy_table(evaluations)
    lake.write_table(EVALUATION_TABLE, table, Provenance(inputs, table.num_rows, table.num_rows))
    screen = calibrate_screen(classifiers[chosen], np.concatenate([split.embeddings for split in splits.values()]))
    store_classifier(lake, ClassifierRecord(classifiers[chosen], evaluations, inputs, screen))
    seconds = {e.method: Seconds(c.fit_seconds, s) for c, (e, s) in zip(candidates, measured, strict=True)}
    fitted_by = {c.classifier.kind: c.fitted_by for c in candidates}
    return TrainedReport(classifiers[chosen], evaluations, seconds, fitted_by, False, *rows)


def read_splits(lake: Lake) -> dict[str, LabelledEmbeddings]:
    """Read ``mappool/training_embeddings`` as its two splits, in the table's order.

    Raises
    ------
    MissingInput
        The table is not there.
    BadTrainingSet
        A split of another name, or embeddings that are missing.
    """
    table = lake.read_table(EMBEDDINGS_TABLE, columns=["split", "is_map", "embedding"])
    split = np.asarray(table["split"].to_pylist(), dtype=object)
    if (others := sorted({str(name) for name in split} - {TRAINING, EVALUATION})) or table["embedding"].null_count:
        raise _bad_embeddings(
            lake,
            f'an embedding and a split "{TRAINING}" or "{EVALUATION}" in every row',
            f"{table['embedding'].null_count} rows without embedding, splits {others}",
        )
    embeddings, is_map = as_matrix(table["embedding"]), np.asarray(table["is_map"].to_pylist(), dtype=bool)
    return {
        name: LabelledEmbeddings(embeddings[split == name], is_map[split == name]) for name in (TRAINING, EVALUATION)
    }


def _inputs(lake: Lake, chosen: str, threshold: float, settings: FitSettings) -> dict[str, Any]:
    made = lake.provenance(EMBEDDINGS_TABLE)
    if made is None:
        raise MissingInput(
            "There is nothing to train on",
            where=lake.url(lake.table_path(EMBEDDINGS_TABLE)),
            rule="embeddings of labelled images",
            got="nothing",
            action="Materialise mappool/training_embeddings first.",
        )
    if missing := {"encoder_id", "training_set_id"} - set(made.inputs):
        raise _bad_embeddings(lake, "encoder_id and training_set_id in its provenance", f"none of {sorted(missing)}")
    return {
        "code_version": CODE_VERSION,
        "encoder_id": made.inputs["encoder_id"],
        "training_set_id": made.inputs["training_set_id"],
        "training_embeddings": made.fingerprint,
        "chosen": chosen,
        "threshold": float(threshold),
        "settings": fingerprint(dataclasses.asdict(settings)),
    }


def _record_from(lake: Lake, inputs: Mapping[str, Any]) -> ClassifierRecord | None:
    """Return the stored classifier if it and its table are whole and made from these inputs."""
    try:
        record = classifier_record(lake)
    except (MissingInput, BadModel):  # a half-replaced or damaged pair is made anew
        return None
    return record if record.inputs == inputs and lake.is_made_from(inputs, EVALUATION_TABLE) else None


def _check_settings(chosen: str, threshold: float) -> None:
    if chosen not in KINDS:
        raise BadSetting(
            "The chosen classifier is unknown",
            where="chosen",
            rule=f"one of {', '.join(KINDS)}",
            got=chosen,
            action="Choose one of these; the paper's is svm_poly.",
        )
    if not math.isfinite(threshold):
        raise BadSetting(
            "The threshold is not a number",
            where="threshold",
            rule="a finite score",
            got=str(threshold),
            action="Leave it at 0, or take a score from the histogram of a scored shard.",
        )


def _bad_embeddings(lake: Lake, rule: str, got: str) -> BadTrainingSet:
    return BadTrainingSet(
        "The training embeddings cannot be used",
        where=lake.url(lake.table_path(EMBEDDINGS_TABLE)),
        rule=rule,
        got=got,
        action="Materialise mappool/training_embeddings again.",
    )
