"""``mappool serve``: the service on an address, until it is told to stop."""

from __future__ import annotations

import logging

import uvicorn

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.serve.app import build_app
from mappool_assets.lib.serve.patient_connection import MOST_HEAD_BYTES, connections_ended_after
from mappool_assets.lib.serve.settings import ServiceSettings

KEEP_ALIVE_SECONDS = 30
READING_SECONDS = 60  # for an answer of some MB, by a slow line
STOP_SECONDS = 5  # for requests under way when it is told to stop


def serve(settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM; log a line a request to standard error, without what was searched for.

    Raises
    ------
    MappoolError
        An index or a head cannot be opened, or is of another encoder.
    BadSetting
        It cannot listen at the address.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for ours in ("mappool", "uvicorn"):  # open_clip tells of each of its steps, in nobody's name
        logging.getLogger(ours).setLevel(logging.INFO)
    server = build_server(settings)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's only way to say it; why is in the log's last lines
        raise BadSetting(
            "The service cannot listen there",
            where=f"{settings.host}, port {settings.port}",
            rule="an address of this machine, and a port that no other program has",
            got="no listening socket",
            action="Choose another port, or end the program that has it.",
        ) from error


def build_server(settings: ServiceSettings) -> uvicorn.Server:
    """Open the indexes; return the server, not yet listening."""
    return uvicorn.Server(
        uvicorn.Config(
            build_app(settings),
            host=settings.host,
            port=settings.port,
            http=connections_ended_after(KEEP_ALIVE_SECONDS + settings.limits.seconds + READING_SECONDS),
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            ws="none",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            log_config=None,
            lifespan="on",
        )
    )
