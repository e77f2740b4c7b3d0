"""Classifiers as files: ``model.safetensors`` for the arrays, ``classifier.json`` for everything else, no pickle.

The JSON carries the SHA-256 of the safetensors and is written last, so that a pair of which only one file was
replaced never loads. The same classifier gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.errors import BadModel, MissingInput
from mappool_assets.lib.evaluation import Evaluation
from mappool_assets.lib.lake import replacing
from mappool_assets.lib.screen import Screen

MODEL_NAME, DOCUMENT_NAME = "model.safetensors", "classifier.json"
FORMAT, FORMAT_VERSION = "mappool-assets map classifier", 1
# One key, because safetensors writes several in an order that changes from process to process (0.8.0).
SCREEN_PREFIX = "screen/"  # of the names of the screen's arrays
METADATA_KEY = "mappool_assets"


@dataclass(frozen=True)
class ClassifierRecord:
    """A classifier with what is known of it.

    Attributes
    ----------
    classifier : MapClassifier
    evaluations : tuple of Evaluation
        All methods of the table, on the same evaluation split.
    inputs : mapping
        What it was trained from; equal inputs mean there is nothing to train.
    screen : Screen, optional
        The cheap test before it.
    """

    classifier: MapClassifier
    evaluations: tuple[Evaluation, ...]
    inputs: Mapping[str, Any]
    screen: Screen | None = None


def to_bytes(record: ClassifierRecord) -> tuple[bytes, bytes]:
    """Return the contents of ``model.safetensors`` and ``classifier.json``."""
    from safetensors.numpy import save

    classifier = record.classifier
    identity = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": classifier.kind,
        "parameters": classifier.parameters,
        "threshold": classifier.threshold,
        "encoder_id": classifier.encoder_id,
        "training_set_id": classifier.training_set_id,
        "classifier_id": classifier.classifier_id,
        "dimension": classifier.dimension,
    }
    screen = record.screen
    of_screen = {f"{SCREEN_PREFIX}{name}": array for name, array in (screen.arrays if screen else {}).items()}
    model = save({**classifier.arrays, **of_screen}, {METADATA_KEY: json.dumps(identity, sort_keys=True)})
    document = identity | {
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "evaluations": [dataclasses.asdict(evaluation) for evaluation in record.evaluations],
        "inputs": record.inputs,
        "screen": dict(screen.parameters) if screen else None,
    }
    text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return model, f"{text}\n".encode()


def from_bytes(model: bytes, document: bytes, where: str) -> ClassifierRecord:
    """Read what :func:`to_bytes` returned.

    Parameters
    ----------
    model, document : bytes
    where : str
        Their folder, for the error.

    Raises
    ------
    BadModel
        A file that is damaged, not of this format, or not the other's companion.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    fields = parsed_document(document, f"{where}/{DOCUMENT_NAME}", _unusable)
    digest = hashlib.sha256(model).hexdigest()
    if fields.get("model_sha256") != digest:
        raise _unusable(
            f"{where}/{MODEL_NAME}",
            f"the file that {DOCUMENT_NAME} was written for, SHA-256 {fields.get('model_sha256')}",
            f"SHA-256 {digest}: one of the two was replaced or damaged",
        )
    try:
        arrays = load(model)
        of_screen = [name for name in arrays if name.startswith(SCREEN_PREFIX)]
        screen_arrays = {name.removeprefix(SCREEN_PREFIX): arrays.pop(name) for name in of_screen}
        classifier = MapClassifier(
            kind=fields["kind"],
            arrays=arrays,
            parameters=fields["parameters"],
            threshold=fields["threshold"],
            encoder_id=fields["encoder_id"],
            training_set_id=fields["training_set_id"],
        )
        evaluations = tuple(Evaluation(**row) for row in fields["evaluations"])
        parameters = fields["screen"]
        screen = None if parameters is None else Screen(classifier.classifier_id, screen_arrays, parameters)
        record = ClassifierRecord(classifier, evaluations, fields["inputs"], screen)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise _unusable(where, "the fields and arrays of a map classifier", got) from error
    if fields.get("classifier_id") != classifier.classifier_id:
        rule = f"numbers that make {fields.get('classifier_id')}, as {DOCUMENT_NAME} says"
        raise _unusable(where, rule, f"numbers that make {classifier.classifier_id}")
    return record


def save_classifier(record: ClassifierRecord, folder: Path) -> None:
    """Write the two files into a folder, which is made if it is not there."""
    model, document = to_bytes(record)
    for name, content in ((MODEL_NAME, model), (DOCUMENT_NAME, document)):
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)


def load_classifier(folder: Path) -> ClassifierRecord:
    """Read the two files of a folder.

    Raises
    ------
    MissingInput
        One of them is not there.
    BadModel
        As :func:`from_bytes`.
    """
    for name in (DOCUMENT_NAME, MODEL_NAME):
        if not (folder / name).is_file():
            raise MissingInput(
                "A classifier's file is not there",
                where=str(folder / name),
                rule=f"a folder with {MODEL_NAME} and {DOCUMENT_NAME}",
                got="nothing",
                action="Give the folder of a saved classifier.",
            )
    return from_bytes((folder / MODEL_NAME).read_bytes(), (folder / DOCUMENT_NAME).read_bytes(), where=str(folder))


def parsed_document(document: bytes, where: str, refused: Callable[[str, str, str], BadModel]) -> dict[str, Any]:
    """Return the fields of a classifier's document, known to be of this format.

    Parameters
    ----------
    document : bytes
        JSON, with whatever other fields.
    where : str
        Its file.
    refused : callable
        Makes the error, of where, rule and got.

    Raises
    ------
    BadModel
        It is no JSON, or of another format or version.
    """
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise refused(where, "JSON", str(error)) from error
    found = (fields.get("format"), fields.get("format_version")) if isinstance(fields, dict) else type(fields)
    if found != (FORMAT, FORMAT_VERSION):
        raise refused(where, f"format {FORMAT!r}, version {FORMAT_VERSION}", str(found))
    return fields


def _unusable(where: str, rule: str, got: str) -> BadModel:
    return BadModel(
        "The classifier cannot be loaded",
        where=where,
        rule=rule,
        got=got,
        action="Train it again (materialise mappool/classifier), or copy both of its files anew.",
    )
