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
from contextvars import ContextVar
from typing import Any

import httpcore2

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
GIVEN_OUT_UNICAST = ipaddress.IPv6Network("2000::/3")  # all IPv6 unicast space that IANA has given out
NAMES_KEPT_SECONDS = 60.0  # our choice: lists of images come back to the same hosts, and tire resolvers
MAX_NAMES_KEPT = 4096

_deadline: ContextVar[float] = ContextVar("deadline")  # perf_counter() at which this thread's fetch ends


class NoSuchHost(httpcore2.ConnectError):
    """A name that the resolver knows not to exist."""


class BadHost(httpcore2.ConnectError):
    """What no host can be called."""


class BadCertificate(httpcore2.ConnectError):
    """A host that does not prove its name."""


class BlockedAddress(httpcore2.ConnectError):
    """A host none of whose addresses is public."""


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
    """Makes connections to checked addresses only, on which no wait outlasts the deadline of the thread.

    Parameters
    ----------
    allow_private_addresses : bool
        Whether all addresses pass.
    resolver : ThreadPoolExecutor
        Its threads look up names, as that has no timeout of its own; the caller's to shut down.
    """

    def __init__(self, allow_private_addresses: bool, resolver: ThreadPoolExecutor) -> None:
        self._allow_private_addresses = allow_private_addresses
        self._resolver = resolver
        self._backend = httpcore2.SyncBackend()
        self._names: dict[str, tuple[float, list[str]]] = {}  # until when (of perf_counter) which addresses

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore2.NetworkStream:
        """Connect to the first public address of a host, an IPv6 one in brackets, that answers.

        Raises
        ------
        httpcore2.ConnectError
            None does; or :class:`NoSuchHost`, :class:`BadHost` or :class:`BlockedAddress`.
        httpcore2.TimeoutException
            None does in time.
        """
        failure: Exception | None = None
        for address in self._checked_addresses(host.strip("[]")):
            try:
                stream = self._backend.connect_tcp(address, port, within_deadline(timeout), *args, **kwargs)
                return _DeadlineStream(stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = type(error)(f"{host}: {error}")
        assert failure is not None
        raise failure

    def _checked_addresses(self, host: str) -> list[str]:
        ends, found = self._names.get(host, (0.0, []))
        if time.perf_counter() >= ends:
            found = self._looked_up(host)
            if len(self._names) >= MAX_NAMES_KEPT:
                self._names.clear()
            self._names[host] = time.perf_counter() + NAMES_KEPT_SECONDS, found
        allowed = [address for address in found if self._allow_private_addresses or is_public_address(address)]
        if not allowed:
            raise BlockedAddress(f"{host} is at {', '.join(found)}, which is not public")
        return allowed

    def _looked_up(self, host: str) -> list[str]:
        pending = self._resolver.submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            found = pending.result(within_deadline(None))
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
                raise NoSuchHost(f"{host} does not exist") from None
            raise httpcore2.ConnectError(f"{host} was not resolved: {error}") from None
        except UnicodeError as error:  # a label that is empty or longer than 63 characters
            raise BadHost(f"{host}: {error}") from None
        return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


class _DeadlineStream(httpcore2.NetworkStream):
    """A connection on which no read or write outlasts the fetch in this thread, however slowly bytes drip."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._was_read = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._was_read = True
        return self._stream.read(max_bytes, within_deadline(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._was_read = False
        self._stream.write(buffer, within_deadline(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, within_deadline(timeout)))
        except httpcore2.ConnectError as error:
            is_bad = isinstance(error.__cause__, ssl.SSLCertVerificationError)
            raise (BadCertificate if is_bad else httpcore2.ConnectError)(f"{server_hostname}: {error}") from None
        except ValueError as error:  # a name that no certificate can bear
            raise BadHost(f"{server_hostname}: {error}") from None

    def get_extra_info(self, info: str) -> Any:
        """Tell what httpcore2 does; by "was_read", whether anything was read since the last request was sent."""
        return self._was_read if info == "was_read" else self._stream.get_extra_info(info)
