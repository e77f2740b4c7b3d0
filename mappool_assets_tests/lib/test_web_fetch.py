import contextlib
import functools
import gzip
import importlib.metadata
import socket
import threading
import time
from dataclasses import replace

import pytest

from mappool_assets.lib.web import guarded_network, web_connections
from mappool_assets.lib.web.guarded_network import is_public_address
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher
from mappool_assets_tests.loopback_server import answer, running

RULES = FetchRules(max_bytes=1000, deadline_seconds=2.0, allow_private_addresses=True)


@pytest.fixture
def server():
    with running() as served:
        yield served


@pytest.fixture
def fetcher():
    with WebFetcher(RULES) as web_fetcher:
        yield web_fetcher


def refusal_of(fetcher, url):
    with pytest.raises(FetchRefused) as caught:
        fetcher.get(url)
    assert caught.value.url == url
    assert caught.value.detail
    return caught.value.reason


def test_returns_the_body_and_says_who_asks(server, fetcher):
    seen = {}

    def route(handler):
        seen.update(handler.headers)
        answer(handler, 200, b"bytes")

    server.routes["/a"] = route
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert seen["User-Agent"] == f"mappool-assets/{importlib.metadata.version('mappool-assets')}"
    assert seen["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [204, 403, 404, 410])
def test_other_answers_are_refused_at_once(server, fetcher, status):
    server.routes["/a"] = lambda handler: answer(handler, status)
    assert refusal_of(fetcher, server.url + "/a") == f"http_{status}"
    assert server.requests == ["/a"]


@pytest.mark.parametrize("url", ["ftp://example.org/a", "file:///etc/passwd", "data:image/png;base64,AA", "a.png"])
def test_other_schemes_are_refused(fetcher, url):
    assert refusal_of(fetcher, url) == "bad_scheme"


@pytest.mark.parametrize("url", ["http://[::1", "http://exa mple.org\x00/", f"http://{'a' * 70}.org/"])
def test_addresses_that_cannot_be_parsed_are_refused(fetcher, url):
    assert refusal_of(fetcher, url) == "bad_url"


def test_transient_answers_are_retried_after_the_time_asked_for(server, fetcher):
    answers = iter([(503, {"Retry_After": "1"}), (200, {})])

    def route(handler):
        status, headers = next(answers)
        answer(handler, status, b"late", **headers)

    server.routes["/a"] = route
    start = time.perf_counter()
    assert fetcher.get(server.url + "/a") == b"late"
    assert time.perf_counter() - start >= 1.0


def test_a_retry_date_is_read_against_the_servers_own_clock(server, fetcher):
    far = {"Date": "Mon, 01 Jan 2001 00:00:00 GMT", "Retry_After": "Mon, 01 Jan 2001 01:00:00 GMT"}

    def route(handler):
        handler.send_response_only(429)
        for name, value in far.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.routes["/a"] = route
    start = time.perf_counter()
    with pytest.raises(FetchRefused) as caught:
        fetcher.get(server.url + "/a")
    assert caught.value.reason == "http_429"
    assert caught.value.retry_after_seconds == 3600
    assert time.perf_counter() - start < 1.0, "an hour does not fit the deadline: no point in waiting"


def test_gives_up_after_three_attempts(server):
    server.routes["/a"] = lambda handler: answer(handler, 500)
    with WebFetcher(replace(RULES, deadline_seconds=10)) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "http_500"
    assert len(server.requests) == 3


@pytest.mark.parametrize("announced", [True, False])
def test_large_files_are_refused(server, fetcher, announced):
    def route(handler):
        handler.send_response(200)
        handler.send_header(*(("Content-Length", "100000") if announced else ("Connection", "close")))
        handler.end_headers()
        if not announced:
            handler.wfile.write(b"x" * 100_000)

    server.routes["/a"] = route
    assert refusal_of(fetcher, server.url + "/a") == "too_large"


def test_a_file_of_exactly_the_largest_size_is_kept(server, fetcher):
    assert len(fetcher.get(server.serve("/a", b"x" * RULES.max_bytes))) == RULES.max_bytes


def test_one_file_may_have_a_limit_of_its_own(server, fetcher):
    url = server.serve("/a", b"x" * 100)
    with pytest.raises(FetchRefused, match="more than 99") as caught:
        fetcher.get(url, 99)
    assert caught.value.reason == "too_large"
    assert fetcher.get(url, 100) == fetcher.get(url) == b"x" * 100


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_slow_drip_ends_with_the_deadline(server, where):
    def route(handler):
        if where == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Padding: 1\r\n" * 50:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)

    server.routes["/a"] = route
    with WebFetcher(replace(RULES, deadline_seconds=1.0)) as fetcher:
        start = time.perf_counter()
        assert refusal_of(fetcher, server.url + "/a") == "timeout"
        assert 0.9 < time.perf_counter() - start < 1.6


def test_a_server_that_hangs_once_is_asked_again(server):
    hangs = iter([True])

    def route(handler):
        if next(hangs, False):
            time.sleep(1.5)
        answer(handler, 200, b"bytes")

    server.routes["/a"] = route
    with WebFetcher(replace(RULES, deadline_seconds=3.0)) as fetcher:
        assert fetcher.get(server.url + "/a") == b"bytes"
    assert len(server.requests) == 2


def test_the_deadline_is_the_threads_own(server, fetcher):
    server.serve("/quick", b"quick")

    def slow(handler):
        time.sleep(0.3)
        answer(handler, 200, b"slow")

    server.routes["/slow"] = slow
    results = []
    threads = [
        threading.Thread(target=lambda path=path: results.append(fetcher.get(server.url + path)))
        for path in ["/slow", "/quick", "/slow", "/quick"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [b"quick", b"quick", b"slow", b"slow"]


def test_redirects_are_followed_within_bounds(server, fetcher):
    for hop in range(8):
        server.routes[f"/{hop}"] = lambda handler, hop=hop: answer(handler, 302, Location=f"/{hop + 1}")
    server.serve("/8", b"end")
    assert fetcher.get(server.url + "/3") == b"end"
    assert refusal_of(fetcher, server.url + "/2") == "too_many_redirects"


def test_a_redirect_to_another_scheme_is_refused(server, fetcher):
    server.routes["/a"] = lambda handler: answer(handler, 302, Location="ftp://example.org/")
    assert refusal_of(fetcher, server.url + "/a") == "bad_scheme"


@pytest.mark.parametrize("location", ["http://[::1", "http://127.0.0.1:99999/"])
def test_a_redirect_to_no_address_is_refused(server, fetcher, location):
    server.routes["/a"] = lambda handler: answer(handler, 302, Location=location)
    assert refusal_of(fetcher, server.url + "/a") == "bad_url"


def test_a_redirect_without_a_target_is_an_answer(server, fetcher):
    server.routes["/a"] = lambda handler: answer(handler, 302)
    assert refusal_of(fetcher, server.url + "/a") == "http_302"


def test_cookies_live_as_long_as_a_chain_of_redirects(server, fetcher):
    seen = []

    def route(handler):
        seen.append(handler.headers["Cookie"])
        if handler.headers["Cookie"]:
            answer(handler, 200, b"bytes")
        else:
            answer(handler, 302, Location="/a", Set_Cookie="been=here; Path=/")

    server.routes["/a"] = route
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert seen == [None, "been=here"] * 2


def test_credentials_of_an_address_are_sent_to_its_own_server_alone(server, fetcher):
    seen = []

    def route(handler, status=200, **headers):
        seen.append(handler.headers["Authorization"])
        answer(handler, status, b"bytes", **headers)

    url = server.url.replace("//", "//who:a%20b@")
    with running() as other:
        other.routes["/b"] = route
        server.routes["/a"] = functools.partial(route, status=302, Location=other.url + "/b")
        assert fetcher.get(url + "/a") == b"bytes"
    assert seen == ["Basic d2hvOmEgYg==", None]


OPTED_OUT = {"X_Robots_Tag": "unavailable_after: 25 Jun 2027 15:00:00 PST, noimageai"}


def test_who_opts_out_by_header_is_left_alone(server):
    def route(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10_000_000))
        handler.send_header("X-Robots-Tag", OPTED_OUT["X_Robots_Tag"])
        handler.end_headers()
        time.sleep(0.9)  # whoever waits for the body waits too long

    server.routes["/a"] = route
    with WebFetcher(replace(RULES, obeys_opt_out=True)) as fetcher:
        start = time.perf_counter()
        with pytest.raises(FetchRefused, match="says noimageai") as caught:
            fetcher.get(server.url + "/a")
        assert time.perf_counter() - start < 0.5
    assert caught.value.reason == "opted_out"
    assert not caught.value.is_transient
    assert server.requests == ["/a"]


def test_who_opts_out_of_a_redirect_is_left_alone(server):
    server.routes["/a"] = lambda handler: answer(handler, 302, Location="/b", **OPTED_OUT)
    server.serve("/b", b"bytes")
    with WebFetcher(replace(RULES, obeys_opt_out=True)) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "opted_out"
    assert server.requests == ["/a"]


def test_the_tag_is_read_for_the_name_we_give(server):
    server.routes["/a"] = lambda handler: answer(handler, 200, b"bytes", X_Robots_Tag="MapBot: noai")
    with WebFetcher(replace(RULES, obeys_opt_out=True)) as fetcher:
        assert fetcher.get(server.url + "/a") == b"bytes"
    with WebFetcher(replace(RULES, obeys_opt_out=True, user_agent="mapbot/2 (x)")) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "opted_out"


def test_a_page_that_says_there_is_nothing_is_no_opt_out(server):
    server.routes["/a"] = lambda handler: answer(handler, 404, b"", **OPTED_OUT)
    with WebFetcher(replace(RULES, obeys_opt_out=True)) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "http_404"


def test_by_default_the_tag_is_not_read(server, fetcher):
    server.routes["/a"] = lambda handler: answer(handler, 200, b"bytes", **OPTED_OUT)
    assert fetcher.get(server.url + "/a") == b"bytes"


def test_a_connection_is_used_again_only_after_a_whole_answer(server, fetcher):
    peers = []

    def route(handler, body=b"bytes"):
        peers.append(handler.client_address)
        answer(handler, 200, body)

    server.routes["/a"] = route
    server.routes["/large"] = functools.partial(route, body=b"x" * 100_000)
    for path in ("/a", "/a", "/large"):
        with contextlib.suppress(FetchRefused):
            fetcher.get(server.url + path)
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert len(set(peers[:3])) == 1
    assert peers[3] != peers[2]


def test_what_follows_an_answer_does_not_pass_for_the_next_one(server, fetcher):
    def route(handler):
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes" + forged)

    server.routes["/a"] = route
    server.serve("/b", b"real")
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert fetcher.get(server.url + "/b") == b"real"


def test_a_server_that_hung_up_on_an_idle_connection_is_connected_to_again(server, fetcher):
    def route(handler):
        answer(handler, 200, b"bytes")
        handler.close_connection = True

    server.routes["/a"] = route
    for _ in range(3):
        assert fetcher.get(server.url + "/a") == b"bytes"
        time.sleep(0.05)


def test_idle_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(web_connections, "MAX_IDLE_CONNECTIONS", 2)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running()) for _ in range(3)]
        fetcher = stack.enter_context(WebFetcher(RULES))
        peers = {server.url: [] for server in servers}
        for server in servers:

            def route(handler, seen=peers[server.url]):
                seen.append(handler.client_address)
                answer(handler, 200, b"bytes")

            server.routes["/a"] = route
        for number in (0, 1, 2, 1, 2, 0):
            assert fetcher.get(servers[number].url + "/a") == b"bytes"
    assert [len(set(seen)) for seen in peers.values()] == [2, 1, 1]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression_sent_unasked_is_undone(server, fetcher, encoding):
    import zlib

    body = gzip.compress(b"x" * 500, mtime=0) if encoding == "gzip" else zlib.compress(b"x" * 500)
    server.routes["/a"] = lambda handler: answer(handler, 200, body, Content_Encoding=encoding)
    assert fetcher.get(server.url + "/a") == b"x" * 500


def test_a_decompression_bomb_is_not_unpacked(server):
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    server.routes["/a"] = lambda handler: answer(handler, 200, bomb, Content_Encoding="gzip")
    with WebFetcher(replace(RULES, max_bytes=60_000)) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "too_large"


@pytest.mark.parametrize(
    ("encoding", "body"), [("br", b"x"), ("gzip", b"no"), ("gzip", gzip.compress(b"x" * 99, mtime=0)[:-9])]
)
def test_unknown_and_broken_compression_is_refused(server, fetcher, encoding, body):
    server.routes["/a"] = lambda handler: answer(handler, 200, body, Content_Encoding=encoding)
    assert refusal_of(fetcher, server.url + "/a") == "bad_encoding"


def test_private_addresses_are_never_dialled(server):
    url = server.serve("/a", b"secret")
    with WebFetcher(replace(RULES, allow_private_addresses=False)) as fetcher:
        assert refusal_of(fetcher, url) == "blocked_address"
        assert refusal_of(fetcher, url.replace("127.0.0.1", "localhost")) == "blocked_address"
        assert refusal_of(fetcher, url.replace("127.0.0.1", "[::ffff:127.0.0.1]")) == "blocked_address"
        assert refusal_of(fetcher, url.replace("127.0.0.1", "2130706433")) == "blocked_address"
    assert server.requests == []


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    monkeypatch.setattr(guarded_network, "is_public_address", lambda address: address == "127.0.0.1")
    inside = server.serve("/secret", b"secret").replace("127.0.0.1", "127.0.0.2")
    server.routes["/a"] = lambda handler: answer(handler, 302, Location=inside)
    with WebFetcher(replace(RULES, allow_private_addresses=False)) as fetcher:
        assert refusal_of(fetcher, server.url + "/a") == "blocked_address"
    assert server.requests == ["/a"]


def test_the_address_dialled_is_the_one_that_was_checked(server, monkeypatch):
    resolve, asked = socket.getaddrinfo, []

    def rebinding(host, *args, **kwargs):
        if host == "rebinding.example":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = server.serve("/a", b"first").replace("127.0.0.1", "rebinding.example")
    with WebFetcher(RULES) as fetcher:
        assert fetcher.get(url) == b"first"
        assert fetcher.get(url) == b"first"
    assert len(asked) == 1


def test_names_are_looked_up_again_after_a_while(server, monkeypatch):
    resolve, asked = socket.getaddrinfo, []

    def counting(host, *args, **kwargs):
        if host.endswith(".example"):
            asked.append(host)
            host = "127.0.0.1"
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    monkeypatch.setattr(guarded_network, "NAMES_KEPT_SECONDS", 0.1)
    monkeypatch.setattr(web_connections, "MAX_IDLE_CONNECTIONS", 0)
    url = server.serve("/a", b"bytes").replace("127.0.0.1", "maps.example")
    with WebFetcher(RULES) as fetcher:
        for _ in range(3):
            fetcher.get(url)
        assert len(asked) == 1
        time.sleep(0.15)
        fetcher.get(url)
    assert len(asked) == 2


def test_proxies_of_the_environment_are_ignored(server, fetcher, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetcher.get(server.serve("/a", b"direct")) == b"direct"


def test_a_closed_port_is_a_connection_refusal(fetcher):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert refusal_of(fetcher, f"http://127.0.0.1:{port}/") == "connection"


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_public_addresses(address, is_public):
    assert is_public_address(address) == is_public
