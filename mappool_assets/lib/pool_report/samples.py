"""A few of the fetched images, drawn by their uids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.page import Picture
from mappool_assets.lib.report_page.thumbnails import NO_THUMBNAIL, ImageKey, Thumbnail

SAMPLE = 10_000  # images among which pictures are chosen: of a band that holds 1 % of the maps some 100 are in it


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


def sample_images(lake: Lake, count: int = SAMPLE) -> list[SampleImage]:
    """Return the fetched images that come first by uid: as good as drawn by lot, and the same each time."""
    rows = sql_files.run(lake, "reports/image_sample", images=count).to_pylist()
    return [SampleImage(**row) for row in rows]
