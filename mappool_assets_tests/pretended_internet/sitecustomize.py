"""An Internet of a few names, for processes that have this folder on PYTHONPATH; nothing of theirs leaves the machine.

A dial of :data:`PUBLIC` reaches loopback instead, so that a server of a test stands at a public address. Only the
system's resolver and network are replaced: which address may be dialled is decided by the code under test.
"""

import contextlib
import errno
import ipaddress
import os
import socket

PUBLIC = "192.175.48.1"  # of the black hole that IANA keeps for stray questions (AS112): public, and nobody's
NAMES = {
    "public.example": [PUBLIC],
    "inside.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "both.example": ["127.0.0.1", PUBLIC],
}
resolve, dial = socket.getaddrinfo, socket.socket.connect


def getaddrinfo(host, port, *args, **kwargs):
    if host in NAMES:
        return [entry for address in NAMES[host] for entry in resolve(address, port, *args, **kwargs)]
    if host != "localhost":
        with contextlib.suppress(OSError):
            socket.inet_aton(host)  # any of the ways to write an IPv4 address
            return resolve(host, port, *args, **kwargs)
        try:
            ipaddress.ip_address(host)
        except ValueError:
            host.encode("idna")  # UnicodeError where no name can be like that, as the system's has it
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return resolve(host, port, *args, **kwargs)


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        ip = ipaddress.ip_address(address[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if address[0] == PUBLIC:
            address = ("127.0.0.1", *address[1:])
        elif not (ip.is_loopback or ip.is_unspecified):
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    return dial(self, address)


socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
