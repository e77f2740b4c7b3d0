"""What is there twice: images by their look, captions word for word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from mappool_assets.lib import sql_files
from mappool_assets.lib.duplicates.unique_table import TABLE
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_report.samples import SampleImage
from mappool_assets.lib.report_page.page import Gallery, Section, Table, percent
from mappool_assets.lib.report_page.thumbnails import ImageKey, Thumbnail

GROUPS, IMAGES_A_GROUP, CAPTIONS = 6, 8, 10  # shown
KEPT = "kept"  # a relation of reports/duplicates: to itself, so to say
RELATIONS = {
    KEPT: "kept",
    "exact": "same bytes",
    "perceptual": "same look",
    "mirrored": "same look, mirrored",
    "embedding": "close embedding",
}


@dataclass(frozen=True)
class Member:
    """An image of a group, and what makes it a duplicate: ``kept`` is what it is kept for."""

    image: SampleImage
    relation: str

    @classmethod
    def of(cls, row: Mapping) -> Member:
        """Take it from a row of ``reports/duplicate_members``."""
        image = SampleImage(*(row[name] for name in ("shard", "uid", "url", "text", "map_score")))
        return cls(image, row["relation"] or KEPT)


@dataclass(frozen=True)
class Duplicates:
    """What the lake knows of duplicates.

    Attributes
    ----------
    relations : list of dict or None
        Of ``reports/duplicates``: one row a relation; None before they were looked for.
    groups : list of (int, list of Member)
        The largest groups: their sizes and some of their images, the one that is kept first.
    fetched : int
        Images that are there, compared or not.
    """

    relations: list[dict] | None
    groups: list[tuple[int, list[Member]]]
    fetched: int

    @classmethod
    def of(cls, lake: Lake, fetched: int) -> Duplicates:
        """Ask the lake."""
        if not lake.partitions(TABLE):
            return cls(None, [], fetched)
        relations = sql_files.run(lake, "reports/duplicates").to_pylist()
        bound = {"groups": GROUPS, "images": IMAGES_A_GROUP}
        members = sql_files.run(lake, "reports/duplicate_members", **bound).to_pylist()
        by_group = groupby(members, key=lambda m: (m["group_size"], m["representative_shard"], m["representative_uid"]))
        return cls(relations, [(key[0], [Member.of(row) for row in rows]) for key, rows in by_group], fetched)

    @property
    def images(self) -> int:
        """Images that were compared."""
        return sum(row["images"] for row in self.relations or ())

    @property
    def unique(self) -> int | None:
        """Images that are no duplicate of another; None before they were looked for."""
        if self.relations is None:
            return None
        return sum(row["images"] for row in self.relations if row["relation"] == KEPT)

    @property
    def image_keys(self) -> set[ImageKey]:
        """The images to be shown."""
        return {member.image.key for _, members in self.groups for member in members}


def duplicate_section(lake: Lake, duplicates: Duplicates, thumbnails: Mapping[ImageKey, Thumbnail]) -> Section:
    """Tell how many images and captions are there twice, and show the largest groups of images."""
    blocks: list[Table | Gallery] = []
    lead = missing = ""
    if duplicates.unique is None:
        missing = f"Materialise {TABLE} to see which images are there twice."
    else:
        twice = duplicates.images - duplicates.unique
        share = percent(twice / (duplicates.images or 1))
        lead = f"{twice:,} of {duplicates.images:,} images ({share}) are duplicates of one that is kept."
        if duplicates.images < duplicates.fetched:
            compared = f"Only {duplicates.images:,} of {duplicates.fetched:,} fetched images were compared"
            missing = f"{compared}: materialise {TABLE} again."
        blocks.append(_relations(duplicates))
    blocks.append(_captions(lake))
    for size, members in duplicates.groups:
        pictures = [member.image.picture(thumbnails, RELATIONS[member.relation]) for member in members]
        blocks.append(Gallery(f"A group of {size:,} images", pictures))
    return Section("duplicates", "What is there twice", blocks, lead, missing)


def _relations(duplicates: Duplicates) -> Table:
    rows = [
        (
            RELATIONS[each["relation"]],
            each["images"],
            each["share"],
            each["groups"] if each["relation"] != KEPT else None,
            _rounded(each["mean_hash_distance"], 2),
            _rounded(each["mean_similarity"], 3),
        )
        for each in duplicates.relations or ()
    ]
    columns = {
        "image": "text", "images": "count", "share": "share", "groups": "count", "bits": "number", "cosine": "number",
    }  # fmt: skip
    note = "Bits of 64 in which the perceptual hashes differ, and cosine of the embeddings: means."
    return Table("Images and their duplicates", columns, rows, "duplicates", note)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _captions(lake: Lake) -> Table:
    counts = sql_files.run(lake, "reports/caption_counts").to_pylist()[0]
    rows = sql_files.run(lake, "reports/caption_duplicates").to_pylist()
    share = percent(counts["maps_with_repeated_caption"] / (counts["captions"] or 1))
    return Table(
        "Captions that occur most often, word for word",
        {"caption": "web", "maps": "count", "shards": "count"},
        [(row["caption"], row["maps"], row["shards"]) for row in rows[:CAPTIONS]],
        "caption_duplicates",
        f"{counts['maps_with_repeated_caption']:,} maps ({share}) share their caption with another; there are "
        f"{counts['distinct_captions']:,} different captions.",
    )
