"""A proxy through which every file is fetched, and what can still be checked of the addresses that it dials."""

from __future__ import annotations

import re
import socket
import urllib.parse

import httpcore2

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.web.guarded_network import BadHost, BlockedAddress, is_public_address

# Names that are never public: RFC 6761 §6.3, RFC 6762 §3, RFC 8375 §4, and ICANN's reservation of 2024 for private use.
LOCAL_DOMAINS = (".localhost", ".local", ".home.arpa", ".internal")
HOST_NAME = re.compile(r"[0-9a-z._-]+")  # what DNS names are made of, and the old spellings of IPv4 addresses


def parse_proxy(url: str) -> httpcore2.Proxy:
    """Return the proxy at ``http://[user:password@]host:port``.

    Raises
    ------
    BadSetting
        Another form. The error does not show it, as it may hold a password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad_proxy("an address that cannot be parsed") from None
    if parts.scheme != "http":
        raise _bad_proxy("another scheme")
    if not host or not port or not host.isascii():
        raise _bad_proxy("no host or no port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _bad_proxy("something after the port")
    address, decoded = httpcore2.URL(scheme="http", host=host, port=port, target="/"), urllib.parse.unquote_to_bytes
    if parts.username is None:
        return httpcore2.Proxy(address)
    return httpcore2.Proxy(address, (decoded(parts.username), decoded(parts.password or "")))


def _bad_proxy(got: str) -> BadSetting:
    return BadSetting(
        "The egress proxy's address cannot be used",
        where="MAPPOOL_EGRESS_PROXY",
        rule="http://[user:password@]host:port",
        got=got,
        action="Correct the address; it is not shown here, as it may hold a password.",
    )


def refuse_local_host(host: str) -> None:
    """Refuse a host that is not a public one by its mere name, as a proxy is about to resolve it.

    Parameters
    ----------
    host : str
        Of an address, without brackets.

    Raises
    ------
    BlockedAddress
        An IP address that is not public, in any spelling that resolvers take, or a name of this machine or network.
    BadHost
        Neither a name nor an address: proxies differ in what they make of that.
    """
    if ":" in host:
        if not is_public_address(host):
            raise BlockedAddress(f"{host} is not public")
        return
    if not HOST_NAME.fullmatch(host):
        raise BadHost(f"{host!r} is not a host name")
    name = host.rstrip(".")
    try:
        is_public = is_public_address(socket.inet_ntoa(socket.inet_aton(name)))  # 0x7f.1 is 127.0.0.1
    except OSError:
        is_public = "." in name and not name.endswith(LOCAL_DOMAINS)
    if not is_public:
        raise BlockedAddress(f"{host} is not public")
