"""A service on loopback, in a thread."""

import asyncio
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from mappool_assets.lib.serve.server import build_server
from mappool_assets.lib.serve.service import Service
from mappool_assets.lib.serve.settings import ServiceSettings


@dataclass
class RunningService:
    url: str
    service: Service
    settings: ServiceSettings

    def post(self, path: str, document: Any) -> requests.Response:
        body = document if isinstance(document, bytes) else json.dumps(document)
        return requests.post(self.url + path, data=body, timeout=60)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def knn(self, **fields: Any) -> list[dict[str, Any]]:
        answer = self.post("/knn-service", fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, **fields: Any) -> dict[str, str]:
        """Post a search that must be refused; return the error with its ``status``."""
        answer = self.post("/knn-service", fields)
        assert 400 <= answer.status_code < 500, answer.text
        return {"status": answer.status_code, **answer.json()}


@contextlib.contextmanager
def running(settings: ServiceSettings) -> Iterator[RunningService]:
    server = build_server(dataclasses.replace(settings, port=0))
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield RunningService(f"http://127.0.0.1:{port}", server.config.app.state.service, settings)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
