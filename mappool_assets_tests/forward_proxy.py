"""A forward proxy on the loopback interface: it believes that every name is one of the servers it was told of."""

import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ForwardProxy:
    """Where it listens, which ``host:port`` it sends to which loopback port, and what was asked of it."""

    address: str
    ports: dict[str, int] = field(default_factory=dict)
    credentials: str | None = None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def running_proxy(ports: dict[str, int], credentials: str | None = None) -> Iterator[ForwardProxy]:
    """Run one; ``credentials`` is the Proxy-Authorization without which it answers 407."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            if (port := self.admitted(parts.netloc if parts.port else f"{parts.netloc}:80")) is None:
                return
            onward = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            onward.request("GET", path, headers={k: v for k, v in self.headers.items() if "Proxy" not in k})
            answer = onward.getresponse()
            body = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_CONNECT(self) -> None:
            if (port := self.admitted(self.path)) is None:
                return
            with socket.create_connection(("127.0.0.1", port), timeout=5) as onward:
                self.send_response_only(200)
                self.end_headers()
                threading.Thread(target=pump, args=(self.connection, onward), daemon=True).start()
                pump(onward, self.connection)
            self.close_connection = True

        def admitted(self, authority: str) -> int | None:
            proxy.asked.append(f"{self.command} {self.path}")
            proxy.headers.append(dict(self.headers))
            if proxy.credentials is not None and self.headers["Proxy-Authorization"] != proxy.credentials:
                return self.refuse(407)
            return proxy.ports.get(authority) or self.refuse(502)

        def refuse(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        proxy = ForwardProxy(f"127.0.0.1:{server.server_port}", ports, credentials)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        server.shutdown()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, until it ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
