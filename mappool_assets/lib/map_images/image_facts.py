"""What an image file really is: its type by content, its size, its checksum and its perceptual hashes."""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

from PIL import Image, ImageOps

from mappool_assets.lib.images import FORMATS, open_image
from mappool_assets.lib.perceptual_hash import perceptual_hash

HASHED_SIDE = 32  # pHash looks at 32 x 32 grey values

# Pillow's name of a format: extension, media type. MPO is what cameras write: a JPEG with further pictures behind it.
TYPES = {
    "JPEG": ("jpg", "image/jpeg"),
    "MPO": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "GIF": ("gif", "image/gif"),
    "WEBP": ("webp", "image/webp"),
    "BMP": ("bmp", "image/bmp"),
    "TIFF": ("tif", "image/tiff"),
    "AVIF": ("avif", "image/avif"),
    "JPEG2000": ("jp2", "image/jp2"),
    "PPM": ("ppm", "image/x-portable-anymap"),
}


class ImageFacts(NamedTuple):
    """What was found in an image file.

    Attributes
    ----------
    extension, mime : str
        By content, whatever the address or the server says: ``"jpg"``, ``"image/jpeg"``.
    width, height : int
        Pixels of the first frame, as they are stored: an orientation in EXIF is not applied.
    bytes : int
        Length of the file.
    sha256 : str
        Of the file, 64 hex digits.
    perceptual_hash, perceptual_hash_mirrored : int
        64-bit pHash (:mod:`mappool_assets.lib.perceptual_hash`) of the image and of its mirror image, 0 to 2**64 - 1.
    """

    extension: str
    mime: str
    width: int
    height: int
    bytes: int
    sha256: str
    perceptual_hash: int
    perceptual_hash_mirrored: int


def inspect_image(data: bytes) -> ImageFacts:
    """Decode an image file once and say what it is.

    One decode at a time is the caller's to keep: a file within the pixel cap takes up to 1.7 GB while it is decoded.

    Both hashes are taken from one reduction to 32 x 32 grey values, mirrored for the second. That of the image is the
    bits of ``perceptual_hash(open_image(data))``; that of its mirror image may differ from
    ``perceptual_hash(mirrored image)`` in bits that rounding decides (in none of 500 images tried).

    Raises
    ------
    ImageRefused
        By the rules of :func:`mappool_assets.lib.images.open_image`: ``not_an_image`` (HTML, SVG and broken files
        too) or ``too_many_pixels``, which is known before decoding.
    """
    image = open_image(data)
    small = image.convert("L").resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.LANCZOS)
    extension, mime = TYPES[_format(data)]
    return ImageFacts(
        extension,
        mime,
        *image.size,
        len(data),
        hashlib.sha256(data).hexdigest(),
        _hash(small),
        _hash(ImageOps.mirror(small)),
    )


def _format(data: bytes) -> str:
    """Return Pillow's name of the format; reads the header alone."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        assert image.format is not None
        return image.format


def _hash(image: Image.Image) -> int:
    return int(perceptual_hash(image))
