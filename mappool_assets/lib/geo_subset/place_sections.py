"""What the places gave: images of each, where the places lie, how sure the images' place is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mappool_assets.lib import sql_files
from mappool_assets.lib.geo_subset import geo_charts
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.charts import LAION_GEO_DOMAINS, LAION_GEO_TOP_20_SHARE
from mappool_assets.lib.report_page.domain_section import TOP, Domains
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import NO_NUMBER, Chart, Section, Table, percent

# LAION-geo's article: images, keywords, and images a keyword.
LAION_GEO_IMAGES, LAION_GEO_PLACES, LAION_GEO_MEAN, LAION_GEO_MEDIAN = 484_714, 1_096, 513.47, 540.5
EXTREMES = 20  # places shown from either end
COUNTRIES = 10
STEPS = {
    "asked for": "requested",
    "found, counted once a place": "retrieved",
    "of these nearest to this place": "best_here",
    "similar and safe enough": "eligible",
    "without near duplicates": "after_duplicates",
    "within the domains' quota: returned": "returned",
}


@dataclass(frozen=True)
class Places:
    """The places with their counts.

    Attributes
    ----------
    rows : list of dict
        Of ``reports/places_yield``: the place with the most images first.
    summary : dict
        Of ``reports/places_summary``.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]

    @classmethod
    def of(cls, lake: Lake) -> Places:
        """Ask the lake."""
        (summary,) = sql_files.run(lake, "reports/places_summary").to_pylist()
        return cls(sql_files.run(lake, "reports/places_yield").to_pylist(), summary)

    def sum(self, name: str) -> int:
        """Return the sum of one of the counts."""
        return sum(row[name] for row in self.rows)

    @property
    def returned(self) -> np.ndarray:
        """Images of each place."""
        return np.array([row["returned"] for row in self.rows], dtype=np.int64)

    @property
    def located(self) -> list[dict[str, Any]]:
        """Places whose position is known."""
        return [row for row in self.rows if row["latitude"] is not None and row["longitude"] is not None]

    def map_points(self) -> tuple[list[float], list[float], list[int]]:
        """Return longitudes, latitudes and images of the located places; the most images last, so on top."""
        points = self.located[::-1]
        return ([p["longitude"] for p in points], [p["latitude"] for p in points], [p["returned"] for p in points])


def yield_section(places: Places, domains: Domains) -> Section:
    """Tell how many images the places have, beside LAION-geo's, and which have the most and the fewest."""
    summary = places.summary
    described = (
        f"Histogram of the images of {summary['places']:,} places: mean {_number(summary['mean_images'])}, median "
        f"{_number(summary['median_images'])}."
    )
    chart = as_svg(geo_charts.yields_chart(places.returned), "places")
    return Section(
        "yield",
        "What the places gave",
        (
            Chart("Images of a place", chart, described, "places_yield"),
            _beside_laion_geo(places, domains),
            _steps(places),
            *_extremes(places.rows),
        ),
        f"{summary['images']:,} images for {summary['places']:,} places: {_number(summary['mean_images'])} "
        f"each on average, half of the places have {_number(summary['median_images'])} or fewer."
        + _without(summary["places_without_images"]),
    )


def _without(places: int) -> str:
    return f" {places:,} {'has' if places == 1 else 'have'} none." if places else ""


def _beside_laion_geo(places: Places, domains: Domains) -> Table:
    summary = places.summary
    return Table(
        "Beside LAION-geo",
        {"": "text", "here": "number", "LAION-geo": "number"},
        [
            ("places", f"{summary['places']:,}", f"{LAION_GEO_PLACES:,}"),
            ("images", f"{summary['images']:,}", f"{LAION_GEO_IMAGES:,}"),
            ("images a place, mean", _number(summary["mean_images"]), NO_NUMBER),
            ("of places with images, mean", _number(summary["mean_images_where_any"]), f"{LAION_GEO_MEAN}"),
            ("images a place, median", _number(summary["median_images"]), NO_NUMBER),
            ("of places with images, median", _number(summary["median_images_where_any"]), f"{LAION_GEO_MEDIAN}"),
            ("domains", f"{domains.count:,}", f"{LAION_GEO_DOMAINS:,}"),
            (f"share of the first {TOP}", percent(domains.top_share), f"{100 * LAION_GEO_TOP_20_SHARE:.2f} %"),
        ],
        "places_summary",
        "LAION-geo took up to 1,000 images of each of 1,096 keywords of one district. Its images divided by its mean "
        "are 944 keywords: the others seem to have none, so its figures stand beside ours of places with images.",
    )


def _number(value: float | None) -> str:
    return NO_NUMBER if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


def _steps(places: Places) -> Table:
    asked = places.sum("requested") or 1
    return Table(
        "From what was asked for to what is returned",
        {"images": "text", "number": "count", "of those asked for": "share"},
        [(name, places.sum(column), places.sum(column) / asked) for name, column in STEPS.items()],
        "places_yield",
        "Asked for are k images with each prompt. An image that several places found is given to the nearest.",
    )


def _extremes(rows: Sequence[dict[str, Any]]) -> list[Table]:
    columns = {"place": "web", "country": "web", "found": "count", "returned": "count"}

    def table(caption: str, some: Sequence[dict[str, Any]]) -> Table:
        cells = [(row["place"] or row["place_id"], row["country"], row["retrieved"], row["returned"]) for row in some]
        return Table(caption, columns, cells, "places_yield")

    if len(rows) <= 2 * EXTREMES:
        return [table("Places, by images", rows)]
    return [
        table(f"The {EXTREMES} places with the most images", rows[:EXTREMES]),
        table(f"The {EXTREMES} places with the fewest images", rows[::-1][:EXTREMES]),
    ]


def map_section(lake: Lake, places: Places) -> Section:
    """Show where the places lie, by how many images they have, and which countries have the most."""
    title, located = "Where the places lie", places.located
    countries = [_countries(lake)] if any(row["country"] for row in places.rows) else []
    if not located:
        missing = "No place has a position: give a source with latitude and longitude."
        return Section("map", title, countries, missing=missing)
    without = len(places.rows) - len(located)
    chart = geo_charts.places_map(*places.map_points())
    unit = "cells of a grid" if len(located) > geo_charts.MOST_DOTS else "places"
    note = (
        f"Longitude and latitude, {unit} in quarters by their number of images. There are no coastlines: none come "
        "with what is installed, and nothing is loaded from elsewhere."
    )
    described = f"Map of {len(located):,} places; the larger and darker the dots, the more images."
    lead = f"{without:,} of {len(places.rows):,} places have no position and are not on the map." if without else ""
    block = Chart("Places by images", as_svg(chart, "map"), described, "places_yield", note)
    return Section("map", title, (block, *countries), lead)


def _countries(lake: Lake) -> Table:
    rows = sql_files.run(lake, "reports/place_countries").to_pylist()
    shown = [(row["country"], row["places"], row["images"], _number(row["mean_images"])) for row in rows[:COUNTRIES]]
    caption = "Countries" if len(rows) <= COUNTRIES else f"The {COUNTRIES} countries with the most images"
    columns = {"country": "web", "places": "count", "images": "count", "a place": "number"}
    return Table(caption, columns, shown, "place_countries")


def margin_section(lake: Lake) -> Section:
    """Tell how much more similar the images are to their places than to others, and what was left out."""
    title = "How well the images fit their places"
    outcomes = sql_files.run(lake, "reports/place_outcomes").to_pylist()
    rows = sql_files.run(lake, "reports/place_margins").to_pylist()
    by_measure = {
        name: {row["step"]: row["images"] for row in rows if row["measure"] == measure}
        for measure, name in {"place_margin": "to other places", "generic_margin": "to generic prompts"}.items()
    }
    margins = {name: steps for name, steps in by_measure.items() if steps}
    blocks: list[Chart | Table] = []
    if margins:
        chart = as_svg(geo_charts.margins_chart(margins), "margins")
        note = (
            "The difference between the similarity to the place and that to the best prompt of any other place, or to "
            "the best prompt that names none. Below zero the other fits better."
        )
        blocks.append(Chart("Margins", chart, "Histogram of the images' margins.", "place_margins", note))
        below = [
            (name, _share_below_zero(steps), _median_step(steps) / 100) for name, steps in margins.items()
        ]  # fmt: skip
        columns = {"": "text", "below zero": "share", "median from": "number"}
        blocks.append(Table("Returned images by their margins", columns, below, "place_margins"))
    named = [(row["outcome"].replace("_", " "), row["images"], row["images_share"]) for row in outcomes]
    columns = {"": "text", "images": "count", "share": "share"}
    blocks.append(Table("What became of the images that prompts found", columns, named, "place_outcomes"))
    missing = "" if by_measure["to generic prompts"] else "Give generic prompts to see margins to them."
    return Section("margins", title, blocks, missing=missing if outcomes else "")


def _share_below_zero(steps: dict[int, int]) -> float:
    return sum(images for step, images in steps.items() if step < 0) / sum(steps.values())


def _median_step(steps: dict[int, int]) -> int:
    ordered = sorted(steps)
    below = np.cumsum([steps[step] for step in ordered])
    return ordered[int(np.searchsorted(below, below[-1] / 2))]
