"""Addresses of a public server that lead inside, and of one inside: none of the second may ever be asked."""

from __future__ import annotations

from collections.abc import Iterator

from mappool_assets_tests import hostile_answers as answers
from mappool_assets_tests.hostile_web import GOOD, Address
from mappool_assets_tests.loopback_server import LoopbackServer


def inside_forms(inside: LoopbackServer, inside6: LoopbackServer) -> dict[str, str]:
    """Return, by name, addresses that are not public, however they are written."""
    port, port6 = (server.url.rpartition(":")[2] for server in (inside, inside6))
    return {
        "loopback": f"http://127.0.0.1:{port}/",
        "all of loopback": f"http://127.8.9.10:{port}/",
        "localhost": f"http://localhost:{port}/",
        "name at loopback": f"http://inside.example:{port}/",
        "name at link-local": "http://metadata.example/latest/meta-data/",
        "decimal": f"http://2130706433:{port}/",
        "hexadecimal": f"http://0x7f.1:{port}/",
        "short": f"http://127.1:{port}/",
        "zero": f"http://0.0.0.0:{port}/",
        "IPv6": f"http://[::1]:{port6}/",
        "IPv4 in IPv6": f"http://[::ffff:127.0.0.1]:{port}/",
        "IPv4 in IPv6, hexadecimal": f"http://[::ffff:7f00:1]:{port}/",
        "NAT64": f"http://[64:ff9b::7f00:1]:{port}/",
        "user": f"http://public.example@127.0.0.1:{port}/",
        "link-local": "http://169.254.169.254/latest/meta-data/",
        "link-local in IPv6": "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
        "10": "http://10.0.0.1/",
        "172.16": "http://172.16.0.1/",
        "192.168": "http://192.168.0.1/",
        "carrier": "http://100.64.0.1/",
        "unique local": "http://[fd00::1]/",
        "broadcast": "http://255.255.255.255/",
        "https": f"https://127.0.0.1:{port}/",
    }


def inward_addresses(
    outside: LoopbackServer, outside_of_robots: LoopbackServer, inside: LoopbackServer, inside6: LoopbackServer
) -> Iterator[Address]:
    """Yield what ``sitecustomize`` puts at public addresses; only of ``outside`` may anything arrive."""
    public = f"http://public.example:{outside.url.rpartition(':')[2]}"
    outside.serve("/good", GOOD.data)
    yield Address("public", f"{public}/good", "ok", "ok")
    yield Address("public and private", f"{public}/good".replace("public", "both", 1), "ok", "ok")
    targets = inside_forms(inside, inside6)
    targets["the second hop"] = f"{public}/from-loopback"
    targets["no scheme"] = targets["loopback"].removeprefix("http:")
    for name, url in targets.items():
        path = f"/from-{name.replace(' ', '-')}"
        outside.routes[path] = answers.redirect(url)
        yield Address(f"from outside to {name}", public + path, "blocked_address")
        if "second" not in name and "scheme" not in name:
            yield Address(f"at {name}", url, "blocked_address")
    for scheme, url in {"file": "file:///etc/passwd", "data": "data:,a", "gopher": "gopher://127.0.0.1:70/_a"}.items():
        outside.routes[f"/to-{scheme}"] = answers.redirect(url)
        yield Address(f"from outside to {scheme}", f"{public}/to-{scheme}", "bad_scheme", "bad_scheme")
    outside_of_robots.routes["/robots.txt"] = answers.redirect(targets["loopback"])
    hidden = outside_of_robots.serve("/good", GOOD.data).replace("127.0.0.1", "public.example")
    yield Address("robots.txt that leads inside", hidden, "robots_unreachable", "robots_unreachable")
