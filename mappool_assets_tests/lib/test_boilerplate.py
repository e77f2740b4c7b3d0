import itertools

import pytest

from mappool_assets.lib.web_documents.boilerplate import MOST_HARMLESS, Judge, LinkedBlock, menu_blocks
from mappool_assets.lib.web_documents.page_items import PageSettings, parse_page


def parse(markup, drops_boilerplate=True):
    return parse_page(markup.encode(), "https://example.org/", None, (), PageSettings(drops_boilerplate))


def is_kept(markup, drops_boilerplate=True):
    """Whether the text "part" of some markup beside other text is kept."""
    texts = [item.text for item in parse(f"<p>before</p>{markup}<p>after</p>", drops_boilerplate).items]
    assert texts in (["before", "after"], ["before", "part", "after"])
    return len(texts) == 3


@pytest.mark.parametrize(
    "start",
    ["nav", "aside", "header", "footer", "menu", "search", "button", "label", "div role=navigation", "div role=banner",
     "div role=contentinfo", "div role=complementary", "section role=search", "div role=dialog", "a role=button",
     "div class=nav", "div class='left main-menu'", "ul class=breadcrumbs", "div id=footer", "div id=sidebar",
     "div class=wp-block-navigation", "div class=post-navigation", "div class=site-footer", "div class=pageFooter",
     "div class=share_buttons", "p class=related-posts", "div class=jp-relatedposts", "div id=header", "div class=ads",
     "div class='modal fade'", "div class=newsletter-signup", "div class=pagination", "span class=mw-editsection",
     "div class=cookie-notice", "div id=CybotCookiebotDialog", "div id=cookie", "div class=cookieBanner",
     "div id=onetrust-banner-sdk", "div class='cc-window cc-banner'", "div class=gdpr"],
)  # fmt: skip
def test_boilerplate_is_left_out_unless_it_is_wanted(start):
    markup = f"<{start}>part</{start.split()[0]}>"
    if not start.startswith(("a ", "span", "label")):
        assert is_kept(markup, drops_boilerplate=False)
        assert not is_kept(markup)
    else:  # inline: no block of its own
        assert not is_kept(f"<div>{markup}</div>")


@pytest.mark.parametrize(
    "start",
    ["div", "main", "article", "section", "form", "address", "details open", "fieldset", "div role=main",
     "div role=presentation", "div class=content", "div class=navy-blue", "div class=shared-history",
     "div class=menuet", "div class=footnote", "div class=no-sidebar", "div class='post tag-menu category-share'",
     "div class=unrelated", "div class=cookie-recipe", "div class=cmp-text", "div class=blockquote-footer",
     "div class=addresses", "div class='header-image'", "div class=responds", "article class=menu",
     "main class=sidebar", "div aria-hidden=false", "div class=not-sr-only", "div hidden=until-found", "dialog open",
     "div style='display: block'", "div class", "div class=sociology id=topic"],
)  # fmt: skip
def test_what_is_only_named_alike_is_kept(start):
    assert is_kept(f"<{start}>part</{start.split()[0]}>")


@pytest.mark.parametrize("drops_boilerplate", [True, False])
@pytest.mark.parametrize(
    "start",
    ["div hidden", "div hidden=''", "div style='color:red;DISPLAY : NONE'", "div style=visibility:hidden", "dialog",
     "div class='material-icons md-18'", "div class=sr-only",
     "div class='a screen-reader-text'", "div class=visually-hidden", "div aria-hidden=true"],
)  # fmt: skip
def test_what_is_not_shown_is_always_left_out(start, drops_boilerplate):
    assert not is_kept(f"<{start}>part</{start.split()[0]}>", drops_boilerplate)


def test_a_body_that_a_script_will_show_is_read():
    assert [item.text for item in parse("<html hidden><body style='display:none' class=menu>part").items] == ["part"]


@pytest.mark.parametrize("section", ["article", "main", "section", "div role=main"])
@pytest.mark.parametrize("element", ["header", "footer"])
def test_the_header_and_footer_of_a_section_are_its_own(section, element):
    kept = is_kept(f"<{section}><{element}>part</{element}></{section.split()[0]}>")
    assert kept == (section != "div role=main")


def test_what_holds_the_page_is_not_judged_by_its_name():
    assert is_kept("<div class='layout menu-open sidebar-right'><main>part</main></div>")
    assert is_kept("<div id=header><h1>part</h1></div>")
    assert is_kept("<header><h1>part</h1></header>")
    assert is_kept("<div class=cookie-bar><main>part</main></div>")
    assert not is_kept("<div class=cookie-bar><h1>part</h1></div>")
    assert not is_kept("<nav><h1>part</h1></nav>")


def test_media_in_what_is_left_out_are_counted():
    page = parse(
        """<nav><img src=a.png><img src=b.png></nav><div hidden><img src=c.png><video src=d.mp4></video></div>
        <img class=social-icon src=e.png><p>text</p>"""
    )
    assert [item.text for item in page.items] == ["text"]
    assert page.dropped_media == {"boilerplate": 3, "hidden": 2}
    assert page.dropped_parts == {"element": 1, "hidden": 1, "words": 1}


def test_what_is_hidden_from_screen_readers_alone_keeps_its_pictures():
    page = parse("<a aria-hidden=true>icon<img src=a.png></a><button>enlarge<img src=b.png></button>")
    assert [(item.text, item.url) for item in page.items] == [
        (None, "https://example.org/a.png"), (None, "https://example.org/b.png"),
    ]  # fmt: skip
    assert page.dropped_parts == {"mute": 2}


SENTENCE = "The map shows the river and the mountains in the north of the country. "


def test_words_that_would_cost_a_page_its_text_are_not_believed():
    consent = f"<div class=gdpr>{SENTENCE * 30}</div>"
    page = parse(f"<div class='wrap sidebar'><p>{SENTENCE * 30}</p></div><div class=footer>Imprint</div>{consent}")
    assert [item.text[:7] for item in page.items] == ["The map", "Imprint"]
    page = parse(f"<p>{SENTENCE * 9}</p><div class='wrap sidebar'><p>{SENTENCE * 30}</p></div>{consent}")
    assert len(page.items) == 1, "there is enough beside it"
    assert parse(f"<img src=a.png><div class=footer>{SENTENCE * 3}</div>").items[0].kind == "image"
    assert len(parse(f"<img src=a.png><div class=footer>{SENTENCE * 3}</div>").items) == 1, "no article is as short"


def links(count, text="Go there"):
    return [f"<a href={n}.html>{text} {n}</a>" for n in range(count)]


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        ("".join(f"<li>{link}</li>" for link in links(3)), 0),
        ("".join(f"<li>{link}</li>" for link in links(2)), 2),
        (f"<p>{' | '.join(links(5))}</p>", 0),
        (f"<p>{SENTENCE}{links(1)[0]} and {SENTENCE}</p>" * 4, 4),
        ("".join(f"<h2>{link}</h2><p>{SENTENCE}</p>" for link in links(4)), 8),
        ("".join(f"<p>{link}</p><img src={n}.png>" for n, link in enumerate(links(4))), 4),
        (f"<h1>{' '.join(links(3))}</h1>", 1),
        (f"<table><tr><th>{'<tr><td>'.join(links(5))}</table>", 5),
        (f"<table><tr><td>{'<tr><td>'.join(links(5))}</table>", 0),
        (f"<p>{' '.join(links(40))}</p>", 0),
        ("<p>" + ", ".join(f"{link} of the north" for link in links(8)) + f", where {SENTENCE}</p>", 1),
        ("<p>See " + ", ".join(f"the {link} of the country and its north" for link in links(3)) + "</p>", 1),
        ("<ul>" + "".join(f"<li>{link}: {SENTENCE}</li>" for link in links(5)) + "</ul>", 5),
        ("".join(f"<div><a href=x><p>Go there {n}</p></a></div>" for n in range(3)), 0),
    ],
)
def test_rows_of_links_are_menus_and_texts_with_links_are_not(markup, kept):
    assert sum(item.kind == "text" for item in parse(markup).items) == kept
    assert sum(item.kind == "text" for item in parse(markup, drops_boilerplate=False).items) >= kept


def slow_menus(blocks):
    """Rule 5 as it reads: all short dense blocks in a row, if they have three links together."""
    dense = {b.place: b.links for b in blocks if b.characters <= 96 and 3 * b.linked > b.characters}
    menus = {b.place for b in blocks if b.place not in dense and b.links >= 3 and 5 * b.linked > 4 * b.characters}
    for start, stop in itertools.combinations(range(12), 2):
        row = range(start, stop)
        if all(place in dense for place in row) and sum(dense[place] for place in row) >= 3:
            menus.update(row)
    return sorted(menus)


def test_menus_are_told_as_the_rule_reads():
    shapes = [None, (90, 10, 1), (90, 60, 1), (90, 60, 3), (300, 290, 3), (300, 290, 2), (300, 200, 9)]
    for number, chosen in enumerate(itertools.product(shapes, repeat=5)):
        blocks = [LinkedBlock(place, *shape) for place, shape in enumerate(chosen) if shape is not None]
        if number % 3 == 0:
            assert sorted(menu_blocks(blocks)) == slow_menus(blocks)


def test_what_is_remembered_over_pages_changes_nothing_and_is_bounded():
    markup = "".join(f"<div class='c{n} box'>{n}</div>" for n in range(MOST_HARMLESS + 100))
    assert len(parse(markup).items) == len(parse(markup).items) == MOST_HARMLESS + 100
    assert len(Judge.harmless) <= MOST_HARMLESS
    for start in ("div class=box", "div class", "div class=''"):
        assert is_kept(f"<{start}>part</div>")
    assert not is_kept("<div class=box id=menu>part</div>")
    assert not is_kept("<div class=box hidden>part</div>")
    assert not is_kept("<div class=site id=header>part</div>"), "a name of two words, from both"
