from urllib.parse import urljoin, urlsplit

import ada_url
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.canonical_url import LONGEST_URL, canonical_url, resolved

PAGE = "https://example.org/maps/europe/index.html?lang=de"


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("a.png", "https://example.org/maps/europe/a.png"),
        ("/a.png", "https://example.org/a.png"),
        ("../a.png", "https://example.org/maps/a.png"),
        ("../../../../a.png", "https://example.org/a.png"),
        ("./a/./b/../c.png", "https://example.org/maps/europe/a/c.png"),
        ("//cdn.example.org/a.png", "https://cdn.example.org/a.png"),
        ("http://EXAMPLE.org:80/A.png", "http://example.org/A.png"),
        ("https://example.org:8443/a.png", "https://example.org:8443/a.png"),
        ("?page=2", "https://example.org/maps/europe/index.html?page=2"),
        ("a.png#part", "https://example.org/maps/europe/a.png#part"),
        ("  \n a b\t.png  ", "https://example.org/maps/europe/a%20b.png"),
        ("Übersicht.png", "https://example.org/maps/europe/%C3%9Cbersicht.png"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("\\\\cdn.example.org\\a.png", "https://cdn.example.org/a.png"),
        ("a,b.png?c=1,2", "https://example.org/maps/europe/a,b.png?c=1,2"),
        ("a@2x.png", "https://example.org/maps/europe/a@2x.png"),
        ("https://example.org?a@b", "https://example.org/?a@b"),
        # what leads nowhere
        ("data:image/png;base64,iVBORw0KGgo=", None),
        ("javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("blob:https://example.org/1", None),
        ("ftp://example.org/a.png", None),
        ("file:///etc/passwd", None),
        ("mailto:a@example.org", None),
        ("https://", None),
        ("https://[::1", None),
        ("https://example.org:99999/", None),
        ("https://user:secret@example.org/a.png", None),
        ("//user@example.org/a.png", None),
    ],
)
def test_a_link_is_resolved_as_browsers_do(href, url):
    assert resolved(PAGE, href) == url


def test_an_absolute_link_does_not_need_a_base():
    assert resolved("no address", "https://example.org/a.png") == "https://example.org/a.png"
    assert resolved("no address", "a.png") is None


def test_what_is_too_long_is_no_address():
    start = "https://example.org/"
    assert resolved(PAGE, start + "a" * (LONGEST_URL - len(start))) is not None
    assert resolved(PAGE, start + "a" * (LONGEST_URL - len(start) + 1)) is None
    assert resolved(PAGE, "é" * 1000) is None, "6,000 characters when it is encoded"


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://example.org", "https://example.org/"),
        ("HTTPS://Example.ORG:443/a/../b#c", "https://example.org/b"),
        ("https://example.org/?b=2&a=1#c#d", "https://example.org/?b=2&a=1"),
        ("https://example.org/%7Ea", "https://example.org/%7Ea"),
        ("nonsense#part", "nonsense"),
        ("", ""),
    ],
)
def test_all_spellings_of_an_address_become_one(url, canonical):
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


PARTS = st.lists(st.from_regex(r"[a-z0-9_~-]{1,8}(\.[a-z0-9]{1,4})?", fullmatch=True), min_size=1, max_size=5)
PLAIN = st.tuples(st.sampled_from(["", "/", "../", "//cdn.example.org/"]), PARTS)


@given(PLAIN)
def test_plain_links_lead_where_the_standard_library_says(link):
    href = link[0] + "/".join(link[1])
    assert resolved(PAGE, href) == urljoin(PAGE, href)


CHARACTERS = st.text("aZ09././/..%2eE-_~:@?&=+,;()'!$*#\\| \t<>^`{}é\x00", max_size=14)
BASES = ["https://example.org/maps/a.html?b=/c/", "http://example.org/", "https://example.org:81/a/", "https://1.2.3.4/a",
         "https://xn--bcher-kva.example/a/", "https://example.org/a/../b", "https://example.org", "ftp://example.org/a/",
         "https://a-.b--c.example/%2E/x", "https://example.org/a'b", ""]  # fmt: skip


@given(
    st.sampled_from(BASES),
    st.sampled_from(["", "/", "../", "../../", "//", "https://", "http://example.org", "//a.example/"]),
    CHARACTERS,
)
@example(BASES[0], "https://", "1.2.3.4/a")
@example(BASES[0], "https://", "a.1/a")
@example(BASES[0], "", "a:b")
@example(BASES[0], "", "%2E%2e/a")
@example(BASES[0], "", "a/%2e")
@example(BASES[0], "/", "/")
@example(BASES[1], "../", "a")
@example(BASES[0], "../", "../a")
@settings(max_examples=500)
def test_what_expressions_resolve_is_what_the_parser_resolves(base, start, rest):
    try:
        parsed = ada_url.join_url(base, start + rest)
    except ValueError:
        parsed = None
    if parsed is not None and parsed.startswith("http") and "@" not in parsed.split("/")[2]:
        assert resolved(base, start + rest) == parsed
    elif parsed is not None:
        assert resolved(base, start + rest) is None


@given(st.text(), st.text() | st.builds("https://example.org/{}".format, st.text()))
def test_whatever_is_given_only_addresses_of_the_web_come_back(base, href):
    url = resolved(base, href)
    assert url is None or (
        urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc and len(url) <= LONGEST_URL
    )
    assert url is None or resolved(base, url) == url
    assert "#" not in canonical_url(href)
