"""How many known copies of drawn maps the default settings find by hash, and how many they confuse.

The bounds are what `benchmarks/duplicates` measures on more pictures, less what so few may miss by chance.
"""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mappool_assets.demo.drawings import MAPS, draw_kind
from mappool_assets.demo.picture_copies import COPIES, as_jpeg, copied, marked
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.duplicates.representatives import choose_representatives
from mappool_assets.lib.duplicates.unique_images import DEFAULT_SETTINGS
from mappool_assets.lib.images import open_image
from mappool_assets.lib.perceptual_hash import perceptual_hash

FAMILIES, WITH_COPIES = 99, 33
LEAST_FOUND = {
    "re-encoded, quality 70": 0.9,
    "re-encoded, quality 30": 0.85,
    "half as wide": 0.9,
    "a quarter as wide": 0.9,
    "grey": 0.9,
    "brightness × 0.7": 0.9,
    "mirrored": 0.95,
    "mirrored, half as wide": 0.9,
    "watermarked": 0.4,
    "2 % cropped": 0.25,
}
LEAST_PRECISION = 0.97
MOST_MARKED_DROPPED = 0.3


@pytest.fixture(scope="module")
def pictures():
    """(kind, family, image) of drawings of all kinds of maps, a third of them with their copies."""
    found = []
    for family in range(FAMILIES):
        original = draw_kind(list(MAPS)[family % len(MAPS)], np.random.default_rng([11, family])).image()
        found.append(("original", family, original))
        if family < WITH_COPIES:
            random = np.random.default_rng([12, family])
            found += [(kind, family, open_image(copied(original, kind, random))) for kind in COPIES]
            found.append(("marked", family, marked(original, random)))
    # In order of preference, as the step puts them.
    return sorted(found, key=lambda picture: -picture[2].width * picture[2].height)


@pytest.fixture(scope="module")
def kept(pictures):
    """What becomes of each picture: kind, its own family, that of its representative, whether it is kept."""
    hashes, mirrored = (
        np.array([perceptual_hash(change(image)) for _, _, image in pictures], np.uint64)
        for change in (lambda image: image, ImageOps.mirror)
    )
    chosen = choose_representatives(len(pictures), [LookAlikes(hashes, mirrored, DEFAULT_SETTINGS.hash_distance)])
    families = np.array([family for _, family, _ in pictures])
    kinds = np.array([kind for kind, _, _ in pictures])
    return kinds, families, families[chosen.representative], chosen.is_kept


def test_copies_are_found(kept):
    kinds, families, attached_to, is_kept = kept
    for kind, least in LEAST_FOUND.items():
        of_kind = kinds == kind
        assert (~is_kept & (attached_to == families))[of_kind].mean() >= least, kind


def test_what_is_dropped_is_a_copy_of_what_is_kept(kept):
    kinds, families, attached_to, is_kept = kept
    assert (attached_to == families)[~is_kept].mean() >= LEAST_PRECISION
    assert (~is_kept)[kinds == "marked"].mean() <= MOST_MARKED_DROPPED


def test_copies_are_pictures_of_their_kind_and_the_same_each_time():
    image = draw_kind("streets", np.random.default_rng(1)).image()
    for kind in COPIES:
        data = copied(image, kind, np.random.default_rng(2))
        assert data == copied(image, kind, np.random.default_rng(2))
        assert Image.open(io.BytesIO(data)).format == "JPEG"
    width, height = image.size
    cropped = open_image(copied(image, "10 % cropped", np.random.default_rng(3)))
    assert cropped.size == pytest.approx((0.9 * width, 0.9 * height), abs=1)
    assert open_image(copied(image, "half as wide", np.random.default_rng(3))).size == pytest.approx(
        (width / 2, height / 2), abs=1
    )
    assert len(copied(image, "re-encoded, quality 30", np.random.default_rng(3))) < len(as_jpeg(image))
