"""The service over HTTP: routes, limits, errors as JSON, and headers that leave a browser nothing to guess."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.serve.http_layers import PlainPaths, SafeHeaders, SentInParts
from mappool_assets.lib.serve.json_values import Document, parse_document
from mappool_assets.lib.serve.page_files import PAGE_POLICY, PageFile, read_page
from mappool_assets.lib.serve.refusals import RequestRefused, as_document, brief, refused, status_of, unreadable
from mappool_assets.lib.serve.service import Answer, Service, took_too_long
from mappool_assets.lib.serve.settings import ServiceSettings

LOG = logging.getLogger("mappool.serve")

WARNINGS_HEADER = "Mappool-Warnings"
REFRESH_SECONDS = 30.0  # until an index that was built anew is noticed
SHOWN_CHARACTERS = 200  # of a query, in a log that shows queries
ADDRESSES = "POST /knn-service, /metadata; GET /, /indices-list, /image/ID, /health, /metrics, /metrics-summary"
IMAGE_POLICY = "sandbox; default-src 'none'"

Handler = Callable[[Request], Awaitable[Response]]


def build_app(settings: ServiceSettings) -> Starlette:
    """Open the indexes; return the application.

    Raises
    ------
    MappoolError
        An index or a head cannot be opened, or is of another encoder.
    """
    service = Service(settings)
    routes = _Routes(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with service:
            refreshing = asyncio.create_task(_refresh_for_ever(service))
            yield
            refreshing.cancel()

    middleware = [Middleware(PlainPaths), Middleware(SafeHeaders), Middleware(SentInParts)]
    if settings.is_for_any_origin:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=[WARNINGS_HEADER, "Retry-After"],
            )
        )
    app = Starlette(
        routes=routes.all(),
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error, OSError: _lake_error, Exception: _bug},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def _refresh_for_ever(service: Service) -> None:
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            for name in await service.refresh():
                LOG.info("index %s was built anew and is served", name)
        except Exception:  # the lake is out of reach: what is open is served on
            LOG.exception("looking for new indexes failed")


class _Bounded:
    """An address that is called as ASGI has it, because what it bounds ends with the last byte of the answer."""

    def __init__(self, routes: _Routes, name: str, handler: Handler) -> None:
        self._routes, self._name, self._handler = routes, name, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._routes.bounded(self._name, self._handler, request)
        with self._routes.sending(len(response.body)):
            await response(scope, receive, send)


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service, self._page = service, read_page()
        self._limits = service.settings.limits
        self._in_flight = self._unsent_bytes = 0

    def all(self) -> list[Route]:
        """Return every route."""
        pages = [Route(path, self._page_file(file), methods=["GET"]) for path, file in self._page.items()]
        return [
            Route("/knn-service", _Bounded(self, "knn", self._knn), methods=["POST"]),
            Route("/metadata", _Bounded(self, "metadata", self._metadata), methods=["POST"]),
            Route("/image/{id}", _Bounded(self, "image", self._image), methods=["GET"]),
            Route("/indices-list", self._indices, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/metrics-summary", self._summary, methods=["GET"]),
            Route("/config.json", self._config, methods=["GET"]),
            *pages,
        ]

    # -- what takes time: counted, bounded and logged ---------------------------------------------------------

    async def bounded(self, name: str, handler: Handler, request: Request) -> Response:
        """Return what a handler answers, or why it does not."""
        began = time.perf_counter()
        response = await self._answered(request, handler)
        self._service.metrics.answers.labels(name, str(response.status_code)).inc()
        asked = getattr(request.state, "asked", "")
        LOG.info("%s %d %.0f ms%s", name, response.status_code, 1000 * (time.perf_counter() - began), asked)
        return response

    @contextlib.contextmanager
    def sending(self, size: int) -> Iterator[None]:
        """Count an answer's bytes while it is sent."""
        self._unsent_bytes += size
        try:
            yield
        finally:
            self._unsent_bytes -= size

    async def _answered(self, request: Request, handler: Handler) -> Response:
        if self._in_flight >= self._limits.requests or self._unsent_bytes >= self._limits.unsent_bytes:
            return _error(_busy(self._limits.requests))
        self._in_flight += 1
        self._service.metrics.in_flight.set(self._in_flight)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await handler(request)
        except TimeoutError:
            return _error(took_too_long(self._limits.seconds, self._service.encoder.state))
        except MappoolError as error:
            if not isinstance(error, RequestRefused) and status_of(error) >= 500:
                LOG.error("%s", error)
            return _error(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; the log's word for it
        except OSError as error:
            return await _lake_error(request, error)
        except Exception as error:
            return await _bug(request, error)
        finally:
            self._in_flight -= 1
            self._service.metrics.in_flight.set(self._in_flight)

    async def _knn(self, request: Request) -> Response:
        document = await self._document(request)
        self._note(request, document)
        return _answer(await self._service.knn(document))

    async def _metadata(self, request: Request) -> Response:
        return _answer(await self._service.metadata(await self._document(request)))

    async def _image(self, request: Request) -> Response:
        found = await self._service.image(request.path_params["id"], request.query_params.get("index") or None)
        headers = {"Content-Security-Policy": IMAGE_POLICY, "Cache-Control": "private, max-age=3600"}
        return Response(found.data, media_type=found.mime, headers=headers)

    async def _document(self, request: Request) -> Document:
        most = self._limits.body_bytes
        length = request.headers.get("content-length", "")
        body = bytearray()
        if length.isdecimal() and int(length[:18]) > most:
            raise _too_large(most, f"{int(length[:18]):,} bytes")
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _too_large(most, "more")
        return parse_document(bytes(body))

    def _note(self, request: Request, document: Document) -> None:
        if self._service.settings.logs_queries:
            asked = [document[name] for name in ("text", "texts", "image_url", "image_id") if document.get(name)]
            request.state.asked = f" {brief(asked)[:SHOWN_CHARACTERS]}"  # a repr: one line

    # -- what is there at once --------------------------------------------------------------------------------

    async def _indices(self, _: Request) -> Response:
        return JSONResponse(self._service.catalogue.names)

    async def _health(self, _: Request) -> Response:
        health = await asyncio.to_thread(self._service.health)  # which lists files of the lake
        return JSONResponse(health, status_code=503 if health["status"] == "degraded" else 200)

    async def _metrics(self, _: Request) -> Response:
        return Response(self._service.metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def _summary(self, _: Request) -> Response:
        return Response(self._service.metrics.summary(), media_type="text/plain")

    async def _config(self, request: Request) -> Response:
        origin = str(request.base_url).rstrip("/")
        return JSONResponse({"defaultBackend": origin, "defaultIndex": self._service.catalogue.names[0]})

    def _page_file(self, file: PageFile) -> Handler:
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache", "ETag": file.tag}

        async def handle(request: Request) -> Response:
            if request.headers.get("if-none-match") == file.tag:
                return Response(status_code=304, headers=headers)
            return Response(file.content, media_type=file.mime, headers=headers)

        return handle


def _answer(answer: Answer) -> Response:
    headers = {WARNINGS_HEADER: "; ".join(answer.warnings)} if answer.warnings else {}
    return Response(answer.content, media_type="application/json", headers=headers)


def _error(error: MappoolError) -> Response:
    headers = {}
    if isinstance(error, RequestRefused) and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return JSONResponse(as_document(error), status_code=status_of(error), headers=headers)


def _busy(most: int) -> RequestRefused:
    return refused(
        "The service is busy",
        "requests",
        f"at most {most:,} at once, and answers that are read",
        "more",
        "Ask again in a second.",
        status=503,
        retry_after_seconds=1,
    )


def _too_large(most: int, got: str) -> RequestRefused:
    return refused("The body is too large", "body", f"at most {most:,} bytes", got, "Send less.", status=413)


async def _lake_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    LOG.error("the lake cannot be read", exc_info=error)
    return _error(unreadable("lake", error))


async def _bug(_: Request, error: Exception) -> Response:
    LOG.error("a bug", exc_info=error)
    action = "Report it with the lines of the service's log."
    return _error(refused("The service has a bug", "service", "an answer", type(error).__name__, action, status=500))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = "There is no such page" if error.status_code == 404 else error.detail
    problem = refused(what, "request", ADDRESSES, f"{request.method} {request.url.path}", "Correct it.")
    return JSONResponse(as_document(problem), status_code=error.status_code, headers=error.headers)
