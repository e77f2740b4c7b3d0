"""Pairs of hashes against comparing all with all."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.duplicates import hash_neighbours, look_alikes
from mappool_assets.lib.duplicates.edges import MIRRORED, PERCEPTUAL
from mappool_assets.lib.duplicates.hash_neighbours import pairs_within
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.perceptual_hash import has_neighbour_within

# Few distinct bits, spread over the hash, so that near neighbours and equal hashes are frequent.
hashes = hnp.arrays(
    np.uint64, st.integers(0, 30), elements=st.integers(0, 2**7 - 1).map(lambda n: n * 0x0200_0010_0400_0001)
)


def bits(a, b):
    return bin(int(a) ^ int(b)).count("1")


def all_with_all(left, right, distance):
    return sorted((i, j, bits(a, b)) for i, a in enumerate(left) for j, b in enumerate(right) if bits(a, b) <= distance)


def found_by_index(left, right, distance):
    return sorted(
        pair
        for pairs in pairs_within(left, right, distance)
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), pairs.distance.tolist(), strict=True)
    )


@given(hashes, hashes, st.integers(0, 12), st.sampled_from([1, 7, 1 << 20]))
def test_exactly_the_pairs_of_all_with_all_whatever_the_block(left, right, distance, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_neighbours, "BLOCK_CANDIDATES", block)
        assert found_by_index(left, right, distance) == all_with_all(left, right, distance)


@given(hashes, hashes, st.integers(0, 6), st.integers(0, 5))
def test_any_number_of_bands_gives_the_same(left, right, distance, more):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_neighbours, "_band_count", lambda indexed, distance: distance + 1 + more)
        assert found_by_index(left, right, distance) == all_with_all(left, right, distance)


@pytest.mark.parametrize("distance", [0, 1, 63])
def test_all_64_bits_count_and_the_distance_is_inclusive(distance):
    zero = np.zeros(1, np.uint64)
    near, far = ((1 << distance) - 1) << (64 - distance), ((1 << (distance + 1)) - 1) << (63 - distance)
    assert found_by_index(np.array([near], np.uint64), zero, distance) == [(0, 0, distance)]
    assert found_by_index(np.array([far], np.uint64), zero, distance) == []


def many_hashes(random, count, copies):
    """Random hashes, some of them copies of others with a few bits flipped."""
    hashes = random.integers(0, 2**64, count, dtype=np.uint64)
    for position in random.choice(count, copies, replace=False):
        flipped = sum(1 << int(bit) for bit in random.choice(64, random.integers(0, 7), replace=False))
        hashes[position] = hashes[random.integers(count)] ^ np.uint64(flipped)
    return hashes


def test_many_hashes_have_the_neighbours_of_all_with_all():
    random = np.random.default_rng(3)
    left, right = many_hashes(random, 4000, 1000), many_hashes(random, 6000, 0)
    right[:3000] = left[:3000] ^ np.uint64(1 << 40)
    for distance in (0, 2, 4, 8):
        expected = has_neighbour_within(right, left, distance)
        got = np.zeros(len(right), bool)
        for pairs in pairs_within(left, right, distance):
            got[pairs.right] = True
            assert (np.bitwise_count(left[pairs.left] ^ right[pairs.right]) == pairs.distance).all()
        assert (got == expected).all()
        assert got.any()


def slow_edges(hashes, mirrored, distance):
    edges = set()
    for i, j in np.argwhere(np.triu(np.ones((len(hashes),) * 2), 1)).tolist():
        if bits(hashes[i], hashes[j]) <= distance:
            edges.add((i, j, PERCEPTUAL, bits(hashes[i], hashes[j])))
        for apart in (bits(hashes[i], mirrored[j]), bits(mirrored[i], hashes[j])):
            if apart <= distance:
                edges.add((i, j, MIRRORED, apart))
    return edges


def as_set(edges):
    return set(zip(*(column.tolist() for column in edges), strict=True))


@given(hashes, st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from([1, 3, 4096]))
def test_leaders_are_the_greedy_choice_and_have_all_their_edges(some, shuffler, distance, leaf):
    mirrored = np.array(shuffler.sample(some.tolist(), len(some)), np.uint64)
    expected = slow_edges(some, mirrored, distance)
    leads = []
    for image in range(len(some)):
        leads.append(not any(worse == image and leads[better] for better, worse, *_ in expected))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_alikes, "LEAF_IMAGES", leaf)
        found = LookAlikes(some, mirrored, distance)
        is_leader, edges = found.leaders()
        others = found.edges_to_worse(np.flatnonzero(~is_leader).astype(np.int32))
    assert is_leader.tolist() == leads
    assert as_set(edges) == {edge for edge in expected if leads[edge[0]]}
    assert as_set(others) == {edge for edge in expected if not leads[edge[0]]}


def test_a_crowd_of_like_images_does_not_cost_all_pairs(monkeypatch):
    monkeypatch.setattr(look_alikes, "LEAF_IMAGES", 64)
    crowd = np.full(20_000, 0x0123_4567_89AB_CDEF, np.uint64)
    is_leader, edges = LookAlikes(crowd, ~crowd, 4).leaders()
    assert is_leader.sum() == 1
    assert set(edges.worse.tolist()) == set(range(1, len(crowd)))
    assert len(edges.worse) < 1.1 * len(crowd)
