"""From a vector to results: the nearest images, less those that are removed, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.retrieval.search import Found, Mode
from mappool_assets.lib.retrieval.selection import Selection
from mappool_assets.lib.row_blocks import Float32
from mappool_assets.lib.serve.knn_request import KnnRequest
from mappool_assets.lib.serve.metrics import Metrics
from mappool_assets.lib.serve.query_encoder import unit_vector
from mappool_assets.lib.serve.removals import KeptImages
from mappool_assets.lib.serve.served_index import ServedIndex


class Nearest(NamedTuple):
    """Images, best first: ids int64 (n,) and similarities float32 (n,)."""

    ids: NDArray[np.int64]
    similarities: Float32


def query_vector(request: KnnRequest, index: ServedIndex, vectors: Float32) -> Float32:
    """Return what is searched for.

    Parameters
    ----------
    vectors : float32 array of shape (n, d)
        Of the request's input; of several texts the mean of the unit vectors is taken.

    Returns
    -------
    float32 array of shape (d,)
        Of unit length; where the index has aesthetic directions and a score is asked for, the input's vector and
        ``aesthetic_weight`` times the score's direction, as clip_back.py adds them.
    """
    dimension, field = index.search.dimension, _field(request)
    unit = [unit_vector(vector, dimension, field) for vector in vectors]
    query = unit[0] if len(unit) == 1 else unit_vector(np.mean(unit, axis=0, dtype=np.float32), dimension, field)
    if request.aesthetic_score is None or index.heads.aesthetics is None:
        return query
    direction = index.heads.aesthetics[request.aesthetic_score]
    return unit_vector(query + np.float32(request.aesthetic_weight) * direction, dimension, "aesthetic_weight")


def find_nearest(
    request: KnnRequest,
    index: ServedIndex,
    query: Float32,
    selection: Selection | None,
    metrics: Metrics,
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """Return the results of a search: with metadata the first ``num_images``, the others with id and similarity."""
    ids, similarities = _survivors(request, index, query, selection, metrics, check)
    with metrics.step("metadata_get_time"):
        known = index.metadata.rows(ids[: request.num_images].tolist(), check)
    results = []
    for number, (image, similarity) in enumerate(zip(ids.tolist(), similarities.tolist(), strict=True)):
        told = known[number] if number < len(known) else {}
        place = index.places.of(told["uid"]) if index.places is not None and told.get("uid") else {}
        results.append({**told, **place, "id": image, "similarity": similarity})
    return results


def warnings_of(request: KnnRequest, index: ServedIndex) -> list[str]:
    """Return what a request asks for and the index has no head for."""
    missing = {
        "use_safety_model": request.use_safety_model and index.heads.safety is None,
        "use_violence_detector": request.use_violence_detector and index.heads.violence is None,
        "aesthetic_score": request.aesthetic_score is not None and index.heads.aesthetics is None,
    }
    return [
        f"{name} has no effect: this service has no head for it" for name, is_missing in missing.items() if is_missing
    ]


def _survivors(
    request: KnnRequest,
    index: ServedIndex,
    query: Float32,
    selection: Selection | None,
    metrics: Metrics,
    check: Callable[[], None],
) -> Nearest:
    mode: Mode = "exact" if request.is_exact else "ann"
    pages = index.search.pages(query, request.num_result_ids, mode=mode, selection=selection)
    kept_images, parts, count = KeptImages(), [Nearest(np.empty(0, np.int64), np.empty(0, np.float32))], 0
    while True:
        with metrics.step("knn_index_time"):
            page = next(pages, None)
        if page is None:
            break
        check()
        is_kept = _is_kept(request, index, page, kept_images, metrics)
        parts.append(Nearest(page.ids[is_kept], page.similarities[is_kept]))
        count += int(is_kept.sum())
        if not request.refill or count >= request.num_images or page.similarities[-1] < request.min_similarity:
            break
    ids, similarities = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((ids, -similarities))[: request.num_result_ids]
    return Nearest(ids[order], similarities[order])


def _is_kept(
    request: KnnRequest, index: ServedIndex, page: Found, kept_images: KeptImages, metrics: Metrics
) -> NDArray[np.bool_]:
    is_kept = page.similarities >= request.min_similarity
    by_safety = request.use_safety_model and index.heads.safety is not None
    by_violence = request.use_violence_detector and index.heads.violence is not None
    if not (request.deduplicate or by_safety or by_violence):
        return is_kept
    vectors = index.search.vectors(page.ids)
    if by_safety or by_violence:
        with metrics.step("safety_time"):
            is_kept &= ~index.heads.is_removed(vectors, by_safety=by_safety, by_violence=by_violence)
    if request.deduplicate:
        with metrics.step("dedup_time"):
            is_kept = kept_images.keep(vectors, is_kept)
    return is_kept


def _field(request: KnnRequest) -> str:
    return "embedding_input" if request.query.vector is not None else "query"
