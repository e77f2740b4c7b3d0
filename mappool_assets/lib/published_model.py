"""A published model as files, read: by whoever classifies their own images, from a folder or the Hub.

=======================  ==========================================================================================
``model.safetensors``    the classifier's and its screen's arrays, byte for byte the lake's own
``config.json``          ``classifier.json`` of the lake, and beside it ``encoder``, ``labels`` and ``score_meaning``
``parity.safetensors``   embeddings with the scores they must have; a model that scores otherwise is refused
``README.md``            the model card
``model.skops``          the same classifier for scikit-learn, where skops was installed; never read here
``SHA256SUMS``           checksums of all of these
=======================  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappool_assets.lib import model_parity
from mappool_assets.lib.encoder import LOCAL_PREFIX, ClipEncoder, check_torch_pair
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput, SourceUnavailable
from mappool_assets.lib.model_file import MODEL_NAME, ClassifierRecord, from_bytes, parsed_document

CONFIG_NAME, PARITY_NAME, SUMS_NAME = "config.json", "parity.safetensors", "SHA256SUMS"
CARD_NAME, SKOPS_NAME = "README.md", "model.skops"
READ_NAMES = (SUMS_NAME, CONFIG_NAME, MODEL_NAME, PARITY_NAME)

MODEL_ADDRESS = r"hf://(?!datasets/|spaces/|models/)(?P<name>[\w.-]+/[\w.-]+)"
HUB_ADDRESS = re.compile(rf"{MODEL_ADDRESS}(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class EncoderDescription:
    """Which encoder a model's embeddings must come from.

    Attributes
    ----------
    encoder_id : str
        As :attr:`~mappool_assets.lib.encoder.ClipEncoder.encoder_id`.
    model, pretrained : str or None
        open_clip's names for it; None for weights in a folder, whose place is nobody's business.
    preprocessing : mapping
        From an RGB image to the encoder's input, as open_clip names it: size (height, width), mean, std,
        interpolation, resize_mode, fill_color, mode.
    """

    encoder_id: str
    model: str | None
    pretrained: str | None
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True)
class PublishedModel:
    """A model that was read and proved.

    Attributes
    ----------
    record : ClassifierRecord
        Classifier, evaluations, screen.
    encoder : EncoderDescription
    parity_difference : float
        Largest difference of a score from the recorded one, at most 1e-4.
    """

    record: ClassifierRecord
    encoder: EncoderDescription
    parity_difference: float


def describe_encoder(encoder: ClipEncoder) -> EncoderDescription:
    """Describe an encoder without loading its weights."""
    is_local = encoder.model.startswith(LOCAL_PREFIX)
    return EncoderDescription(
        encoder.encoder_id,
        None if is_local else encoder.model,
        None if is_local else encoder.pretrained,
        preprocessing_of(encoder),
    )


def preprocessing_of(encoder: ClipEncoder) -> dict[str, Any]:
    """Return how images become the encoder's input, as open_clip merges it when it builds the model."""
    check_torch_pair()
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    assert encoder.dimension  # known to open_clip
    if encoder.model.startswith(LOCAL_PREFIX):
        file = Path(encoder.model.removeprefix(LOCAL_PREFIX)) / "open_clip_config.json"
        special = json.loads(file.read_bytes()).get("preprocess_cfg", {})
    else:
        special = get_pretrained_cfg(encoder.model, encoder.pretrained)
    merged = merge_preprocess_dict(PreprocessCfg(), special)
    size = open_clip.get_model_config(encoder.model)["vision_cfg"].get("image_size", merged["size"])
    merged["size"] = list(size) if isinstance(size, list | tuple) else [size, size]
    return json.loads(json.dumps(merged))


def load_published_model(address: str, hub_endpoint: str | None = None) -> PublishedModel:
    """Read a model.

    Parameters
    ----------
    address : str
        A folder, or ``hf://user/name`` or ``hf://user/name@revision``, which is downloaded to the Hub client's cache.
    hub_endpoint : str, optional
        Address of a Hub other than the client's own choice.

    Raises
    ------
    MissingInput
        There is no model, or one of its files is not there.
    BadSetting
        An address of another form.
    BadModel
        Files that do not belong together, or scores that are not the recorded ones.
    SourceUnavailable
        The Hub does not answer.
    """
    folder = _downloaded(address, hub_endpoint) if "://" in address else Path(address)
    for name in READ_NAMES:
        if not (folder / name).is_file():
            raise MissingInput(
                "A file of the published model is not there",
                where=f"{address}/{name}",
                rule=f"a model with {', '.join(READ_NAMES)}",
                got="nothing",
                action="Give the folder or the Hub repository of a published model.",
            )
    return read_model({name: (folder / name).read_bytes() for name in READ_NAMES}, where=address)


def read_model(files: Mapping[str, bytes], where: str) -> PublishedModel:
    """Read a model's files, and prove that it scores as it did where it was made.

    Parameters
    ----------
    files : mapping of str to bytes
        At least those of ``READ_NAMES``.
    where : str
        Their folder, for errors.

    Raises
    ------
    BadModel
        As :func:`load_published_model`.
    """
    _check_sums(files, where)
    config = parsed_document(files[CONFIG_NAME], f"{where}/{CONFIG_NAME}", _unusable)
    record = from_bytes(files[MODEL_NAME], files[CONFIG_NAME], where)
    encoder = _encoder(config, record.classifier.encoder_id, where)
    difference = model_parity.largest_difference(record.classifier, files[PARITY_NAME], f"{where}/{PARITY_NAME}")
    return PublishedModel(record, encoder, difference)


def _check_sums(files: Mapping[str, bytes], where: str) -> None:
    lines = files[SUMS_NAME].decode("utf-8", "replace").splitlines()
    sums = {path: sha256 for sha256, _, path in (line.partition("  ") for line in lines)}
    for name in READ_NAMES:
        digest = hashlib.sha256(files[name]).hexdigest()
        if name != SUMS_NAME and sums.get(name) != digest:
            raise _unusable(f"{where}/{name}", f"SHA-256 {sums.get(name)}, as {SUMS_NAME} says", f"SHA-256 {digest}")


def _encoder(config: Mapping[str, Any], encoder_id: str, where: str) -> EncoderDescription:
    """Return the encoder that a model names, known to be the one that its classifier was trained on.

    A name with a colon would have open_clip read a local folder or another repository: no published model needs one.
    """
    try:
        encoder = EncoderDescription(**config["encoder"])
    except (KeyError, TypeError) as error:
        rule = f"an encoder with {', '.join(field.name for field in dataclasses.fields(EncoderDescription))}"
        raise _unusable(f"{where}/{CONFIG_NAME}", rule, f"{type(error).__name__}: {error}") from error
    names = encoder.model, encoder.pretrained
    is_named = all(isinstance(name, str) and ":" not in name for name in names) and "/".join(names) == encoder_id  # type: ignore[arg-type]
    is_known = isinstance(encoder.preprocessing, dict) and (is_named or names == (None, None))
    if encoder.encoder_id != encoder_id or not is_known:
        got = f"{encoder.encoder_id}, model {encoder.model}, pretrained {encoder.pretrained}"
        raise _unusable(f"{where}/{CONFIG_NAME}", f"the classifier's encoder, {encoder_id}", got)
    return encoder


def _downloaded(address: str, endpoint: str | None) -> Path:
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    match = HUB_ADDRESS.fullmatch(address)
    if match is None:
        raise _bad_address(address, address)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=list(READ_NAMES), endpoint=endpoint
            )
        )
    except HFValidationError as error:
        raise _bad_address(address, str(error)) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise MissingInput(
            "There is no such model on the Hub, or it is private",
            where=address,
            rule="a model that can be read",
            got=str(error).splitlines()[0],
            action="Check the name; a private or gated model needs HF_TOKEN or `hf auth login`.",
        ) from error
    except (httpx2.HTTPError, OSError, json.JSONDecodeError, KeyError, TypeError) as error:  # the last three: no Hub
        said = re.sub(r"\?\S+", "?…", (str(error).splitlines() or [""])[0])  # without a signature
        raise SourceUnavailable(
            "The Hub does not answer as it should",
            where=address,
            rule="a model that can be downloaded",
            got=f"{type(error).__name__}: {said}",
            action="Check that the Hub can be reached and lets you read the model; or try again later.",
        ) from None


def _bad_address(address: str, got: str) -> BadSetting:
    return BadSetting(
        "The address of the model cannot be used",
        where=address,
        rule="a folder, hf://user/name or hf://user/name@revision",
        got=got,
        action="Correct the address.",
    )


def _unusable(where: str, rule: str, got: str) -> BadModel:
    return BadModel(
        "The published model cannot be used",
        where=where,
        rule=rule,
        got=got,
        action="Fetch all of its files anew, or have it published again.",
    )
