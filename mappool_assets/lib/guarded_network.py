"""Connections to public addresses only, on which no wait outlasts the deadline of the caller's thread.

The guard sits where the connection is made: a host name is resolved, its addresses are checked and the checked
address itself is dialled. A redirect and a name that resolves differently the second time (DNS rebinding) both pass
through it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import ContextVar
from typing import Any

import httpcore2
import httpx2

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
GIVEN_OUT_UNICAST = ipaddress.IPv6Network("2000::/3")  # all IPv6 unicast space that IANA has given out

_deadline: ContextVar[float] = ContextVar("deadline")  # perf_counter() at which this thread's fetch ends


class BlockedAddress(Exception):
    """A host none of whose addresses is public."""


class NoSuchHost(Exception):
    """A name that the resolver knows not to exist."""


@contextlib.contextmanager
def deadline_after(seconds: float) -> Iterator[None]:
    """Hold every wait of this thread on guarded connections under one deadline."""
    token = _deadline.set(time.perf_counter() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float:
    """Return the time until this thread's deadline; not positive once it has passed."""
    return _deadline.get() - time.perf_counter()


def within_deadline(timeout: float | None) -> float:
    """Shorten a timeout to the time left, raising httpcore2's own error where none is."""
    left = seconds_left()
    if left <= 0:
        raise httpcore2.ReadTimeout("the total deadline has passed")
    return left if timeout is None else min(timeout, left)


def is_public_address(address: str) -> bool:
    """Tell whether an IP address is one of the public Internet, also inside IPv6 forms that carry an IPv4 one.

    >>> is_public_address("8.8.8.8"), is_public_address("::ffff:127.0.0.1"), is_public_address("169.254.169.254")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public_address(str(inner))
        return ip.is_global and ip in GIVEN_OUT_UNICAST  # is_global alone passes unassigned and site-local space
    return ip.is_global and not ip.is_multicast


class GuardedBackend(httpcore2.NetworkBackend):
    """Dial only checked addresses, and hold every wait under the fetch's deadline."""

    def __init__(self, allow_private_addresses: bool, resolver: ThreadPoolExecutor) -> None:
        self._allow_private_addresses = allow_private_addresses
        self._resolver = resolver
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore2.NetworkStream:
        """Connect to the first public address of a host that answers."""
        failure: Exception | None = None
        for address in self._checked_addresses(host, port):
            try:
                stream = self._backend.connect_tcp(address, port, within_deadline(timeout), *args, **kwargs)
                return _DeadlineStream(stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    def _checked_addresses(self, host: str, port: int) -> list[str]:
        # In a thread, because getaddrinfo has no timeout of its own.
        pending = self._resolver.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = pending.result(within_deadline(None))
        except FutureTimeoutError:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
                raise NoSuchHost(f"{host} does not exist") from None
            raise httpcore2.ConnectError(f"{host} was not resolved: {error}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [a for a in addresses if self._allow_private_addresses or is_public_address(a)]
        if not allowed:
            raise BlockedAddress(f"{host} is at {', '.join(addresses)}, which is not public")
        return allowed


class _DeadlineStream(httpcore2.NetworkStream):
    """A connection on which no read or write outlasts the fetch in this thread, however slowly bytes drip."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, within_deadline(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, within_deadline(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, within_deadline(timeout))
        return _DeadlineStream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class PoolTransport(httpx2.BaseTransport):
    """httpx2 over connections that stay open when the client of one attempt closes."""

    def __init__(self, pool: httpcore2.ConnectionPool, stall_seconds: float) -> None:
        self._pool = pool
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), stall_seconds)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; redirects are the caller's."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                extensions={"timeout": self._timeouts},
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_PoolStream(answer))


class _PoolStream(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
