"""The lake's one classifier, beside the tables of the group ``mappool``."""

from __future__ import annotations

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_file import (
    DOCUMENT_NAME,
    MODEL_NAME,
    ClassifierRecord,
    from_bytes,
    to_bytes,
)

FOLDER = "mappool/classifier"
MODEL_PATH, DOCUMENT_PATH = f"{FOLDER}/{MODEL_NAME}", f"{FOLDER}/{DOCUMENT_NAME}"


def store_classifier(lake: Lake, record: ClassifierRecord) -> None:
    """Write both files, each whole or not at all; ``classifier.json`` last, which makes the pair valid."""
    model, document = to_bytes(record)
    for path, content in ((MODEL_PATH, model), (DOCUMENT_PATH, document)):
        with lake.writing(path) as file:
            file.write_bytes(content)


def classifier_record(lake: Lake) -> ClassifierRecord:
    """Read the lake's classifier with its evaluation and inputs.

    Raises
    ------
    MissingInput
        None has been trained.
    BadModel
        Files that are damaged, or of which one was replaced without the other.
    """
    document = lake.read_bytes(DOCUMENT_PATH)
    return from_bytes(lake.read_bytes(MODEL_PATH), document, where=lake.url(FOLDER))
