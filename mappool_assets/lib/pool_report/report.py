"""The page about the lake, from its tables to its place beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mappool_assets.lib.images import contact_sheet
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.plots import score_histogram_plot
from mappool_assets.lib.pool_report import charts
from mappool_assets.lib.pool_report.caption_section import caption_section
from mappool_assets.lib.pool_report.duplicate_section import Duplicates, duplicate_section
from mappool_assets.lib.pool_report.image_sections import (
    Fetches,
    contact_sheet_images,
    contact_sheet_section,
    link_section,
    size_section,
)
from mappool_assets.lib.pool_report.samples import SampleImage, sample_images
from mappool_assets.lib.pool_report.score_section import ScoreBands, score_histogram, score_section
from mappool_assets.lib.pool_report.yield_section import Yields, yield_section
from mappool_assets.lib.publish.dataset_card import public_address
from mappool_assets.lib.report_page.domain_section import Domains, domain_section
from mappool_assets.lib.report_page.figures import as_png
from mappool_assets.lib.report_page.page import NO_NUMBER, Page, Section, Tile, percent
from mappool_assets.lib.report_page.thumbnails import ImageKey, Thumbnail, read_thumbnails

PATH = "mappool/pool_report/report.html"  # in the lake
SHEET_IMAGES = 24  # of the picture for Dagster: some 600 kB in its event log
FOOTER = (
    "Made from the lake alone, without a clock: the same lake gives the same page. Under each figure stands the "
    "command that prints its numbers.",
    "Samples are the first rows by uid. A uid is a hash, so they are as good as drawn by lot, and the same each time.",
    "Captions, addresses and pictures are other people's. The pictures are shown small, to judge the selection.",
)


@dataclass(frozen=True)
class PoolReport:
    """What was written.

    Attributes
    ----------
    path : str
        Of the page, inside the lake.
    sha256 : str
        Of its bytes: equal lakes give equal pages.
    shards, pairs, maps : int
        Shards that were scored, their rows, and the maps among them.
    shards_with_images, images_tried, images_fetched, dead_links : int
        Shards whose images were asked for, their maps, those whose image is there and those whose link is dead; 0
        before the first was asked for.
    unique_images : int or None
        Images that are no duplicate of another; None before they were looked for.
    domains : int
        Hosts of the maps' addresses.
    top_domains_share : float
        Share of the maps that the first 20 hold, 0 to 1.
    missing : tuple of str
        What the page lacks, and which asset makes it.
    pictures : mapping of str to bytes
        PNGs for Dagster: ``yields``, and where there are any, ``scores`` and a ``sample`` of the images.
    """

    path: str
    sha256: str
    shards: int
    pairs: int
    maps: int
    shards_with_images: int
    images_tried: int
    images_fetched: int
    dead_links: int
    unique_images: int | None
    domains: int
    top_domains_share: float
    missing: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(repr=False)


def write_pool_report(lake: Lake, title: str = "Map pool") -> PoolReport:
    """Write ``mappool/pool_report/report.html``: one page that needs no other file and no network.

    It holds no clock and no chance: the same tables and images give the same bytes. What has not been made yet is said
    in its place, with the asset to materialise.

    Parameters
    ----------
    title : str
        The page's heading.

    Raises
    ------
    MissingInput
        No shard has been scored.
    """
    facts = _Facts.of(lake)
    sections = facts.sections(lake)
    html = Page(title, _subtitle(lake, facts.yields), facts.tiles(), sections, FOOTER).to_html().encode()
    with lake.writing(PATH) as file:
        file.write_bytes(html)
    yields, fetches, domains = facts.yields, facts.fetches, facts.domains
    return PoolReport(
        path=PATH,
        sha256=hashlib.sha256(html).hexdigest(),
        shards=yields.shards,
        pairs=yields.pairs,
        maps=yields.maps,
        shards_with_images=fetches.shards,
        images_tried=fetches.tried,
        images_fetched=fetches.fetched,
        dead_links=fetches.dead,
        unique_images=facts.duplicates.unique,
        domains=domains.count,
        top_domains_share=domains.top_share,
        missing=tuple(section.missing for section in sections if section.missing),
        pictures=facts.pictures(),
    )


@dataclass(frozen=True)
class _Facts:
    """What more than one part of the page needs."""

    yields: Yields
    scores: tuple[np.ndarray, np.ndarray]
    bands: ScoreBands
    fetches: Fetches
    domains: Domains
    duplicates: Duplicates
    images: list[SampleImage]
    thumbnails: Mapping[ImageKey, Thumbnail]
    unreadable: int

    @classmethod
    def of(cls, lake: Lake) -> _Facts:
        yields, bands, fetches = Yields.of(lake), ScoreBands.of(lake), Fetches.of(lake)
        duplicates = Duplicates.of(lake, fetches.fetched)
        images = sample_images(lake) if fetches.fetched else []
        shown = [*contact_sheet_images(images), *(image for band in bands.choose(images) for image in band)]
        wanted = {image.key for image in shown} | duplicates.image_keys
        thumbnails = read_thumbnails(lake, wanted)
        unreadable = sum(key not in thumbnails or thumbnails[key].jpeg is None for key in wanted)
        scores, domains = score_histogram(lake), Domains.of(lake, "domains", "maps")
        return cls(yields, scores, bands, fetches, domains, duplicates, images, thumbnails, unreadable)

    def sections(self, lake: Lake) -> tuple[Section, ...]:
        return (
            contact_sheet_section(self.fetches, self.images, self.thumbnails, self.unreadable),
            yield_section(self.yields),
            score_section(
                self.scores,
                self.bands,
                self.yields.thresholds,
                self.images,
                self.thumbnails,
                is_fetched=self.fetches.shards > 0,
            ),
            size_section(lake, self.fetches),
            caption_section(lake, self.yields.maps),
            domain_section(self.domains),
            link_section(lake, self.fetches, self.yields.shards),
            duplicate_section(lake, self.duplicates, self.thumbnails),
        )

    def tiles(self) -> tuple[Tile, ...]:
        yields = self.yields
        return (
            Tile(f"{yields.pairs:,}", "pairs looked at", f"in {yields.shards:,} shards"),
            Tile(f"{yields.maps:,}", "maps kept", f"{percent(yields.maps / (yields.pairs or 1))} of the pairs"),
            self._fetched_tile(),
            self._unique_tile(),
            self.domains.tile,
        )

    def _fetched_tile(self) -> Tile:
        fetches, label = self.fetches, "images fetched"
        if not fetches.shards:
            return Tile(NO_NUMBER, label, "materialise mappool/map_images")
        share = percent(fetches.fetched / (fetches.tried or 1))
        return Tile(f"{fetches.fetched:,}", label, f"{share} of {fetches.tried:,} links")

    def _unique_tile(self) -> Tile:
        duplicates, label = self.duplicates, "unique images"
        if duplicates.unique is None:
            return Tile(NO_NUMBER, label, "materialise mappool/unique_images")
        note = f"{percent(duplicates.unique / (duplicates.images or 1))} of {duplicates.images:,} compared"
        return Tile(f"{duplicates.unique:,}", label, note)

    def pictures(self) -> dict[str, bytes]:
        pictures = {"yields": as_png(charts.yield_chart(self.yields.shares))}
        if self.scores[1].any():
            pictures["scores"] = score_histogram_plot(*self.scores, self.yields.thresholds[0])
        images = contact_sheet_images(self.images)[:SHEET_IMAGES]
        shown = [image.picture(self.thumbnails) for image in images]
        readable = [(picture.jpeg, picture.short_caption) for picture in shown if picture.jpeg]
        if readable:
            pictures["sample"] = contact_sheet(readable)
        return pictures


def _subtitle(lake: Lake, yields: Yields) -> str:
    made = lake.provenance("mappool/pool_shards")
    origin = made.origin if made else {}
    source = public_address(origin["source"]) if "source" in origin else "unknown"
    revision = f", revision {origin['revision'][:12]}" if origin.get("revision") else ""
    classifiers = ", ".join(yields.classifiers) or "unknown"
    thresholds = ", ".join(f"{threshold:g}" for threshold in yields.thresholds)
    return f"Pool: {source}{revision}. Classifier: {classifiers}, threshold {thresholds}."
