import gzip
import html
import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.page_items import PageSettings, parse_page

URL = "https://example.org/maps/index.html"
REAL_PAGES = Path(__file__).parents[2].parent / "shared" / "data" / "crawl"  # beside the repository, if at all
WHOLE = PageSettings(drops_boilerplate=False)


def parse(markup, settings=WHOLE, *, url=URL, content_type=None, x_robots_tag=()):
    body = markup if isinstance(markup, bytes) else markup.encode()
    return parse_page(body, url, content_type, x_robots_tag, settings)


def said(markup, settings=WHOLE, **answer):
    """Return texts as they are, and media as their kind and address."""
    items = parse(markup, settings, **answer).items
    return [item.text if item.kind == "text" else (item.kind, item.url) for item in items]


def pictures(*names):
    return [("image", f"https://example.org/maps/{name}") for name in names]


# --- blocks


@pytest.mark.parametrize(
    ("markup", "texts"),
    [
        ("", []),
        (" \n\t ", []),
        ("<p></p><div> </div>", []),
        ("one", ["one"]),
        ("<p>one<p>two", ["one", "two"]),
        ("one<p>two</p>three", ["one", "two", "three"]),
        ("<div>one<div>two</div>three</div>", ["one", "two", "three"]),
        ("one<br>two<hr>three", ["one", "two", "three"]),
        ("<ul><li>one<li>two<ol><li>three</ol></ul>", ["one", "two", "three"]),
        ("<table><caption>one</caption><tr><th>two<td>three<tr><td>four</table>", ["one", "two", "three", "four"]),
        ("<dl><dt>one<dd>two</dl>", ["one", "two"]),
        ("<h1>one</h1><h2>two</h2>", ["one", "two"]),
        ("<details><summary>one</summary>two</details>", ["one", "two"]),
        ("<figure><figcaption>one</figcaption>two</figure>", ["one", "two"]),
        ("w<b>o</b>rd<i>s</i> two", ["words two"]),
        ("wo<!-- -->rd<span></span>s", ["words"]),
        ("Donau<wbr>dampf<sup>2</sup>", ["Donaudampf2"]),
        ("<my-element>one</my-element><other-element>two</other-element>", ["onetwo"]),
        ("one\n  <b> two</b> \t three", ["one two three"]),
        ("<pre>one\n  two</pre>", ["one two"]),
        ("one&nbsp;two&emsp;three\u3000four\u2028five", ["one two three four five"]),
        ("Q&amp;A &lt;b&gt; &eacute; &#x43a;&#1072; &nonsense; &amp;amp;", ["Q&A <b> é ка &nonsense; &amp;"]),
        ("a\x00b\x01c\x7fd &#1;e&#x81;f", ["abcd ef"]),
        ("ma\u00adps of\u200b it\ufeff", ["maps of it"]),
        ("cafe\u0301", ["café"]),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字</ruby>", ["漢字"]),
    ],
)
def test_text_is_cut_where_blocks_are_and_nowhere_else(markup, texts):
    assert said(markup) == texts


@pytest.mark.parametrize(
    "element",
    ["script", "style", "template", "textarea", "select", "svg", "math", "noscript", "canvas", "iframe", "object",
     "video", "audio", "noembed", "noframes", "datalist"],
)  # fmt: skip
def test_what_is_not_text_to_a_reader_is_left_out(element):
    inner = "<option>no" if element in ("select", "datalist") else "<title>no</title>" if element == "svg" else "no"
    assert "no" not in " ".join(said(f"<p>one</p><{element}>{inner}</{element}><p>two</p>")).split()


def test_attributes_comments_and_unclosed_markup_are_no_text():
    assert said('<p title="no">one<!-- no --> two <a href="no" data-x="<b>no</b>">three') == ["one two three"]


# Trees whose blocks are obvious: (tag, children) or text.
BLOCKS, INLINE = ["div", "section", "blockquote", "center"], ["b", "span", "em", "u", "my-tag"]
TEXTS = st.text("ab é&<>\n\u00a0", min_size=1, max_size=6)
INLINES = st.recursive(
    TEXTS, lambda inner: st.tuples(st.sampled_from(INLINE), st.lists(inner, max_size=3)), max_leaves=4
)
TREES = st.recursive(
    INLINES | st.just(("br", [])) | st.just(("img", [])),
    lambda inner: st.tuples(st.sampled_from(BLOCKS), st.lists(inner, max_size=4)),
    max_leaves=15,
)


def markup_of(tree):
    if isinstance(tree, str):
        return html.escape(tree)
    tag, children = tree
    if tag in ("br", "img"):
        return {"br": "<br>", "img": '<img src="a.png">'}[tag]
    return f"<{tag}>{''.join(map(markup_of, children))}</{tag}>"


def items_of(tree):
    """Return texts and images, the slow way: one mark for every boundary, then split at the marks."""

    def marked(tree):
        if isinstance(tree, str):
            return tree
        tag, children = tree
        inner = "".join(map(marked, children))
        return {"br": "\x02", "img": "\x02\x03\x02"}.get(tag, f"\x02{inner}\x02" if tag in BLOCKS else inner)

    pieces = (" ".join(piece.split()) for piece in marked(tree).split("\x02"))
    return [("image", "https://example.org/maps/a.png") if piece == "\x03" else piece for piece in pieces if piece]


@given(TREES)
def test_items_are_those_of_the_obvious_walk(tree):
    assert said(markup_of(tree)) == items_of(tree)


@given(st.lists(st.text("abé", min_size=1, max_size=5), min_size=1, max_size=6), st.data())
def test_inline_tags_never_change_the_words(words, data):
    text = " ".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    tags = data.draw(st.lists(st.sampled_from(INLINE), min_size=5, max_size=5))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert said("".join(f"<{tag}>{piece}</{tag}>" for tag, piece in zip(tags, pieces, strict=False))) == [text]


@given(TREES, st.integers(1, 40))
def test_wrapping_a_page_in_divs_changes_nothing(tree, depth):
    markup = markup_of(tree)
    for settings_ in (WHOLE, PageSettings()):
        assert parse("<div>" * depth + markup + "</div>" * depth, settings_).items == parse(markup, settings_).items


FRAGMENTS = st.sampled_from(
    re.findall(
        r"<[^>]+>|\S+",
        """<div> </div> <p> <b> </b> <a href="a.mp3"> </a> <table> <tr> <td> <th> <img src=a.png> <picture> </picture>
        <source srcset="a.png,2x"> <noscript> </noscript> <nav> </nav> <article> <script> </script> <!-- --> <svg>
        <math> <mi> <template> </template> <select> <option> <br> <form> <base href="//x/"> <title> </title> <h1>
        <video> <meta name=robots content=none> <object data=a.mp4> </object> <frameset> <plaintext> <dialog>
        <body class=menu> </body> </html> <html hidden> <button> &nbsp; &#0; &#xD800; word \x00 \ufeff é""",
    )
)


@given(
    st.lists(FRAGMENTS | st.text(max_size=5), max_size=30).map("".join).map(str.encode) | st.binary(max_size=200),
    st.booleans(),
)
@example(b"\xff\xfe", True)
@example(b"<" * 500, True)
@example(b"<a " * 300, True)
@settings(max_examples=200)
def test_whatever_the_bytes_are_nothing_is_raised_and_items_are_clean(body, drops):
    page = parse_page(body, "https://example.org/", "text/html; charset=nonsense", ("x",), PageSettings(drops))
    for item in page.items:
        if item.kind == "text":
            assert item.text == " ".join(item.text.split()) != ""
            assert unicodedata.is_normalized("NFC", item.text)
            assert not any(unicodedata.category(character) == "Cc" for character in item.text)
            assert item[2:] == (None, None, (), None, None)
        else:
            assert item.kind in ("image", "audio", "video")
            assert item.text is None
            assert item.url.startswith(("http://", "https://"))


# --- media


def test_media_stand_where_they_are():
    markup = """<p>one <img src=a.png alt="A"> two</p><video src=b.mp4 title=B></video><p>three</p>
    <audio><source src=c.ogg></audio><iframe src="d.mp4"></iframe><iframe src="https://player.example/1"></iframe>
    <embed src=e.mp3><object data=f.webm>no</object><object data=x.swf>no<img src=g.png></object>four"""
    assert said(markup) == [
        "one", *pictures("a.png"), "two", ("video", "https://example.org/maps/b.mp4"), "three",
        ("audio", "https://example.org/maps/c.ogg"), ("video", "https://example.org/maps/d.mp4"),
        ("audio", "https://example.org/maps/e.mp3"), ("video", "https://example.org/maps/f.webm"), *pictures("g.png"),
        "four",
    ]  # fmt: skip
    assert [item.alt for item in parse(markup).items if item.kind != "text"][:2] == ["A", "B"]


def test_a_linked_file_comes_after_the_block_that_links_it():
    page = parse('<p>Hear <a href="talk.mp3">the  <b>talk</b></a> of May.</p><p>Next</p>')
    assert [item.text or item.url for item in page.items] == [
        "Hear the talk of May.", "https://example.org/maps/talk.mp3", "Next",
    ]  # fmt: skip
    assert page.items[1].alt == "the talk"


def test_what_is_no_medium_is_counted_and_does_not_cut_a_text():
    page = parse(
        """<p>one <img src="data:image/gif;base64,R0lGODlh"> two<img src=p.gif width=1 height=1> three
        <img src="javascript:alert(1)"> <img src=a.png hidden> <img> <img src=a.png style="display: none"> four</p>"""
    )
    assert [item.text for item in page.items] == ["one two three four"]
    assert page.dropped_media == {"data_url": 1, "tiny": 1, "bad_scheme": 1, "hidden": 2, "no_source": 1}


def test_emoji_are_text():
    page = parse('<p>Hello <img class="wp-smiley" alt="😀" src="https://s.w.org/1f600.svg"> world</p>')
    assert [item.text for item in page.items] == ["Hello 😀 world"]
    assert page.dropped_media == {"emoji": 1}


GIF = "data:image/gif;base64,R0lGODlh"


@pytest.mark.parametrize(
    ("markup", "names", "twins"),
    [
        (f'<img src="{GIF}" data-src="a.png"><noscript><img src="a.png"></noscript>', ["a.png"], 1),
        (f'<img src="{GIF}" data-src="a.png?b&amp;c"><noscript><img src="a.png?b&amp;c"></noscript>', ["a.png?b&c"], 1),
        (f'<body><noscript><img src="a.png"></noscript><img src="{GIF}" data-src="a.png">', ["a.png"], 1),
        (f'<img class="lazy" src="{GIF}" data-src="a2.png">\n<noscript> <img src="a.png"></noscript>', ["a2.png"], 1),
        (f'<body><noscript><img src="a.png"></noscript><img src="{GIF}" data-src="a-640.png">', ["a-640.png"], 1),
        (f'<img src="{GIF}"><noscript><img src="a.png"></noscript>', ["a.png"], 0),
        ('<img src="a.png"><noscript><img src="b.png"></noscript>', ["a.png", "b.png"], 0),
        ('<img data-src="a.png">text<noscript><img src="b.png"></noscript>', ["a.png", "b.png"], 0),
        ('<img data-src="a.png"><noscript><img src="a.png"><img src="b.png"></noscript>', ["a.png", "b.png"], 1),
        ('<img data-src="a.png"><noscript><img src="b.png"></noscript><noscript><img src="c.png"></noscript>',
         ["a.png", "c.png"], 1),
        ('<img data-srcset="a.png 1x, b.png 2x"><noscript><img src="a.png"></noscript>', ["b.png"], 1),
        ('<picture><source srcset="x.webp"><img data-src="a.png"></picture><noscript><picture><source srcset="x.webp">'
         '<img src="a.png"></picture></noscript>', ["a.png"], 1),
        ('<amp-img src="a.png"><noscript><img src="a.png"></noscript></amp-img>', ["a.png"], 1),
        ('<noscript>Please enable scripts. <img src="p.gif" width=1 height=1></noscript>', [], 0),
        ('<img src="a.png"><img src="a.png">', ["a.png", "a.png"], 0),
    ],
)  # fmt: skip
def test_an_image_that_a_script_loads_and_its_twin_are_one(markup, names, twins):
    page = parse(markup)
    assert [(item.kind, item.url) for item in page.items if item.kind != "text"] == pictures(*names)
    assert page.dropped_media.get("twin", 0) == twins


def test_the_sources_of_a_picture_are_its_own():
    page = parse(
        """<picture><source srcset="a.webp 2x"></picture><source srcset="stray.webp"><img src="b.png">
        <picture><source srcset="c.webp 800w" type="image/webp"><img src="c.png" width="80" height="60"></picture>"""
    )
    assert [(item.url, item.candidates, item.width, item.height) for item in page.items] == [
        ("https://example.org/maps/b.png", (), None, None),
        ("https://example.org/maps/c.png", (("https://example.org/maps/c.webp", "800w"),), 80, 60),
    ]


def test_a_page_of_images_alone():
    markup = "".join(f'<a href="{n}.html"><img src="{n}.jpg"></a>' for n in range(40))
    for settings_ in (WHOLE, PageSettings()):
        assert said(markup, settings_) == pictures(*(f"{n}.jpg" for n in range(40)))


@pytest.mark.parametrize("marker", ["###img#0###", "<image>", "[IMG]", "<|image|>", '{"kind": "image"}', "\\x00img"])
def test_a_forged_marker_is_mere_text(marker):
    page = parse(f"<p>one {html.escape(marker)} two</p><img src=a.png alt='{html.escape(marker)}'>")
    assert [item.kind for item in page.items] == ["text", "image"]
    assert page.items[0].text == f"one {marker} two"


# --- what a page says of itself


@pytest.mark.parametrize(
    ("head", "base"),
    [
        ("", "https://example.org/maps/"),
        ('<base href="/other/">', "https://example.org/other/"),
        ('<base href="../other/x.html">', "https://example.org/other/"),
        ('<base href="//cdn.example/">', "https://cdn.example/"),
        ('<base target="_blank"><base href="a/"><base href="b/">', "https://example.org/maps/a/"),
        ('<base href="javascript:alert(1)">', "https://example.org/maps/"),
        ('<base href="data:,x"><base href="b/">', "https://example.org/maps/"),
        ('<base href="https://[">', "https://example.org/maps/"),
        ("<base>", "https://example.org/maps/"),
    ],
)
def test_the_first_base_counts_and_is_itself_relative(head, base):
    assert said(f"<head>{head}</head><img src=a.png>") == [("image", base + "a.png")]


def test_a_base_in_the_body_counts_for_what_stands_before_it():
    assert said("<p>one</p><img src=a.png><base href=/b/><base href=/c/>") == [
        "one",
        ("image", "https://example.org/b/a.png"),
    ]


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<title> A\n map &amp; more </title>", "A map & more"),
        ("<title></title><title>B</title>", "B"),
        ("<svg><title>no</title></svg><p>x", None),
        ("<head><div></div><title>late</title>", "late"),
        ("<title>one<b>two", "one<b>two"),
        ("", None),
    ],
)
def test_the_title_is_the_first_that_says_something(markup, title):
    assert parse(markup).title == title


@pytest.mark.parametrize(
    ("links", "url", "canonical"),
    [
        ("", "https://Example.org:443/a#b", "https://example.org/a"),
        ('<link rel="canonical" href="/b?c=1#d">', URL, "https://example.org/b?c=1"),
        ('<link rel="Canonical shortlink" href="https://www.example.org/b">', URL, "https://www.example.org/b"),
        ('<link rel=canonical href="https://example.org/b">', "https://m.example.org/b", "https://example.org/b"),
        ('<link rel=canonical href="https://elsewhere.example/b">', URL, URL),
        ('<link rel=canonical href="https://evil.org/example.org">', URL, URL),
        ('<link rel=canonical href="javascript:1">', URL, URL),
        ('<link rel=canonical href=""><link rel=canonical href="/b"><link rel=canonical href="/c">', URL,
         "https://example.org/b"),
        ('<base href="/x/"><link rel=canonical href="b">', URL, "https://example.org/x/b"),
        ('<link rel=alternate href="/b">', URL, URL),
        ('<noscript><img src="t.gif"></noscript><link rel=canonical href="/b">', URL, "https://example.org/b"),
    ],
)  # fmt: skip
def test_the_canonical_address_is_of_the_same_host(links, url, canonical):
    assert parse(f"<head>{links}</head><p>x", url=url).canonical_url == canonical


@pytest.mark.parametrize(
    ("markup", "headers", "robots"),
    [
        ("", [], ()),
        ('<meta name="robots" content="NoIndex, nofollow">', [], ("nofollow", "noindex")),
        ('<meta name="ROBOTS" content="none">', [], ("nofollow", "noindex")),
        ("<meta name=robots content=noai><meta name=robots content='noindex noarchive'>", [],
         ("noai", "noarchive", "noindex")),
        ('<meta name="googlebot" content="noindex">', [], ()),
        ('<meta name="robots" content="max-image-preview: large, index">', [], ("index", "max-image-preview:large")),
        ("<p>x</p><meta name=robots content=noai>", [], ("noai",)),
        ("<head><p>broken</p><meta name=robots content=noai></head>", [], ("noai",)),
        ("", ["noindex, NOAI"], ("noai", "noindex")),
        ("<meta name=robots content=noai>", ["noimageai"], ("noai", "noimageai")),
        ("", ["otherbot: noindex, nofollow"], ()),
        ("", ["noai, otherbot: noindex"], ("noai",)),
        ("", ["otherbot: noindex", "noimageindex"], ("noimageindex",)),
        ("", ["*: noindex"], ("noindex",)),
        ("", ["max-snippet: 20, noarchive"], ("max-snippet:20", "noarchive")),
        ("", ["unavailable_after: 25 Jun 2027 15:00:00 PST, noai"],
         ("noai", "unavailable_after:25 jun 2027 15:00:00 pst")),
        ("", ["unavailable_after: Fri, 25 Nov 2027 15:00:00 GMT noai"],
         ("noai", "unavailable_after:fri 25 nov 2027 15:00:00 gmt")),
        ("", [""], ()),
    ],
)  # fmt: skip
def test_robots_are_told_by_meta_and_header_what_is_for_all_of_them(markup, headers, robots):
    assert parse(markup, x_robots_tag=tuple(headers)).robots == robots


def test_directives_without_end_are_bounded():
    words = " ".join(f"a{n:0100}" for n in range(9999))
    robots = parse(f"<meta name=robots content='noai {words}'>").robots
    assert len(robots) <= 32
    assert "noai" in robots
    assert max(map(len, robots)) <= 64


# --- hostile pages, in sizes that take no time; who reads larger ones kills the process


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 2000 + "deep",
        "<b>" * 2000 + "deep",
        "<table><tr><td>" * 300 + "deep",
        "<a href=a.mp3>" * 500 + "deep",
        f"<p {' '.join(f'a{n}=1' for n in range(3000))}>deep",
        "<div class=menu>" * 300 + "<p>x</p>" * 5000 + "<h1>deep</h1>",
        "<picture>" + "<source srcset='a 1x'>" * 5000 + "<img>" * 5000 + "deep",
        "<noscript><img src=a.png></noscript>" * 1000 + "deep",
        "<meta charset=" * 5000 + ">deep",
        "<p>" + "a " * 300_000 + "</p>deep",
        '<img srcset="' + "a " * 50_000 + '">deep',
        f"<i class='{'menu-' * 50_000}'></i>deep",
    ],
    ids=range(12),
)
def test_hostile_pages_are_read_in_time(markup):
    began = time.process_time()
    items = parse(markup, PageSettings()).items
    assert time.process_time() - began < 4
    is_boilerplate = "<a " in markup or "menu-" in markup
    assert is_boilerplate or any("deep" in (item.text or "") for item in items)


def test_the_work_grows_with_the_page_and_not_faster():
    def seconds(count):
        body = ("<div class='menu'><a href=b>x</a></div><p>text <img data-src=a.png></p>" * count).encode()
        began = time.process_time()
        parse_page(body, URL, None, (), PageSettings())
        return time.process_time() - began

    small, large = min(seconds(1000) for _ in range(3)), min(seconds(8000) for _ in range(3))
    assert large < 8 * 3 * small


# --- a real page


@pytest.mark.skipif(not REAL_PAGES.is_dir(), reason="the sample of Common Crawl is not there")
def test_a_real_page_reads_well():
    records = gzip.decompress((REAL_PAGES / "whirlwind.warc.gz").read_bytes())
    head, mark, body = records.partition(b"WARC-Type: response")[2].partition(b"<!DOCTYPE")
    page = parse_page(mark + body, "https://an.wikipedia.org/wiki/Escopete", "text/html", (), PageSettings())
    assert b"Escopete" in head
    assert page.title == "Escopete - Biquipedia, a enciclopedia libre"
    assert page.canonical_url == "https://an.wikipedia.org/wiki/Escopete"
    assert (page.charset, page.robots) == ("utf-8", ("max-image-preview:standard",))
    texts = [item.text for item in page.items if item.kind == "text"]
    for expected in ("Cheografía", "Historia", "11 d'agosto.[1]", "19,01 km²", "Municipio de Castiella-La Mancha"):
        assert expected in texts
    assert any(text.startswith("Escopete ye un municipio d'a provincia de Guadalachara, en a comu") for text in texts)
    everything = "\n".join(texts)
    for boilerplate in (
        "modificar o codigo",
        "Ir al contenido",
        "Politica de privacidat",
        "Descargar como PDF",
        "Categoría",
    ):
        assert boilerplate not in everything
    images = [item for item in page.items if item.kind == "image"]
    assert len(images) == 7
    assert all(item.url.startswith("https://upload.wikimedia.org/wikipedia/commons/") for item in images)
    assert all([descriptor for _, descriptor in item.candidates] == ["1.5x", "2x"] for item in images)
    assert page.dropped_media == {"boilerplate": 5, "hidden": 1}
