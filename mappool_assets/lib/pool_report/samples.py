"""A few of the fetched images, drawn by their uids, as thumbnails."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from PIL import Image

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import read_images
from mappool_assets.lib.pool_report.page import Picture

SAMPLE = 10_000  # images among which pictures are chosen: of a band that holds 1 % of the maps some 100 are in it
THUMBNAIL_PIXELS = (220, 150)  # at most; twice the size they are shown at, for screens with small pixels
JPEG_QUALITY = 72

ImageKey = tuple[str, str]  # shard and uid


@dataclass(frozen=True)
class SampleImage:
    """A fetched image.

    Attributes
    ----------
    shard, uid : str
        Where it is.
    url, text : str
        The pool's address and caption.
    map_score : float
        Of the map that it is.
    """

    shard: str
    uid: str
    url: str
    text: str
    map_score: float

    @property
    def key(self) -> ImageKey:
        """What names it in the lake."""
        return self.shard, self.uid

    def picture(self, thumbnails: Mapping[ImageKey, Thumbnail], label: str = "") -> Picture:
        """Return it with its thumbnail, or without one where the image could not be read."""
        found = thumbnails.get(self.key, NO_THUMBNAIL)
        return Picture(found.jpeg, found.width, found.height, self.text, self.url, label or f"{self.map_score:.2f}")


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG and its size in pixels."""

    jpeg: bytes | None
    width: int
    height: int


NO_THUMBNAIL = Thumbnail(None, 0, 0)


def sample_images(lake: Lake, count: int = SAMPLE) -> list[SampleImage]:
    """Return the fetched images that come first by uid: as good as drawn by lot, and the same each time."""
    rows = sql_files.run(lake, "reports/image_sample", images=count).to_pylist()
    return [SampleImage(**row) for row in rows]


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
