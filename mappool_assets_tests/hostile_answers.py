"""What a bad server does with a request: each function returns a route of :mod:`loopback_server`.

Nothing here ends a wait by a clock of its own except where it says so: it is the client that has to hang up.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import os
import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from mappool_assets_tests.loopback_server import answer

Route = Callable[[BaseHTTPRequestHandler], None]

DRIP_SECONDS = 0.5  # shorter than any wait for one read: only a deadline over all of them helps
HUGE_BYTES = 100_000_000


def whole(data: bytes, **headers: str) -> Route:
    return lambda handler: answer(handler, 200, data, **{"Content_Type": "image/jpeg", **headers})


def status(code: int, **headers: str) -> Route:
    return lambda handler: answer(handler, code, b"<h1>No</h1>", **{"Content_Type": "text/html", **headers})


def first_then(first: Route, later: Route) -> Route:
    """Answer the first request one way and all others another."""
    asked = itertools.count()
    return lambda handler: (later if next(asked) else first)(handler)


def redirect(location: str, code: int = 302) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(code)
        handler._headers_buffer.append(f"Location: {location}\r\n".encode())  # send_header() takes Latin-1 only
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return route


def head(handler: BaseHTTPRequestHandler, length: int | None, **headers: str) -> None:
    """Send a head that announces a length, or none, and that the connection ends with the body."""
    handler.send_response(200)
    handler.send_header("Content-Type", "image/jpeg")
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True


def dripping(data: bytes) -> Route:
    """Send the head in time, then a byte each :data:`DRIP_SECONDS`."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, len(data))
        drip(handler, data)

    return route


def dripping_head(data: bytes) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        drip(handler, b"HTTP/1.1 200 OK\r\nX-Wait: 1\r\n")
        handler.wfile.write(f"Content-Length: {len(data)}\r\n\r\n".encode() + data)

    return route


def drip(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    for byte in data:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(DRIP_SECONDS)


def early_hints_for_ever(handler: BaseHTTPRequestHandler) -> None:
    """Send answers before the answer, at a hundred a second."""
    while True:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        time.sleep(0.01)


def endless(bytes_a_write: int) -> Route:
    """Send a body that never ends, a hundred writes a second."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, None)
        while True:
            handler.wfile.write(bytes(bytes_a_write))
            time.sleep(0.01)

    return route


def endless_chunks(handler: BaseHTTPRequestHandler) -> None:
    head(handler, None, Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"40000\r\n" + bytes(0x40000) + b"\r\n")
        time.sleep(0.01)


def huge(is_announced: bool) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, HUGE_BYTES if is_announced else None)
        for _ in range(HUGE_BYTES // 1_000_000):
            handler.wfile.write(bytes(1_000_000))

    return route


def until_closed(data: bytes) -> Route:
    """Announce no length; the body ends with the connection."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, None)
        handler.wfile.write(data)

    return route


def chunked(data: bytes) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, None, Transfer_Encoding="chunked")
        for start in range(0, len(data), 100):
            piece = data[start : start + 100]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return route


def stalling(data: bytes, length: int) -> Route:
    """Announce more than there is, and say no more until the client hangs up."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        claiming(length, data)(handler)
        silent(handler)

    return route


def claiming(length: int, data: bytes) -> Route:
    """Announce a length that is not the body's, and end the connection after the body."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, length)
        handler.wfile.write(data)

    return route


def reset_after(data: bytes, length: int) -> Route:
    """Break the connection off in the midst of the body, as a host that crashes does."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        head(handler, length)
        handler.wfile.write(data)
        handler.wfile.flush()
        at_once = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        os.close(handler.connection.detach())  # close() alone waits for the handler's own files

    return route


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Answer nothing until the client hangs up."""
    handler.close_connection = True
    handler.connection.recv(1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def raw(data: bytes) -> Route:
    """Send bytes that need not be HTTP, then end the connection."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return route


def with_header_twice(data: bytes, name: str, *values: str) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for value in values:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return route


@functools.cache
def gzip_bomb() -> bytes:
    """Return 100 kB that unpack to 100 MB."""
    return gzip.compress(bytes(HUGE_BYTES), 9, mtime=0)
