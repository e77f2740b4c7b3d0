"""What became of the links, and what the images are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_ledger import TABLE
from mappool_assets.lib.pool_report.samples import SampleImage
from mappool_assets.lib.report_page import charts
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import Chart, Gallery, Section, Table, percent
from mappool_assets.lib.report_page.thumbnails import ImageKey, Thumbnail

NO_IMAGES = "Materialise mappool/map_images to see this."
CONTACT_SHEET_IMAGES = 40
POOL, FETCHED = "as the pool says", "as fetched"  # legends of reports/image_sizes and aspect_ratios
SOURCES = {"pool": POOL, "fetched": FETCHED}
# Width : height that sheets and screens have, by eighths of an octave, the steps of reports/aspect_ratios.
PROPORTIONS = {-8: "1:2", -4: "1:√2", 0: "1:1", 4: "√2:1", 8: "2:1", 16: "4:1", -16: "1:4"}


@dataclass(frozen=True)
class Fetches:
    """What became of the maps' images.

    Attributes
    ----------
    rows : list of dict
        Of ``reports/image_statuses``: one a status.
    shards : int
        Shards whose images were asked for.
    """

    rows: list[dict]
    shards: int

    @classmethod
    def of(cls, lake: Lake) -> Fetches:
        """Ask the lake; empty before the first image was asked for."""
        shards = len(lake.partitions(TABLE))
        return cls(sql_files.run(lake, "reports/image_statuses").to_pylist() if shards else [], shards)

    @property
    def tried(self) -> int:
        """Maps whose image was asked for."""
        return sum(row["images"] for row in self.rows)

    def of_outcome(self, outcome: str) -> int:
        """Return the images of an outcome: ``fetched``, ``dead link``, ``kept out`` or ``unknown``."""
        return sum(row["images"] for row in self.rows if row["outcome"] == outcome)

    @property
    def fetched(self) -> int:
        """Images that are there."""
        return self.of_outcome("fetched")

    @property
    def dead(self) -> int:
        """Links that do not give their image any more."""
        return self.of_outcome("dead link")


def link_section(lake: Lake, fetches: Fetches, scored_shards: int) -> Section:
    """Tell how many links gave their image, and why the others did not, by reason and by domain."""
    title = "Which links still work"
    if not fetches.shards:
        return Section("links", title, missing=NO_IMAGES)
    statuses = [(r["status"], r["outcome"], r["http_code"], r["images"], r["images_share"]) for r in fetches.rows]
    domains = [
        (r["domain"], r["images"], r["dead_links"], r["dead_share"], r["main_reason"])
        for r in sql_files.run(lake, "reports/dead_links_by_domain").to_pylist()
    ]
    missing = ""
    if fetches.shards < scored_shards:
        missing = (
            f"Only {fetches.shards:,} of {scored_shards:,} shards have been asked for their images: materialise "
            "mappool/map_images for the others."
        )
    return Section(
        "links",
        title,
        (
            Table(
                "What became of the images",
                {"status": "text", "outcome": "text", "HTTP": "number", "maps": "count", "share": "share"},
                statuses,
                "image_statuses",
                "A dead link does not give the image any more. What was kept out is not dead: by the site's or its "
                "owner's wish, by a take-down list, or by our own bounds.",
            ),
            Table(
                "Domains with the most dead links",
                {"domain": "web", "maps": "count", "dead": "count", "rate": "share", "mostly": "text"},
                domains,
                "dead_links_by_domain",
                "The first 20, of domains with at least 10 maps.",
            ),
        ),
        f"Of {fetches.tried:,} links {percent(fetches.fetched / (fetches.tried or 1))} gave their image, "
        f"{percent(fetches.dead / (fetches.tried or 1))} are dead.",
        missing,
    )


def size_section(lake: Lake, fetches: Fetches) -> Section:
    """Tell how large the images are, in which proportions and formats."""
    sizes = _by_source(sql_files.run(lake, "reports/image_sizes").to_pylist())
    ratios = _by_source(sql_files.run(lake, "reports/aspect_ratios").to_pylist())
    blocks: list[Chart | Table] = []
    if sizes:
        octaves = {4 * octave: f"{2**octave:,}" for octave in range(3, 16)}
        chart = charts.steps_chart(sizes, octaves, "pixels of the shorter side, logarithmic")
        described = "Histogram of the shorter sides of the images."
        blocks.append(Chart("Shorter side", as_svg(chart, "sizes"), described, "image_sizes"))
        at_least = [
            (f"≥ {2**octave:,}", *(_share_from(sizes.get(source), 4 * octave) for source in (POOL, FETCHED)))
            for octave in range(6, 13)
        ]
        columns = {"pixels": "text", POOL: "share", FETCHED: "share"}
        blocks.append(Table("Images by their shorter side", columns, at_least, "image_sizes"))
    if ratios:
        chart = charts.steps_chart(ratios, PROPORTIONS, "width : height, logarithmic", is_centred=True)
        described = "Histogram of the proportions of the images, upright ones on the left, wide ones on the right."
        blocks.append(Chart("Proportions", as_svg(chart, "proportions"), described, "aspect_ratios"))
    if fetches.fetched:
        formats = [
            (r["mime"], r["images"], r["images"] / fetches.fetched, r["image_bytes"], r["image_bytes"] / r["images"])
            for r in sql_files.run(lake, "reports/image_formats").to_pylist()
        ]
        columns = {"type": "text", "images": "count", "share": "share", "size": "bytes", "mean": "bytes"}
        blocks.append(Table("Formats, by content", columns, formats, "image_formats"))
    missing = "" if fetches.shards else f"Sizes are what the pool says. {NO_IMAGES.replace('this', 'those fetched')}"
    return Section("sizes", "Sizes, proportions, formats", blocks, missing=missing)


def contact_sheet_images(images: Sequence[SampleImage]) -> Sequence[SampleImage]:
    """Return the last of the sampled images: the first ones stand beside their scores."""
    return images[-CONTACT_SHEET_IMAGES:]


def contact_sheet_section(
    fetches: Fetches, images: Sequence[SampleImage], thumbnails: Mapping[ImageKey, Thumbnail], unreadable: int
) -> Section:
    """Show some images, drawn by lot; say how many pictures of the whole page could not be read."""
    title = "A look at the maps"
    if not images:
        return Section("look", title, missing="" if fetches.shards else NO_IMAGES)
    chosen = [image.picture(thumbnails) for image in contact_sheet_images(images)]
    note = "Drawn by lot, by uid, which is a hash. The number is the score."
    missing = f"{unreadable:,} of the page's pictures could not be read: materialise mappool/map_images with force."
    gallery = Gallery(f"{len(chosen)} of the fetched images", chosen, note)
    return Section("look", title, (gallery,), missing=missing if unreadable else "")


def _by_source(rows: Sequence[dict]) -> dict[str, dict[int, int]]:
    """Return images by step, by source; the pool comes first, sources without images are left out."""
    by_source = {
        name: {row["step"]: row["images"] for row in rows if row["source"] == source}
        for source, name in SOURCES.items()
    }
    return {name: steps for name, steps in by_source.items() if steps}


def _share_from(images: Mapping[int, int] | None, step: int) -> float | None:
    """Return the share of the images in a step and over it; None where there are no images."""
    return sum(n for at, n in images.items() if at >= step) / sum(images.values()) if images else None
