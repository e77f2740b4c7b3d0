"""A file server on loopback that answers byte ranges and counts what it sends."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Traffic:
    """What was sent so far: answers, and bytes of their bodies."""

    url: str
    requests: int = 0
    bytes_sent: int = 0


@contextlib.contextmanager
def serve(folder: Path, latency_seconds: float = 0.0) -> Iterator[Traffic]:
    """Serve the files of a folder, and a page that links to them; each answer begins after the latency."""
    traffic, lock = Traffic(""), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in few packets

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.strip("/")
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not name:
                page = "".join(f'<a href="{path.name}">{path.name}</a>' for path in sorted(folder.iterdir()))
                self.answer(200, page.encode(), {})
            elif asked is None:
                self.answer(200, (folder / name).read_bytes(), {})
            else:
                self.answer_range(folder / name, int(asked[1]), int(asked[2]))

        def answer_range(self, path: Path, first: int, last: int) -> None:
            status = path.stat()
            with path.open("rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
            content_range = f"bytes {first}-{first + len(body) - 1}/{status.st_size}"
            self.answer(206, body, {"ETag": f'"{status.st_mtime_ns:x}"', "Content-Range": content_range})

        def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            with lock:  # before sending: whoever has the last byte reads the right sum
                traffic.requests += 1
                traffic.bytes_sent += len(body)
            time.sleep(latency_seconds)
            self.send_response(code)
            for header, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    traffic.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield traffic
    finally:
        server.shutdown()
        server.server_close()
