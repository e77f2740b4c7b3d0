"""Clients that connect and do not get on, against a server of uvicorn with our connections."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from mappool_assets.lib.serve.patient_connection import MOST_HEAD_BYTES, connections_ended_after

SECONDS = 0.4
ANSWER_BYTES = 32_000_000  # more than the buffers of a connection hold


async def answer_at_length(scope, receive, send):
    """Answer with as many bytes as the path says."""
    size = int(scope["path"][1:])
    head = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b" " * size})


@pytest.fixture
def server():
    config = uvicorn.Config(
        answer_at_length, port=0, http=connections_ended_after(SECONDS), lifespan="off", log_config=None,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield server
    server.should_exit = True
    thread.join(20)


@contextlib.contextmanager
def connected(server):
    address = server.servers[0].sockets[0].getsockname()
    with socket.create_connection(address, timeout=10) as client:
        yield client


def test_a_client_that_sends_nothing_is_sent_away(server):
    with connected(server) as client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(server):
    with connected(server) as client:
        client.settimeout(0.02)
        for byte in b"GET /1 HTTP/1.1\r\nHost: " + b"x" * 1000:
            try:
                client.sendall(bytes([byte]))
                assert client.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                pass
            break
        else:
            pytest.fail("it was waited for")


def test_an_answer_that_is_not_read_is_dropped(server):
    with connected(server) as client:
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % ANSWER_BYTES)
        assert client.recv(1) == b"H"
        while server.server_state.connections:
            time.sleep(0.02)
        received = 1
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(1_000_000):
                received += len(chunk)
        assert received < ANSWER_BYTES


def test_a_client_that_gets_on_is_kept(server):
    request = b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(server) as client:
        for _ in range(4):  # longer than one wait, together
            client.sendall(request)
            while not client.recv(1000).endswith(b"   "):
                pass
            time.sleep(SECONDS / 2)


def test_a_head_without_an_end_is_refused(served):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (MOST_HEAD_BYTES - 100))
        client.sendall(b"x" * 200)
        assert client.recv(100).startswith(b"HTTP/1.1 400")
