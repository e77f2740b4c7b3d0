import hypothesis.extra.numpy as hnp
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mappool_assets.lib import perceptual_hash as module
from mappool_assets.lib.perceptual_hash import has_neighbour_within, perceptual_hash

# few distinct bits, so that near neighbours are frequent
hashes = hnp.arrays(
    np.uint64, st.integers(0, 12), elements=st.integers(0, 2**6 - 1).map(lambda n: n * 0x0400_0000_0100_0001)
)


def drawing(seed):
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, width, height = rng.integers(0, 200, 4)
        draw.rectangle((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3)))
    return image


@pytest.mark.parametrize("seed", range(5))
def test_is_the_librarys_hash_as_a_number(seed):
    image = drawing(seed)
    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image))
    assert perceptual_hash(image).dtype == np.uint64


def test_a_resized_image_is_near_and_another_is_far():
    here, there = perceptual_hash(drawing(1)), perceptual_hash(drawing(2))
    resized = perceptual_hash(drawing(1).resize((150, 100), Image.Resampling.LANCZOS))
    assert np.bitwise_count(here ^ resized) <= 4
    assert np.bitwise_count(here ^ there) > 12


def slow(hashes, others, distance):
    return [any(bin(int(a) ^ int(b)).count("1") <= distance for b in others) for a in hashes]


@given(hashes, hashes, st.integers(0, 8), st.sampled_from([1, 8, 64, 1 << 20]))
def test_search_agrees_with_the_slow_formula_for_any_block_size(hashes, others, distance, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        assert has_neighbour_within(hashes, others, distance).tolist() == slow(hashes, others, distance)


def test_the_distance_is_inclusive_and_counts_all_64_bits():
    ends = np.array([0x8000_0000_0000_0001], dtype=np.uint64)
    zero = np.zeros(1, dtype=np.uint64)
    assert has_neighbour_within(ends, zero, 2).tolist() == [True]
    assert has_neighbour_within(ends, zero, 1).tolist() == [False]
