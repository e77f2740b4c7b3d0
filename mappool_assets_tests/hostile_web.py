"""A small web on the loopback interface: good images, and every fault that the real one has.

Each :class:`Address` says what the pool recorded of it and what our ledger has to say about it: where loopback is open
(``status``), and where only public addresses may be asked (``status_from_inside``).
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from mappool_assets_tests import hostile_answers as answers
from mappool_assets_tests import odd_images
from mappool_assets_tests.hostile_answers import Route
from mappool_assets_tests.loopback_server import LoopbackServer, running
from mappool_assets_tests.odd_images import PAGE, SVG, ImageFile

GOOD = ImageFile(odd_images.jpeg(0), "image/jpeg")
OTHER = odd_images.jpeg(1)
MAX_BYTES = 8_000_000  # to be set in the rules
DEADLINE_SECONDS = 5.0  # likewise; what comes late but well takes 1.5


@dataclass(frozen=True)
class Address:
    """One row of the pool.

    Attributes
    ----------
    name : str
        What is the matter with it; unique.
    url : str
        Where it is said to lie.
    status, status_from_inside : str
        What our ledger must say; see above.
    recorded : bytes or None
        The file whose hash the pool recorded; None where it recorded none.
    file : ImageFile
        The file that arrives, where the status is ``ok``.
    """

    name: str
    url: str
    status: str
    status_from_inside: str = "blocked_address"
    recorded: bytes | None = GOOD.data
    file: ImageFile = GOOD

    @property
    def sha256(self) -> str | None:
        return None if self.recorded is None else hashlib.sha256(self.recorded).hexdigest()


def sound_answers() -> dict[str, tuple[Route, ImageFile]]:
    """Return, by name, answers in which an image arrives."""
    good, late = answers.whole(GOOD.data), answers.first_then
    status, data = answers.status, GOOD.data
    routes = {
        "called by a wrong type": answers.whole(data, Content_Type="text/html"),
        "without a length": answers.until_closed(data),
        "in chunks": answers.chunked(data),
        "compressed unasked": answers.whole(zlib.compress(data), Content_Encoding="deflate"),
        "429 first": late(status(429), good),
        "429 with Retry-After first": late(status(429, Retry_After="1"), good),
        "503 first": late(status(503), good),
        "500 twice first": late(status(500), late(status(500), good)),
        "reset first": late(answers.reset_after(data[:99], len(data)), good),
        "no answer first": late(answers.hang_up, good),
        "redirected once": answers.redirect("/good"),
        "redirected for ever": answers.redirect("/good", 308),
        "X-Robots-Tag for another": answers.whole(data, X_Robots_Tag="otherbot: noai"),
        "X-Robots-Tag without our words": answers.whole(data, X_Robots_Tag="nofollow, max-snippet: 10"),
    }
    return {
        **{name: (answers.whole(file.data), file) for name, file in odd_images.image_files().items()},
        **{name: (route, GOOD) for name, route in routes.items()},
    }


def refused_answers() -> dict[str, tuple[Route, str]]:
    """Return, by name, answers that no download may keep, whatever the pool recorded, and the reason."""
    data = GOOD.data
    whole, status, redirect = answers.whole, answers.status, answers.redirect
    codes = (204, 206, 304, 400, 401, 403, 404, 410, 418, 451, 500, 501, 502, 503, 999)
    return {
        **{str(code): (status(code), f"http_{code}") for code in codes},
        "429": (status(429), "http_429"),
        "429 for an hour": (status(429, Retry_After="3600"), "http_429"),
        "302 to nowhere": (status(302), "http_302"),
        # time
        "drip in the body": (answers.dripping(data), "timeout"),
        "drip in the head": (answers.dripping_head(data), "timeout"),
        "early hints for ever": (answers.early_hints_for_ever, "timeout"),
        "slow body without end": (answers.endless(1), "timeout"),
        "no answer": (answers.silent, "timeout"),
        "longer than it is, then silence": (answers.stalling(data, len(data) + 1), "timeout"),
        # size
        "body without end": (answers.endless(256_000), "too_large"),
        "chunks without end": (answers.endless_chunks, "too_large"),
        "huge, announced": (answers.huge(True), "too_large"),
        "huge, not announced": (answers.huge(False), "too_large"),
        "gzip bomb": (whole(answers.gzip_bomb(), Content_Encoding="gzip"), "too_large"),
        # broken HTTP
        "longer than it is": (answers.claiming(len(data) + 1, data), "connection"),
        "reset": (answers.reset_after(data[:99], len(data)), "connection"),
        "hang up": (answers.hang_up, "connection"),
        "no HTTP": (answers.raw(data), "connection"),
        "two lengths": (answers.with_header_twice(data, "Content-Length", "7", "8"), "connection"),
        "length of no digits": (answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + data), "connection"),
        "head of 2 MB": (whole(data, X_Padding="x" * 2_000_000), "connection"),
        "unknown compression": (whole(data, Content_Encoding="br"), "bad_encoding"),
        "broken compression": (whole(data, Content_Encoding="gzip"), "bad_encoding"),
        # redirects
        "redirect to itself": (redirect("/redirect to itself".replace(" ", "%20")), "too_many_redirects"),
        "redirect to file": (redirect("file:///etc/passwd"), "bad_scheme"),
        "redirect to data": (redirect("data:image/gif;base64,R0lGODlhAQABAAAAACw="), "bad_scheme"),
        "redirect to javascript": (redirect("javascript:alert(1)"), "bad_scheme"),
        "redirect to ftp": (redirect("ftp://ftp.invalid/a.png"), "bad_scheme"),
        "redirect to a broken address": (redirect("http://[::1"), "bad_url"),
        "redirect of 60 kB": (redirect("x:" + "y" * 60_000), "bad_scheme"),
        # what the owner does not want
        **{
            f"X-Robots-Tag {words}": (whole(data, X_Robots_Tag=words), "opted_out")
            for words in ("noai", "noimageai", "noindex", "noimageindex", "nofollow, NoAI", "mappool-assets: noai")
        },
        "X-Robots-Tag twice": (answers.with_header_twice(data, "X-Robots-Tag", "nofollow", "noai"), "opted_out"),
    }


def changed_answers() -> dict[str, tuple[Route, bytes, str]]:
    """Return, by name, answers of which a file arrives, with what the pool recorded and what is wrong with the file."""
    data, half = GOOD.data, GOOD.data[: len(GOOD.data) // 2]
    unusable = {
        "page": (PAGE, "not_an_image"),
        "SVG": (SVG, "not_an_image"),
        "empty": (b"", "not_an_image"),
        "zeros": (bytes(1000), "not_an_image"),
        "truncated jpeg": (half, "not_an_image"),
        "png with a text bomb": (odd_images.png_with_text_bomb(), "not_an_image"),
        "png bomb": (odd_images.png_bomb(), "too_many_pixels"),
        "jpeg of a claimed size": (odd_images.jpeg_of_claimed_size(), "too_many_pixels"),
    }
    return {
        **{name: (answers.whole(file), file, reason) for name, (file, reason) in unusable.items()},
        "other image": (answers.whole(OTHER), data, "hash_changed"),
        "parked": (answers.whole(PAGE), data, "hash_changed"),
        "now truncated": (answers.whole(half), data, "hash_changed"),
        "now empty": (answers.whole(b""), data, "hash_changed"),
        "shorter than it is": (answers.claiming(len(half), data), data, "hash_changed"),
    }


def odd_addresses(server: LoopbackServer, server6: LoopbackServer) -> list[Address]:
    """Return addresses that are odd in themselves; those that mean the server mean a good image."""
    port = server.url.rpartition(":")[2]
    for path in ("/odd", "/a%20b", "/%C3%9Cbersicht.png", "/odd?a=b&c=%20"):
        server.serve(path, GOOD.data)
    server6.serve("/odd", GOOD.data)
    loopback = {
        "by name": f"http://localhost:{port}/odd",
        "decimal": f"http://2130706433:{port}/odd",
        "hexadecimal": f"http://0x7f.1:{port}/odd",
        "short": f"http://127.1:{port}/odd",
        "zero": f"http://0.0.0.0:{port}/odd",
        "IPv6": f"{server6.url}/odd",
        "IPv4 in IPv6": f"http://[::ffff:127.0.0.1]:{port}/odd",
        "user": f"http://user:secret@127.0.0.1:{port}/odd",
        "user like a host": f"http://www.example.org@127.0.0.1:{port}/odd",
        "capital scheme": f"HTTP://127.0.0.1:{port}/odd",
        "space": f"{server.url}/a b",
        "not ASCII": f"{server.url}/Übersicht.png",
        "query": f"{server.url}/odd?a=b&c= #part",
    }
    unusable = {
        "javascript": ("javascript:alert(1)", "bad_scheme"),
        "ftp": ("ftp://127.0.0.1/a.png", "bad_scheme"),
        "file": ("file:///etc/passwd", "bad_scheme"),
        "data": ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "bad_scheme"),
        "no scheme": ("127.0.0.1/a.png", "bad_scheme"),
        "empty": ("", "bad_scheme"),
        "no host": ("http:///a.png", "bad_url"),
        "newline": (f"{server.url}/odd\r\nX-Injected: 1", "bad_url"),
        "zero byte": (f"{server.url}/odd\0", "bad_url"),
        "port 99999": ("http://127.0.0.1:99999/odd", "bad_url"),
        "long": (f"{server.url}/{'a' * 100_000}", "bad_url"),
        "octal": (f"http://0177.0.0.1:{port}/odd", "bad_url"),
        "open bracket": ("http://[::1/odd", "bad_url"),
        "long label": (f"http://{'a' * 70}.example/odd", "bad_url"),
        "no such host": ("http://no-such-host.invalid/a.png", "connection"),
    }
    return [
        *(Address(f"address {name}", url, "ok") for name, url in loopback.items()),
        *(Address(f"address {name}", url, reason, reason) for name, (url, reason) in unusable.items()),
        Address("address port 0", "http://127.0.0.1:0/odd", "connection"),
        Address("address long path", f"{server.url}/{'a' * 60_000}", "http_404"),
    ]


def robots_files() -> dict[str, tuple[Route, str]]:
    """Return, by name, answers to /robots.txt and what becomes of ``/private/good.jpg`` beside it."""
    forbidding = b"User-agent: *\nDisallow: /private/\n"
    return {
        "forbids": (answers.whole(forbidding), "robots_txt"),
        "forbids us": (answers.whole(b"User-agent: mappool-assets\nDisallow: /\n\nUser-agent: *\n"), "robots_txt"),
        "forbids others": (answers.whole(b"User-agent: otherbot\nDisallow: /\n"), "ok"),
        "forbids in the first of 10 MB": (answers.whole(forbidding + b"# \n" * 3_000_000), "robots_txt"),
        "is a page": (answers.whole(PAGE), "ok"),
        "is binary": (answers.whole(bytes(range(256)) * 10), "ok"),
        "is forbidden": (answers.status(403), "ok"),
        "is not served": (answers.status(503), "robots_unreachable"),
        "is not answered": (answers.silent, "robots_unreachable"),
        "has no end": (answers.endless(1), "robots_unreachable"),
    }


@contextlib.contextmanager
def hostile_web() -> Iterator[list[Address]]:
    """Run the servers; yield all addresses."""
    with contextlib.ExitStack() as stack:
        server, server6 = stack.enter_context(running()), stack.enter_context(running("::1"))
        addresses = [*_answered(server), *odd_addresses(server, server6)]
        for name, (route, status) in robots_files().items():
            other = stack.enter_context(running())
            other.routes["/robots.txt"] = route
            addresses.append(Address(f"robots.txt {name}", other.serve("/private/good.jpg", GOOD.data), status))
            if name == "forbids":
                addresses.append(Address("beside what robots.txt forbids", other.serve("/good", GOOD.data), "ok"))
                server.routes["/hop"] = answers.redirect(f"{other.url}/private/good.jpg")
                addresses.append(Address("redirect to what robots.txt forbids", f"{server.url}/hop", "robots_txt"))
        yield addresses


def _answered(server: LoopbackServer) -> Iterator[Address]:
    def address(name: str, route: Route) -> str:
        path = f"/{name.replace(' ', '%20')}"
        server.routes[path] = route
        return server.url + path

    for name, (route, file) in sound_answers().items():
        yield Address(name, address(name, route), "ok", recorded=file.data, file=file)
    for name, (route, reason) in refused_answers().items():
        yield Address(name, address(name, route), reason)
    for name, (route, recorded, reason) in changed_answers().items():
        yield Address(name, address(name, route), reason, recorded=recorded)
    server.serve("/good", GOOD.data)
    for hop in range(10):
        server.routes[f"/chain/{hop}"] = answers.redirect(f"/chain/{hop + 1}")
    server.serve("/chain/10", GOOD.data)
    yield Address("chain of 10 redirects", f"{server.url}/chain/0", "too_many_redirects")
    yield Address("chain of 5 redirects", f"{server.url}/chain/5", "ok")
    unrecorded = address("never hashed", answers.whole(OTHER))
    yield Address("never hashed", unrecorded, "ok", recorded=None, file=ImageFile(OTHER, "image/jpeg"))
