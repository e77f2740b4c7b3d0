"""The law of balancing against the slow formula, and against both of MetaCLIP's own ways to draw."""

import doctest
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mappool_assets.lib.curation import balance
from mappool_assets.lib.curation.balance import (
    ExactSum,
    ExpectedSize,
    entry_probabilities,
    expected_size,
    keep_probabilities,
    p_to_t,
    t_to_p,
)
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.errors import BadSetting

ENTRIES = 12
TEXTS = st.lists(st.lists(st.integers(0, ENTRIES - 1), unique=True).map(sorted), max_size=12)
PROBABILITIES = st.lists(
    st.one_of(st.floats(0, 1), st.floats(0, 1e-12), st.sampled_from([0.0, 1.0, 1 - 2**-53, 1e-300])),
    min_size=ENTRIES,
    max_size=ENTRIES,
)
SEEDS = 400


def matches_of(texts):
    offsets = np.cumsum([0, *map(len, texts)])
    return Matches(offsets, np.array([entry for text in texts for entry in text], dtype=np.int32))


def zipf_texts(texts, entries, seed):
    """Draw texts whose entries are as unequal as words are; some texts have none."""
    draw = np.random.default_rng(seed)
    weights = 1 / np.arange(1, entries + 1)
    weights /= weights.sum()
    return [sorted(set(draw.choice(entries, size=draw.poisson(5), p=weights).tolist())) for _ in range(texts)]


def counts_of(texts, entries):
    return np.bincount([entry for text in texts for entry in text], minlength=entries).astype(np.uint64)


def by_metaclip_loop(texts, counts, t, draw):
    """``balancing.py``: one draw for each match, until the first that passes."""
    kept = np.zeros(len(texts), dtype=bool)
    for number, text in enumerate(texts):
        for entry in text:
            if draw.random() < t / max(int(counts[entry]), t):
                kept[number] = True
                break
    return kept


def by_metaclip_mask(matches, counts, t, draw):
    """``balance_sampling.py``: a mask over all matches, then each text once."""
    text_ids = np.repeat(np.arange(len(matches)), np.diff(matches.offsets))
    passed = draw.random(len(matches.entries)) < (t / np.maximum(counts, t))[matches.entries]
    kept = np.zeros(len(matches), dtype=bool)
    kept[np.unique(text_ids[passed])] = True
    return kept


def test_the_examples():
    assert doctest.testmod(balance).failed == 0


@given(TEXTS, PROBABILITIES)
def test_a_text_is_kept_unless_all_its_entries_miss(texts, p):
    kept = keep_probabilities(matches_of(texts), np.array(p))
    assert kept.dtype == np.float64
    for text, got in zip(texts, kept.tolist(), strict=True):
        exact = 1 - math.prod(1 - Fraction(p[entry]) for entry in text)
        assert abs(Fraction(got) - exact) <= exact * Fraction(1, 10**14)
        assert 0 <= got <= 1


@given(TEXTS, PROBABILITIES, st.integers(0, 12))
def test_a_texts_probability_does_not_depend_on_the_others(texts, p, cut):
    p = np.array(p)
    alone = [keep_probabilities(matches_of([text]), p)[0] for text in texts]
    assert keep_probabilities(matches_of(texts), p).tolist() == alone
    whole = matches_of(texts)
    cut = min(cut, len(texts))
    behind = Matches(whole.offsets[cut:], whole.entries)  # offsets that do not begin at 0
    assert keep_probabilities(behind, p).tolist() == alone[cut:]


def test_nothing_is_changed_that_is_handed_in():
    matches, p = matches_of([[0, 1], [], [2]]), np.array([0.5, 1.0, 0.25])
    assert keep_probabilities(matches, p).tolist() == pytest.approx([1.0, 0.0, 0.25], rel=1e-15)
    assert p.tolist() == [0.5, 1.0, 0.25]
    assert matches.entries.tolist() == [0, 1, 2]


def test_no_text_and_no_entry():
    assert keep_probabilities(matches_of([]), np.ones(3)).tolist() == []
    assert keep_probabilities(matches_of([[], []]), np.empty(0)).tolist() == [0.0, 0.0]


def test_one_text_with_a_hundred_thousand_entries_among_others():
    p = np.full(100_000, 1e-7)
    kept = keep_probabilities(matches_of([[3], list(range(100_000)), []]), p)
    assert kept == pytest.approx([1e-7, -math.expm1(100_000 * math.log1p(-1e-7)), 0], rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.float64])
def test_an_entry_passes_t_texts_on_average_or_all(dtype):
    counts = np.array([0, 1, 19, 20, 21, 4_000_000_000], dtype=dtype)
    p = entry_probabilities(counts, 20)
    assert p.tolist() == [1, 1, 1, 1, 20 / 21, 20 / 4_000_000_000]
    assert (p * counts)[-2:].tolist() == pytest.approx([20, 20])


def test_counts_may_be_estimates_and_t_any_number_above_zero():
    assert entry_probabilities(np.array([0.5, 1e-300, 2.5]), 1.25).tolist() == [1, 1, 0.5]
    assert entry_probabilities(np.array([3.0]), math.inf).tolist() == [1]
    assert entry_probabilities(np.array([2**64 - 1], dtype=np.uint64), 1e-9).tolist() == [1e-9 / 2.0**64]
    for t in (0, -1, math.nan):
        with pytest.raises(BadSetting, match="threshold cannot be used"):
            entry_probabilities(np.array([3]), t)


@given(TEXTS, st.lists(st.integers(0, 10**12), min_size=ENTRIES, max_size=ENTRIES))
def test_more_is_kept_at_a_larger_t(texts, counts):
    matches = matches_of(texts)
    sizes = [keep_probabilities(matches, entry_probabilities(counts, t)) for t in (1e-3, 1, 7.5, 1e6, 1e13)]
    for less, more in itertools.pairwise(sizes):
        assert np.all(less <= more * (1 + 1e-14))
    assert sizes[-1].tolist() == [float(bool(text)) for text in texts]


@pytest.mark.parametrize("way", ["loop", "mask"])
def test_metaclip_keeps_as_many_and_each_text_as_often(way):
    texts = zipf_texts(500, 80, seed=8)
    matches, counts, t = matches_of(texts), counts_of(texts, 80), 20
    p = keep_probabilities(matches, entry_probabilities(counts, t))
    size = expected_size(p)
    if way == "loop":
        loop_draw = random.Random(8)
        kept = [by_metaclip_loop(texts, counts, t, loop_draw) for _ in range(SEEDS)]
    else:
        draw = np.random.default_rng(8)
        kept = [by_metaclip_mask(matches, counts, t, draw) for _ in range(SEEDS)]
    sizes = np.sum(kept, axis=1)
    assert abs(sizes.mean() - size.mean) < 4 * size.sd / math.sqrt(SEEDS)
    assert abs(sizes.std(ddof=1) / size.sd - 1) < 4 / math.sqrt(2 * SEEDS)
    deviations = (np.sum(kept, axis=0) - SEEDS * p) / np.sqrt(np.maximum(SEEDS * p * (1 - p), 1e-9))
    assert np.all(np.abs(deviations) < 4.5)  # 500 texts: beyond 4.5 sd one in 300 runs
    assert np.all(np.sum(kept, axis=0)[p == 0] == 0)


def test_each_entry_keeps_at_least_t_on_average_as_texts_have_several():
    texts = zipf_texts(3_000, 80, seed=1)
    matches, counts, t = matches_of(texts), counts_of(texts, 80), 20
    p = keep_probabilities(matches, entry_probabilities(counts, t))
    kept = np.bincount(matches.entries, np.repeat(p, np.diff(matches.offsets)), minlength=80)
    assert np.all(kept >= np.minimum(counts, t) - 1e-9)
    head = counts > t
    assert (kept[head] / t).mean() > 1.5


def test_the_notebooks_sum_overestimates():
    texts = zipf_texts(3_000, 80, seed=1)
    matches, counts = matches_of(texts), counts_of(texts, 80)
    p = entry_probabilities(counts, 20)
    size = expected_size(keep_probabilities(matches, p))
    notebook = sum(min(sum(p[entry] for entry in text), 1) for text in texts)
    draw = np.random.default_rng(0)
    sizes = [by_metaclip_mask(matches, counts, 20, draw).sum() for _ in range(100)]
    assert abs(np.mean(sizes) - size.mean) < 4 * size.sd / 10
    assert notebook > 1.03 * size.mean
    assert notebook - np.mean(sizes) > 20 * size.sd / 10


@given(hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 1)), st.randoms(use_true_random=False))
def test_a_size_is_added_up_exactly_in_any_order(probabilities, draw):
    size = expected_size(probabilities)
    assert size.mean == pytest.approx(math.fsum(probabilities), rel=1e-15, abs=1e-14)
    assert size.sd == pytest.approx(math.sqrt(math.fsum(probabilities * (1 - probabilities))), rel=1e-12, abs=1e-7)
    order = list(probabilities)
    draw.shuffle(order)
    parts = ExpectedSize()
    while order:
        count = draw.randint(1, len(order))
        parts.add(np.array(order[:count]))
        order = order[count:]
    assert (parts.mean, parts.sd) == (size.mean, size.sd)


def test_the_size_of_many_texts():
    size = expected_size(np.full(3_000_000, 1.0))
    assert (size.mean, size.sd) == (3_000_000, 0)
    size = expected_size(np.full(3_000_000, 1 / 3))
    assert (size.mean, size.sd) == (pytest.approx(1e6, rel=1e-15), pytest.approx(math.sqrt(2e6 / 3), rel=1e-12))


def metaclip_t_to_p(t, entry_count):
    return entry_count[entry_count < t].sum() / entry_count.sum()


def metaclip_p_to_t(p, entry_count):
    sorted_count = np.sort(entry_count)
    cumulated = np.cumsum(sorted_count) / sorted_count.sum()
    return sorted_count[np.abs(cumulated - p).argmin()]


COUNTS = hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(1, 10**9))


@given(COUNTS, st.floats(0.1, 1e10), st.floats(0, 1))
def test_t_and_the_share_of_the_tail_are_metaclips(counts, t, share):
    for kind in (np.uint64, np.int64, np.float64):
        assert t_to_p(counts.astype(kind), t) == pytest.approx(metaclip_t_to_p(t, counts), rel=1e-12)
        assert p_to_t(counts.astype(kind), share) == metaclip_p_to_t(share, counts)


def test_they_are_not_inverse_to_each_other():
    counts = np.array([1, 2, 3, 4])
    assert [p_to_t(counts, t_to_p(counts, t)) for t in (2, 3, 4)] == [1, 2, 3]
    assert [t_to_p(counts, p_to_t(counts, share)) for share in (0.1, 0.3, 0.6, 1.0)] == [0.0, 0.1, 0.3, 0.6]


def test_without_matches_there_is_no_tail():
    assert t_to_p([0, 0], 5) == 0
    assert t_to_p([], 5) == 0
    assert p_to_t([0, 7, 0], 0) == 7  # what matches nothing is no candidate
    for counts, share in (([0, 0], 0.5), ([], 0.5), ([1], -0.1), ([1], 1.1), ([1], math.nan)):
        with pytest.raises(BadSetting, match="share of the tail"):
            p_to_t(counts, share)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10**6)), max_size=40))
def test_numbers_are_added_up_exactly_each_so_many_times(summands):
    numbers = np.array([number for number, _ in summands])
    times = np.array([count for _, count in summands], dtype=np.int64)
    some = ExactSum()
    some.add(numbers, times)
    exact = sum(Fraction(number) * count for number, count in summands)
    assert abs(Fraction(some.value) - exact) <= sum(times.tolist()) * Fraction(1, 2**53) + exact * Fraction(1, 2**52)
