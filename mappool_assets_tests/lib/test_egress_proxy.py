import base64
import contextlib
import datetime
import logging
import ssl
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.web.egress_proxy import parse_proxy, refuse_local_host
from mappool_assets.lib.web.guarded_network import BadHost, BlockedAddress
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher
from mappool_assets_tests.forward_proxy import running_proxy
from mappool_assets_tests.loopback_server import answer, running

SECRET = "geheim%21"
CREDENTIALS = "Basic " + base64.b64encode(b"who:geheim!").decode()


@pytest.fixture
def server():
    with running() as served:
        yield served


@pytest.fixture
def proxy(server):
    port = int(server.url.rpartition(":")[2])
    with running_proxy({"maps.example.org:80": port, "other.example.org:8080": port}) as running_one:
        yield running_one


def fetching(proxy, **rules):
    """Open a fetcher that may not dial private addresses itself."""
    return WebFetcher(FetchRules(deadline_seconds=3.0, egress_proxy=f"http://{proxy.address}", **rules))


def refusal_of(fetcher, url):
    with pytest.raises(FetchRefused) as caught:
        fetcher.get(url)
    return caught.value


@contextlib.contextmanager
def tls_server(folder, name):
    """Serve /a by TLS under a name; yield its port and a file with the certificate."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer(self, 200, b"by TLS " + self.headers["Host"].encode())

        def log_message(self, *_):
            pass

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as tls:
        tls.daemon_threads, tls.block_on_close = True, False
        tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=tls.serve_forever, args=(0.02,), daemon=True).start()
        yield tls.server_port, pem
        tls.shutdown()


def test_plain_addresses_are_asked_of_the_proxy(server, proxy):
    server.serve("/a?b=c", b"bytes")
    with fetching(proxy) as fetcher:
        assert fetcher.get("http://maps.example.org/a?b=c#part") == b"bytes"
        assert fetcher.get("http://other.example.org:8080/a?b=c") == b"bytes"
    assert proxy.asked == ["GET http://maps.example.org/a?b=c", "GET http://other.example.org:8080/a?b=c"]
    assert [headers["Host"] for headers in proxy.headers] == ["maps.example.org", "other.example.org:8080"]
    assert "Proxy-Authorization" not in proxy.headers[0]


def test_encrypted_addresses_are_tunnelled(proxy, tmp_path, monkeypatch):
    with tls_server(tmp_path, "maps.example.org") as (port, certificate):
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: trusting)
        proxy.ports["maps.example.org:443"] = port
        proxy.credentials = CREDENTIALS
        rules = FetchRules(deadline_seconds=3.0, egress_proxy=f"http://who:{SECRET}@{proxy.address}")
        with WebFetcher(rules) as fetcher:
            assert fetcher.get("https://maps.example.org/a") == b"by TLS maps.example.org"
            assert fetcher.get("https://maps.example.org/b") == b"by TLS maps.example.org"
    assert proxy.asked == ["CONNECT maps.example.org:443"], "one tunnel serves both"


def test_a_tunnel_to_a_server_of_another_name_is_not_used(proxy, tmp_path, monkeypatch):
    with tls_server(tmp_path, "maps.example.org") as (port, certificate):
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: trusting)
        proxy.ports["other.example.org:443"] = port
        with fetching(proxy) as fetcher:
            refusal = refusal_of(fetcher, "https://other.example.org/a")
            assert fetcher._web._pool.connections == [], "or every bad certificate would cost memory and time for ever"
    assert refusal.reason == "connection"
    assert not refusal.is_transient
    assert "certificate" in refusal.detail


def test_an_address_of_ipv6_is_written_in_brackets(server, proxy):
    port = int(server.url.rpartition(":")[2])
    host = "[2606:2800:220:1:248:1893:25c8:1946]"
    proxy.ports[f"{host}:80"] = port
    server.serve("/a", b"bytes")
    with fetching(proxy) as fetcher:
        assert fetcher.get(f"http://{host}/a") == b"bytes"
        assert refusal_of(fetcher, f"https://{host}/a").reason == "connection"
    assert proxy.asked[0] == f"GET http://{host}/a"
    assert proxy.asked[1] == f"CONNECT {host}:443"


def test_a_proxy_that_refuses_is_named(proxy):
    proxy.credentials = CREDENTIALS
    with fetching(proxy) as fetcher:
        assert refusal_of(fetcher, "http://maps.example.org/a").reason == "http_407"
        refusal = refusal_of(fetcher, "https://maps.example.org/a")
    assert refusal.reason == "connection"
    assert "the egress proxy answered 407" in refusal.detail


def test_a_proxy_that_is_not_there_is_a_connection_refusal():
    with WebFetcher(FetchRules(deadline_seconds=0.4, egress_proxy="http://127.0.0.1:9")) as fetcher:
        assert refusal_of(fetcher, "http://maps.example.org/a").reason == "connection"
        assert refusal_of(fetcher, "https://maps.example.org/a").reason == "connection"


def test_credentials_are_sent_to_the_proxy_alone_and_shown_nowhere(server, proxy, caplog):
    caplog.set_level(logging.DEBUG)
    seen = {}

    def route(handler):
        seen.update(handler.headers)
        answer(handler, 404)

    server.routes["/a"] = route
    proxy.credentials = CREDENTIALS
    rules = FetchRules(deadline_seconds=3.0, egress_proxy=f"http://who:{SECRET}@{proxy.address}")
    with WebFetcher(rules) as fetcher:
        refusals = [refusal_of(fetcher, url) for url in ("http://maps.example.org/a", "https://maps.example.org/a")]
    assert [refusal.reason for refusal in refusals] == ["http_404", "connection"]
    assert [headers["Proxy-Authorization"] for headers in proxy.headers[:2]] == [CREDENTIALS] * 2
    assert not [name for name in seen if "auth" in name.lower()]
    shown = " ".join([repr(rules), str(rules), repr(parse_proxy(rules.egress_proxy)), caplog.text])
    shown += " ".join(f"{refusal} {refusal!r} {refusal.args}" for refusal in refusals)
    for secret in (SECRET, "geheim", CREDENTIALS.removeprefix("Basic ")):
        assert secret not in shown


@pytest.mark.parametrize(
    "address",
    [
        "https://who:geheim@proxy:3128",
        "socks5://who:geheim@proxy:1080",
        "who:geheim@proxy:3128",
        "http://who:geheim@proxy",
        "http://who:geheim@:3128",
        "http://who:geheim@proxy:geheim",
        "http://who:geheim@proxy:99999",
        "http://who:geheim@proxy:3128/path",
        "http://who:geheim@proxy:3128?geheim",
        "http://who:geheim@[::1",
        "http://who:geheim@prøxy:3128",
        "",
    ],
)
def test_a_bad_address_of_a_proxy_is_told_at_once_and_not_shown(address):
    with pytest.raises(BadSetting) as caught:
        FetchRules(egress_proxy=address)
    assert "geheim" not in f"{caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_redirects_go_through_the_proxy_too(server, proxy):
    server.routes["/a"] = lambda handler: answer(handler, 302, Location="http://other.example.org:8080/b")
    server.serve("/b", b"bytes")
    with fetching(proxy) as fetcher:
        assert fetcher.get("http://maps.example.org/a") == b"bytes"
    assert len(proxy.asked) == 2


def test_robots_files_come_through_the_proxy_too(server, proxy):
    server.serve("/robots.txt", b"User-agent: *\nDisallow: /private/\n")
    server.serve("/a", b"bytes")
    with fetching(proxy, obeys_robots=True) as fetcher:
        assert fetcher.get("http://maps.example.org/a") == b"bytes"
        assert refusal_of(fetcher, "http://maps.example.org/private/a").reason == "robots_txt"
        assert refusal_of(fetcher, "http://127.0.0.1/private/a").reason == "blocked_address"
    assert proxy.asked == ["GET http://maps.example.org/robots.txt", "GET http://maps.example.org/a"]


LOCAL = ["127.0.0.1", "10.1.2.3", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0"]
LOCAL += ["::1", "fd00::1", "fe80::1%25eth0", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"]
LOCAL += ["localhost", "localhost.", "maps.localhost", "printer.local", "router.home.arpa", "metadata.google.internal"]
LOCAL += ["intranet", ".", ".."]


@pytest.mark.parametrize("host", LOCAL)
def test_hosts_that_are_local_by_their_spelling_are_refused(host):
    with pytest.raises(BlockedAddress):
        refuse_local_host(host)


@pytest.mark.parametrize(
    "host", ["example.org", "a-b_c.example", "xn--bcher-kva.example", "8.8.8.8", "134744072", "2606:2800:220:1::1"]
)
def test_hosts_that_may_be_public_pass(host):
    refuse_local_host(host)


@pytest.mark.parametrize(
    "host", ["%6cocalhost.org", "127.0.0.1%2e", "a b.org", "a/b.org", "a@b.org", "a`b.org", "a\0.org"]
)
def test_what_is_no_host_name_is_refused(host):
    with pytest.raises(BadHost):
        refuse_local_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST", "2130706433", "[::1]", "127。0。0。1", "%6cocalhost"])
def test_local_hosts_never_reach_the_proxy(server, proxy, host):
    inside = f"http://{host}:8080/".encode().decode("latin-1")  # as which headers are sent
    server.routes["/a"] = lambda handler: answer(handler, 302, Location=inside)
    with fetching(proxy) as fetcher:
        for url in (f"http://{host}/", f"https://{host}/", "http://maps.example.org/a"):
            assert refusal_of(fetcher, url).reason in ("blocked_address", "bad_url")
    assert proxy.asked == ["GET http://maps.example.org/a"]


def test_private_addresses_may_be_allowed(server, proxy):
    proxy.ports["127.0.0.1:80"] = int(server.url.rpartition(":")[2])
    server.serve("/a", b"bytes")
    with WebFetcher(
        replace(FetchRules(), allow_private_addresses=True, egress_proxy=f"http://{proxy.address}")
    ) as all_in:
        assert all_in.get("http://127.0.0.1/a") == b"bytes"
