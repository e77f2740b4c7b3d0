"""Merged windows are the page: what the windows cover, in order, nothing twice and nothing lost."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.web_documents.interleaved import interleaved_parts, merged_windows
from mappool_assets.lib.web_documents.tokens import WordTokenizer, tokenizer_named
from mappool_assets.lib.web_documents.windows import document_text, media_windows, windows_at
from mappool_assets_tests.small_documents import numbered, pages

WORDS = WordTokenizer()
FORMS = [{"image"}, {"image", "audio", "video"}]
IMAGE, VIDEO = ("image", "1.png"), ("video", "2.mp4")


def merged(items, tokenizer, tokens, kinds):
    """The page's parts made of its windows: texts, and media as they are in the page."""
    text = document_text(items)
    parts = interleaved_parts(media_windows(items, tokenizer, tokens, kinds), text)
    return [text[p.start : p.end] if p.kind == "text" else (p.kind, p.position, p.url, p.alt) for p in parts]


def walk(items, kinds):
    """The page without windows: each run of texts joined, each medium of the kinds."""
    parts, wanted = [], [item for item in items if item["kind"] in {"text", *kinds}]
    for is_text, run in itertools.groupby(wanted, key=lambda item: item["kind"] == "text"):
        if is_text:
            parts += [text] if (text := document_text(run).strip()) else []
        else:
            parts += [(item["kind"], item["position"], item["url"], item["alt"]) for item in run]
    return parts


def restricted_walk(items, tokenizer, tokens, kinds):
    """Word after word: those in any window stay, next to each other they are one text."""
    text, parts, last, start = document_text(items), [], None, 0
    samples = media_windows(items, tokenizer, tokens, kinds)
    covered = set()
    for sample in samples:
        covered |= {*range(sample.before_start, sample.before_end), *range(sample.after_start, sample.after_end)}
    words = sorted(set(map(tuple, tokenizer.spans(text).tolist())))
    place = 0
    for item in items:
        if item["kind"] == "text":
            end = place + len(item["text"])
            for number, (word_start, word_end) in enumerate(words):
                if not place <= word_start < end or word_start not in covered:
                    continue
                if last == number - 1:
                    parts.pop()
                else:
                    start = word_start
                parts.append(text[start:word_end])
                last = number
            place = end + 1
        elif item["kind"] in kinds:
            parts.append((item["kind"], item["position"], item["url"], item["alt"]))
            last = None
    return parts


@settings(max_examples=40)
@pytest.mark.parametrize("name", ["words", "clip"])
@pytest.mark.parametrize("kinds", FORMS, ids=["images", "media"])
@given(items=pages, tokens=st.integers(1, 12))
def test_merged_windows_are_the_walk_restricted_to_them(name, kinds, items, tokens):
    tokenizer = tokenizer_named(name)
    assert merged(items, tokenizer, tokens, kinds) == restricted_walk(items, tokenizer, tokens, kinds)


@settings(max_examples=40)
@pytest.mark.parametrize("name", ["words", "clip"])
@pytest.mark.parametrize("kinds", FORMS, ids=["images", "media"])
@given(items=pages)
def test_merged_windows_longer_than_the_page_are_the_walk(name, kinds, items):
    parts = merged(items, tokenizer_named(name), 100_000, kinds)
    if any(item["kind"] in kinds for item in items):
        assert parts == walk(items, kinds)
    else:
        assert parts == []


@given(pages, st.integers(1, 12), st.sampled_from(FORMS))
def test_parts_are_in_order_and_do_not_overlap(items, tokens, kinds):
    parts = interleaved_parts(media_windows(items, WORDS, tokens, kinds), document_text(items))
    edges = [edge for part in parts if part.kind == "text" for edge in (part.start, part.end)]
    assert edges == sorted(edges)
    assert all(part.start < part.end for part in parts if part.kind == "text")
    assert [part.position for part in parts if part.kind != "text"] == [
        item["position"] for item in items if item["kind"] in kinds
    ]


def test_known_pages():
    def images(*items, tokens=2):
        parts = merged(numbered(*items), WORDS, tokens, {"image"})
        return [part if isinstance(part, str) else part[1] for part in parts]

    assert images() == images("only text") == images("a", VIDEO) == []
    assert images(IMAGE) == [0]
    assert images(IMAGE, IMAGE, "a", IMAGE) == [0, 1, "a", 3]
    assert images("a b c", IMAGE, "d e", VIDEO, "f", IMAGE) == ["b c", 1, "d e\nf", 5]
    assert images("a", IMAGE, "b c d e", IMAGE) == ["a", 1, "b c d e", 3], "two windows that touch"
    assert images("a", IMAGE, "b c d e f", IMAGE) == ["a", 1, "b c", "e f", 3], "a word is left out"
    assert images("a", IMAGE, "東京x地図", IMAGE) == ["a", 1, "東京", "地図", 3], (
        "a gap of one letter is no white space"
    )
    assert images("a", IMAGE, "東京 地図", IMAGE) == ["a", 1, "東京 地図", 3]
    assert images("a", IMAGE, "b", "c d", "e", IMAGE) == ["a", 1, "b\nc d\ne", 5]


@given(st.lists(st.tuples(pages, st.sampled_from(FORMS)), max_size=6), st.integers(1, 12))
def test_many_pages_at_once_are_as_each_alone(chosen, tokens):
    samples = [media_windows(items, WORDS, tokens, kinds) for items, kinds in chosen]
    texts = [document_text(items) for items, _ in chosen]
    windows = np.array([s[-4:] for of_page in samples for s in of_page], dtype=np.int32).reshape(-1, 4)
    numbers = np.repeat(np.arange(len(chosen)), [len(of_page) for of_page in samples])
    found = merged_windows(windows, numbers, lambda page, start, end: texts[page][start:end].isspace())
    alone = [interleaved_parts(of_page, text) for of_page, text in zip(samples, texts, strict=True)]
    assert found.starts.tolist() == [part.start or 0 for parts in alone for part in parts]
    assert found.ends.tolist() == [part.end or 0 for parts in alone for part in parts]
    assert [n == -1 for n in found.samples.tolist()] == [part.kind == "text" for parts in alone for part in parts]
    totals = np.bincount(numbers, found.counts, minlength=len(chosen))
    assert totals.tolist() == [len(parts) for parts in alone]


def test_ten_thousand_media_on_a_page_take_no_time():
    text = "some words of a page that has very many media\n" * 10_000
    windows, took = windows_at(WORDS.spans(text), np.arange(10_000) * 46, len(text)).offsets, []
    for _ in range(3):
        began = time.perf_counter()
        found = merged_windows(windows, np.zeros(10_000, dtype=int), lambda *_: True)
        took.append(time.perf_counter() - began)
    assert len(found.samples) == 20_000  # nothing is before the first
    assert min(took) < 0.1  # measured 0.0004 s, though each window reaches over 28 media
