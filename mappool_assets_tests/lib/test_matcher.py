"""Matching is MetaCLIP's own, whatever the texts and the entries; the fast paths equal each other."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappool_assets.lib.curation.compiled import kernels
from mappool_assets.lib.curation.matcher import Matcher
from mappool_assets.lib.curation.matcher_unspaced import SubstringMatcher, UnspacedMatcher
from mappool_assets.lib.curation.spacing import padded, padded_unspaced, spaced
from mappool_assets.lib.errors import BadSetting
from mappool_assets_tests.small_curation import UNSPACED, found, found_unspaced, lists, spacing, use_compiled

NASTY = " ,.;:?!`\t\n\r\u00a0\u3000\u200b\0ab-'Bé中図ไ가カ，\U00020000\U0001f5fa"
CASES = {
    "a whole word": ("a map of Rome", ["map", "ma", "Rom", "Rome", "rome", "of Rome", "a map"]),
    "marks are tokens": ("Rome, 1748.", ["Rome", ",", ".", "1748", "Rome,", "Rome ,", "Rome 1748", "1748 ."]),
    "two spaces behind a mark": ("Rome, 1748", [", 1748", ",  1748", ", ", " 1748", "", "Rome ,  1748"]),
    "never found": ("Washington, D.C.", ["Washington, D.C.", "Washington ,  D . C .", "D.C."]),
    "runs of spaces stay": ("a  b   c", ["a b", "a  b", "b   c", "b c", " ", "", "  "]),
    "blanks become spaces": ("a\tb\nc\rd", ["a b c d", "a\tb", "b c", ""]),
    "a no-break space is none": ("a\u00a0b c", ["a", "b", "a\u00a0b", "a\u00a0b c"]),
    "no Unicode form is another": ("cafe\u0301 café", ["café", "cafe\u0301", "cafe"]),
    "entries within entries": ("a b c d", ["a", "a b", "a b c", "b c", "c", "b c d", "a b c d", "a b c d e", "d e"]),
    "entries twice": ("a b", ["b", "a", "a", "b", "a b", "a b", "a"]),
    "an empty text": ("", ["", " ", "a"]),
    "only marks": (".,.", [".", ",", ". ,", ".  ,", ". ", ""]),
    "only spaces": ("   ", ["", " ", "  ", "   ", "    "]),
    "long tokens": ("x" * 500 + " " + "x" * 499, ["x" * 500, "x" * 499, "x" * 498, f"{'x' * 500} {'x' * 499}"]),
}


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory):
    use_compiled(tmp_path_factory)


@st.composite
def texts_and_entries(draw, characters):
    """Texts, and entries of which many are cut out of them."""
    texts = draw(st.lists(st.none() | st.text(characters, max_size=40), min_size=1, max_size=6))
    entries = draw(st.lists(st.text(characters, max_size=6), max_size=8))
    for text in filter(None, texts):
        for _ in range(draw(st.integers(0, 4))):
            start, stop = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
            cut = draw(st.sampled_from([text, spacing(text).strip(" ")]))[start:stop]
            entries.append(cut)
    return texts, draw(st.permutations(entries))


@settings(max_examples=400, deadline=None)
@given(texts_and_entries(st.sampled_from(NASTY)))
def test_a_text_matches_what_is_a_substring_of_it(drawn):
    texts, entries = drawn
    expected = [found(text, entries) for text in texts]
    assert lists(Matcher.build(entries).match(pa.array(texts, pa.string()))) == expected
    as_substrings = SubstringMatcher.build([padded(entry) for entry in entries])
    assert lists(as_substrings.match(pa.array(texts, pa.string()))) == expected


@settings(max_examples=400, deadline=None)
@given(texts_and_entries(st.sampled_from(NASTY)))
def test_scripts_without_spaces_need_none_around_entries(drawn):
    texts, entries = drawn
    entries = [entry for entry in entries if entry]  # MetaCLIP 2 fails on an empty one
    expected = [found_unspaced(text, entries) for text in texts]
    assert lists(UnspacedMatcher.build(entries).match(pa.array(texts, pa.string()))) == expected
    as_substrings = SubstringMatcher.build([padded_unspaced(entry) for entry in entries])
    assert lists(as_substrings.match(pa.array(texts, pa.string()))) == expected


@settings(max_examples=200, deadline=None)
@given(texts_and_entries(st.characters(exclude_categories=["Cs"])))
def test_any_unicode(drawn):
    texts, entries = drawn
    assert lists(Matcher.build(entries).match(pa.array(texts, pa.string()))) == [found(text, entries) for text in texts]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_texts_of_many_chunks(data):
    random_ = data.draw(st.randoms(use_true_random=False))
    words = ["a", "b", "c", ",", ".", "", " ", "中", "\t"]
    texts = [" ".join(random_.choices(words, k=random_.randint(0, 900))) for _ in range(4)]
    entries = [" ".join(random_.choices(words, k=random_.randint(1, 6))) for _ in range(60)]
    arrow = pa.array(texts)
    assert lists(Matcher.build(entries).match(arrow)) == [found(text, entries) for text in texts]
    entries = [entry for entry in entries if entry]
    assert lists(UnspacedMatcher.build(entries).match(arrow)) == [found_unspaced(text, entries) for text in texts]


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    text, entries = CASES[name]
    expected = [found(text, entries)]
    assert lists(Matcher.build(entries).match(pa.array([text]))) == expected
    assert lists(SubstringMatcher.build([padded(entry) for entry in entries]).match(pa.array([text]))) == expected


def test_what_the_facts_say_of_some():
    entries = ["Washington, D.C.", "Washington", "D . C .", "rome", ""]
    assert lists(Matcher.build(entries).match(pa.array(["Washington, D.C.", "Rome", None]))) == [[1, 2, 4], [], []]


def test_spacing_is_the_oracles():
    for text in ("", NASTY, "a,b.c", *(text for text, _ in CASES.values())):
        assert spaced(text) == spacing(text)


@pytest.mark.parametrize(
    ("text", "entry"),
    [("東京都の地図", "地図"), ("ไทยแลนด์", "แลนด์"), ("A地図B", "地図"), ("x(map)y", "(map)")],
)
def test_found_within_a_run_of_letters(text, entry):
    assert lists(UnspacedMatcher.build([entry]).match(pa.array([text]))) == [[0]]
    assert lists(Matcher.build([entry]).match(pa.array([text]))) == [[]]


@pytest.mark.parametrize(
    ("text", "entry"), [("東京カメラ店", "カメラ"), ("대한민국", "한민"), ("地図A", "A"), ("地図A", "図A B")]
)
def test_not_found_where_metaclip_2_keeps_the_spaces(text, entry):
    assert lists(UnspacedMatcher.build([entry]).match(pa.array([text]))) == [[]]


def test_the_unspaced_characters_are_all_that_metaclip_2_has():
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    characters = "".join(map(chr, codes))
    expected = {match.start() for match in UNSPACED.finditer(characters)}
    assert {place for place, character in enumerate(characters) if padded_unspaced(character) == character} == expected


def test_texts_of_a_megabyte():
    draw = random.Random(8)
    words = [f"w{number}" for number in range(200)] + list(",.;")
    long = " ".join(draw.choices(words, k=300_000))
    dense = "a " * 500_000
    entries = [*words, "", "a", "a a", "a" + " a" * 40, "a" + " a" * 41 + " b", "w1 w2", "w3 w4 w5", "w7 ,  w8"]
    texts = [long, dense, "a", long[:500_000] + dense[:500_000]]
    assert min(len(texts[0]), len(texts[1])) >= 1_000_000
    assert lists(Matcher.build(entries).match(pa.array(texts))) == [found(text, entries) for text in texts]
    unspaced = UnspacedMatcher.build([*entries, "1 w", "中"]).match(pa.array(texts))
    assert lists(unspaced) == [found_unspaced(text, [*entries, "1 w", "中"]) for text in texts]


def test_time_is_linear_in_a_hostile_text_and_a_hostile_list():
    # By comparing every place with every entry, 5e10 steps.
    runs = ["a" + " a" * length for length in (1, 10, 100, 100_000, 250_000)]
    entries = [*runs, *(f"{run} b" for run in runs)]
    text = "a" + " a" * 300_000
    assert lists(Matcher.build(entries).match(pa.array([text, f"{text} b"]))) == [[0, 1, 2, 3, 4], list(range(10))]
    entries = ["中" * length for length in (1, 100, 100_000)] + ["中" * 100_000 + "図"]
    assert lists(UnspacedMatcher.build(entries).match(pa.array(["中" * 300_000]))) == [[0, 1, 2]]


def test_half_a_million_entries():
    draw = np.random.default_rng(8)
    words = [f"{number:x}" for number in range(150_000)]
    entries = words + [" ".join(words[place] for place in places) for places in draw.integers(0, 2000, (350_000, 2))]
    texts = [" ".join(words[place] for place in places) for places in draw.integers(0, 2000, (1000, 12))]
    numbers: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        numbers.setdefault(entry, []).append(number)
    expected = []
    for tokens in map(str.split, texts):
        runs = {" ".join(tokens[start:stop]) for start in range(12) for stop in (start + 1, start + 2)}
        expected.append(sorted(number for run in runs for number in numbers.get(run, ())))
    matcher = Matcher.build(entries)
    assert lists(matcher.match(pa.array(texts))) == expected
    assert matcher.nbytes <= 200e6
    assert lists(UnspacedMatcher.build(entries).match(pa.array(texts))) == expected


def test_every_form_of_array_is_taken_and_nothing_is_compiled_again():
    texts = ["a b", None, "", "c, a", "中", "b  a"]
    entries = ["a", "b", "", "a b", "中"]
    arrow = pa.array(["x", *texts, "y"])
    forms = [
        pa.array(texts),
        arrow[1:-1],
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.large_string())[0:],
        arrow.take(pa.array(range(1, 7))),
        arrow.filter(pa.array([False, *[True] * 6, False])),
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.string_view()),
    ]
    matcher, expected = Matcher.build(entries), [found(text, entries) for text in texts]
    unspaced = UnspacedMatcher.build(pa.chunked_array([entries[:2], entries[2:]]))
    for form in forms:
        assert lists(matcher.match(form)) == expected
        assert lists(unspaced.match(form))[:4] == expected[:4]
    for empty in (pa.array([], pa.string()), arrow[3:3], pa.nulls(0)):
        assert (lists(matcher.match(empty)), lists(unspaced.match(empty))) == ([], [])
    assert lists(matcher.match(pa.nulls(3))) == [[], [], []]
    assert lists(matcher.match(pa.array([""]))) == [[2]]
    assert {name: len(function.signatures) for name, function in vars(kernels()).items()} == dict.fromkeys(
        vars(kernels()), 1
    )


def test_no_entries():
    for built in (Matcher.build([]), UnspacedMatcher.build([]), Matcher.build(pa.array([], pa.string()))):
        assert lists(built.match(pa.array(["a", "", None]))) == [[], [], []]


@pytest.mark.parametrize("entries", [["a", None], ["\ud800"], [b"\xff"], ["a", 3], pa.array([1])])
@pytest.mark.parametrize("kind", [Matcher, UnspacedMatcher])
def test_entries_that_are_no_texts(kind, entries):
    with pytest.raises(BadSetting, match="The list of entries cannot be used"):
        kind.build(entries)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_bytes_that_are_no_text_break_nothing(texts):
    array = pa.array(texts, pa.binary())
    array = pa.StringArray.from_buffers(len(array), *array.buffers()[1:])
    for kind in (Matcher, UnspacedMatcher):
        matches = lists(kind.build(["a", "中", "é b", "\U00020000"]).match(array))
        assert len(matches) == len(texts)
        for text, entries in zip(texts, matches, strict=True):
            assert all(["a", "中", "é b", "\U00020000"][entry].encode() in text for entry in entries)


def test_parts_threads_and_order_change_nothing():
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcde,.", k=draw.randint(0, 30))) for _ in range(500)]
    entries = sorted({" ".join(draw.choices("abcde", k=draw.randint(1, 3))) for _ in range(80)})
    matcher = Matcher.build(entries)
    expected = lists(matcher.match(pa.array(texts)))
    with ThreadPoolExecutor(4) as threads:
        parts = threads.map(lambda start: lists(matcher.match(pa.array(texts)[start : start + 7])), range(0, 500, 7))
        assert [entries for part in parts for entries in part] == expected
    order = draw.sample(range(len(entries)), len(entries))
    shuffled = lists(Matcher.build([entries[number] for number in order]).match(pa.array(texts)))
    assert [sorted(order[number] for number in numbers) for numbers in shuffled] == expected


def test_taking_texts():
    matches = Matcher.build(["a", "b", "a b"]).match(pa.array(["a b", "c", "b"]))
    assert lists(matches.take(np.array([2, 0, 0, 1]))) == [[1], [0, 1, 2], [0, 1, 2], []]
    assert lists(matches.take(np.array([], dtype=np.int64))) == []


def test_importing_loads_no_compiler():
    names = ("matcher", "matcher_unspaced", "matches", "entry_counts", "lint", "compiled")
    code = "; ".join(f"import mappool_assets.lib.curation.{name}" for name in names)
    code += "; import sys; print([name for name in ('numba', 'llvmlite') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
