"""What tests of the search page wait for and do again and again."""

SHOWN = "document.body.dataset.shown === location.hash"
DONE = f"{SHOWN} && / ms/.test(document.querySelector('#status').textContent)"
TILES = "document.querySelectorAll('#results .tile').length"
FOCUSED = "[...document.querySelectorAll('#results .tile')].indexOf(document.activeElement)"
STATUS = "document.querySelector('#status').textContent"


def search(page, text):
    page.evaluate("document.querySelector('#query').focus()")
    page.evaluate("document.querySelector('#query').select()")
    page.type(text)
    page.press("Enter")
    page.wait_for(DONE)
