"""An HTTP server on the loopback interface whose answers are functions of the request handler."""

import contextlib
import functools
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class LoopbackServer:
    url: str
    routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def serve(self, path: str, body: bytes) -> str:
        """Answer 200 with a body; return the full address."""
        self.routes[path] = lambda handler: answer(handler, 200, body)
        return self.url + path


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many clients at once; of what overflows a queue the network loses a second each
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # the client hung up: nothing to tell
            super().handle_error(*_)


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def running(address: str = "127.0.0.1") -> Iterator[LoopbackServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.requests.append(self.path)
            # The header is the Hub's way to say that a file is not there; others take no notice of it.
            missing = functools.partial(answer, status=404, X_Error_Code="EntryNotFound")
            with contextlib.suppress(OSError):  # the client hangs up on what it refuses
                served.routes.get(self.path, missing)(self)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    is_v6 = ":" in address
    with (_Server6 if is_v6 else _Server)((address, 0), Handler) as server:
        served = LoopbackServer(f"http://{f'[{address}]' if is_v6 else address}:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield served
        server.shutdown()
