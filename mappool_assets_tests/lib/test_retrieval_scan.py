import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.retrieval import exact_scan as scanning
from mappool_assets.lib.retrieval.exact_scan import RowBlock, exact_scan
from mappool_assets.lib.retrieval.top_k import MOST_ROWS, Nearest, RunningTopK, merge


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def image_like(rows, dimension=768, seed=0):
    """Vectors on a cone, as CLIP's are, so that similarities are close to each other."""
    random = np.random.default_rng([seed, rows])
    centre = np.random.default_rng(7).standard_normal(dimension)
    return unit(centre + 1.5 * random.standard_normal((rows, dimension))).astype(np.float16)


def text_like(queries, dimension=768, seed=1):
    random = np.random.default_rng([seed, queries])
    centre = np.random.default_rng(8).standard_normal(dimension)
    return unit(centre + random.standard_normal((queries, dimension))).astype(np.float32)


def in_blocks(rows, block_rows, is_wanted=None):
    for start in range(0, len(rows), block_rows):
        block = slice(start, start + block_rows)
        yield RowBlock(start, rows[block], None if is_wanted is None else is_wanted[block])


def by_full_sort(queries, rows, k, least=-np.inf, is_wanted=None):
    """The slow, obvious way: every similarity in float64, every row sorted."""
    queries64, rows64 = np.rint(queries.astype(float) * 2.0**27) / 2.0**27, rows.astype(float)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        similarity = ((queries64 @ rows64.T) / np.sqrt((rows64**2).sum(axis=1))).astype(np.float32)
    found = []
    for query, similarities in enumerate(similarity):
        allowed = [
            (-float(s), row)
            for row, s in enumerate(similarities)
            if np.isfinite(s) and s >= np.float32(least) and (is_wanted is None or is_wanted[row])
        ]
        found += [(query, row, -negative) for negative, row in sorted(allowed)[:k]]
    return found


def listed(nearest: Nearest):
    return list(zip(nearest.query.tolist(), nearest.row.tolist(), nearest.similarity.tolist(), strict=True))


@pytest.mark.parametrize(("k", "least"), [(1, -np.inf), (10, -np.inf), (700, -np.inf), (5000, -np.inf), (300, 0.02)])
def test_the_scan_finds_what_a_full_sort_finds_to_the_last_bit(k, least):
    queries, rows = text_like(30), image_like(2300)
    found = exact_scan(queries, in_blocks(rows, 1100), k, least_similarity=least).nearest
    assert listed(found) == by_full_sort(queries, rows, k, least)
    assert (found.query.dtype, found.row.dtype, found.similarity.dtype) == (np.int32, np.int64, np.float32)


def test_similarities_are_exact_fractions_rounded_once_or_twice():
    queries, rows = text_like(2), image_like(300)
    found = exact_scan(queries, in_blocks(rows, 300), 5).nearest
    for query, row, similarity in listed(found):
        exact = [Fraction(int(np.rint(float(x) * 2**27)), 2**27) for x in queries[query]]
        vector = [Fraction(float(x)) for x in rows[row]]
        product = float(sum(map(lambda a, b: a * b, exact, vector)))  # correctly rounded, as is each step below
        length = math.sqrt(float(sum(x * x for x in vector)))
        assert similarity == float(np.float32(product / length))


@given(
    rows=st.lists(st.tuples(*[st.integers(-2, 2)] * 4), min_size=0, max_size=40),
    queries=st.lists(st.sampled_from([(1, 0, 0, 0), (0, -1, 0, 0), (0.5, 0.5, 0.5, 0.5)]), min_size=1, max_size=5),
    k=st.integers(1, 45),
    block_rows=st.integers(1, 45),
    least=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0]),
    data=st.data(),
)
def test_ties_masks_and_zero_rows_are_as_in_a_full_sort(rows, queries, k, block_rows, least, data):
    rows = np.array(rows, np.float16).reshape(-1, 4)  # few values: nearly all similarities are shared
    queries = np.array(queries, np.float32)
    is_wanted = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    blocks = data.draw(st.permutations(list(in_blocks(rows, block_rows, is_wanted))))
    scan = exact_scan(queries, blocks, k, least_similarity=least)
    assert listed(scan.nearest) == by_full_sort(queries, rows, k, least, is_wanted)
    dropped = {"filtered": int((~is_wanted).sum()), "embedding_zero": int((is_wanted & ~rows.any(axis=1)).sum())}
    assert scan.rows_in == len(rows)
    assert scan.rows_dropped == {reason: count for reason, count in dropped.items() if count}


def test_copies_of_an_image_tie_wherever_they_stand():
    rows = image_like(3)[np.random.default_rng(0).integers(0, 3, 2500)]
    queries = text_like(5)
    found = exact_scan(queries, in_blocks(rows, 900), 2500).nearest
    assert listed(found) == by_full_sort(queries, rows, 2500)
    assert len(np.unique(found.similarity)) == 15


@pytest.mark.parametrize("k", [3, 400])
def test_threads_blocks_and_their_order_change_no_bit(k):
    queries, rows = text_like(300), image_like(4000)
    with threadpool_limits(1):
        alone = listed(exact_scan(queries, in_blocks(rows, 4000), k).nearest)
    for block_rows in (130, 1999):
        assert listed(exact_scan(queries, in_blocks(rows, block_rows), k).nearest) == alone
    backwards = list(in_blocks(rows, 700))[::-1]
    assert listed(exact_scan(queries, backwards, k).nearest) == alone


@pytest.mark.parametrize(("dense_share", "many_rows"), [(0, 0), (1, 0), (1, 10**6)])
def test_pairs_computed_with_all_others_or_with_their_querys_or_alone_are_the_same(dense_share, many_rows, monkeypatch):
    queries, rows = text_like(40), image_like(2000)
    expected = by_full_sort(queries, rows, 50)
    monkeypatch.setattr(scanning, "DENSE_SHARE", dense_share)
    monkeypatch.setattr(scanning, "MANY_ROWS", many_rows)
    assert listed(exact_scan(queries, in_blocks(rows, 500), 50).nearest) == expected


def test_rows_are_compared_as_if_of_unit_length():
    queries, rows = text_like(20), image_like(500)
    lengths = 2.0 ** np.random.default_rng(3).integers(0, 2, 500)  # 1 or 2: float16 stays exact
    scaled = (rows * lengths[:, None]).astype(np.float16)
    assert np.array_equal(scaled.astype(float) / lengths[:, None], rows.astype(float))
    expected = listed(exact_scan(queries, in_blocks(rows, 500), 7).nearest)
    assert listed(exact_scan(queries, in_blocks(scaled, 500), 7).nearest) == expected


def test_rows_that_are_not_finite_or_zero_are_counted_and_never_found():
    queries, rows = text_like(3), image_like(300).copy()
    rows[5, 7], rows[6, 0], rows[7], rows[8] = np.nan, np.inf, 0, -np.inf
    scan = exact_scan(queries, in_blocks(rows, 128), 300)
    assert scan.rows_dropped == {"embedding_not_finite": 3, "embedding_zero": 1}
    assert set(scan.nearest.row.tolist()) == set(range(300)) - {5, 6, 7, 8}
    assert np.isfinite(scan.nearest.similarity).all()


def test_one_least_similarity_a_query_is_inclusive():
    queries, rows = text_like(4), image_like(400)
    best = exact_scan(queries, in_blocks(rows, 400), 400).nearest
    least = best.similarity.reshape(4, 400)[np.arange(4), [0, 10, 100, 399]]
    found = exact_scan(queries, in_blocks(rows, 400), 400, least_similarity=least).nearest
    assert np.bincount(found.query).tolist() == [1, 11, 101, 400]


def test_nothing_comes_of_nothing():
    queries = text_like(3, 16)
    assert len(exact_scan(queries, [], 5).nearest) == 0
    empty = exact_scan(queries, [RowBlock(0, np.empty((0, 16), np.float16))], 5)
    assert (len(empty.nearest), empty.rows_in, empty.rows_dropped) == (0, 0, {})
    assert len(exact_scan(np.empty((0, 16), np.float32), in_blocks(image_like(9, 16), 9), 5).nearest) == 0


def test_memory_does_not_grow_with_the_rows():
    queries, block = text_like(200), image_like(2048)

    def peak(blocks):
        tracemalloc.start()
        exact_scan(queries, (RowBlock(2048 * number, block) for number in range(blocks)), 100)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    with threadpool_limits(1):  # which blocks threads hold at the same time is chance
        peak(1)
        assert peak(24) < 1.05 * peak(6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "got 0"),
        ({"k": 10**7}, "got 10,000,000"),
        ({"queries": text_like(2, 16) * 2}, "length 2"),
        ({"queries": np.full((2, 16), np.nan, np.float32)}, "length nan"),
        ({"queries": text_like(2, 8)}, "float16 of width 16"),
        ({"least_similarity": np.nan}, "least_similarity"),
        ({"blocks": [RowBlock(0, np.ones((2, 16), np.float32))]}, "got float32"),
        ({"blocks": [RowBlock(MOST_ROWS - 1, np.ones((2, 16), np.float16))]}, "numbered"),
        ({"blocks": [RowBlock(-1, np.ones((2, 16), np.float16))]}, "numbered"),
    ],
)
def test_what_cannot_be_scanned_is_refused(change, message):
    given_ = {"queries": text_like(2, 16), "blocks": in_blocks(image_like(9, 16), 9), "k": 3, **change}
    queries, blocks, k = (given_.pop(name) for name in ("queries", "blocks", "k"))
    with pytest.raises(BadSetting, match=message):
        exact_scan(queries, blocks, k, **given_)


def test_row_numbers_up_to_the_last_are_kept():
    block = RowBlock(MOST_ROWS - 3, image_like(3, 16))
    assert sorted(exact_scan(text_like(1, 16), [block], 3).nearest.row) == list(range(MOST_ROWS - 3, MOST_ROWS))


# -- merging -------------------------------------------------------------------------------------------------------

SIMILARITIES = st.sampled_from(
    np.array([-1, -0.5, -0.0, 0.0, 1e-30, 0.25, np.nextafter(np.float32(0.25), 1), 1], np.float32).tolist()
)
PAIRS = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 2**40)), SIMILARITIES, max_size=60)


def nearest_of(pairs):
    ordered = sorted((query, -similarity, row) for (query, row), similarity in pairs.items())
    query, negative, row = zip(*ordered, strict=True) if ordered else ((), (), ())
    return Nearest(np.array(query, np.int32), np.array(row, np.int64), -np.array(negative, np.float32))


def first_k(pairs, k):
    best = []
    for query in range(4):
        of_query = sorted((-s, row) for (q, row), s in pairs.items() if q == query)
        best += [(query, row, -negative) for negative, row in of_query[:k]]
    return best


@given(pairs=PAIRS, parts=st.integers(1, 5), k=st.integers(1, 20), data=st.data())
def test_merging_is_associative_and_commutative_and_equals_one_sort(pairs, parts, k, data):
    part_of = data.draw(st.lists(st.integers(0, parts - 1), min_size=len(pairs), max_size=len(pairs)))
    shards = [
        nearest_of({pair: s for (pair, s), its_part in zip(pairs.items(), part_of, strict=True) if its_part == part})
        for part in range(parts)
    ]
    cut = [merge([shard], k) for shard in shards]
    expected = first_k(pairs, k)
    assert listed(merge(data.draw(st.permutations(cut)), k)) == expected
    split = data.draw(st.integers(0, parts))
    assert listed(merge([merge(cut[:split], k), merge(cut[split:], k)], k)) == expected
    one_by_one = merge([], k)
    for shard in cut:
        one_by_one = merge([shard, one_by_one], k)
    assert listed(one_by_one) == expected


@given(pairs=PAIRS, k=st.integers(1, 20), size=st.integers(1, 70), least=st.sampled_from([-np.inf, 0.0, 0.25]))
def test_a_running_top_k_is_the_same_however_rows_come(pairs, k, size, least):
    pairs = {(query, row % 2**32): similarity for (query, row), similarity in pairs.items()}
    running = RunningTopK(k, np.full(4, least, np.float32))
    rest = iter(pairs.items())
    while some := sorted(itertools.islice(rest, size)):
        query, row = np.array([pair for pair, _ in some]).T
        running.add(query, row, np.array([similarity for _, similarity in some], np.float32))
    expected = first_k({pair: s for pair, s in pairs.items() if s >= least}, k)
    assert listed(running.nearest()) == expected
    assert listed(running.nearest(first_query=10)) == [(query + 10, row, s) for query, row, s in expected]


def test_shards_scanned_alone_and_merged_are_one_scan():
    queries, rows = text_like(30), image_like(3000)
    whole = exact_scan(queries, in_blocks(rows, 3000), 64).nearest
    parts = [exact_scan(queries, [block], 64).nearest for block in in_blocks(rows, 457)]
    assert listed(merge(parts[::-1], 64)) == listed(whole)
