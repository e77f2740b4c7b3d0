"""Draws that belong to a row: the same whatever the batches, uniform, and independent of other seeds and names."""

import doctest
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mappool_assets.lib.curation import keyed_draws
from mappool_assets.lib.curation.keyed_draws import keyed_uniforms

UIDS = pa.array([f"{number:032x}" for number in range(50_000)])


def test_the_examples():
    assert doctest.testmod(keyed_draws).failed == 0


def test_they_are_the_same_for_ever():
    assert keyed_uniforms(pa.array(["0" * 32, "", "日本 🗺"]), 3, "curated_pairs").tolist() == [
        0.5444227380376735,
        0.5513273976505167,
        0.33581868420575234,
    ]


@given(st.lists(st.text(max_size=40), max_size=30), st.integers(0, 30), st.integers(), st.text(max_size=5))
def test_a_row_has_its_own_whatever_is_beside_it(uids, cut, seed, name):
    drawn = keyed_uniforms(pa.array(uids, pa.string()), seed, name)
    assert drawn.dtype == np.float64
    assert np.all((drawn >= 0) & (drawn < 1))
    parts = [keyed_uniforms(pa.array(part, pa.string()), seed, name) for part in (uids[:cut], uids[cut:])]
    assert np.concatenate(parts).tolist() == drawn.tolist()
    assert keyed_uniforms(pa.array(uids[::-1], pa.string()), seed, name).tolist() == drawn[::-1].tolist()
    assert len(set(drawn.tolist())) == len(set(uids))


def test_however_arrow_has_the_strings():
    expected = keyed_uniforms(UIDS[10:40], 0, "a").tolist()
    chunked = pa.chunked_array([UIDS[10:15], UIDS[15:40]])
    for uids in (UIDS[10:40].cast(pa.large_string()), UIDS[10:40].dictionary_encode(), chunked):
        assert keyed_uniforms(uids, 0, "a").tolist() == expected
    assert keyed_uniforms(pa.chunked_array([], pa.string()), 0, "a").tolist() == []


def test_a_row_without_uid_is_refused():
    with pytest.raises(TypeError):
        keyed_uniforms(pa.array(["a", None]), 0, "a")


@pytest.mark.parametrize("uids", [UIDS, pa.array([str(number) for number in range(50_000)])], ids=["hex", "short"])
def test_they_are_uniform(uids):
    drawn = keyed_uniforms(uids, 0, "balanced_pool")
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    low_bits = (np.ldexp(drawn, 53).astype(np.int64) & 1).mean()  # all 53 bits are drawn
    assert abs(low_bits - 0.5) < 4 * 0.5 / np.sqrt(len(drawn))


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, "balanced_pool"), (1, "balanced_pool")), ((0, "balanced_pool"), (0, "curated_pairs")), ((1, "1"), (11, ""))],
)
def test_other_seeds_and_names_have_nothing_to_do_with_them(one, other):
    first, second = keyed_uniforms(UIDS, *one), keyed_uniforms(UIDS, *other)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(UIDS))
    table = np.histogram2d(first, second, bins=8)[0]
    assert stats.chisquare(table.ravel()).pvalue > 1e-3
    assert stats.kstest((first - second) % 1, "uniform").pvalue > 1e-3


def test_what_is_kept_is_kept_at_any_larger_probability():
    drawn = keyed_uniforms(UIDS, 5, "balanced_pool")
    kept = [set(np.flatnonzero(drawn < share)) for share in (0.0, 1e-3, 0.2, 0.9, 1.0)]
    assert all(less <= more for less, more in itertools.pairwise(kept))
    assert len(kept[0]) == 0
    assert len(kept[-1]) == len(UIDS)
