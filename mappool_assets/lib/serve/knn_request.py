"""What a search asks for: clip-retrieval's fourteen fields and ours, checked and typed.

clip-retrieval's (``clip_client.py``, ``clip_back.py``): ``text``, ``image`` (base64), ``image_url`` or
``embedding_input``, exactly one; ``indice_name``, ``modality``, ``num_images``, ``num_result_ids``, ``deduplicate``,
``use_safety_model``, ``use_violence_detector``, ``use_mclip``, ``aesthetic_score``, ``aesthetic_weight``.

Ours, which a client of clip-retrieval never sends:

``texts``
    Several texts at once, meant as one thing said in several ways: the mean of their vectors is searched for. Whoever
    wants a list for each sends a request for each.
``image_id``
    An image of the index by its id: similar images.
``filter``
    :mod:`mappool_assets.lib.retrieval.filter_language`. Filters apply before the nearest are chosen.
``min_similarity``
    Results below are left out.
``refill``
    Where removals leave fewer than ``num_images``, further ones are searched for.
``mode``
    ``ann`` or ``exact``, which compares with every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mappool_assets.lib.row_blocks import Float32
from mappool_assets.lib.serve.json_values import (
    Document,
    choice_of,
    finite,
    id_of,
    is_given,
    list_of,
    number_of,
    text_of,
    truth_of,
    whole_of,
)
from mappool_assets.lib.serve.limits import ServiceLimits
from mappool_assets.lib.serve.refusals import refused

DEFAULT_IMAGES = 40  # of ClipClient
MOST_TEXTS = 64
MOST_WEIGHT = 100.0
AESTHETIC_SCORES = 10  # 0 to 9
DEFAULT_AESTHETIC_WEIGHT = 0.5  # of ClipClient
INPUTS = ("text", "texts", "image", "image_url", "embedding_input", "image_id")


@dataclass(frozen=True)
class QueryInput:
    """What is searched with; exactly one of these is given."""

    texts: tuple[str, ...] = ()
    image: str | None = None
    image_url: str | None = None
    vector: Float32 | None = None
    image_id: int | None = None


@dataclass(frozen=True)
class KnnRequest:
    """A search, checked.

    Attributes
    ----------
    query : QueryInput
    index : str or None
        None is the service's first.
    modality : str
        ``image`` or ``text``: which vectors are searched.
    num_images, num_result_ids : int
        Results with metadata, and ids searched for; the first is no more than the second.
    aesthetic_score : int or None
        0 to 9; None where it is switched off.
    """

    query: QueryInput
    index: str | None
    modality: str
    num_images: int
    num_result_ids: int
    deduplicate: bool
    use_safety_model: bool
    use_violence_detector: bool
    aesthetic_score: int | None
    aesthetic_weight: float
    filter: str | None
    min_similarity: float
    refill: bool
    is_exact: bool


def parse_knn_request(document: Document, limits: ServiceLimits) -> KnnRequest:
    """Return what a document asks for; :class:`RequestRefused` where a field is wrong."""
    num_images = whole_of(document, "num_images", min(DEFAULT_IMAGES, limits.results), 1, limits.results)
    num_result_ids = whole_of(document, "num_result_ids", num_images, 1, limits.results)
    if truth_of(document, "use_mclip"):
        raise refused(
            "There is no multilingual encoder",
            "use_mclip",
            "false: the index has one encoder, told by /health",
            "true",
            "Switch it off, or search with embedding_input.",
        )
    score = None
    if is_given(document, "aesthetic_score"):
        score = whole_of(document, "aesthetic_score", 0, 0, AESTHETIC_SCORES - 1)
    return KnnRequest(
        query=_query_input(document, limits),
        index=text_of(document, "indice_name"),
        modality=choice_of(document, "modality", ("image", "text")),
        num_images=min(num_images, num_result_ids),
        num_result_ids=num_result_ids,
        deduplicate=truth_of(document, "deduplicate"),
        use_safety_model=truth_of(document, "use_safety_model"),
        use_violence_detector=truth_of(document, "use_violence_detector"),
        aesthetic_score=score,
        aesthetic_weight=number_of(document, "aesthetic_weight", DEFAULT_AESTHETIC_WEIGHT, -MOST_WEIGHT, MOST_WEIGHT),
        filter=text_of(document, "filter"),
        min_similarity=number_of(document, "min_similarity", -1.0, -1.0, 1.0),
        refill=truth_of(document, "refill"),
        is_exact=choice_of(document, "mode", ("ann", "exact")) == "exact",
    )


def _query_input(document: Document, limits: ServiceLimits) -> QueryInput:
    given = [name for name in INPUTS if is_given(document, name)]
    if len(given) != 1:
        raise refused(
            "There is not one thing to search with",
            ", ".join(INPUTS),
            "exactly one of them, not empty",
            ", ".join(given) or "none",
            "Send one of them; leave the others out, or null.",
        )
    match given[0]:
        case "text":
            return QueryInput(texts=_texts([document["text"]], "text", limits))
        case "texts":
            return QueryInput(texts=_texts(list_of(document, "texts", MOST_TEXTS) or [], "texts", limits))
        case "embedding_input":
            return QueryInput(vector=_vector(list_of(document, "embedding_input", limits.results) or []))
        case "image_id":
            return QueryInput(image_id=id_of(document["image_id"], "image_id"))
        case "image":
            return QueryInput(image=text_of(document, "image"))
        case _:
            return QueryInput(image_url=text_of(document, "image_url"))


def _texts(values: list[Any], name: str, limits: ServiceLimits) -> tuple[str, ...]:
    texts = tuple(text_of({name: value}, name) or "" for value in values)
    if not all(text.strip() for text in texts):
        raise refused("A text is empty", name, "a text with a letter", "blanks", "Say what to search for.")
    if (length := sum(map(len, texts))) > limits.text_characters:
        raise refused(
            "The text is too long",
            name,
            f"at most {limits.text_characters:,} characters",
            f"{length:,}",
            "Say it in fewer words: CLIP reads 77 tokens.",
        )
    return texts


def _vector(values: list[Any]) -> Float32:
    numbers = [finite(value) for value in values]
    wrong = next((place for place, number in enumerate(numbers) if number is None), None)
    if wrong is not None:
        raise refused(
            "The vector holds what is no number",
            f"embedding_input, entry {wrong}",
            "a finite number",
            values[wrong],
            "Send the vector as a flat list of numbers.",
        )
    return np.array(numbers, dtype=np.float64).clip(-3e38, 3e38).astype(np.float32)
