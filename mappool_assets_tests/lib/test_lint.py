"""The lint names exactly the entries that no text can match."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.curation.lint import lint
from mappool_assets.lib.curation.spacing import MARKS, padded, padded_unspaced
from mappool_assets_tests.small_curation import found, spacing


@pytest.mark.parametrize("pad", [padded, padded_unspaced])
def test_all_short_entries_against_all_short_texts(pad):
    entries = ["".join(drawn) for length in range(5) for drawn in itertools.product("a,. \t中", repeat=length)]
    texts = ("".join(drawn) for length in range(7) for drawn in itertools.product("a,. 中", repeat=length))
    spaced = "\0".join(map(spacing, texts))
    assert [number for number, _ in lint(entries)] == [
        number for number, entry in enumerate(entries) if pad(entry) not in spaced
    ]


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("ab ,.:!`中\u00a0é") | st.characters(exclude_categories=["Cs"]), max_size=20))
def test_every_other_entry_matches_itself_without_the_spaces_of_its_marks(entry):
    if not any(lint([entry])):
        text = padded(entry)
        for mark in MARKS:
            text = text.replace(f" {mark} ", mark)
        assert found(text, [entry]) == [0]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("Washington, D.C.", "punctuation_unspaced"),
        ("St. Louis", "punctuation_unspaced"),
        ("a ,b", "punctuation_unspaced"),
        ("one\ttwo", "tab_or_newline"),
        ("one\r", "tab_or_newline"),
        ("one,\ntwo", "tab_or_newline"),
        ("a . , b", "punctuation_shares_a_space"),
        ("...", "punctuation_unspaced"),
        (". . .", "punctuation_shares_a_space"),
        (".  .  .", None),
        (",", None),
        ("a , b", None),
        ("", None),
        (" a", None),
        ("a  b", None),
        ("don't-stop (map) #1 & 2/3", None),
        ("a\u2028b", None),
        ("A\u00a0,b", "punctuation_unspaced"),
    ],
)
def test_reasons(entry, reason):
    assert list(lint(["Rome", entry, "map"])) == ([(1, reason)] if reason else [])
