"""A file server on loopback that answers byte ranges and misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler"], bool]  # answers the request itself and returns True, or leaves it


@dataclass
class RangeServer:
    """What the server has, and a queue of faults: each request takes one, until none is left."""

    root: Path
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    salt: str = ""  # part of every ETag


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: RangeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.state.requests.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if self.state.faults and self.state.faults.pop(0)(self):
            return
        path = self.state.root / unquote(urlsplit(self.path).path).lstrip("/")
        if path.is_dir():
            names = sorted(f"{child.name}/" if child.is_dir() else child.name for child in path.iterdir())
            self.answer(200, "".join(f'<a href="{name}">{name}</a>' for name in names).encode(), {})
        elif path.is_file():
            self.answer_range(path.read_bytes())
        else:
            self.answer(404, b"", {})

    def answer_range(self, content: bytes, cut: int | None = None) -> None:
        etag = f'"{hashlib.sha256(content + self.state.salt.encode()).hexdigest()[:16]}"'
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found is None:
            self.answer(200, content, {"ETag": etag})
            return
        first, last = int(found[1]), min(int(found[2]), len(content) - 1)
        if first >= len(content):
            self.answer(416, b"", {"ETag": etag, "Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self.answer(206, content[first : last + 1], headers, cut)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.state.bytes_sent += len(body[:cut])
        if cut is not None:
            self.close_connection = True


def status(code: int, **headers: str) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.answer(code, b"", {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def reset_after(length: int) -> Fault:
    """Send the first bytes of the range, then break the connection."""

    def fault(handler: Handler) -> bool:
        handler.answer_range((handler.state.root / handler.path.lstrip("/")).read_bytes(), cut=length)
        return True

    return fault


def whole_file(handler: Handler) -> bool:
    """Ignore the Range header."""
    handler.answer(200, (handler.state.root / handler.path.lstrip("/")).read_bytes(), {})
    return True


def changed(handler: Handler) -> bool:
    """From now on the files have other ETags, as if their content had changed."""
    handler.state.salt = "changed"
    return False


def drip(seconds: float) -> Fault:
    """Send one byte, then keep the connection open and silent."""

    def fault(handler: Handler) -> bool:
        handler.send_response(206)
        content = (handler.state.root / handler.path.lstrip("/")).read_bytes()
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups()
        etag = f'"{hashlib.sha256(content + handler.state.salt.encode()).hexdigest()[:16]}"'
        handler.send_header("ETag", etag)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        handler.send_header("Content-Length", str(int(last) - int(first) + 1))
        handler.end_headers()
        for position in range(int(first), int(last)):
            handler.wfile.write(content[position : position + 1])
            handler.wfile.flush()
            time.sleep(seconds)
        return True

    return fault


def fine(handler: Handler) -> bool:
    return False


@contextlib.contextmanager
def serve(root: Path) -> Iterator[RangeServer]:
    state = RangeServer(root)
    handler = type("BoundHandler", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
