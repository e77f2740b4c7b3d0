"""What strangers send: refused by a 4xx with JSON that says what, never by a 500."""

import base64
import logging

import numpy as np
import pytest
import requests

from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.odd_images import jpeg_of_claimed_size, png_bomb
from mappool_assets_tests.serve.small_index import WIDTH

PARTS = {"error", "where", "rule", "got", "action"}
VECTOR = [1.0] + [0.0] * (WIDTH - 1)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


REFUSED = {
    "nothing to search with": ({}, "one thing"),
    "all inputs null": (dict.fromkeys(("text", "image", "image_url", "embedding_input")), "one thing"),
    "two inputs": ({"text": "a", "embedding_input": VECTOR}, "one thing"),
    "empty text": ({"text": ""}, "one thing"),
    "blank text": ({"text": " \n"}, "empty"),
    "a megabyte of text": ({"text": "a" * 1_000_000}, "too long"),
    "half a surrogate pair": ({"text": "a \ud800 b"}, "text"),
    "text that is a number": ({"text": 5}, "text"),
    "text that is a list": ({"text": ["a"]}, "text"),
    "no texts": ({"texts": []}, "texts"),
    "too many texts": ({"texts": ["a"] * 65}, "texts"),
    "a text that is none": ({"texts": ["a", None]}, "empty"),
    "k = 0": ({"text": "a", "num_images": 0}, "num_images"),
    "k = 10 million": ({"text": "a", "num_images": 10_000_000}, "num_images"),
    "ids = 10 million": ({"text": "a", "num_images": 1, "num_result_ids": "10000000"}, "num_result_ids"),
    "negative k": ({"text": "a", "num_images": -1}, "num_images"),
    "k of many digits": ({"text": "a", "num_images": 10**400}, "num_images"),
    "k as text of many digits": ({"text": "a", "num_images": "9" * 5000}, "num_images"),
    "half an image": ({"text": "a", "num_images": 1.5}, "num_images"),
    "k that is true": ({"text": "a", "num_images": True}, "num_images"),
    "k that is a list": ({"text": "a", "num_images": [4]}, "num_images"),
    "unknown index": ({"text": "a", "indice_name": "laion5B"}, "indice_name"),
    "index that is a list": ({"text": "a", "indice_name": ["maps"]}, "indice_name"),
    "captions": ({"text": "a", "modality": "text"}, "modality"),
    "unknown modality": ({"text": "a", "modality": "sound"}, "modality"),
    "modality that is a list": ({"text": "a", "modality": []}, "modality"),
    "many languages": ({"text": "a", "use_mclip": True}, "use_mclip"),
    "aesthetic score 10": ({"text": "a", "aesthetic_score": 10}, "aesthetic_score"),
    "aesthetic weight": ({"text": "a", "aesthetic_weight": "much"}, "aesthetic_weight"),
    "neither true nor false": ({"text": "a", "deduplicate": "perhaps"}, "deduplicate"),
    "truth in a list": ({"text": "a", "deduplicate": [True]}, "deduplicate"),
    "vector of another width": ({"embedding_input": [1.0] * (WIDTH + 1)}, "embedding_input"),
    "vector of zeros": ({"embedding_input": [0.0] * WIDTH}, "embedding_input"),
    "vector with a null": ({"embedding_input": [None] * WIDTH}, "embedding_input"),
    "nested vector": ({"embedding_input": [VECTOR]}, "embedding_input"),
    "vector that is text": ({"embedding_input": "1,2"}, "embedding_input"),
    "no base64": ({"image": "?!"}, "image"),
    "no image": ({"image": b64(b"<html>")}, "image"),
    "an SVG": ({"image": b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>")}, "image"),
    "half an image file": ({"image": b64(encoded(picture(0))[:100])}, "image"),
    "a bomb": ({"image": b64(png_bomb())}, "image"),
    "a JPEG that claims 4 gigapixels": ({"image": b64(jpeg_of_claimed_size())}, "image"),
    "an address, not enabled": ({"image_url": "http://127.0.0.1/"}, "image_url"),
    "unknown image": ({"image_id": 999}, "id"),
    "image of another shard": ({"image_id": 7 * 2**32}, "id"),
    "image id that is text": ({"image_id": "first"}, "image_id"),
    "negative image id": ({"image_id": -1}, "image_id"),
    "half a surrogate pair where none is text": ({"text": "a", "mode": "\ud800"}, "mode"),
    "half a surrogate pair for a number": ({"text": "a", "num_images": "9\udfff"}, "num_images"),
    "half a surrogate pair in a vector": ({"embedding_input": ["\ud800"]}, "embedding_input"),
    "unknown mode": ({"text": "a", "mode": "guess"}, "mode"),
    "similarity over 1": ({"text": "a", "min_similarity": 2}, "min_similarity"),
    "SQL for a filter": ({"text": "a", "filter": "1=1; DROP TABLE maps"}, "filter"),
    "filter on no column": ({"text": "a", "filter": "password = 'x'"}, "filter"),
    "filter of a megabyte": ({"text": "a", "filter": "width > 1 and " * 70_000}, "filter"),
}


@pytest.mark.parametrize("fields", [case for case, _ in REFUSED.values()], ids=list(REFUSED))
def test_a_request_that_cannot_be_answered_says_why(served, fields, request):
    error = served.refusal(**fields)
    assert set(error) == PARTS | {"status"}
    assert REFUSED[request.node.callspec.id][1] in f"{error['error']} {error['where']}"
    assert len(error["got"]) < 200


BODIES = {
    "nothing": b"",
    "no JSON": b"{text: 'a'}",
    "cut": b'{"text": "a"',
    "a list": b'["text"]',
    "a text": b'"text"',
    "no UTF-8": b'{"text": "\xff"}',
    "not a number": b'{"embedding_input": [NaN]}',
    "an infinite number": b'{"embedding_input": [1e999]}',
    "100,000 brackets": b"[" * 100_000,
    "a form": b"text=a&num_images=3",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("path", ["/knn-service", "/metadata"])
def test_bodies_that_are_no_request(served, path, body):
    answer = served.post(path, body)
    assert answer.status_code == 400
    assert set(answer.json()) == PARTS


@pytest.mark.parametrize("path", ["/knn-service", "/metadata"])
def test_lists_nested_as_deeply_as_can_be_read_are_refused(served, path):
    """The parser bears a level or two more than what is done with the list after it."""
    for depth in (*range(5, 900, 100), *range(900, 1000)):
        for body in ("%s", '{"text": "a", "num_images": %s}', '{"ids": [%s]}'):
            answer = served.post(path, (body % ("[" * depth + "]" * depth)).encode())
            assert answer.status_code == 400, (depth, answer.text)


@pytest.mark.parametrize("value", [b"{}", b"0", b'""', b"[]"])
def test_a_body_of_millions_of_values_is_not_parsed(served, value):
    answer = served.post("/knn-service", b'{"text": "a", "more": [' + value + (b"," + value) * 2_000_000 + b"]}")
    assert answer.status_code == 413
    assert answer.json()["got"] == "2,000,001"


def test_as_many_numbers_as_may_be_sent_are_not_too_many(served):
    sent = {"ids": [0] * 10_000, "more": ["a, b"] * 50_000}
    assert len(served.post("/metadata", sent).json()) == 10_000


@pytest.mark.parametrize(
    "ids", [None, "1", [1.5], [-1], [{}], [500], [2**60], ["x"], ["\ud800"], "\ud800", list(range(10_001))]
)
def test_ids_that_cannot_be_looked_up(served, ids):
    answer = served.post("/metadata", {"ids": ids, "indice_name": "maps"})
    assert answer.status_code in (400, 404)
    assert set(answer.json()) == PARTS


def test_aesthetic_score_null_or_empty_switches_it_off(served):
    plain = served.knn(embedding_input=VECTOR, num_images=3)
    assert served.knn(embedding_input=VECTOR, num_images=3, aesthetic_score=None, aesthetic_weight=None) == plain
    assert served.knn(embedding_input=VECTOR, num_images=3, aesthetic_score="", aesthetic_weight="") == plain


def test_a_body_over_the_limit_is_not_read_to_its_end(served):
    assert served.post("/knn-service", b" " * 10_000_001).status_code == 413
    chunks = (b" " * 1_000_000 for _ in range(11))
    try:
        status = requests.post(served.url + "/knn-service", data=chunks, timeout=60).status_code
    except requests.ConnectionError:  # it was told so, and cut off, while it still sent
        status = 413
    assert status == 413


def test_an_image_of_too_many_pixels_is_413(served):
    assert served.refusal(image=b64(png_bomb()))["status"] == 413


def test_addresses_and_methods_that_are_not_there(served):
    for answer, status in ((served.get("/knn-service"), 405), (served.get("/../../etc/passwd"), 404),
                           (served.get("/page/../settings.py"), 404), (served.get("/docs"), 404)):  # fmt: skip
        assert answer.status_code == status
        assert set(answer.json()) == PARTS


def test_what_is_searched_for_is_not_in_the_log(served, caplog):
    with caplog.at_level(logging.INFO, logger="mappool.serve"):
        served.knn(text="a private matter", num_images=1)
    assert "knn 200" in caplog.text
    assert "private" not in caplog.text


def test_every_answer_tells_browsers_not_to_guess(served):
    for answer in (served.get("/health"), served.get("/"), served.post("/knn-service", b"x"), served.get("/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_numbers_that_float32_does_not_hold_are_still_a_direction(served):
    found = served.knn(embedding_input=[1e300] * WIDTH, num_images=3)
    assert found == served.knn(embedding_input=[1.0] * WIDTH, num_images=3)
    assert np.isfinite([one["similarity"] for one in found]).all()
