"""A file server on loopback that answers byte ranges and misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler"], bool]  # answers the request itself and returns True, or leaves it

# So that a client without limits of its own fails its test instead of hanging in it.
LONGEST_DRIP_SECONDS = 30.0
MOST_REQUESTS = 200


def fine(handler: Handler) -> bool:
    return False


@dataclass
class RangeServer:
    """What the server has, and its faults: each request takes one of the queue, until none is left."""

    root: Path
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    always: Fault = fine  # asked at every request that the queue left unanswered
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    salt: str = ""  # part of every ETag


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms between its headers and its body
    state: RangeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.state.requests.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if (self.state.faults and self.state.faults.pop(0)(self)) or self.state.always(self):
            return
        path = self.file
        if path.is_dir():
            names = sorted(f"{child.name}/" if child.is_dir() else child.name for child in path.iterdir())
            self.answer(200, "".join(f'<a href="{name}">{name}</a>' for name in names).encode(), {})
        elif path.is_file():
            self.answer_range()
        else:
            self.answer(404, b"", {})

    @property
    def file(self) -> Path:
        """What the address names, whether it is there or not."""
        return self.state.root / unquote(urlsplit(self.path).path).lstrip("/")

    @property
    def asked(self) -> tuple[int, int]:
        """First and last byte asked for; (0, -1) where the request names no range."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(found[1]), int(found[2])) if found else (0, -1)

    def asks_for(self, file_name: str, byte: int) -> bool:
        """Tell whether a byte of a file is among those asked for."""
        first, last = self.asked
        return self.file.name == file_name and first <= byte <= last

    @property
    def etag(self) -> str:
        """What the content of a file that is there goes by."""
        found = self.file.stat()
        name = f"{found.st_size}-{found.st_mtime_ns}-{self.state.salt}"
        return f'"{hashlib.sha256(name.encode()).hexdigest()[:16]}"'

    def answer_range(self, cut: int | None = None) -> None:
        """Answer with the bytes asked for, or only so many of them."""
        size, (first, last), headers = self.file.stat().st_size, self.asked, {"ETag": self.etag}
        if last < first:
            self.answer(200, self.file.read_bytes(), headers)
        elif first >= size:
            self.answer(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
        else:
            last = min(last, size - 1)
            with self.file.open("rb") as file:
                file.seek(first)
                content = file.read(last - first + 1)
            self.answer(206, content, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, cut)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.state.bytes_sent += len(body[:cut])  # before sending: whoever has the last byte reads the right sum
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
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
        handler.answer_range(cut=length)
        return True

    return fault


def whole_file(handler: Handler) -> bool:
    """Ignore the Range header."""
    handler.answer(200, handler.file.read_bytes(), {})
    return True


def changed(handler: Handler) -> bool:
    """From now on the files have other ETags, as if their content had changed."""
    handler.state.salt = "changed"
    return False


def drip(seconds: float) -> Fault:
    """Send a byte every so many seconds, then break the connection."""

    def fault(handler: Handler) -> bool:
        handler.answer_range(cut=1)
        first, last = handler.asked
        with contextlib.suppress(OSError):  # the client hangs up
            last = min(last, first + int(LONGEST_DRIP_SECONDS / seconds))
            for byte in handler.file.read_bytes()[first + 1 : last + 1]:
                time.sleep(seconds)
                handler.wfile.write(bytes([byte]))
        return True

    return fault


def silence(handler: Handler) -> bool:
    """Send one byte, then nothing until the client hangs up."""
    handler.answer_range(cut=1)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    return True


class From:
    """A fault that begins with the first request for a certain byte of a file: that one only, or many from then on."""

    def __init__(self, file_name: str, byte: int, fault: Fault, *, lasting: bool = False) -> None:
        self.file_name, self.byte, self.fault = file_name, byte, fault
        self.has_begun, self._left = False, MOST_REQUESTS if lasting else 1

    def __call__(self, handler: Handler) -> bool:
        self.has_begun = self.has_begun or handler.asks_for(self.file_name, self.byte)
        if not self.has_begun or not self._left:
            return False
        self._left -= 1
        return self.fault(handler)


def break_at(byte: int) -> Fault:
    """End the answer, in order, before a byte of the file."""
    return lambda handler: reset_after(max(byte - handler.asked[0], 0))(handler)


def reset_at(byte: int) -> Fault:
    """Send what lies before a byte of the file, then a TCP reset: what the client has not read yet may be lost."""

    def fault(handler: Handler) -> bool:
        break_at(byte)(handler)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(handler.connection.detach())
        return True

    return fault


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # clients hang up on what they refuse
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serve(root: Path) -> Iterator[RangeServer]:
    state = RangeServer(root)
    handler = type("BoundHandler", (Handler,), {"state": state})
    server = Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
