"""Maps or not: a published model, or a lake's classifier, on people's own images.

>>> from mappool_assets.lib.image_classifier import classify_images, load_image_classifier
>>> classifier = load_image_classifier("hf://user/name")  # doctest: +SKIP
>>> for image in classify_images(classifier, ["scans", "https://example.org/map.png"]):  # doctest: +SKIP
...     print(image.is_map, image.score, image.error, image.source)
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from mappool_assets.lib.decision import MapClassifier
from mappool_assets.lib.encoder import LOCAL_PREFIX, ClipEncoder
from mappool_assets.lib.errors import BadModel, BadSetting
from mappool_assets.lib.image_sources import OpenedImage, open_images
from mappool_assets.lib.model_parity import exact_scores
from mappool_assets.lib.published_model import PublishedModel, load_published_model, preprocessing_of
from mappool_assets.lib.web.web_fetch import FetchRules, WebFetcher

# Images that the encoder computes at once, and always as many, so that a lone one costs as much as a batch. On a CPU
# batches of 4 were as fast an image as those of 32 (ViT-B-16 on two cores, 0.3 and 0.4 s an image).
CPU_BATCH, ACCELERATOR_BATCH = 4, 32

GROUP_SOURCES = 256  # answered together at most, where few of them can be read


@dataclass(frozen=True)
class ClassifiedImage:
    """The answer to one image.

    Attributes
    ----------
    source : str
        Its path or address.
    is_map : bool or None
        Whether it is a map; None where it could not be read.
    score : float or None
        Higher is more like a map.
    error, detail : str or None, str
        Why it could not be read, as :class:`~mappool_assets.lib.image_sources.OpenedImage`.
    """

    source: str
    is_map: bool | None = None
    score: float | None = None
    error: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class ImageClassifier:
    """A classifier with the encoder that makes its embeddings.

    Raises
    ------
    BadModel
        The encoder is not the one that the classifier was trained on.
    """

    classifier: MapClassifier
    encoder: ClipEncoder

    def __post_init__(self) -> None:
        if self.encoder.encoder_id != self.classifier.encoder_id:
            raise BadModel(
                "The encoder's vectors are not those that the classifier was trained on",
                where=self.classifier.classifier_id,
                rule=f"the encoder {self.classifier.encoder_id}",
                got=self.encoder.encoder_id,
                action="Name the encoder that the classifier was trained on.",
            )

    def scores(self, images: Iterable[Image]) -> npt.NDArray[np.float32]:
        """Score RGB images, taken one at a time; (n,), higher is more like a map.

        Computed in float64, so that not even the last digit of an image's score depends on how many others there are.
        """
        return exact_scores(self.classifier, self.encoder.embed_images(images)).astype(np.float32)


def load_image_classifier(
    model: str | os.PathLike[str],
    *,
    encoder: str | None = None,
    device: str | None = None,
    hub_endpoint: str | None = None,
) -> ImageClassifier:
    """Load a published model; its encoder's weights are loaded (from the Hub, the first time) with the first image.

    Parameters
    ----------
    model : str or path
        A folder, or ``hf://user/name`` or ``hf://user/name@revision``.
    encoder : str, optional
        ``local-dir:`` and the path of the encoder's folder, for a model whose encoder is not open_clip's own.
    device : str, optional
        ``cuda``, ``cuda:N``, ``mps`` or ``cpu``; by default the best there is.
    hub_endpoint : str, optional
        Address of a Hub other than the client's own choice.

    Raises
    ------
    MissingInput, BadSetting, BadModel, SourceUnavailable
        As :func:`~mappool_assets.lib.published_model.load_published_model`; also where the encoder is missing or is
        not the model's.
    """
    published = load_published_model(os.fspath(model), hub_endpoint)
    name, pretrained = _encoder_names(published, encoder, os.fspath(model))
    clip = ClipEncoder(name, pretrained, device, batch_size_on(device))
    classifier = ImageClassifier(published.record.classifier, clip)
    if (ours := preprocessing_of(clip)) != published.encoder.preprocessing:
        raise BadModel(
            "The encoder prepares images otherwise than where the model was made",
            where=os.fspath(model),
            rule=str(dict(published.encoder.preprocessing)),
            got=str(ours),
            action="Install another version of open_clip_torch, or have the model trained and published anew.",
        )
    return classifier


def classify_images(
    classifier: ImageClassifier, sources: Iterable[str | os.PathLike[str]], *, rules: FetchRules | None = None
) -> Iterator[ClassifiedImage]:
    """Tell of each image whether it is a map, in the order in which they are named.

    Nothing is collected: sources are taken, and answers given, a batch at a time. An image that cannot be read is an
    answer too. A score does not depend on the other images.

    Parameters
    ----------
    classifier : ImageClassifier
    sources : iterable of str or path
        Files, folders and addresses, as :func:`~mappool_assets.lib.image_sources.open_images`.
    rules : FetchRules, optional
        Bounds for images given by address; by default public ones only, 32 MiB and 30 s.
    """
    with WebFetcher(rules or FetchRules()) as fetcher, contextlib.closing(open_images(sources, fetcher)) as opened:
        while answers := _next_answers(classifier, opened):
            yield from answers


def batch_size_on(device: str | None) -> int:
    """Return how many images the encoder computes at once; None is the best device there is."""
    import torch

    has_accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    return ACCELERATOR_BATCH if (has_accelerator if device is None else device != "cpu") else CPU_BATCH


def _encoder_names(published: PublishedModel, encoder: str | None, where: str) -> tuple[str, str]:
    """Return open_clip's names of a model's encoder; its weights where they are its own, else from a folder."""
    own = published.encoder
    if encoder is None and own.model is not None and own.pretrained is not None:
        return own.model, own.pretrained
    if encoder is not None and encoder.startswith(LOCAL_PREFIX):
        return encoder, ""
    raise BadSetting(
        "The model's encoder cannot be found",
        where=where,
        rule=f"{LOCAL_PREFIX}FOLDER with the weights of {own.encoder_id}",
        got="nothing" if encoder is None else encoder,
        action="Name the folder that holds the encoder's open_clip_config.json and open_clip_model.safetensors.",
    )


def _next_answers(classifier: ImageClassifier, opened: Iterator[OpenedImage]) -> list[ClassifiedImage]:
    """Answer the next images: a whole batch of those that can be read, and those that cannot between them."""
    asked: list[tuple[str, str | None, str]] = []

    def readable() -> Iterator[Image]:
        left = classifier.encoder.batch_size
        while left and len(asked) < GROUP_SOURCES and (each := next(opened, None)) is not None:
            asked.append((each.source, each.error, each.detail))
            if each.image is not None:
                left -= 1
                yield each.image

    images = readable()
    first = list(itertools.islice(images, 1))  # where none can be read, the encoder is not loaded
    scores = classifier.scores(itertools.chain(first, images)) if first else np.empty(0, np.float32)
    decided = zip(classifier.classifier.is_map(scores).tolist(), scores.tolist(), strict=True)
    answers = []
    for source, error, detail in asked:
        is_map, score = next(decided) if error is None else (None, None)
        answers.append(ClassifiedImage(source, is_map, score, error, detail))
    return answers
