import pytest
import srcset
from hypothesis import example, given
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.canonical_url import resolved
from mappool_assets.lib.web_documents.image_candidates import image_candidates
from mappool_assets.lib.web_documents.media_sources import (
    _COUNTING_FILE,
    _PLACEHOLDER,
    image,
    is_late,
    kind_by_ending,
    late_address,
    media_file,
    sound_or_film,
    why_no_picture,
)

BASE = "https://example.org/maps/"
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def url_of(attributes, sources=()):
    found = image(attributes, sources, BASE)
    return found if isinstance(found, str) else found.url.removeprefix(BASE)


@pytest.mark.parametrize(
    ("attributes", "url"),
    [
        ({"src": "a.png"}, "a.png"),
        ({"src": "a.png", "data-src": "b.png"}, "a.png"),
        ({"src": "a.png", "srcset": "b.png 2x"}, "a.png"),
        ({"src": "small.png", "data-src": "b.png", "class": "lazyload"}, "b.png"),
        ({"src": GIF, "data-src": "b.png"}, "b.png"),
        ({"src": "blank.gif", "data-original": "b.png"}, "b.png"),
        ({"src": None, "data-lazy-src": "b.png"}, "b.png"),
        ({"data-src": "b.png", "data-srcset": "c.png 800w"}, "b.png"),
        ({"src": GIF, "data-srcset": "c.png 400w, d.png 800w, e.png 600w"}, "d.png"),
        ({"src": GIF, "srcset": "c.png, d.png 1.5x, e.png 2x"}, "e.png"),
        ({"src": "a.png", "data-src": "true"}, "a.png"),
        ({"src": GIF, "data-src": '{"desktop": "a.png"}'}, "data_url"),
        ({"src": GIF, "data-src": "b.png", "srcset": GIF + " 1w"}, "b.png"),
        # none
        ({}, "no_source"),
        ({"src": ""}, "no_source"),
        ({"alt": "a map"}, "no_source"),
        ({"src": GIF}, "data_url"),
        ({"src": "  DATA:image/png,x"}, "data_url"),
        ({"src": "javascript:alert(1)"}, "bad_scheme"),
        ({"src": "java\tscript:alert(1)"}, "bad_scheme"),
        ({"src": "blob:https://example.org/1"}, "bad_scheme"),
        ({"src": "about:blank"}, "bad_scheme"),
        ({"src": "https://[oops/a.png"}, "bad_url"),
        ({"src": "https://user:secret@example.org/a.png"}, "bad_url"),
        ({"src": "blank.gif"}, "placeholder"),
        ({"src": "/img/place-holder.png?v=2"}, "placeholder"),
        ({"src": "spacer.gif", "srcset": "a.png 2x"}, "a.png"),
        ({"src": "a.png", "width": "1", "height": "1"}, "tiny"),
        ({"src": "a.png", "height": "0"}, "tiny"),
        ({"src": "a.png", "style": "border:0; width:1px; height:1px"}, "tiny"),
        ({"src": "https://www.google-analytics.com/collect.png?v=1"}, "tracker"),
        ({"src": "https://ad.doubleclick.net/ddm/a.png"}, "tracker"),
        ({"src": "https://www.facebook.com/tr?id=1&ev=PageView"}, "tracker"),
        ({"src": "https://pixel.example.com/a.gif"}, "tracker"),
        ({"src": "/matomo.php?idsite=1"}, "tracker"),
        # which only look like one of those
        ({"src": "loading-dock.jpg"}, "loading-dock.jpg"),
        ({"src": "pixel-art.png"}, "pixel-art.png"),
        ({"src": "https://counter.social/a.png"}, "https://counter.social/a.png"),
        ({"src": "https://www.facebook.com/trips/a.png"}, "https://www.facebook.com/trips/a.png"),
        ({"src": "tr"}, "tr"),
        ({"src": "a.png", "width": "1000", "height": "100%"}, "a.png"),
        ({"src": "a.png", "style": "max-width:100%; height:auto; border-width:1px"}, "a.png"),
    ],
)
def test_the_real_source_of_an_image_is_found_or_why_there_is_none(attributes, url):
    assert url_of(attributes) == url


def test_the_sources_of_a_picture_come_last():
    sources = [{"srcset": "wide.webp 800w, narrow.webp 400w", "type": "image/webp"}, {"data-srcset": "late.avif 900w"}]
    found = image({"src": "a.png", "srcset": "b.png 2x"}, sources, BASE)
    assert found.url == BASE + "a.png"
    assert [(url.removeprefix(BASE), descriptor) for url, descriptor in found.candidates] == [
        ("b.png", "2x"), ("wide.webp", "800w"), ("narrow.webp", "400w"), ("late.avif", "900w"),
    ]  # fmt: skip
    assert url_of({"alt": ""}, sources) == "late.avif"


def test_addresses_in_srcset_may_hold_commas():
    value = (
        "https://cdn.example.org/w_320,h_200,c_fill/a.jpg 320w, https://cdn.example.org/w_640,h_400,c_fill/a.jpg 640w"
    )
    assert image({"src": "a.jpg", "srcset": value}, (), BASE).candidates == (
        ("https://cdn.example.org/w_320,h_200,c_fill/a.jpg", "320w"),
        ("https://cdn.example.org/w_640,h_400,c_fill/a.jpg", "640w"),
    )
    assert image_candidates("data:image/png;base64,AAAA 1x, b.png,c.png 2x,, d.png,") == [
        ("data:image/png;base64,AAAA", "1x"), ("b.png,c.png", "2x"), ("d.png", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "side"),
    [("640", 640), (" 640px ", 640), ("640.5", 640), ("+640", 640), ("100%", None), ("auto", None), ("", None),
     (None, None), ("-5", None), ("9" * 30, None), ("12345", 12345), ("64em", None)],
)  # fmt: skip
def test_a_side_is_what_is_stated_in_pixels(stated, side):
    found = image({"src": "a.png", "width": stated, "height": "90"}, (), BASE)
    assert (found.width, found.height) == (side, 90)


def test_no_alt_and_an_empty_one_are_two_things():
    assert image({"src": "a.png"}, (), BASE).alt is None
    assert image({"src": "a.png", "alt": None}, (), BASE).alt == ""  # as the parser gives alt=""
    assert image({"src": "a.png", "alt": " A\nmap\x00 "}, (), BASE).alt == "A map"


def test_an_image_that_a_script_loads_is_told_by_its_attributes():
    assert late_address({"src": GIF, "data-src": "b.png"}) == GIF
    assert late_address({"src": GIF, "data-src": "b.png", "class": "lazy"}) == "b.png"
    assert late_address({"data-srcset": "b.png 2x"}) == ""
    assert is_late({"src": GIF, "data-src": "b.png"})
    assert is_late({"src": "a.png", "class": "b-lazy"})
    assert not is_late({"src": "a.png", "loading": "lazy", "data-id": "1", "class": "map"})


@pytest.mark.parametrize(
    ("attributes", "sources", "expected"),
    [
        ({"src": "a.mp4"}, [], ("a.mp4", [])),
        ({"src": "a"}, [], ("a", [])),
        ({}, [{"src": "a.webm", "type": "video/webm"}, {"src": "a.mp4"}], ("a.webm", ["a.webm", "a.mp4"])),
        ({"src": "blob:1"}, [{"src": "a.mp4"}], ("a.mp4", ["a.mp4"])),
        ({}, [{"src": "data:video/mp4,"}, {"data-src": "a.mp4"}], ("a.mp4", ["a.mp4"])),
        ({}, [], "no_source"),
        ({"poster": "a.jpg"}, [{"type": "video/mp4"}], "no_source"),
        ({"src": "blob:https://example.org/1"}, [], "bad_scheme"),
        ({}, [{"src": "data:audio/mp3,"}], "data_url"),
    ],
)
def test_films_have_their_own_source_or_the_first_that_leads_somewhere(attributes, sources, expected):
    found = sound_or_film("video", attributes, sources, BASE)
    if not isinstance(found, str):
        found = found.url.removeprefix(BASE), [url.removeprefix(BASE) for url, _ in found.candidates]
    assert found == expected


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("talk.mp3", "audio"),
        ("TALK.MP3", "audio"),
        ("talk.mp3?download=1#t=3", "audio"),
        ("a/film.webm", "video"),
        ("/download.php?file=talk.mp3", None),
        ("talk.mp3.html", None),
        ("talk.mp3/", None),
        ("mp3", None),
        ("map.jpg", None),
        ("javascript:'a.mp3'", None),
        ("data:audio/mp3;.mp3", None),
        ("", None),
        (None, None),
    ],
)
def test_files_are_told_by_how_their_path_ends(address, kind):
    found = media_file(address, BASE)
    assert (found.kind if found else None) == kind
    assert kind is None or kind_by_ending(found.url) == kind


CANDIDATES = st.lists(
    st.tuples(
        st.text("ab/.,:?=-", max_size=8) | st.sampled_from(["a.jpg", "w_1,h_2/b.jpg", "data:image/png;base64,AA", ","]),
        st.sampled_from(
            ["", "1x", "2x", "1.5x", "2.0x", "-1x", "320w", "0w", "+3w", "320w 200h", "1x 2x", "(a,b)", "x"]
        ),
        st.sampled_from([" ", "\n", "\t ", "\u00a0", "\x0b", ""]),
    )
)


@given(st.lists(st.sampled_from([" ", ", ", ",", " ,", "\n,\n"]), min_size=8, max_size=8), CANDIDATES)
@example([","] * 8, [("a.jpg,", "2x", " "), ("b.jpg", "2x", " ")])
def test_candidates_are_those_that_the_standard_says(separators, parts):
    value = "".join(
        url + space + descriptor + separators[place % 8] for place, (url, descriptor, space) in enumerate(parts)
    )
    assert image_candidates(value) == [(c.url, c.descriptor) for c in srcset.parse(value)]


NAMES = st.sampled_from(
    ["src", "data-src", "data-original", "srcset", "data-srcset", "width", "height", "style", "alt"]
)
VALUES = (
    st.none() | st.text(max_size=40) | st.sampled_from([GIF, "a.png", "b.png 2x", "javascript:1", "lazy", "//", "#"])
)


@given(
    st.dictionaries(NAMES | st.just("class"), VALUES), st.lists(st.dictionaries(NAMES, VALUES), max_size=2), st.text()
)
def test_no_attributes_raise_and_an_item_has_an_address(attributes, sources, base):
    for found in (image(attributes, sources, base), sound_or_film("audio", attributes, sources, base)):
        if isinstance(found, str):
            assert found in {"data_url", "bad_scheme", "bad_url", "no_source", "tiny", "tracker", "placeholder"}
        else:
            assert resolved("", found.url) == found.url
            assert all(resolved("", url) == url for url, _ in found.candidates)
    late_address(attributes)
    media_file(attributes.get("src"), base)


@given(st.from_regex(_PLACEHOLDER, fullmatch=True) | st.from_regex(_COUNTING_FILE, fullmatch=True))
def test_no_name_of_a_placeholder_or_a_counter_is_passed_over(name):
    if name.isascii() and name.isprintable():  # as all that is resolved
        assert why_no_picture(f"https://example.org{name}") in ("tracker", "placeholder")
