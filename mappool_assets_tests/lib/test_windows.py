"""Windows against the obvious way: the text before a medium and the text after it, each by itself."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.tokens import MAX_WORD_CHARACTERS, WordTokenizer, tokenizer_named
from mappool_assets.lib.web_documents.windows import document_text, media_windows, windows_at
from mappool_assets_tests.small_documents import numbered, pages

WORDS = WordTokenizer()


def slow_windows(items, tokenizer, tokens_a_side):
    """Yield the texts before and after each medium, each text cut by itself."""
    for number, item in enumerate(items):
        if item["kind"] == "text":
            continue
        before, after = (document_text(part) for part in (items[:number], items[number:]))
        yield last_words(before, tokenizer, tokens_a_side), first_words(after, tokenizer, tokens_a_side)


def words_of(text, tokenizer):
    """Return spans of words, each with how many tokens it has."""
    words = {}
    for span in map(tuple, tokenizer.spans(text).tolist()):
        words[span] = words.get(span, 0) + 1
    return list(words.items())


def last_words(text, tokenizer, tokens):
    kept = []
    for span, count in reversed(words_of(text, tokenizer)):
        tokens -= count
        if tokens < 0:
            break
        kept.append(span)
    return text[kept[-1][0] : kept[0][1]] if kept else ""


def first_words(text, tokenizer, tokens):
    kept = []
    for span, count in words_of(text, tokenizer):
        tokens -= count
        if tokens < 0:
            break
        kept.append(span)
    return text[kept[0][0] : kept[-1][1]] if kept else ""


def texts_around(items, samples):
    text = document_text(items)
    return [
        (text[sample.before_start : sample.before_end], text[sample.after_start : sample.after_end])
        for sample in samples
    ]


@settings(max_examples=40)
@pytest.mark.parametrize("name", ["words", "clip"])
@given(items=pages, tokens=st.integers(1, 12) | st.just(256))
def test_windows_are_the_last_and_the_first_tokens(name, items, tokens):
    tokenizer = tokenizer_named(name)
    samples = media_windows(items, tokenizer, tokens)
    assert texts_around(items, samples) == list(slow_windows(items, tokenizer, tokens))


@given(pages, st.integers(1, 12))
def test_every_medium_has_its_sample_and_offsets_are_in_order(items, tokens):
    samples = media_windows(items, WORDS, tokens)
    media = [item for item in items if item["kind"] != "text"]
    assert [(s.kind, s.position, s.url, s.alt) for s in samples] == [
        (i["kind"], i["position"], i["url"], i["alt"]) for i in media
    ]
    length = len(document_text(items))
    for sample in samples:
        offsets = [0, sample.before_start, sample.before_end, sample.after_start, sample.after_end, length]
        assert offsets == sorted(offsets)
    columns = np.array([sample[-4:] for sample in samples]).reshape(-1, 4)
    assert (np.diff(columns, axis=0) >= 0).all()


@given(pages, st.integers(1, 12), st.sets(st.sampled_from(["image", "audio", "video"])))
def test_the_kinds_wanted_change_no_window(items, tokens, kinds):
    chosen = media_windows(items, WORDS, tokens, kinds)
    assert chosen == [sample for sample in media_windows(items, WORDS, tokens) if sample.kind in kinds]


@given(pages, st.integers(1, 12))
def test_no_window_has_white_space_at_its_ends_nor_too_many_tokens(items, tokens):
    for window in (text for pair in texts_around(items, media_windows(items, WORDS, tokens)) for text in pair):
        assert window == window.strip()
        assert len(WORDS.spans(window)) <= tokens


IMAGE = ("image", "1.png")


def test_known_pages():
    def around(*items, tokens=2):
        return texts_around(numbered(*items), media_windows(numbered(*items), WORDS, tokens))

    assert around() == around("only text") == []
    assert around(IMAGE) == around("", IMAGE, "") == [("", "")]
    assert around(IMAGE, "a b c") == [("", "a b")]
    assert around("a b c", IMAGE) == [("b c", "")]
    assert around("a b c", IMAGE, IMAGE, "d e f") == [("b c", "d e")] * 2
    assert around("a b", "c", IMAGE, "d", ("video", ""), "e f") == [("b\nc", "d\ne"), ("c\nd", "e f")]
    assert around("東京の地図", IMAGE, "👩\u200d👩\u200d👧 e\u0301", tokens=3) == [
        ("の地図", "👩\u200d👩\u200d👧 e\u0301")
    ]
    assert around("שלום עולם טוב", IMAGE) == [("עולם טוב", "")]


def test_a_word_with_more_tokens_than_a_window_leaves_it_empty():
    items = numbered("a qzxjqzxjqzxj", IMAGE, "qzxjqzxjqzxj b")
    assert texts_around(items, media_windows(items, tokenizer_named("clip"), 2)) == [("", "")]
    [sample] = media_windows(items, tokenizer_named("clip"), 2)
    assert sample[-4:] == (14, 14, 15, 15)


def test_a_page_of_long_words_has_no_longer_windows():
    items = numbered("x" * 100_000, IMAGE, "y" * 100_000)
    [(before, after)] = texts_around(items, media_windows(items, WORDS))
    assert len(after) == 256 * MAX_WORD_CHARACTERS
    assert len(before) == 255 * MAX_WORD_CHARACTERS + 100_000 % MAX_WORD_CHARACTERS, "the last token is shorter"


def test_ten_thousand_media_on_a_page_take_no_time():
    text = "some words of a page that has very many media\n" * 10_000
    spans, places, took = WORDS.spans(text), np.arange(10_000) * 46, []
    for _ in range(3):
        began = time.perf_counter()
        windows = windows_at(spans, places, len(text))
        took.append(time.perf_counter() - began)
    assert windows.tokens[5_000].tolist() == [256, 256]
    assert min(took) < 0.1  # measured 0.0006 s; to go through the 5 million tokens of all windows takes more
