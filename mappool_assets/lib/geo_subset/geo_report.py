"""The page about the images of places: the analysis of the article on LAION-geo, and what it left open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.geo_subset import geo_charts, geo_images, place_counts
from mappool_assets.lib.geo_subset.geo_sources import made_of
from mappool_assets.lib.geo_subset.place_labels import Precision, interval, precision_section
from mappool_assets.lib.geo_subset.place_pictures import picture_section
from mappool_assets.lib.geo_subset.place_sections import (
    Places,
    map_section,
    margin_section,
    yield_section,
)
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.report_page.domain_section import Domains, domain_section
from mappool_assets.lib.report_page.figures import as_png
from mappool_assets.lib.report_page.page import NO_NUMBER, Page, Section, Tile, percent
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS

PATH = "geo_subset/geo_report/report.html"  # in the lake
FOOTER = (
    "Made from the lake alone, without a clock: the same lake gives the same page. Under each figure stands the "
    "command that prints its numbers.",
    "Names of places, captions, addresses and pictures are other people's. The pictures are shown small, to judge the "
    "selection.",
)


@dataclass(frozen=True)
class GeoReport:
    """What was written.

    Attributes
    ----------
    path : str
        Of the page, inside the lake.
    sha256 : str
        Of its bytes: equal lakes and labels give equal pages.
    places, places_without_images, images : int
        Places, those of which nothing is returned, and the images that are.
    mean_images, median_images : float
        Images a place, of all places.
    domains : int
        Hosts of the images' addresses.
    top_domains_share : float
        Share of the images that the first 20 hold, 0 to 1.
    labelled : int
        Returned images that have a label.
    precision : float or None
        Share of these that show their place; None without labels.
    missing : tuple of str
        What the page lacks, and what makes it.
    pictures : mapping of str to bytes
        PNGs for Dagster: ``yields``, and ``map`` where places have positions.
    """

    path: str
    sha256: str
    places: int
    places_without_images: int
    images: int
    mean_images: float
    median_images: float
    domains: int
    top_domains_share: float
    labelled: int
    precision: float | None
    missing: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(repr=False)


def write_geo_report(
    lake: Lake, title: str = "Images of places", labels: Mapping[str, bool] | None = None
) -> GeoReport:
    """Write ``geo_subset/geo_report/report.html``: one page that needs no other file and no network.

    Parameters
    ----------
    title : str
        The page's heading.
    labels : mapping of str to bool, optional
        By uid whether an image shows its place (:func:`~mappool_assets.lib.geo_subset.place_labels.read_labels`).

    Raises
    ------
    MissingInput
        There are no images of places, or no counts of them.
    SourceChanged
        The counts are of other images: a run that made images anew was killed before it counted them.
    """
    _check_counts(made_of(lake, geo_images.TABLE), made_of(lake, place_counts.TABLE), lake)
    places = Places.of(lake)
    domains = Domains.of(lake, "place_domains", "images")
    precision = None if labels is None else Precision.of(lake, labels)
    sections = (
        picture_section(lake, places),
        yield_section(places, domains),
        map_section(lake, places),
        domain_section(domains),
        margin_section(lake),
        precision_section(precision),
    )
    page = Page(title, _subtitle(lake), _tiles(places, domains, precision), sections, FOOTER)
    html = page.to_html().encode()
    with lake.writing(PATH) as file:
        file.write_bytes(html)
    return _report(html, places, domains, precision, sections)


def _check_counts(images: Provenance, counts: Provenance, lake: Lake) -> None:
    if counts.inputs["geo_images"] != images.fingerprint:
        raise SourceChanged(
            "The counts of places are not of the images that are there",
            where=lake.url(place_counts.TABLE),
            rule=f"counts of the images made from {images.fingerprint}",
            got=f"counts of images made from {counts.inputs['geo_images']}",
            action=f"Materialise {geo_images.TABLE} again.",
        )


def _report(
    html: bytes, places: Places, domains: Domains, precision: Precision | None, sections: tuple[Section, ...]
) -> GeoReport:
    summary = places.summary
    pictures = {"yields": as_png(geo_charts.yields_chart(places.returned))}
    if places.located:
        pictures["map"] = as_png(geo_charts.places_map(*places.map_points()))
    return GeoReport(
        path=PATH,
        sha256=hashlib.sha256(html).hexdigest(),
        places=summary["places"],
        places_without_images=summary["places_without_images"],
        images=summary["images"],
        mean_images=summary["mean_images"],
        median_images=summary["median_images"],
        domains=domains.count,
        top_domains_share=domains.top_share,
        labelled=precision.labelled if precision else 0,
        precision=precision.share if precision else None,
        missing=tuple(section.missing for section in sections if section.missing),
        pictures=pictures,
    )


def _tiles(places: Places, domains: Domains, precision: Precision | None) -> tuple[Tile, ...]:
    summary = places.summary
    retrieved = places.sum("best_here")
    without = f"{summary['places_without_images']:,} without images" if summary["places_without_images"] else ""
    shown = Tile(NO_NUMBER, "show their place", "no labels were given")
    if precision is not None and precision.share is not None:
        note = f"{interval(precision.right, precision.labelled)} % by {precision.labelled:,} labels"
        shown = Tile(percent(precision.share), "show their place", note)
    return (
        Tile(f"{summary['places']:,}", "places", without),
        Tile(f"{summary['images']:,}", "images", f"{percent(summary['images'] / (retrieved or 1))} of those found"),
        Tile(f"{summary['mean_images']:,.1f}", "images a place", f"median {summary['median_images']:,g}"),
        domains.tile,
        shown,
    )


def _subtitle(lake: Lake) -> str:
    images, neighbours = lake.provenance(geo_images.TABLE), lake.provenance(NEIGHBOURS)
    assert images is not None
    if neighbours is None or neighbours.fingerprint != images.inputs["neighbours"]:
        return "Neighbours were found anew since: materialise geo_subset/geo_images again."
    found = neighbours.inputs
    parts = [f"Encoder: {found['encoder_id']}", f"up to {found['k']:,} images a prompt", *_filters(found, images)]
    return f"{', '.join(parts)}. {len(found['shards']):,} shards."


def _filters(found: Mapping, images: Provenance) -> list[str]:
    least = [v for v in (found["min_similarity"], images.inputs["min_similarity"]) if v is not None]
    quota, unsafe = images.inputs["most_a_domain"], images.inputs["max_unsafe_score"]
    return [
        *([f"similarity at least {max(least):g}"] if least else []),
        *([f"where {found['row_filter']}"] if found["row_filter"] else []),
        f"near duplicates from a cosine of {images.inputs['duplicate_similarity']:g}",
        *([f"at most {quota:,} of a domain"] if quota is not None else []),
        *([f"unsafe score at most {unsafe:g}"] if unsafe is not None else []),
    ]
