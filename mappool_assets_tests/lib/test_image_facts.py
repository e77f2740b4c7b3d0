"""What a file is is told by its content alone."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mappool_assets.lib.images import FORMATS, ImageRefused, open_image
from mappool_assets.lib.map_images.image_facts import TYPES, ImageFacts, inspect_image
from mappool_assets.lib.perceptual_hash import perceptual_hash
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.odd_images import PAGE, SVG, image_files, jpeg_of_claimed_size, png_bomb

EXTENSIONS = {mime: extension for extension, mime in TYPES.values()}


@pytest.mark.parametrize("name", image_files())
def test_type_size_and_checksum_of_sound_files(name: str) -> None:
    file = image_files()[name]
    facts = inspect_image(file.data)
    assert (facts.mime, facts.extension) == (file.mime, EXTENSIONS[file.mime])
    assert (facts.width, facts.height) == (file.width, file.height)
    assert (facts.bytes, facts.sha256) == (len(file.data), hashlib.sha256(file.data).hexdigest())


@pytest.mark.parametrize("name", image_files())
def test_both_hashes_are_those_of_the_image_that_is_opened(name: str) -> None:
    """The slow way: the mirrored hash of the whole image mirrored."""
    data = image_files()[name].data
    image, facts = open_image(data), inspect_image(data)
    assert facts.perceptual_hash == int(perceptual_hash(image))
    assert facts.perceptual_hash_mirrored == int(perceptual_hash(ImageOps.mirror(image)))


@pytest.mark.parametrize("seed", range(30))
def test_the_mirrored_hash_is_that_of_the_mirrored_image_whatever_its_size(seed: int) -> None:
    width, height = np.random.default_rng(seed).integers(5, 700, 2)
    image = picture(seed, int(width), int(height))
    facts, mirrored = (inspect_image(encoded(i)) for i in (image, ImageOps.mirror(image)))
    difference = np.bitwise_count(
        np.array([facts.perceptual_hash, facts.perceptual_hash_mirrored], np.uint64)
        ^ np.array([mirrored.perceptual_hash_mirrored, mirrored.perceptual_hash], np.uint64)
    )
    assert difference.max() <= 1  # where rounding decides a bit
    assert facts.perceptual_hash != facts.perceptual_hash_mirrored


def test_every_format_that_can_be_opened_has_a_type() -> None:
    assert {*FORMATS, "MPO"} == TYPES.keys()
    for format in FORMATS:
        extension, mime = TYPES[format]
        facts = inspect_image(encoded(picture(1), format))
        assert (facts.extension, facts.mime) == (extension, mime)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_an_image"),
        (PAGE, "not_an_image"),
        (SVG, "not_an_image"),
        (encoded(picture(1))[:-200], "not_an_image"),
        (encoded(picture(1), "JPEG")[:-200], "not_an_image"),
        (jpeg_of_claimed_size(), "too_many_pixels"),
        (png_bomb(), "too_many_pixels"),
    ],
    ids=["nothing", "html", "svg", "cut png", "cut jpeg", "claimed size", "bomb"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_image_or_too_large_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageRefused) as caught:
        inspect_image(data)
    assert caught.value.reason == reason


def test_the_facts_say_what_the_stored_bytes_are_not_what_they_are_called() -> None:
    """Two encodings of the same picture: other bytes, type and checksum, the same look."""
    png, jpeg = inspect_image(encoded(picture(3))), inspect_image(encoded(picture(3), "JPEG"))
    assert (png.extension, jpeg.extension) == ("png", "jpg")
    assert png.sha256 != jpeg.sha256
    assert bin(png.perceptual_hash ^ jpeg.perceptual_hash).count("1") <= 2
    assert ImageFacts._fields[:4] == ("extension", "mime", "width", "height")
    assert Image.open(io.BytesIO(encoded(picture(3)))).size == png[2:4]
