"""The media of a WAT's record, against the walk over the page itself and against what is hostile."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappool_assets.demo.crawl_links import html_metadata
from mappool_assets.lib.crawl.warc_pages import CrawlPage
from mappool_assets.lib.media_urls.plain_images import ImageAddresses
from mappool_assets.lib.media_urls.wat_links import MOST_MEDIA, WatPage, may_be_file, read_wat_page
from mappool_assets.lib.web_documents.canonical_url import LONGEST_URL, canonical_url, resolved
from mappool_assets.lib.web_documents.media_sources import image, media_file
from mappool_assets.lib.web_documents.page_documents import OPT_OUTS
from mappool_assets.lib.web_documents.page_items import PageSettings, parse_page
from mappool_assets_tests.crawl_bytes import REAL, needs_real_files, pages_in

PAGE = "https://maps.example/old/atlas.html"
WHOLE = PageSettings(drops_boilerplate=False)


def record(html: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """A WAT's record about a response, as the demo's crawl has them."""
    response = {
        "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
        "Headers": {"Content-Type": "text/html"},
        "HTML-Metadata": {} if html is None else html,
    }
    header = {"WARC-Type": "response", "WARC-Target-URI": PAGE, "WARC-Identified-Payload-Type": "text/html"}
    for name, value in changed.items():
        of = header if name.startswith("WARC") else response
        of[name.replace("_", "-")] = value
    payload = {"Actual-Content-Type": "application/http; msgtype=response", "HTTP-Response-Metadata": response}
    return {"Container": {}, "Envelope": {"Payload-Metadata": payload, "WARC-Header-Metadata": header}}


def read(content: Any, **settings: Any) -> WatPage | str:
    return read_wat_page(json.dumps(content).encode(), **settings)


def media_of(*links: Any, base: str | None = None) -> WatPage:
    head = {} if base is None else {"Base": base}
    page = read(record({"Head": head, "Links": list(links)}))
    assert isinstance(page, WatPage)
    assert page.links == len(links) == len(page.media) + sum(page.dropped.values())
    return page


def link(path: str, url: Any) -> dict[str, Any]:
    return {"path": path, "url": url}


# -- what is a medium -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "url", "kind"),
    [
        ("IMG@/src", "1.png", "image"),
        ("IMG@/src", "film.mp4", "image"),
        ("IMG@/longdesc", "1.png", None),
        ("AUDIO@/src", "talk", "audio"),
        ("VIDEO@/src", "film", "video"),
        ("VIDEO@/poster", "1.png", None),
        ("SOURCE@/src", "talk.mp3", "audio"),
        ("SOURCE@/src", "film.webm", "video"),
        ("SOURCE@/src", "film.m3u8", None),
        ("A@/href", "talk.OGG?download=1", "audio"),
        ("A@/href", "?file=talk.ogg", None),
        ("A@/href", "1.png", None),
        ("IFRAME@/src", "film.mp4#t=10", "video"),
        ("EMBED@/src", "film.avi", "video"),
        ("OBJECT@/data", "talk.wav", "audio"),
        ("INPUT@/src", "1.png", None),
        ("TD@/background", "1.png", None),
        ("LINK@/href", "talk.mp3", None),
    ],
)
def test_what_an_attribute_says_it_is(path: str, url: str, kind: str | None) -> None:
    page = media_of(link(path, url))
    address = "https://maps.example/old/" + url.partition("#")[0]
    assert page == WatPage(PAGE, [(kind, address)] if kind else [], 1, {} if kind else {"no_medium": 1})


@pytest.mark.parametrize(
    ("base", "folder"),
    [
        (None, "https://maps.example/old/"),
        ("/new/", "https://maps.example/new/"),
        ("deeper/x.html", "https://maps.example/old/deeper/"),
        ("//cdn.example/", "https://cdn.example/"),
        ("https://other.example/a/b?c/d", "https://other.example/a/"),
        ("", "https://maps.example/old/"),
        ("javascript:void(0)", "https://maps.example/old/"),
        ("https://[broken/", "https://maps.example/old/"),
    ],
)
def test_addresses_are_relative_to_the_base_which_is_relative_to_the_page(base: str | None, folder: str) -> None:
    page = media_of(link("IMG@/src", "1.png"), link("A@/href", "./talk.mp3"), base=base)
    assert page.media == [("image", f"{folder}1.png"), ("audio", f"{folder}talk.mp3")]


def test_a_medium_counts_once_a_page_however_it_is_written() -> None:
    same = [
        "1.png",
        "/old/1.png",
        "//maps.example/old/1.png",
        "https://MAPS.example:443/old/x/../1.png#top",
        " 1.png\n",
    ]
    page = media_of(*(link("IMG@/src", url) for url in same))
    assert page == WatPage(PAGE, [("image", "https://maps.example/old/1.png")], 5, {"same_page": 4})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png;base64,AAAA", "data_url"),
        ("data:image/png;base64," + "A" * 1_000_000, "data_url"),
        (" DATA:image/gif;base64,AAAA", "data_url"),
        ("javascript:alert(1)", "bad_scheme"),
        ("java\nscript:alert(1)", "bad_scheme"),
        ("file:///etc/passwd", "bad_scheme"),
        ("https://user:password@maps.example/1.png", "bad_url"),
        ("https://[broken/1.png", "bad_url"),
        ("https://a\0b.example/1.png", "bad_url"),
        ("/" + "a" * 1_000_000, "bad_url"),
        ("https://maps.example/" + "a" * (LONGEST_URL - 20), "bad_url"),
        ("", "no_source"),
        ("/spacer.gif", "placeholder"),
        ("https://pixel.counter.example/1.png", "tracker"),
        (None, "bad_link"),
        (7, "bad_link"),
        (["1.png"], "bad_link"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_why_an_image_is_none(url: Any, reason: str) -> None:
    assert media_of(link("IMG@/src", url)) == WatPage(PAGE, [], 1, {reason: 1})


@pytest.mark.parametrize("url", [None, 7, ["film.mp4"], {"film.mp4": 1}], ids=str)
@pytest.mark.parametrize("path", ["IMG@/src", "SOURCE@/src"])
def test_an_address_that_is_no_text_is_a_bad_link(path: str, url: Any) -> None:
    assert media_of(link(path, url)).dropped == {"bad_link": 1}


def test_nul_and_the_longest_address_are_kept_as_browsers_write_them() -> None:
    longest = "https://maps.example/" + "a" * (LONGEST_URL - 21)
    page = media_of(link("IMG@/src", "a\0b.png"), link("IMG@/src", longest), link("A@/href", "\0talk.mp3\0 "))
    assert page.media == [("image", "https://maps.example/old/a%00b.png"), ("image", longest)]


@pytest.mark.parametrize("bad", [None, 7, "IMG@/src", [], {}, {"url": "1.png"}, {"path": ["IMG@/src"], "url": "1.png"}])
def test_links_of_another_form_are_counted_and_the_others_read(bad: Any) -> None:
    page = media_of(link("IMG@/src", "1.png"), bad, link("IMG@/src", "2.png"))
    assert [url[-5:] for _, url in page.media] == ["1.png", "2.png"]
    assert page.dropped == {"bad_link": 1}


def test_links_of_styles_have_no_url() -> None:
    assert media_of({"path": "STYLE/#text", "href": "1.png"}).dropped == {"no_medium": 1}


def test_a_page_gives_no_more_than_the_most_media() -> None:
    base = "https://maps.example/" + "a" * 1900 + "/"
    images = [link("IMG@/src", f"{number}.png") for number in range(MOST_MEDIA + 3)]
    page = media_of(*images, images[0], base=base)
    assert len(page.media) == MOST_MEDIA
    assert page.dropped == {"too_many": 4}


# -- what is a page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"HTML_Metadata": None}, "not_html"),
        ({"WARC-Identified-Payload-Type": "application/pdf"}, "not_html"),
        ({"WARC-Target-URI": ""}, "no_url"),
        ({"WARC-Target-URI": "dns:maps.example"}, "no_url"),
        ({"WARC-Target-URI": "https://maps.example/" + "a" * LONGEST_URL}, "no_url"),
        ({"WARC-Target-URI": 7}, "bad_record"),
        ({"Response_Message": {"Status": "404"}}, "http_status"),
        ({"Response_Message": {"Status": 200}}, "http_status"),
        ({"Response_Message": {}}, "bad_record"),
        ({"Response_Message": "200"}, "bad_record"),
        ({"Headers": []}, "bad_record"),
        ({"HTML_Metadata": []}, "bad_record"),
        ({"HTML_Metadata": "<img>"}, "bad_record"),
        ({"HTML_Metadata": {"Links": {"0": 1}}}, "bad_record"),
        ({"HTML_Metadata": {"Head": []}}, "bad_record"),
        ({"HTML_Metadata": {"Head": {"Base": 7}}}, "bad_record"),
        ({"HTML_Metadata": {"Head": {"Metas": [7]}}}, "bad_record"),
        ({"HTML_Metadata": {"Head": {"Metas": [{"name": 7, "content": ""}]}}}, "bad_record"),
        ({"HTML_Metadata": {"Head": {"Metas": [{"name": "robots", "content": 7}]}}}, "bad_record"),
    ],
    ids=str,
)
def test_why_a_record_is_no_page(changed: dict[str, Any], reason: str) -> None:
    assert read(record(**changed)) == reason


@pytest.mark.parametrize("vague", ["", "text/plain", "application/octet-stream", "TEXT/HTML", "application/xhtml+xml"])
def test_a_detected_type_that_says_nothing_leaves_it_to_the_server(vague: str) -> None:
    assert read(record(**{"WARC-Identified-Payload-Type": vague})) == WatPage(PAGE, [], 0, {})


NAMED = b'"HTTP-Response-Metadata"'


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "not_a_response"),
        (b'{"Envelope":{"Payload-Metadata":{"HTTP-Request-Metadata":{}}}}', "not_a_response"),
        (b"{" + NAMED, "bad_json"),
        (json.dumps(record()).encode()[:-1], "bad_json"),
        (json.dumps(record()).encode() + b"}", "bad_json"),
        (b"[" * 100_000 + NAMED + b"]" * 100_000, "bad_json"),
        (b'{"a":"\xff",' + NAMED + b":1}", "bad_json"),
        (b'{"a":"\\ud800",' + NAMED + b":1}", "bad_json"),
        (b"\0" * 100 + NAMED, "bad_json"),
        (b"{" + NAMED + b":NaN}", "bad_json"),
        (b"[" + NAMED + b"]", "bad_record"),
        (NAMED, "bad_record"),
        (b'{"Envelope":' + NAMED + b"}", "bad_record"),
        (b'{"Envelope":{"Payload-Metadata":{' + NAMED + b":null}}}", "bad_record"),
        (b'{"Envelope":{"Payload-Metadata":{' + NAMED + b':{}},"WARC-Header-Metadata":{}}}', "bad_record"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_malformed_records(block: bytes, reason: str) -> None:
    assert read_wat_page(block) == reason


NAMES = st.sampled_from(["path", "url", "Links", "Head", "Base", "Metas", "name", "content"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["robots", "IMG@/src"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(JSON)
def test_whatever_stands_in_a_record_is_a_page_or_has_a_reason(content: Any) -> None:
    for changed in (record(content), record({"Links": [content], "Head": {"Metas": [content]}}), content):
        page = read(changed)
        if isinstance(page, WatPage):
            assert page.links == len(page.media) + sum(page.dropped.values())


# -- robots -----------------------------------------------------------------------------------------------------------

SAID = st.sampled_from(["noindex", "noai", "none", "nofollow", "index", "all", "noimageai", "NoIndex", "max-snippet:20",
                        "otherbot: noindex", "*: noai", "unavailable_after: 25 Jun 2027", ""])  # fmt: skip
WISHES = st.lists(st.lists(SAID, max_size=3).map(", ".join), max_size=2)


@given(of_headers=WISHES, of_page=WISHES)
@example(of_headers=["googlebot: noindex"], of_page=["NOINDEX;nofollow"])
def test_a_page_is_left_out_by_the_wishes_by_which_its_document_is(of_headers: list[str], of_page: list[str]) -> None:
    metas = "".join(f'<meta name="Robots" content="{escape(said)}">' for said in of_page)
    body = f"<html><head>{metas}</head><body><img src=1.png></body></html>".encode()
    robots = parse_page(body, PAGE, "text/html; charset=utf-8", tuple(of_headers), WHOLE).robots
    expected = next((reason for word, reason in OPT_OUTS.items() if word in robots), None)

    headers = {"X-Robots-Tag": of_headers[0] if len(of_headers) == 1 else of_headers}
    content = record(html_metadata(body, "utf-8"), Headers=headers if of_headers else {})
    page = read(content)
    assert page == expected if expected else isinstance(page, WatPage)
    assert isinstance(read(content, obeys_robots=False), WatPage)


def test_endless_wishes_are_read_as_far_as_any_are_meant() -> None:
    spaces = {"name": "robots", "content": " " * 4_000_000 + ": noindex"}
    many = [{"name": "robots", "content": "noodp"}] * 100_000
    assert isinstance(read(record({"Head": {"Metas": [spaces, *many]}})), WatPage)
    assert read(record({"Head": {"Metas": [{"name": "robots", "content": "noindex"}, spaces]}})) == "robots_noindex"


# -- as the walk judges -----------------------------------------------------------------------------------------------

PIECES = st.sampled_from([
    "a", "b-1", "1x1", "spacer", "pixel", "placeholder", "hit", "tr", "_150x150", "%20", "%2e", "%2E%2e", "%2f", "..",
    ".", "", ".jpg", ".gif", ".MP3", ".mp4", ".php", "?", "?w=1", "#", "#top", "&", "'", "\"", "(", "|", "^", "[", "\\",
    "/", "//", ":", "@", " ", "\t", "\n", "\0", "\u00a0", "é", "東", "xn--", "~", "*", "$", "{", "`", "+", ",", ";",
    "=", "https:", "http://", "https://", "HTTPS://", "data:", "javascript:", "maps.example", "www.facebook.com/", "!",
    "pixel.x.org/", "xn--mnchen-3ya.de/", "127.0.0.1/", "a.1/", "b.example:8080/", "EXAMPLE.org/", "_x.example/",
    "u:p@h.example/",
])  # fmt: skip
ADDRESSES = st.lists(PIECES, max_size=7).map("".join) | st.text(max_size=8)
BASES = st.sampled_from([
    PAGE, "https://maps.example/", "http://maps.example/a/b?c/d#e", "https://maps.example", "https://maps.example:8080/a/",
    "https://EXAMPLE.org/a/../b/c", "https://xn--mnchen-3ya.de/a/", "https://10.0.0.1/a/", "https://a.example/b//c/%2e%2e/d",
    "https://a.example/b/.c/d", "no address", "https://a.example/ä/b",
])  # fmt: skip


@given(base=BASES, address=ADDRESSES)
def test_images_are_judged_as_the_walk_judges_them(base: str, address: str) -> None:
    expected = image({"src": address}, (), base)
    judged = ImageAddresses(base).judge(address)
    assert judged == (expected if isinstance(expected, str) else ("image", canonical_url(expected.url or "")))


@given(base=BASES, address=ADDRESSES)
def test_no_sound_or_film_is_passed_over(base: str, address: str) -> None:
    if media_file(address, base) is not None:
        assert may_be_file(address)


@given(base=BASES, address=ADDRESSES)
def test_what_is_resolved_is_canonical_but_for_the_fragment(base: str, address: str) -> None:
    url = resolved(base, address)
    assert url is None or url.partition("#")[0] == canonical_url(url)


ATTRIBUTE = ADDRESSES.filter(lambda text: "\0" not in text and "\r" not in text)
ELEMENTS = st.one_of(
    ATTRIBUTE.map(lambda url: f'<img src="{escape(url)}">'),
    ATTRIBUTE.map(lambda url: f'<p>See <a href="{escape(url)}">this</a> map</p>'),
    ATTRIBUTE.map(lambda url: f'<audio src="{escape(url)}"></audio>'),
    ATTRIBUTE.map(lambda url: f'<video controls src="{escape(url)}"></video>'),
    ATTRIBUTE.map(lambda url: f'<iframe src="{escape(url)}"></iframe>'),
    ATTRIBUTE.map(lambda url: f'<object data="{escape(url)}"></object>'),
    ATTRIBUTE.map(lambda url: f'<embed src="{escape(url)}">'),
    st.sampled_from(["talk.mp3", "film.mp4"]).map(
        lambda u: f'<video><source src="{u.replace("mp3", "webm")}"></video>'
    ),
)


@given(
    elements=st.lists(ELEMENTS, max_size=6), base=st.none() | st.sampled_from(["/b/", "../c", "//d.example/", "x:y"])
)
def test_pages_without_what_a_wat_lacks_give_the_same_media(elements: list[str], base: str | None) -> None:
    head = f'<base href="{base}">' if base else ""
    body = f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(elements)}</body></html>".encode()
    walked = parse_page(body, PAGE, "text/html; charset=utf-8", (), WHOLE).items
    expected = {(item.kind, canonical_url(item.url)) for item in walked if item.url is not None}
    page = read(record(html_metadata(body, "utf-8")))
    assert isinstance(page, WatPage)
    assert set(page.media) == expected


HERE = "https://maps.example/old/"
PLAIN, LATE = '<img src="1.png">', '<img class="lazy" src="/blank.gif" data-src="late.png">'


@pytest.mark.parametrize(
    ("html", "walked", "in_wat"),
    [
        (PLAIN, {"1.png"}, {"1.png"}),
        # more is found
        ('<img src="1.png" width="1" height="1">', set(), {"1.png"}),
        ('<div hidden><img src="1.png"></div>', set(), {"1.png"}),
        ('<video><source src="1.webm"><source src="1.mp4"></video>', {"1.webm"}, {"1.webm", "1.mp4"}),
        ('<video src="0.mp4"><source src="1.mp4"></video>', {"0.mp4"}, {"0.mp4", "1.mp4"}),
        # less is found
        ('<img data-src="late.png">', {"late.png"}, set()),
        (LATE, {"late.png"}, set()),
        ('<img src="1.png" srcset="2.png 2x">', {"1.png"}, {"1.png"}),
        ('<img srcset="1.png 1x, 2.png 2x">', {"2.png"}, set()),
        ('<picture><source srcset="2.webp"><img alt="a map"></picture>', {"2.webp"}, set()),
        ('<amp-img src="1.png"></amp-img>', {"1.png"}, set()),
        ('<video data-src="1.mp4"></video>', {"1.mp4"}, set()),
        ('<video><source src="film"></video>', {"film"}, set()),
    ],
)
def test_where_a_wat_differs_from_the_walk(html: str, walked: set[str], in_wat: set[str]) -> None:
    body = f"<!DOCTYPE html><html><body><p>A map.</p>{html}</body></html>".encode()
    items = parse_page(body, PAGE, "text/html; charset=utf-8", (), WHOLE).items
    page = read(record(html_metadata(body, "utf-8")))
    assert isinstance(page, WatPage)
    assert {item.url.removeprefix(HERE) for item in items if item.url} == walked
    assert {url.removeprefix(HERE) for _, url in page.media} == in_wat


@needs_real_files
def test_of_a_real_page_a_wat_gives_what_the_walk_gives_and_a_counter_of_one_pixel() -> None:
    (page,) = pages_in(REAL / "whirlwind.warc.gz")
    assert isinstance(page, CrawlPage)
    items = parse_page(page.body, page.url, page.content_type, page.x_robots_tag, WHOLE).items
    walked = {(item.kind, canonical_url(item.url)) for item in items if item.url is not None}
    found = read(record(html_metadata(page.body, "utf-8"), **{"WARC-Target-URI": page.url}))
    assert isinstance(found, WatPage)
    assert len(walked) == 12
    counter = ("image", "https://login.wikimedia.org/wiki/Special:CentralAutoLogin/start?type=1x1")
    assert set(found.media) == walked | {counter}


def test_the_kind_of_a_source_is_told_by_its_ending_alone_and_the_last_base_counts() -> None:
    body = (b'<html><head><base href="/a/"><base href="/b/"></head><body>'
            b'<audio><source src="talk.mp4"></audio></body></html>')  # fmt: skip
    (walked,) = (item for item in parse_page(body, PAGE, "text/html", (), WHOLE).items if item.url)
    page = read(record(html_metadata(body, "utf-8")))
    assert isinstance(page, WatPage)
    assert (walked.kind, walked.url) == ("audio", "https://maps.example/a/talk.mp4")
    assert page.media == [("video", "https://maps.example/b/talk.mp4")]
