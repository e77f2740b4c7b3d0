"""Fetched images as small pictures."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import read_images

THUMBNAIL_PIXELS = (220, 150)  # at most; twice the size they are shown at, for screens with small pixels
JPEG_QUALITY = 72

ImageKey = tuple[str, str]  # shard and uid


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG and its size in pixels."""

    jpeg: bytes | None
    width: int
    height: int


NO_THUMBNAIL = Thumbnail(None, 0, 0)


def read_thumbnails(lake: Lake, wanted: Iterable[ImageKey]) -> dict[ImageKey, Thumbnail]:
    """Return thumbnails of images; what cannot be read is left out, as where somebody removed the images of a shard.

    Each shard is opened once, and one image is in memory at a time.
    """
    by_shard = defaultdict(set)
    for shard, uid in wanted:
        by_shard[shard].add(uid)
    thumbnails = {}
    for shard, uids in sorted(by_shard.items()):
        with contextlib.suppress(MissingInput, tarfile.TarError):
            for image in read_images(lake, shard, uids):
                thumbnails[shard, image.uid] = thumbnail(image.data)
    return thumbnails


def thumbnail(data: bytes) -> Thumbnail:
    """Return an image as a JPEG of at most :data:`THUMBNAIL_PIXELS`, or without one where it cannot be opened."""
    try:
        image = open_image(data)
    except ImageRefused:
        return NO_THUMBNAIL
    image.thumbnail(THUMBNAIL_PIXELS, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Thumbnail(content.getvalue(), image.width, image.height)
