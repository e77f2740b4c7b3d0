"""The service without HTTP: from a document to an answer, with threads for what takes time.

Each kind of work has threads of its own, so that none keeps another from its turn: one thread encodes (a model
gains nothing from two queries at once, and one image is decoded at a time), one evaluates filters, a few fetch, a few
read pictures of the lake, and as many search as there are cores. How many requests wait for them is bounded by the
limit on requests.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.retrieval.index_ledger import BadIndex
from mappool_assets.lib.row_blocks import Float32
from mappool_assets.lib.serve.json_values import Document, id_of, text_of
from mappool_assets.lib.serve.knn_request import KnnRequest, parse_knn_request
from mappool_assets.lib.serve.metrics import WHOLE, Metrics
from mappool_assets.lib.serve.nearest import find_nearest, query_vector, warnings_of
from mappool_assets.lib.serve.query_encoder import QueryEncoder, image_bytes
from mappool_assets.lib.serve.refusals import RequestRefused, refused
from mappool_assets.lib.serve.served_index import Catalogue, ServedIndex, open_served_index
from mappool_assets.lib.serve.settings import ServiceSettings
from mappool_assets.lib.serve.stored_images import StoredImage
from mappool_assets.lib.web.fetch_refused import FetchRefused
from mappool_assets.lib.web.web_fetch import WebFetcher
from mappool_assets.lib.workers import available_cores, limit_threads

T = TypeVar("T")

FETCHES = 4  # of image_url at once
PICTURES = 4  # of the lake read at once; the first of an archive on S3 takes seconds


class Answer(NamedTuple):
    """A JSON document, and what of the request had no effect."""

    content: bytes
    warnings: list[str]


class Service:
    """Opened indexes, an encoder and threads; a context manager.

    Raises
    ------
    MappoolError
        An index or a head cannot be opened, or is of another encoder.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.encoder = QueryEncoder(settings.encoder)
        self.catalogue = Catalogue(settings.indexes, lambda lake: open_served_index(
            lake,
            self.encoder.encoder_id,
            cache=settings.cache,
            safety=settings.safety_head,
            violence=settings.violence_prompts,
            aesthetics=settings.aesthetic_directions,
        ))  # fmt: skip
        self._threads = ExitStack()
        searches = settings.limits.search_threads or available_cores()
        self._searching = self._pool("search", searches, lambda: limit_threads(1))
        self._encoding, self._filtering, self._fetching, self._showing = (
            self._pool(name, threads, lambda: None)
            for name, threads in (("encode", 1), ("filter", 1), ("fetch", FETCHES), ("show", PICTURES))
        )
        self._fetcher = self._threads.enter_context(WebFetcher(settings.url_rules)) if settings.url_rules else None
        self._count_rows()
        if settings.loads_at_start:
            self._encoding.submit(self.encoder.load)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.close()

    def _pool(self, name: str, threads: int, begin: Callable[[], None]) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=begin)
        self._threads.callback(pool.shutdown, wait=False, cancel_futures=True)
        return pool

    # -- what is asked ----------------------------------------------------------------------------------------

    async def knn(self, document: Document) -> Answer:
        """Search; see :mod:`mappool_assets.lib.serve.knn_request`."""
        with self.metrics.step(WHOLE):
            return await self._current(self._knn, document)

    async def _knn(self, document: Document) -> Answer:
        request = parse_knn_request(document, self.settings.limits)
        index = self.catalogue.get(request.index)
        if request.modality == "text":
            raise refused(
                "Captions' vectors are not indexed",
                "modality",
                "image: the index holds the images' vectors",
                "text",
                "Search the images; a text is compared with them too.",
            )
        check = self._deadline()
        query = query_vector(request, index, await self._vectors(request, index))
        selection = None
        if request.filter is not None:
            text = request.filter
            with self.metrics.step("filter_time"):
                selection = await self._on(self._filtering, lambda: index.filters.select(text, check))

        def work() -> bytes:
            return _json(find_nearest(request, index, query, selection, self.metrics, check))

        return Answer(await self._on(self._searching, work), warnings_of(request, index))

    async def metadata(self, document: Document) -> Answer:
        """Return what is known of images: of ``{ids, indice_name}`` a list of ``{id, metadata}``."""
        return await self._current(self._metadata, document)

    async def _metadata(self, document: Document) -> Answer:
        index = self.catalogue.get(text_of(document, "indice_name"))
        ids = document.get("ids")
        most = self.settings.limits.results
        if not isinstance(ids, list) or len(ids) > most:
            got = f"{len(ids):,}" if isinstance(ids, list) else ids
            raise refused(
                "The ids cannot be looked up", "ids", f"a list of at most {most:,}", got, "Send a list of ids."
            )
        numbers, check = [id_of(value, "ids") for value in ids], self._deadline()

        def work() -> bytes:
            with self.metrics.step("metadata_get_time"):
                rows = index.metadata.rows(numbers, check)
            return _json([{"id": image, "metadata": row} for image, row in zip(numbers, rows, strict=True)])

        return Answer(await self._on(self._searching, work), [])

    async def image(self, image_id: str, index_name: str | None) -> StoredImage:
        """Return an image that was fetched."""
        index = self.catalogue.get(index_name)
        image = id_of(image_id, "id")

        def work() -> StoredImage | None:
            uid = index.metadata.rows([image])[0].get("uid")
            return index.images.image(index.metadata.shard_of(image), uid) if uid else None

        found = await self._on(self._showing, work)
        if found is None:
            raise refused(
                "The image was not fetched", "id", "an image of map_images", image_id, "Use its url.", status=404
            )
        return found

    def health(self) -> dict[str, Any]:
        """Return the state of the service: ``ok``, ``starting`` (weights are being loaded) or ``degraded``."""
        state = self.encoder.state
        is_degraded = state.startswith("failed") or bool(self.catalogue.failures)
        return {
            "status": "degraded" if is_degraded else "starting" if state == "loading" else "ok",
            "encoder": {"id": self.encoder.encoder_id, "state": state},
            "indexes": {name: self.catalogue.get(name).describe() for name in self.catalogue.names},
            "not_taken_up": {name: str(error) for name, error in self.catalogue.failures.items()},
            "image_url": self._fetcher is not None,
        }

    async def refresh(self) -> list[str]:
        """Take up indexes that were built anew; return their names."""
        taken_up = await self._on(self._filtering, self.catalogue.refresh)
        self._count_rows()
        return taken_up

    async def _current(self, answer: Callable[[Document], Awaitable[Answer]], document: Document) -> Answer:
        """Answer; where the index turns out to be one of yesterday, take up today's and answer again."""
        try:
            return await answer(document)
        except (BadIndex, SourceChanged):
            if not await self.refresh():
                raise
            return await answer(document)

    # -- steps ------------------------------------------------------------------------------------------------

    async def _vectors(self, request: KnnRequest, index: ServedIndex) -> Float32:
        """Return the vectors (n, d) of the request's input."""
        query = request.query
        if query.vector is not None:
            return query.vector[np.newaxis]
        if query.image_id is not None:
            image = query.image_id
            index.metadata.check([image])
            ids = np.array([image], dtype=np.int64)
            return (await self._on(self._searching, lambda: index.search.vectors(ids))).astype(np.float32)
        if query.texts:
            if (known := self.encoder.remembered(query.texts)) is not None:
                return known
            with self.metrics.step("text_clip_inference_time"):
                return await self._on(self._encoding, lambda: self.encoder.embed_texts(query.texts))
        field = "image" if query.image is not None else "image_url"
        data = image_bytes(query.image) if query.image is not None else await self._fetched(query.image_url or "")
        pixels = self.settings.limits.image_pixels
        with self.metrics.step("image_clip_inference_time"):
            work = functools.partial(self.encoder.embed_image, data, pixels, field)
            return (await self._on(self._encoding, work))[np.newaxis]

    async def _fetched(self, url: str) -> bytes:
        fetcher = self._fetcher
        if fetcher is None:
            raise refused(
                "This service fetches no images",
                "image_url",
                "image, in base64",
                "image_url",
                "Fetch the image yourself and send it, or start the service with fetching enabled.",
            )
        try:
            with self.metrics.step("download_time"):
                return await self._on(self._fetching, lambda: fetcher.get(url))
        except FetchRefused as refusal:
            raise refused(
                "The image was not fetched",
                "image_url",
                "a public http or https address that its site lets us fetch",
                f"{refusal.reason}: {refusal.detail}",
                "Send the image itself.",
            ) from None

    async def _on(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(pool.submit(work))

    def _deadline(self) -> Callable[[], None]:
        """Return what ends work whose answer nobody waits for any more."""
        seconds = self.settings.limits.seconds
        end = time.monotonic() + seconds

        def check() -> None:
            if time.monotonic() > end:
                raise took_too_long(seconds, self.encoder.state)

        return check

    def _count_rows(self) -> None:
        for name in self.catalogue.names:
            self.metrics.rows.labels(name).set(self.catalogue.get(name).search.rows)


def took_too_long(seconds: float, encoder_state: str) -> RequestRefused:
    """Return the refusal of a request whose time is over."""
    is_loading = encoder_state == "loading"
    return refused(
        "The encoder is still being loaded" if is_loading else "The request took too long",
        "time",
        f"{seconds:g} seconds, waiting included",
        "more",
        "Ask again in a while." if is_loading else "Ask for less, or again when there are fewer requests.",
        status=503,
        retry_after_seconds=5,
    )


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
