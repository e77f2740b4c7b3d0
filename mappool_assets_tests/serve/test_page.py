"""The search page in a real browser: what people see and click."""

import base64

import pytest

from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.serve.devtools import needs_chromium
from mappool_assets_tests.serve.page_driver import DONE, STATUS, TILES, search
from mappool_assets_tests.serve.picture_world import HEBREW_CAPTION, HOSTILE_CAPTION

pytestmark = needs_chromium


def test_a_phrase_finds_images_with_caption_place_score_and_site(page, world):
    search(page, "an old map")
    expected = world.knn(text="an old map", num_images=60, deduplicate=True, refill=True)
    captions = page.evaluate("[...document.querySelectorAll('.tile .caption')].map((line) => line.textContent)")
    assert captions == [one["caption"] or "No caption" for one in expected]
    facts = page.evaluate("[...document.querySelectorAll('.tile .facts')].map((line) => line.innerText)")
    for fact, one in zip(facts, expected, strict=True):
        assert f"{one['similarity']:.3f}" in fact
        assert ("Midtown East" in fact) == ("place" in one)
    assert "127.0.0.1" in facts[0] + facts[1]
    assert "60 images" in page.evaluate(STATUS)


def test_what_captions_and_addresses_hold_is_text_and_nothing_else(page):
    page.evaluate("location.hash = '#q=map&n=260&unique=0'")
    page.wait_for(DONE)
    captions = page.evaluate("[...document.querySelectorAll('.tile .caption')].map((line) => line.textContent)")
    assert HOSTILE_CAPTION in captions
    assert page.evaluate("document.querySelectorAll('#results script, #results [onerror]').length") == 0
    pictures = "[...document.querySelectorAll('#results img')]"
    assert page.evaluate(f"{pictures}.filter((image) => !/^https?:/.test(image.src)).length") == 0
    page.click(f".tile[data-id='{1}']")  # its address is javascript:
    page.wait_for("document.querySelector('#viewer').open")
    assert page.evaluate("document.querySelector('#viewer-source').hidden")
    assert not page.evaluate("document.querySelector('#viewer-source').hasAttribute('href')")
    assert "broken" not in page.evaluate("document.title")


def test_the_policy_stops_what_would_be_run(page):
    page.evaluate("""document.body.append(Object.assign(document.createElement('script'),
        {textContent: "document.title = 'broken'"}))""")
    assert "broken" not in page.evaluate("document.title")
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()


def test_pictures_come_from_the_store_or_the_site_or_are_told_gone(page):
    page.evaluate("location.hash = '#q=map&n=20&unique=0'")
    page.wait_for(DONE)
    shown = "[...document.querySelectorAll('.picture.there img')].map((image) => /[/]image[/]/.test(image.currentSrc))"
    page.wait_for(f"new Set({shown}).size === 2")
    attributes = "[...document.querySelectorAll('#results img')].every((image) => image.loading === 'lazy' "
    assert page.evaluate(attributes + "&& image.referrerPolicy === 'no-referrer')")
    page.evaluate("location.hash = '#id=0&n=1'")  # on no site any more
    page.wait_for("document.querySelectorAll('.picture.gone').length === 1")
    assert "cannot be loaded" in page.evaluate("document.querySelector('.picture.gone').textContent")


def test_text_of_others_is_written_in_its_own_direction(page):
    page.evaluate("location.hash = '#q=map&n=260&unique=0'")
    page.wait_for(DONE)
    page.evaluate("document.querySelector('#query').value = 'مدينة'")
    directions = page.evaluate("""Object.fromEntries([...document.querySelectorAll('.tile .caption, #query')].map(
        (part) => [part.value ?? part.textContent, getComputedStyle(part).direction]))""")
    assert directions[HEBREW_CAPTION] == directions["مدينة"] == "rtl"
    assert directions["Subway map"] == directions[HOSTILE_CAPTION] == "ltr"


def test_captions_are_not_offered_to_be_searched(page, world):
    """They are not indexed; whoever asks for them nevertheless is told so."""
    assert page.evaluate("/modality/.test(document.body.outerHTML)") is False
    assert "not indexed" in world.refusal(text="a map", modality="text")["error"]


def test_back_and_forward_and_a_reload_show_what_was_there(page, world):
    search(page, "first search")
    first = page.evaluate("document.querySelector('#results .tile').dataset.id")
    search(page, "quite another thing")
    second = page.evaluate("document.querySelector('#results .tile').dataset.id")
    page.evaluate("history.back()")
    page.wait_for("document.querySelector('#query').value === 'first search'")
    page.wait_for(f"document.querySelector('#results .tile').dataset.id === '{first}'")
    page.evaluate("history.forward()")
    page.wait_for(f"document.querySelector('#results .tile').dataset.id === '{second}'")
    page.send("Page.reload")
    page.wait_for("document.querySelector('#query')?.value === 'quite another thing'")
    page.wait_for(DONE)
    assert page.evaluate("document.querySelector('#results .tile').dataset.id") == second


def test_an_image_is_searched_with_and_removed_again(page, world, tmp_path):
    (tmp_path / "some.png").write_bytes(encoded(picture(3)))
    page.choose_file("#file", tmp_path / "some.png")
    page.wait_for(DONE)
    data = base64.b64encode(encoded(picture(3))).decode()
    found = world.knn(image=data, num_images=1)
    assert page.evaluate("document.querySelector('#results .tile').dataset.id") == str(found[0]["id"])
    assert page.evaluate("document.querySelector('#chip-text').textContent") == "some.png"
    page.click("#chip-remove")
    page.wait_for("document.querySelector('#chip').hidden")
    (tmp_path / "none.png").write_bytes(b"<html>")
    page.choose_file("#file", tmp_path / "none.png")
    page.wait_for("!document.querySelector('#problem').hidden")
    assert "image" in page.evaluate("document.querySelector('#problem').textContent")


def test_filters_are_part_of_the_search_and_of_the_address(page, world):
    search(page, "map")
    page.click("#filters-toggle")
    page.evaluate("document.querySelector('#width').value = '400'")
    page.evaluate("document.querySelector('#caption').value = 'Nautical'")
    page.click("#filters button[type=submit]")
    page.wait_for("/width=400/.test(location.hash)")
    page.wait_for(DONE)
    found = world.knn(text="map", num_images=60, filter="width >= 400 and text icontains 'nautical'",
                      deduplicate=True, refill=True)  # fmt: skip
    ids = page.evaluate("[...document.querySelectorAll('#results .tile')].map((tile) => tile.dataset.id)")
    assert ids == [str(one["id"]) for one in found]
    assert page.evaluate("document.querySelector('#filters-toggle').textContent") == "Filters · 2"


@pytest.mark.parametrize("width", ["1.5", "-3", "wide", "1 or width = 2"])
def test_a_width_that_is_none_is_refused_and_not_forgotten(page, width):
    page.evaluate(f"location.hash = '#q=map&width={width}'")
    page.wait_for("!document.querySelector('#problem').hidden")
    assert "whole number" in page.evaluate("document.querySelector('#problem').innerText")


def test_nothing_found_and_a_wrong_filter_are_told(page):
    page.evaluate("location.hash = '#q=map&width=99999'")
    page.wait_for("/No image/.test(document.querySelector('#status').textContent)")
    page.evaluate("location.hash = '#q=map&filter=password+%3D+1'")
    page.wait_for("!document.querySelector('#problem').hidden")
    text = page.evaluate("document.querySelector('#problem').innerText")
    assert "unknown column" in text
    assert "one of" in text
    assert page.evaluate(TILES) == 0


def test_more_results_come_below_those_that_are_there(page):
    search(page, "map")
    page.evaluate("window.firstTile = document.querySelector('#results li')")
    page.click("#more")
    page.wait_for(f"{TILES} === 120")
    assert page.evaluate("window.firstTile === document.querySelector('#results li')")


@pytest.mark.parametrize("width", [400, 700, 1600])
def test_nothing_is_wider_than_the_window(page, width):
    page.resize(width, 800)
    shown = {
        "#": "!document.querySelector('#start').hidden",
        "#q=map&unique=0&n=260": DONE,
        "#q=map&filter=x": "!document.querySelector('#problem').hidden",
    }
    for address, is_shown in shown.items():
        page.evaluate(f"location.hash = '{address}'")
        page.wait_for(is_shown)
        page.evaluate("document.querySelector('#filters').hidden = false")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = "[...document.querySelectorAll('header *, main *')].filter((part) => part.getClientRects().length && "
        assert page.evaluate(outside + f"part.getBoundingClientRect().right > {width + 1}).length") == 0


def test_what_cannot_be_seen_has_a_name(page):
    search(page, "map")
    nameless = """[...document.querySelectorAll('button, input, select, a')].filter((part) =>
        part.getClientRects().length && !part.innerText?.trim() && !part.getAttribute('aria-label')
        && !part.labels?.[0]?.innerText.trim()).map((part) => part.outerHTML)"""
    assert page.evaluate(nameless) == []
