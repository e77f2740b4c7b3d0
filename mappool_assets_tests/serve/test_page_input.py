"""The search page in a real browser: what people type, press and drop."""

import base64

import pytest

from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.serve.devtools import needs_chromium
from mappool_assets_tests.serve.page_driver import DONE, FOCUSED, search

pytestmark = needs_chromium


def test_the_keyboard_alone_is_enough(page):
    page.evaluate("document.activeElement.blur()")
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.type("harbour")
    page.press("Enter")
    page.wait_for(DONE)
    page.press("ArrowDown")
    assert page.evaluate(FOCUSED) == 0
    page.press("ArrowRight")
    assert page.evaluate(FOCUSED) == 1
    page.press("ArrowDown")
    below = page.evaluate(FOCUSED)
    assert below > 2
    page.press("ArrowUp")
    assert page.evaluate(FOCUSED) in (0, 1, 2)
    opened = page.evaluate("document.activeElement.dataset.id")
    page.press("Enter")
    page.wait_for("document.querySelector('#viewer').open")
    caption = page.evaluate("document.querySelector('#viewer-caption').textContent")
    page.press("ArrowRight")
    assert page.evaluate("document.querySelector('#viewer-caption').textContent") != caption
    page.press("Escape")
    # The browser first gives the focus back to the image that was opened, then the page to the one that was looked at.
    page.wait_for(f"(document.activeElement.dataset.id ?? '{opened}') !== '{opened}'")
    chosen = page.evaluate("document.activeElement.dataset.id")
    page.press("s")
    page.wait_for(f"location.hash === '#id={chosen}'")
    page.wait_for(DONE)
    assert page.evaluate("document.querySelector('#results .tile').dataset.id") == chosen


def test_the_keyboard_goes_on_from_the_image_that_was_looked_at(page):
    search(page, "map")
    page.evaluate("document.querySelector('#results .tile').focus()")
    page.press("Enter")
    page.wait_for("document.querySelector('#viewer').open")
    for _ in range(12):
        page.press("ArrowRight")
    page.press("Escape")
    page.wait_for(f"{FOCUSED} === 12")


@pytest.mark.parametrize(("width", "has_filters"), [(1280, False), (1280, True), (400, False), (400, True)])
def test_what_the_keyboard_moves_to_is_not_behind_the_header(page, width, has_filters):
    page.resize(width, 800)
    search(page, "map")
    page.evaluate(f"document.querySelector('#filters').hidden = {str(not has_filters).lower()}")
    page.evaluate("[...document.querySelectorAll('#results .tile')].at(-1).focus()")
    top = "document.activeElement.getBoundingClientRect().top"
    for _ in range(4):
        page.press("ArrowUp")
        assert page.evaluate(f"{top} >= document.querySelector('header').getBoundingClientRect().bottom")


def test_what_is_typed_while_the_service_is_asked_of_its_health_stays(browser, world):
    browser.problems.clear()
    script = browser.send("Page.addScriptToEvaluateOnNewDocument", source="""
        const fetched = fetch;
        const asked = new Promise((answer) => { window.letHealthAnswer = answer; });
        window.fetch = async (address, ...options) => {
            if (address === '/health') await asked;
            return fetched(address, ...options);
        };""")  # fmt: skip
    try:
        browser.go(world.url + "/")
        browser.wait_for("document.activeElement.id === 'query'")
        browser.type("harbour")
        browser.evaluate("letHealthAnswer()")
        browser.wait_for("document.querySelector('#rows').textContent === '260'")
        assert browser.evaluate("document.querySelector('#query').value") == "harbour"
        browser.press("Enter")
        browser.wait_for(DONE)
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    assert browser.problems == []


def test_text_can_be_dropped_into_the_field(page):
    is_prevented = page.evaluate("""(() => {
        const transfer = new DataTransfer();
        transfer.setData('text/plain', 'harbour');
        const fire = (name) => !document.querySelector('#query').dispatchEvent(
            new DragEvent(name, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        return [fire('dragover'), fire('drop')];
    })()""")
    assert is_prevented == [False, False]


def test_a_filter_that_keeps_the_form_from_being_sent_is_shown(page):
    page.evaluate("location.hash = '#q=map&width=0'")
    page.wait_for(DONE)
    page.evaluate("document.querySelector('#query').focus()")
    page.press("Enter")
    page.wait_for("!document.querySelector('#filters').hidden")
    page.wait_for("document.activeElement.id === 'width'")
    assert page.evaluate("document.querySelector('#filters-toggle').getAttribute('aria-expanded')") == "true"


def test_a_dropped_image_is_searched_with(page):
    data = base64.b64encode(encoded(picture(3))).decode()
    page.evaluate(f"""(() => {{
        const bytes = Uint8Array.from(atob('{data}'), (one) => one.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], 'dropped.png', {{type: 'image/png'}}));
        const fire = (name) => document.body.dispatchEvent(
            new DragEvent(name, {{dataTransfer: transfer, bubbles: true, cancelable: true}}));
        fire('dragenter'); fire('dragover'); fire('drop');
    }})()""")
    page.wait_for(DONE)
    assert page.evaluate("document.querySelector('#drop').hidden")
    assert page.evaluate("document.querySelector('#chip-text').textContent") == "dropped.png"
