"""``mappool serve``: the service on an address, until it is told to stop."""

from __future__ import annotations

import logging

import uvicorn

from mappool_assets.lib.serve.app import build_app
from mappool_assets.lib.serve.settings import ServiceSettings

KEEP_ALIVE_SECONDS = 30
STOP_SECONDS = 5  # for requests under way when it is told to stop


def serve(settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM; log a line a request to standard error, without what was searched for.

    Raises
    ------
    MappoolError
        An index or a head cannot be opened, or is of another encoder.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for noisy in ("httpx", "httpx2", "open_clip"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    build_server(settings).run()


def build_server(settings: ServiceSettings) -> uvicorn.Server:
    """Open the indexes; return the server, not yet listening."""
    return uvicorn.Server(
        uvicorn.Config(
            build_app(settings),
            host=settings.host,
            port=settings.port,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            log_config=None,
            lifespan="on",
        )
    )
