"""Made crawl files are such as Common Crawl writes, and the same each time."""

import json

import pytest
from warcio.archiveiterator import ArchiveIterator

from mappool_assets.demo.crawl import MadePage, write_warc, write_wat
from mappool_assets.demo.crawl_links import html_metadata
from mappool_assets_tests.crawl_bytes import REAL, needs_real_files

PAGES = [
    MadePage("https://made.example/a?b=c", "<title>Tïtle</title><p>text".encode()),
    MadePage("https://made.example/", b"\xff\x00", (("Content-Type", "image/png"), ("X", "\udcff")), 404, "length"),
    MadePage("https://made.example/e", b"", (("X-Robots-Tag", "noai"), ("X-Robots-Tag", "noindex"))),
]
RESPONSE = ("Envelope", "Payload-Metadata", "HTTP-Response-Metadata")


def records_of(path):
    """Return type, record headers, HTTP status and headers, and payload of each record; digests are verified."""
    with path.open("rb") as file:
        for record in ArchiveIterator(file, check_digests="raise"):
            yield record.rec_type, record.rec_headers, record.http_headers, record.content_stream().read()


def envelopes_of(path):
    return [json.loads(content) for kind, _, _, content in records_of(path) if kind == "metadata"]


@pytest.mark.parametrize("name", ["made.warc.gz", "made.warc"])
def test_a_warc_holds_three_sound_records_a_page(tmp_path, name):
    places = write_warc(tmp_path / name, PAGES)
    records = list(records_of(tmp_path / name))
    assert [kind for kind, *_ in records] == ["warcinfo", *["request", "response", "metadata"] * len(PAGES)]
    responses = [record for record in records if record[0] == "response"]
    for page, (_, headers, answer, body) in zip(PAGES, responses, strict=True):
        assert headers["WARC-Target-URI"] == page.url
        assert headers["WARC-Truncated"] == page.truncated
        assert int(answer.get_statuscode()) == page.status
        assert body == page.body
    assert [offset for offset, _ in places] == sorted(offset for offset, _ in places)


@pytest.mark.parametrize("write", [write_warc, write_wat])
def test_the_same_pages_give_the_same_bytes(tmp_path, write):
    name = "made.warc.gz" if write is write_warc else "made.warc.wat.gz"
    for folder in ("a", "b"):
        write(tmp_path / folder / name, iter(PAGES))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@needs_real_files
def test_records_and_envelopes_have_the_fields_of_real_ones(tmp_path):
    write_warc(tmp_path / "made.warc.gz", PAGES)
    write_wat(tmp_path / "made.warc.wat.gz", PAGES)
    made = {kind: [name for name, _ in headers.headers] for kind, headers, *_ in records_of(tmp_path / "made.warc.gz")}
    write_warc(tmp_path / "first.warc.gz", PAGES[:1])
    for kind, headers, *_ in records_of(tmp_path / "first.warc.gz"):
        made[kind] = [name for name, _ in headers.headers]
    for kind, headers, *_ in records_of(REAL / "whirlwind.warc.gz"):
        real = [name for name, _ in headers.headers]
        assert [name for name in real if name in made[kind]] == made[kind]
    (real,) = envelopes_of(REAL / "whirlwind.warc.wat.gz")
    found = envelopes_of(tmp_path / "made.warc.wat.gz")[1]
    assert found["Envelope"]["WARC-Header-Metadata"]["WARC-Type"] == "request"
    for part in ("Container", "Envelope"):
        assert list(found[part]) == list(real[part])
    assert list(found["Container"]["Gzip-Metadata"]) == list(real["Container"]["Gzip-Metadata"])
    assert set(found["Envelope"]["Payload-Metadata"]) <= set(real["Envelope"]["Payload-Metadata"])


def test_a_wat_points_into_its_warc(tmp_path):
    places = write_warc(tmp_path / "made.warc.gz", PAGES)
    wat_places = write_wat(tmp_path / "made.warc.wat.gz", PAGES)
    envelopes = envelopes_of(tmp_path / "made.warc.wat.gz")
    assert len(envelopes) == 1 + 3 * len(PAGES)
    answers = [envelope for envelope in envelopes if RESPONSE[2] in envelope["Envelope"]["Payload-Metadata"]]
    for (offset, length), envelope in zip(places, answers, strict=True):
        container = envelope["Container"]
        assert (container["Filename"], container["Offset"]) == ("made.warc.gz", str(offset))
        assert container["Gzip-Metadata"]["Deflate-Length"] == str(length)
    content = (tmp_path / "made.warc.wat.gz").read_bytes()
    for (offset, length), envelope in zip(wat_places, answers, strict=True):
        (tmp_path / "one.warc.wat.gz").write_bytes(content[offset : offset + length])
        assert envelopes_of(tmp_path / "one.warc.wat.gz") == [envelope]


def test_a_wat_states_status_headers_and_html_only_of_html(tmp_path):
    write_wat(tmp_path / "made.warc.wat.gz", PAGES)
    first, second, third = (
        envelope["Envelope"]["Payload-Metadata"][RESPONSE[2]]
        for envelope in envelopes_of(tmp_path / "made.warc.wat.gz")
        if RESPONSE[2] in envelope["Envelope"]["Payload-Metadata"]
    )
    assert first["HTML-Metadata"] == {"Head": {"Title": "Tïtle"}}
    assert second["Response-Message"]["Status"] == "404"
    assert "HTML-Metadata" not in second
    assert third["Headers"] == {"X-Robots-Tag": ["noai", "noindex"]}
    assert third["HTML-Metadata"] == {}


@pytest.mark.parametrize(
    ("html", "links"),
    [
        ('<img src="a,b.jpg" alt="x &amp; y" title=t data-src=c srcset="d 2x">',
         [{"path": "IMG@/src", "url": "a,b.jpg", "alt": "x & y", "title": "t"}]),
        ("<img data-src=a.jpg>", []),
        ('<a href="/u" rel=nofollow>one <b>two</b>\n three</a>',
         [{"path": "A@/href", "url": "/u", "rel": "nofollow", "text": "one two three"}]),
        ("<a href=1><a href=2>x</a>y</a>", [{"path": "A@/href", "url": "2", "text": "x"},
                                           {"path": "A@/href", "url": "1", "text": "xy"}]),
        (f"<a href=u>{'x' * 200}</a>", [{"path": "A@/href", "url": "u", "text": "x" * 128}]),
        ("<a name=n>no link</a>", []),
        ("<video src=v poster=p><source src=s srcset=t><track src=c></video>",
         [{"path": "VIDEO@/src", "url": "v"}, {"path": "VIDEO@/poster", "url": "p"},
          {"path": "SOURCE@/src", "url": "s"}, {"path": "TRACK@/src", "url": "c"}]),
        ("<audio src=a></audio><embed src=e><object data=d></object><iframe src=f></iframe>",
         [{"path": "AUDIO@/src", "url": "a"}, {"path": "EMBED@/src", "url": "e"},
          {"path": "OBJECT@/data", "url": "d"}, {"path": "IFRAME@/src", "url": "f"}]),
        ("<td background=b></td><div data-href=h></div>",
         [{"path": "TD@/background", "url": "b"}, {"path": "DIV@/data-href", "url": "h"}]),
        ("<style>a{background:url( 'q.png' )} b{src:url(w)}</style>",
         [{"path": "STYLE/#text", "href": "q.png"}, {"path": "STYLE/#text", "href": "w"}]),
        ("<form action=f method=post></form><area href=r rel=x>",
         [{"path": "FORM@/action", "url": "f", "method": "post"}, {"path": "AREA@/href", "url": "r", "rel": "x"}]),
        ("<script>document.write('<img src=x>')</script>", []),
    ],
)  # fmt: skip
def test_links_are_those_that_the_archives_extractor_takes(html, links):
    assert html_metadata(html.encode(), "utf-8").get("Links", []) == links


def test_a_head_holds_what_the_page_says_of_itself():
    html = (
        '<html lang=de><head><base href="/b/"><title> A  page </title><meta name=robots content=noai>'
        "<meta charset=x><link rel=icon href=i.png><script src=s.js></script></head>"
        "<body><svg><title>no</title></svg>"
    )
    assert html_metadata(html.encode("utf-16"), "utf-16") == {
        "Head": {
            "Metas": [{"name": "HTML@/lang", "content": "de"}, {"name": "robots", "content": "noai"}],
            "Base": "/b/",
            "Title": "A page",
            "Link": [{"path": "LINK@/href", "url": "i.png", "rel": "icon"}],
            "Scripts": [{"path": "SCRIPT@/src", "url": "s.js"}],
        }
    }
    assert html_metadata(b"<p>\xff", "no charset") == {}
