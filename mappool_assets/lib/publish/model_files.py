"""The files of a published model, made from the lake's classifier; the same lake gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter

import numpy as np
import numpy.typing as npt

from mappool_assets.lib import model_file, model_parity
from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.classifiers import DEFAULT_SETTINGS
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, SVM
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.labelled_images import HUB_ADDRESS
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.model_file import MODEL_NAME, ClassifierRecord
from mappool_assets.lib.publish.model_card import SCORE_MEANINGS, ModelCardSettings, ModelFacts, model_card
from mappool_assets.lib.publish.published_files import sha256sums
from mappool_assets.lib.publish.scikit_estimator import skops_bytes
from mappool_assets.lib.published_model import (
    CARD_NAME,
    CONFIG_NAME,
    PARITY_NAME,
    SKOPS_NAME,
    SUMS_NAME,
    EncoderDescription,
    describe_encoder,
)
from mappool_assets.lib.train_classifier import EMBEDDINGS_TABLE, EVALUATION, read_splits
from mappool_assets.lib.training_set import TRAINING_SET

EVALUATION_IMAGES = "images of the evaluation split"
SEEDED_VECTORS = "random unit vectors"


def model_files(lake: Lake, encoder: ClipEncoder, card: ModelCardSettings) -> dict[str, bytes]:
    """Return what is published of the lake's classifier, by file name, in the order in which it may appear.

    Parameters
    ----------
    lake : Lake
        With ``mappool/classifier``. Where ``mappool/training_embeddings`` is still what it was trained on, embeddings
        of evaluation images are in the parity file and the numbers of images in the card; else random vectors, and
        no numbers.
    encoder : ClipEncoder
        The one that the classifier was trained on; its weights are not loaded.
    card : ModelCardSettings
        What the card says that the lake does not know.

    Raises
    ------
    MissingInput
        There is no classifier.
    BadModel
        It was trained on another encoder's embeddings.
    """
    record = classifier_record(lake)
    description = _description(encoder, record)
    splits = _splits(lake, record)
    model, document = model_file.to_bytes(record)
    origin = EVALUATION_IMAGES if splits else SEEDED_VECTORS
    embeddings = _parity_embeddings(record, splits)
    files = {MODEL_NAME: model, PARITY_NAME: model_parity.to_bytes(record.classifier, embeddings, origin)}
    if (skops := skops_bytes(record.classifier)) is not None:
        files[SKOPS_NAME] = skops
    files[CONFIG_NAME] = _config(document, record, description)
    facts = ModelFacts(
        record=record,
        encoder=description,
        images={name: Counter(is_map.tolist()) for name, (_, is_map) in splits.items()},
        training_dataset=_training_dataset(lake, record),
        penalty=_penalty(record),
        parity_origin=origin,
        file_bytes={name: len(content) for name, content in files.items()},
    )
    files[CARD_NAME] = model_card(facts, card).encode()
    sums = sha256sums({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    return files | {SUMS_NAME: sums}


_Splits = dict[str, tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]]


def _description(encoder: ClipEncoder, record: ClassifierRecord) -> EncoderDescription:
    if encoder.encoder_id != record.classifier.encoder_id:
        raise BadModel(
            "The classifier was trained on another encoder's embeddings",
            where=record.classifier.classifier_id,
            rule=f"the encoder that is set, {encoder.encoder_id}",
            got=record.classifier.encoder_id,
            action="Set that encoder, or materialise mappool/training_embeddings and mappool/classifier again.",
        )
    return describe_encoder(encoder)


def _splits(lake: Lake, record: ClassifierRecord) -> _Splits:
    """Return embeddings and labels by split if the classifier was made from what the lake holds now; else nothing."""
    made = lake.provenance(EMBEDDINGS_TABLE)
    if made is None or made.fingerprint != record.inputs.get("training_embeddings"):
        return {}
    return {name: (split.embeddings, split.is_map) for name, split in read_splits(lake).items()}


def _parity_embeddings(record: ClassifierRecord, splits: _Splits) -> npt.NDArray[np.float16]:
    if not splits:
        return model_parity.seeded_unit_vectors(record.classifier.dimension)
    embeddings = splits[EVALUATION][0]
    return embeddings[model_parity.chosen_rows(model_parity.exact_scores(record.classifier, embeddings))]


def _config(document: bytes, record: ClassifierRecord, encoder: EncoderDescription) -> bytes:
    fields = json.loads(document) | {
        "encoder": dataclasses.asdict(encoder),
        "labels": {"map": "score > threshold", "not a map": "any other score"},
        "score_meaning": SCORE_MEANINGS[record.classifier.kind],
    }
    return (json.dumps(fields, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _training_dataset(lake: Lake, record: ClassifierRecord) -> str | None:
    """Return the Hub dataset of the labelled images; None where they lie elsewhere, which is nobody's business."""
    made = lake.provenance(TRAINING_SET)
    if made is None or made.inputs.get("training_set_id") != record.classifier.training_set_id:
        return None
    match = HUB_ADDRESS.fullmatch(made.inputs["source"])
    return match["name"] if match else None


def _penalty(record: ClassifierRecord) -> float | None:
    """Return scikit-learn's C, of which the lake keeps but a fingerprint."""
    if record.inputs.get("settings") != fingerprint(dataclasses.asdict(DEFAULT_SETTINGS)):
        return None
    penalties = {SVM: DEFAULT_SETTINGS.svm_c, LOGISTIC_REGRESSION: DEFAULT_SETTINGS.logistic_regression_c}
    return penalties.get(record.classifier.kind)
