import contextlib
import functools
import gzip
import itertools
import re
import socket
import threading
import time
import tracemalloc
from dataclasses import replace

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.web import guarded_network, robots
from mappool_assets.lib.web.guarded_network import deadline_after
from mappool_assets.lib.web.robots import MAX_ROBOTS_BYTES, RobotsFiles, parse_robots, product_token
from mappool_assets.lib.web.web_connections import WebConnections
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher
from mappool_assets_tests.loopback_server import answer, running

RULES = FetchRules(max_bytes=1000, deadline_seconds=3.0, allow_private_addresses=True, obeys_robots=True)
FORBIDDING = b"User-agent: *\nDisallow: /private/\n"


@pytest.fixture
def server():
    with running() as served:
        served.serve("/a", b"bytes")
        served.serve("/private/a", b"secret")
        yield served


@pytest.fixture
def fetcher():
    with WebFetcher(RULES) as web_fetcher:
        yield web_fetcher


def reason_of(fetcher, url):
    try:
        fetcher.get(url)
    except FetchRefused as refusal:
        told = refusal
    else:
        return "ok"
    assert told.url == url
    assert told.detail
    return told.reason


def refusal_of(fetcher, url):
    with pytest.raises(FetchRefused) as caught:
        fetcher.get(url)
    return caught.value


def is_allowed(text, path, token="ours"):
    rules = parse_robots(text if isinstance(text, bytes) else text.encode(), token)
    return rules is None or rules.can_fetch(f"http://host{path}", token)


# What a file says


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: *\nDisallow: /b", "/a", True),
        ("user-agent:*\r\ndisallow:/a\r\n", "/a/b", False),
        ("User-agent: *\rDisallow: /a", "/a", False),
        ("\ufeffUser-agent: *\nDisallow: /a", "/a", False),
        ("User-agent: * # all\nDisallow: /a # not that", "/a", False),
        ("Disallow: /a", "/a", True),
        # the most specific rule wins, allow where they are as long (RFC 9309 §2.2.2)
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a/b", "/a/b/c", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        # wildcards (§2.2.3)
        ("User-agent: *\nDisallow: *.gif$", "/x/a.gif", False),
        ("User-agent: *\nDisallow: *.gif$", "/x/a.gif?b", True),
        ("User-agent: *\nDisallow: /a*/c", "/ab/b/c", False),
        ("User-agent: *\nDisallow: /a$", "/ab", True),
        ("User-agent: *\nDisallow: /*?", "/a?b=c", False),
        # our group alone counts where there is one, in any case, and all of that name (§2.2.1)
        ("User-agent: ours\nDisallow: /a\n\nUser-agent: *\nDisallow: /", "/b", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: OURS\nDisallow: /a", "/b", True),
        ("User-agent: ours/2.0 (x)\nDisallow: /a", "/a", False),
        ("User-agent: ours\nDisallow: /a\n\nUser-agent: ours\nDisallow: /b", "/b", False),
        ("User-agent: other\nUser-agent: ours\nDisallow: /a", "/a", False),
        ("User-agent: other\nSitemap: http://x/\n\nUser-agent: ours\nDisallow: /a", "/a", False),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: our\nDisallow: /", "/a", True),
        ("User-agent: ours-images\nDisallow: /", "/a", True),
        ("User-agent: ours2\nDisallow: /", "/a", True),
        ("User-agent: ours\nAllow: /\n\nUser-agent: other\nDisallow: /", "/a", True),
        ("User-agent: ours\nDisallow: /x\nUser-agent:\nDisallow: /", "/a", True),
        ("User-agent: *\nCrawl-delay: 10\nDisallow: /a", "/a", False),
        ("User-agent: *\nCrawl-delay: 10", "/a", True),
        # octets that are not ASCII, however they are written
        ("User-agent: *\nDisallow: /ü", "/%C3%BC", False),
        ("User-agent: *\nDisallow: /%c3%bc", "/%C3%BC", False),
        (b"User-agent: *\nDisallow: /\xfc", "/%FC", False),
        (b"User-agent: *\nDisallow: /\xfc\nDisallow: /a", "/a", False),
        ("User-agent: *\nDisallow:\u00a0/a", "/a", False),
        (b"\x00\xff\xfe User-agent: *\nDisallow: /a\nUser-agent: *\nDisallow: /b", "/b", False),
        # others' mistakes
        ("<html><body>Not found</body></html>", "/a", True),
        ("User-agent: *\nDisalow: /a\nFoo: /b", "/b", True),
        ("User agent: *\nDisallow: /a", "/a", False),
        ("User-agent *\nDisallow /a", "/a", False),
        # an address like another site's
        ("User-agent: *\nDisallow: //b", "//b/c", False),
        ("User-agent: *\nDisallow: /a", "//[/a", True),
    ],
)
def test_rules_are_read_as_the_rfc_says(text, path, allowed):
    assert is_allowed(text, path) == allowed


PATTERNS = st.tuples(st.text("/ab*", max_size=6), st.sampled_from(["", "$"])).map(lambda parts: "/" + "".join(parts))


@given(st.lists(st.tuples(st.booleans(), PATTERNS), max_size=6), st.text("/ab", max_size=8))
def test_rules_apply_as_the_rfc_words_them(rules, path):
    text = "User-agent: *\n" + "".join(f"{'Allow' if allow else 'Disallow'}: {pattern}\n" for allow, pattern in rules)

    def matches(pattern):
        regex = re.escape(pattern.removesuffix("$")).replace(r"\*", ".*") + ("$" if pattern.endswith("$") else "")
        return re.match(regex, "/" + path) is not None

    matching = [(len(pattern), allow) for allow, pattern in rules if matches(pattern)]
    assert is_allowed(text, "/" + path) == max(matching, default=(0, True))[1]


@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"User-agent: *", b"User-agent: ours", b"Disallow: /"]))
    )
)
def test_no_file_raises(lines):
    assert is_allowed(b"\n".join(lines), "/a?b=c") in (True, False)


def test_what_follows_500_kib_has_no_effect():
    start = b"User-agent: *\nDisallow: /a\n"
    padding = b"#" * 99 + b"\n"
    body = start + padding * (MAX_ROBOTS_BYTES // 100)
    whole = body[: MAX_ROBOTS_BYTES - 12] + b"\nDisallow: /b\n"
    assert not is_allowed(whole[:MAX_ROBOTS_BYTES], "/a")
    assert is_allowed(whole[:MAX_ROBOTS_BYTES], "/b"), "half a rule would have forbidden everything"
    assert len(whole) > MAX_ROBOTS_BYTES


def test_a_file_made_to_exhaust_memory_does_not():
    agents = b"".join(b"User-agent: a%d\n" % i for i in range(14_000)) * 2
    rules = b"User-agent: *\n" + b"".join(b"Disallow:/%d\n" % i for i in range(6_000))
    body = (agents[: MAX_ROBOTS_BYTES - len(rules)].rpartition(b"\n")[0] + b"\n" + rules)[:MAX_ROBOTS_BYTES]
    tracemalloc.start()
    try:
        assert not is_allowed(body, "/5999")
        assert tracemalloc.get_traced_memory()[1] < 100e6, "84 million rules would take more"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [("ours", "ours"), ("Our-Bot_x/1.0 (+https://example.org)", "our-bot_x"), ("ours (about us)", "ours")],
)
def test_the_product_token_begins_the_user_agent(user_agent, token):
    assert product_token(user_agent) == token


@pytest.mark.parametrize("user_agent", ["", " ours", "(ours)", "2ours", "ours2/1.0", "ours\r\nX: y", "ours/ü", "*"])
def test_a_user_agent_without_a_token_is_a_bad_setting(user_agent):
    with pytest.raises(BadSetting, match="MAPPOOL_USER_AGENT"):
        FetchRules(user_agent=user_agent)


# What it does to a fetch


def test_what_is_disallowed_is_not_asked_for(server, fetcher):
    server.serve("/robots.txt", FORBIDDING)
    assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
    assert server.requests == ["/robots.txt"]
    assert fetcher.get(server.url + "/a") == b"bytes"


def test_each_sites_file_is_asked_for_once(server, fetcher):
    server.serve("/robots.txt", FORBIDDING)
    with running() as other:
        other.serve("/private/a", b"other")
        for _ in range(3):
            assert fetcher.get(server.url + "/a") == b"bytes"
            assert fetcher.get(other.url + "/private/a") == b"other"
        assert other.requests.count("/robots.txt") == 1
    assert server.requests.count("/robots.txt") == 1


def test_by_default_it_is_not_asked_for(server):
    server.serve("/robots.txt", FORBIDDING)
    with WebFetcher(replace(FetchRules(), allow_private_addresses=True)) as fetcher:
        assert fetcher.get(server.url + "/private/a") == b"secret"
    assert server.requests == ["/private/a"]


def test_it_is_asked_for_in_our_name_and_read_for_our_name(server):
    seen = []

    def route(handler):
        seen.append(handler.headers["User-Agent"])
        answer(handler, 200, b"User-agent: mapbot\nDisallow: /private/\n\nUser-agent: *\nDisallow: /\n")

    server.routes["/robots.txt"] = route
    with WebFetcher(replace(RULES, user_agent="MapBot/7 (x)")) as fetcher:
        assert fetcher.get(server.url + "/a") == b"bytes"
        assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
    assert seen == ["MapBot/7 (x)"]


def test_robots_txt_itself_may_be_fetched(server, fetcher):
    server.serve("/robots.txt", b"User-agent: *\nDisallow: /")
    assert fetcher.get(server.url + "/robots.txt") == b"User-agent: *\nDisallow: /"


def test_rules_see_the_query(server, fetcher):
    server.serve("/robots.txt", b"User-agent: *\nDisallow: /*?size=")
    assert reason_of(fetcher, server.url + "/a?size=big") == "robots_txt"
    assert reason_of(fetcher, server.url + "/a#?size=big") == "ok"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((code, "ok") for code in (204, 400, 401, 403, 404, 410, 451)),
        *((code, "robots_unreachable") for code in (304, 429, 500, 503, 599)),
    ],
)
def test_what_other_answers_mean(server, status, reason):
    server.routes["/robots.txt"] = lambda handler: answer(handler, status, b"" if status in (204, 304) else FORBIDDING)
    with WebFetcher(replace(RULES, deadline_seconds=2.0)) as fetcher:
        assert reason_of(fetcher, server.url + "/private/a") == reason
    assert ("/private/a" in server.requests) == (reason == "ok")


def test_a_failure_is_transient_and_says_what_failed(server, fetcher):
    server.routes["/robots.txt"] = lambda handler: answer(handler, 500)
    refusal = refusal_of(fetcher, server.url + "/a")
    assert refusal.is_transient
    assert refusal.detail == f"nothing is allowed without {server.url}/robots.txt: the server answered 500"
    assert 0 < refusal.retry_after_seconds <= robots.FAILURE_KEPT_SECONDS


def test_a_hiccup_is_got_over(server, fetcher):
    answers = itertools.chain([(503, b"")], itertools.repeat((200, FORBIDDING)))

    def route(handler):
        answer(handler, *next(answers))

    server.routes["/robots.txt"] = route
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
    assert server.requests.count("/robots.txt") == 2


def test_a_failure_is_remembered(server, fetcher):
    server.routes["/robots.txt"] = lambda handler: answer(handler, 501)
    for _ in range(3):
        assert reason_of(fetcher, server.url + "/a") == "robots_unreachable"
    assert server.requests == ["/robots.txt"]


def test_a_failure_is_not_remembered_for_ever(server, fetcher, monkeypatch):
    monkeypatch.setattr(robots, "FAILURE_KEPT_SECONDS", 0.2)
    answers = itertools.chain([501], itertools.repeat(404))
    server.routes["/robots.txt"] = lambda handler: answer(handler, next(answers))
    assert fetcher.get(server.url + "/a") == b"bytes", "for the wait fits into the deadline"
    assert server.requests == ["/robots.txt", "/robots.txt", "/a"]


def test_a_busy_site_is_left_alone_for_as_long_as_it_asks(server, fetcher):
    server.routes["/robots.txt"] = lambda handler: answer(handler, 503, Retry_After="120")
    start = time.perf_counter()
    assert 119 < refusal_of(fetcher, server.url + "/a").retry_after_seconds <= 120
    assert time.perf_counter() - start < 0.5
    assert server.requests == ["/robots.txt"]


def test_rules_are_not_kept_for_ever(server, fetcher, monkeypatch):
    monkeypatch.setattr(robots, "KEPT_SECONDS", 0.1)
    server.serve("/robots.txt", b"")
    assert fetcher.get(server.url + "/private/a") == b"secret"
    server.serve("/robots.txt", FORBIDDING)
    time.sleep(0.15)
    assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"


# Sites that cannot be reached get the reason that the file itself would


def test_a_site_that_refuses_connections(fetcher):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for _ in range(2):
        assert reason_of(fetcher, f"http://127.0.0.1:{port}/a") == "connection"


def test_a_host_that_does_not_exist(fetcher, monkeypatch):
    def none(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    refusal = refusal_of(fetcher, "http://nowhere.example/a")
    assert refusal.reason == "connection"
    assert not refusal.is_transient
    assert refusal.detail == "nowhere.example does not exist"


def test_a_host_that_cannot_exist(fetcher):
    assert reason_of(fetcher, f"http://{'a' * 70}.example/a") == "bad_url"


def test_a_private_address(server):
    with WebFetcher(replace(RULES, allow_private_addresses=False)) as strict:
        assert reason_of(strict, server.url + "/a") == "blocked_address"
        assert reason_of(strict, server.url.replace("127.0.0.1", "localhost") + "/a") == "blocked_address"
    assert server.requests == []


def test_a_broken_answer_is_no_rule(server):
    server.routes["/robots.txt"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    with WebFetcher(replace(RULES, deadline_seconds=1.2)) as fetcher:
        assert reason_of(fetcher, server.url + "/a") == "robots_unreachable"


# Redirects


def test_every_hop_is_asked_whether_it_may_be(server, fetcher):
    server.serve("/robots.txt", FORBIDDING)
    server.routes["/hop"] = lambda handler: answer(handler, 302, Location="/private/a")
    assert reason_of(fetcher, server.url + "/hop") == "robots_txt"
    assert server.requests == ["/robots.txt", "/hop"]


def test_another_site_is_asked_for_its_own_rules(server, fetcher):
    with running() as other:
        other.serve("/robots.txt", FORBIDDING)
        for path in ("/a", "/private/a"):
            server.routes[f"/to{path}"] = functools.partial(answer, status=302, Location=other.url + path)
        other.serve("/a", b"other")
        assert fetcher.get(server.url + "/to/a") == b"other"
        assert reason_of(fetcher, server.url + "/to/private/a") == "robots_txt"
        assert other.requests == ["/robots.txt", "/a"]


@pytest.mark.parametrize(("redirects", "reason"), [(5, "robots_txt"), (6, "ok")])
def test_five_redirects_of_robots_txt_are_followed(server, fetcher, redirects, reason):
    server.routes["/robots.txt"] = lambda handler: answer(handler, 301, Location="/hop/1")
    for hop in range(1, redirects):
        server.routes[f"/hop/{hop}"] = functools.partial(answer, status=302, Location=f"/hop/{hop + 1}")
    server.serve(f"/hop/{redirects}", b"User-agent: *\nDisallow: /")
    assert reason_of(fetcher, server.url + "/a") == reason


def test_redirects_in_a_circle_end(server, fetcher):
    server.routes["/robots.txt"] = lambda handler: answer(handler, 301, Location="/robots.txt")
    assert fetcher.get(server.url + "/private/a") == b"secret"
    assert server.requests == ["/robots.txt"] * 6 + ["/private/a"]


def test_rules_from_elsewhere_hold_for_the_site_that_points_there(server, fetcher):
    with running() as other:
        server.routes["/robots.txt"] = lambda handler: answer(handler, 302, Location=other.url + "/theirs")
        other.serve("/theirs", FORBIDDING)
        other.serve("/robots.txt", b"User-agent: *\nDisallow: /")
        assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
        assert fetcher.get(server.url + "/a") == b"bytes"
        assert other.requests == ["/theirs"], "robots.txt itself is fetched without asking"


@pytest.mark.parametrize(
    "where", ["http://127.0.0.2:{port}/x", "ftp://127.0.0.1/x", "http://[::1", "http://none.example/"]
)
def test_rules_that_are_said_to_be_where_nothing_may_be_asked(server, where, monkeypatch):
    monkeypatch.setattr(guarded_network, "is_public_address", lambda address: address == "127.0.0.1")
    resolve = socket.getaddrinfo

    def resolving(host, *args, **kwargs):
        if host == "none.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    location = where.format(port=server.url.rpartition(":")[2])
    server.routes["/robots.txt"] = lambda handler: answer(handler, 302, Location=location)
    with WebFetcher(replace(RULES, allow_private_addresses=False, deadline_seconds=1.2)) as strict:
        assert reason_of(strict, server.url + "/a") == "robots_unreachable"
    assert set(server.requests) == {"/robots.txt"}


def test_a_redirect_to_loopback_is_refused_by_address_and_by_name(server, monkeypatch):
    monkeypatch.setattr(guarded_network, "is_public_address", lambda address: address == "127.0.0.1")
    resolve = socket.getaddrinfo

    def resolving(host, *args, **kwargs):
        return resolve("127.0.0.2" if host == "inside.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    port = server.url.rpartition(":")[2]
    with WebFetcher(replace(RULES, allow_private_addresses=False)) as strict:
        for host in ("127.0.0.2", "inside.example"):
            location = f"http://{host}:{port}/secret"
            server.routes["/hop"] = functools.partial(answer, status=302, Location=location)
            assert reason_of(strict, server.url + "/hop") == "blocked_address"
    assert server.requests == ["/robots.txt", "/hop", "/hop"]


# Files that are slow, large or oddly sent


def drip(handler, seconds):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        handler.wfile.write(b"#")
        handler.wfile.flush()
        time.sleep(0.05)


def test_a_slow_file_takes_a_third_of_the_time_and_no_more(server):
    server.routes["/robots.txt"] = lambda handler: drip(handler, 3.0)
    with WebFetcher(replace(RULES, deadline_seconds=1.5)) as fetcher:
        start = time.perf_counter()
        assert reason_of(fetcher, server.url + "/a") == "robots_unreachable"
        assert 0.4 < time.perf_counter() - start < 1.4
        assert reason_of(fetcher, server.url + "/a") == "robots_unreachable"
    assert server.requests == ["/robots.txt"]


def test_a_silent_server_is_not_waited_for(server):
    server.routes["/robots.txt"] = lambda handler: [time.sleep(0.9) for _ in range(2)]
    with WebFetcher(replace(RULES, deadline_seconds=1.5)) as fetcher:
        start = time.perf_counter()
        assert reason_of(fetcher, server.url + "/a") == "robots_unreachable"
        assert time.perf_counter() - start < 1.4


def test_a_slow_page_instead_of_a_file_still_allows(server):
    def route(handler):
        handler.send_response(404)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        time.sleep(0.8)

    server.routes["/robots.txt"] = route
    with WebFetcher(replace(RULES, deadline_seconds=1.5)) as fetcher:
        assert fetcher.get(server.url + "/a") == b"bytes"


def test_of_a_huge_file_only_the_beginning_is_read(server, fetcher):
    sent = []

    def route(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(100_000_000))
        handler.end_headers()
        handler.wfile.write(FORBIDDING)
        for _ in range(1000):
            handler.wfile.write(b"#" * 99_999 + b"\n")
            sent.append(100_000)

    server.routes["/robots.txt"] = route
    assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert sum(sent) < 20_000_000, "what the network holds on its way, and no more"


@pytest.mark.parametrize("bomb", [False, True])
def test_compression_is_undone_within_bounds(server, fetcher, bomb):
    body = gzip.compress(FORBIDDING + (b"#" * 99 + b"\n") * (500_000 if bomb else 1))
    server.routes["/robots.txt"] = lambda handler: answer(handler, 200, body, Content_Encoding="gzip")
    assert reason_of(fetcher, server.url + "/private/a") == "robots_txt"
    assert fetcher.get(server.url + "/a") == b"bytes"


def test_a_connection_serves_robots_txt_and_then_the_file(server, fetcher):
    peers = []

    def route(handler, status=200, body=b"bytes"):
        peers.append(handler.client_address)
        answer(handler, status, body)

    server.routes["/robots.txt"] = functools.partial(route, status=404, body=b"<h1>Not found</h1>")
    server.routes["/a"] = route
    assert fetcher.get(server.url + "/a") == b"bytes"
    assert len(peers) == 2
    assert len(set(peers)) == 1


# Threads


def in_threads(work, number):
    results = [None] * number
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, work(i)), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_threads_fetch_a_file_once(server, fetcher):
    def route(handler):
        time.sleep(0.3)
        answer(handler, 200, FORBIDDING)

    server.routes["/robots.txt"] = route
    paths = ["/a", "/private/a"]
    reasons = in_threads(lambda i: reason_of(fetcher, server.url + paths[i % 2]), 16)
    assert reasons == ["ok", "robots_txt"] * 8
    assert server.requests.count("/robots.txt") == 1


def test_many_threads_learn_of_a_failure_at_once(server):
    server.routes["/robots.txt"] = lambda handler: drip(handler, 0.9)
    with WebFetcher(replace(RULES, deadline_seconds=1.5)) as fetcher:
        start = time.perf_counter()
        assert set(in_threads(lambda _: reason_of(fetcher, server.url + "/a"), 16)) == {"robots_unreachable"}
        assert time.perf_counter() - start < 1.4
    assert server.requests == ["/robots.txt"]


@contextlib.contextmanager
def robots_files(patience_seconds):
    web = WebConnections("ours", 2.0, True, None)
    yield RobotsFiles(web, "ours", patience_seconds)
    web.close()


def check(files, url, seconds):
    """Return the reason against an address, and after how long it was known."""
    start = time.perf_counter()
    with deadline_after(seconds):
        try:
            files.check(httpx2.URL(url), url)
        except FetchRefused as refusal:
            return refusal.reason, time.perf_counter() - start
    return "ok", time.perf_counter() - start


def test_a_thread_that_waits_keeps_its_own_deadline(server):
    def route(handler):
        time.sleep(0.6)
        answer(handler, 200, b"")

    server.routes["/robots.txt"] = route
    with robots_files(patience_seconds=1.0) as files:
        seconds = [3.0, 0.2]

        def work(i):
            time.sleep(0.1 * i)
            return check(files, server.url + "/a", seconds[i])

        (first, _), (second, waited) = in_threads(work, 2)
    assert first == "ok"
    assert second == "robots_unreachable"
    assert waited < 0.5
    assert server.requests == ["/robots.txt"]


def test_who_runs_out_of_time_spoils_it_for_nobody_else(server):
    def route(handler):
        time.sleep(0.4)
        answer(handler, 200, FORBIDDING)

    server.routes["/robots.txt"] = route
    with robots_files(patience_seconds=1.0) as files:
        seconds = [0.2, 3.0]

        def work(i):
            time.sleep(0.1 * i)
            return check(files, server.url + "/private/a", seconds[i])[0]

        assert in_threads(work, 2) == ["robots_unreachable", "robots_txt"]
        assert check(files, server.url + "/a", 0.1)[0] == "ok"
    assert server.requests == ["/robots.txt"] * 2


def test_only_so_many_files_are_kept(monkeypatch):
    monkeypatch.setattr(robots, "MAX_KEPT_BYTES", 3 * (robots.ENTRY_BYTES + len(FORBIDDING)))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running()) for _ in range(4)]
        for each in servers:
            each.serve("/robots.txt", FORBIDDING)
        files = stack.enter_context(robots_files(patience_seconds=1.0))
        for number in (0, 1, 2, 0, 3, 0, 1):  # the fourth pushes out the second, which was used least recently
            assert check(files, servers[number].url + "/private/a", 3.0)[0] == "robots_txt"
        assert [len(each.requests) for each in servers] == [1, 2, 1, 1]
