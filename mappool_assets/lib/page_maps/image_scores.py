"""The images of packed pages, scored: is it a map, and does it go with the text beside it?

For each image of a page: its embedding; the classifier's score; the cosine with its alternative text, with the text
right before and right after its first place, and with text further away (the mean over at most ``DISTANT_TEXTS`` lines,
evenly spaced), which tells whether the text beside it is closer than any text of the page would be; with a head, its
beauty. All are columns: a page is never taken apart by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.image_classifier import ImageClassifier
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.linear_head import LinearHead
from mappool_assets.lib.map_images.image_facts import ImageFacts, inspect_image
from mappool_assets.lib.model_parity import exact_scores
from mappool_assets.lib.packed_documents.packed_document import ImagePart, PackedDocument, PackedImage, TextPart

DISTANT_TEXTS = 8  # lines of a page that an image is compared with beside its neighbours: bounds the cost of long pages
# Of a text that is embedded: CLIP sees 77 tokens, and a word has one or more. The time of open_clip's tokenizer grows
# with the square of a word's length: 0.2 s for 1,000 random letters, 44 s for 30,000, which a page may well have.
MOST_WORDS, MOST_WORD_CHARACTERS, MOST_CHARACTERS = 77, 256, 2048


class Surroundings(NamedTuple):
    """The texts around an image's first place.

    Attributes
    ----------
    position : int
        The place's, among the items of the page.
    alt : str or None
        What the page says instead of the image.
    before, after : str or None
        The nearest lines.
    distant : tuple of str
        Other lines.
    """

    position: int
    alt: str | None
    before: str | None
    after: str | None
    distant: tuple[str, ...]


@dataclass(frozen=True)
class ImageScorer:
    """What scores images.

    Attributes
    ----------
    classifier : ImageClassifier
        The lake's, with its encoder.
    aesthetic_head : LinearHead, optional
        Its output is the ``aesthetic_score``.
    """

    classifier: ImageClassifier
    aesthetic_head: LinearHead | None = None

    def rows(self, documents: Sequence[PackedDocument]) -> list[dict[str, Any] | ImageRefused]:
        """Return a row for each image of some documents, the columns of ``page_images``, or why it cannot be decoded.

        What a row holds does not depend on the other documents: they are taken together because the encoder computes a
        whole batch at once.

        Raises
        ------
        BadShard
            An image is not the one that was packed.
        """
        images = [(document, number) for document in documents for number in range(len(document.images))]
        files = {document.images[number].sha256: document.images[number] for document, number in images}
        found = {sha256: _facts_of(image) for sha256, image in files.items()}
        facts = {sha256: each for sha256, each in found.items() if isinstance(each, ImageFacts)}
        around = [surroundings(document, number) for document, number in images]
        texts = sorted({text for each in around for text in _texts_of(each)})
        encoder = self.classifier.encoder
        vectors = dict(
            zip(facts, encoder.embed_images(open_image(files[sha256].data) for sha256 in facts), strict=True)
        )
        text_vectors = dict(zip(texts, encoder.embed_texts([*map(as_embedded, texts)], np.float32), strict=True))
        return [
            self._row(document, number, surrounding, each, vectors[each.sha256], text_vectors)
            if isinstance(each := found[document.images[number].sha256], ImageFacts)
            else each
            for (document, number), surrounding in zip(images, around, strict=True)
        ]

    def _row(
        self,
        document: PackedDocument,
        number: int,
        around: Surroundings,
        facts: ImageFacts,
        vector: NDArray[np.float16],
        text_vectors: dict[str, NDArray[np.float32]],
    ) -> dict[str, Any]:
        image = document.images[number]
        score = exact_scores(self.classifier.classifier, vector[None]).astype(np.float32)
        head = self.aesthetic_head

        def similarity(texts: Sequence[str | None]) -> float | None:
            """Return the mean cosine with some texts; None where there is none."""
            chosen = [text_vectors[text] for text in texts if text]
            return float(np.mean([np.vecdot(each, vector.astype(np.float32)) for each in chosen])) if chosen else None

        return {
            "document_id": document.document_id,
            "page_url": document.url,
            "language": document.language,
            "image": number,
            "position": around.position,
            "file": image.file,
            "url": image.url,
            **{name: value for name, value in facts._asdict().items() if name != "extension"},
            "alt": around.alt,
            "text_before": around.before,
            "text_after": around.after,
            "similarity_alt": similarity([around.alt]),
            "similarity_before": similarity([around.before]),
            "similarity_after": similarity([around.after]),
            "similarity_distant": similarity(around.distant),
            "aesthetic_score": float(head.outputs(vector[None])[0]) if head else None,
            "map_score": float(score[0]),
            "is_map": bool(self.classifier.classifier.is_map(score)[0]),
            "l14_img": vector,
            "l14_txt": text_vectors[around.alt].astype(np.float16) if around.alt else None,
        }


def image_scorer(lake: Lake, encoder: ClipEncoder, aesthetic_head: Path | None = None) -> ImageScorer:
    """Return what scores images with a lake's classifier and, if there is one, a head of beauty.

    Raises
    ------
    MissingInput
        No classifier has been trained.
    BadModel
        The encoder is not the one that the classifier was trained on, or the head is of another.
    """
    classifier = ImageClassifier(classifier_record(lake).classifier, encoder)
    head = LinearHead.read(aesthetic_head, encoder.encoder_id, encoder.dimension) if aesthetic_head else None
    return ImageScorer(classifier, head)


def surroundings(document: PackedDocument, image: int) -> Surroundings:
    """Return the texts around the first place of an image of a document."""
    place = next(
        number for number, part in enumerate(document.parts) if isinstance(part, ImagePart) and part.image == image
    )
    lines = [(number, part.text) for number, part in enumerate(document.parts) if isinstance(part, TextPart)]
    before = [text for number, text in lines if number < place]
    after = [text for number, text in lines if number > place]
    distant = [*before[:-1], *after[1:]]
    chosen = np.unique(np.linspace(0, len(distant) - 1, min(DISTANT_TEXTS, len(distant))).astype(int))
    part = document.parts[place]
    assert isinstance(part, ImagePart)
    return Surroundings(
        part.position,
        part.alt or None,
        before[-1] if before else None,
        after[0] if after else None,
        tuple(distant[number] for number in chosen),
    )


def groups(documents: Iterator[PackedDocument], images: int) -> Iterator[list[PackedDocument]]:
    """Yield documents in groups that have at least so many images, the last one perhaps fewer."""
    group: list[PackedDocument] = []
    for document in documents:
        group.append(document)
        if sum(len(each.images) for each in group) >= images:
            yield group
            group = []
    if group:
        yield group


def _texts_of(around: Surroundings) -> Iterator[str]:
    yield from (text for text in (around.alt, around.before, around.after, *around.distant) if text)


def as_embedded(text: str) -> str:
    """Return as much of a text as an embedding of it looks at, words a space apart."""
    words = text.split(maxsplit=MOST_WORDS)[:MOST_WORDS]
    return " ".join(word[:MOST_WORD_CHARACTERS] for word in words)[:MOST_CHARACTERS]


def _facts_of(image: PackedImage) -> ImageFacts | ImageRefused:
    """Return what an image is, or why it cannot be decoded, as it could when it was fetched."""
    sha256 = hashlib.sha256(image.data).hexdigest()
    if sha256 != image.sha256:
        raise BadShard(
            "An image of a packed page is damaged",
            where=image.url,
            rule=f"the sha256 {image.sha256}",
            got=sha256,
            action="Materialise packed_documents for this crawl file again, with force.",
        )
    try:
        return inspect_image(image.data)
    except ImageRefused as refused:
        return refused
