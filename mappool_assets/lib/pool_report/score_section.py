"""How the scores are distributed, and what images of each score look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool_report import charts
from mappool_assets.lib.pool_report.samples import SampleImage
from mappool_assets.lib.report_page.axes import round_step
from mappool_assets.lib.report_page.figures import as_svg
from mappool_assets.lib.report_page.page import Chart, Gallery, Section, percent
from mappool_assets.lib.report_page.thumbnails import ImageKey, Thumbnail

MOST_BANDS = 8  # between the 1st and the 99th percentile of the maps' scores; rounding may add one
IMAGES_A_BAND = 8


@dataclass(frozen=True)
class ScoreBands:
    """Ranges of the maps' scores.

    Attributes
    ----------
    hundredths, maps : array of int, shape (n,)
        Maps by their score, rounded down to hundredths.
    edges : tuple of int
        Where the second and every further band begins, in hundredths; the first and the last are open.
    """

    hundredths: np.ndarray
    maps: np.ndarray
    edges: tuple[int, ...]

    @classmethod
    def of(cls, lake: Lake) -> ScoreBands:
        """Divide what lies between the 1st and the 99th percentile of the maps' scores into bands of round width."""
        rows = sql_files.run(lake, "reports/map_scores")
        hundredths = np.round(100 * rows["score_from"].to_numpy()).astype(np.int64)
        maps = rows["maps"].to_numpy()
        if not len(maps):
            return cls(hundredths, maps, ())
        below = np.cumsum(maps) / maps.sum()
        low, high = (int(hundredths[np.searchsorted(below, share)]) for share in (0.01, 0.99))
        width = max(1, int(round_step(max(1, high - low) / MOST_BANDS)))
        return cls(hundredths, maps, tuple(range((low // width + 1) * width, high + 1, width)))

    def band_of(self, score: float) -> int:
        """Return the band of a score, 0 being the lowest."""
        return int(np.searchsorted(self.edges, np.floor(100 * score), side="right"))

    @property
    def map_counts(self) -> np.ndarray:
        """Maps in each band, shape (bands,)."""
        bands = np.searchsorted(self.edges, self.hundredths, side="right")
        return np.bincount(bands, weights=self.maps, minlength=len(self.edges) + 1).astype(np.int64)

    def name(self, band: int) -> str:
        """Return the scores of a band in words."""
        edges = [f"{edge / 100:g}" for edge in self.edges]
        if not edges:
            return "all scores"
        if band == 0:
            return f"under {edges[0]}"
        return f"{edges[-1]} and over" if band == len(edges) else f"{edges[band - 1]} to {edges[band]}"

    def choose(self, images: Sequence[SampleImage]) -> list[list[SampleImage]]:
        """Return the first images of each band."""
        chosen: list[list[SampleImage]] = [[] for _ in range(len(self.edges) + 1)]
        for image in images:
            band = chosen[self.band_of(image.map_score)]
            if len(band) < IMAGES_A_BAND:
                band.append(image)
        return chosen


def score_histogram(lake: Lake) -> tuple[np.ndarray, np.ndarray]:
    """Return edges and counts of the scores of all rows that were scored exactly."""
    rows = sql_files.run(lake, "reports/score_histogram")
    return np.append(rows["score_from"].to_numpy(), rows["score_to"].to_numpy()[-1:]), rows["row_count"].to_numpy()


def score_section(
    histogram: tuple[np.ndarray, np.ndarray],
    bands: ScoreBands,
    thresholds: Sequence[float],
    images: Sequence[SampleImage],
    thumbnails: Mapping[ImageKey, Thumbnail],
    *,
    is_fetched: bool,
) -> Section:
    """Tell how the scores are distributed, and show images of each band."""
    edges, counts = histogram
    total = int(bands.maps.sum())
    blocks: list[Chart | Gallery] = []
    if counts.any():
        chart = charts.score_chart(*_filled(edges, counts), thresholds)
        described = f"Histogram of the scores of {int(counts.sum()):,} rows."
        note = "Where a screen refused rows unscored, only a sample of these is counted."
        blocks.append(Chart("All rows that were scored", as_svg(chart, "scores"), described, "score_histogram", note))
    if total:
        chart = charts.map_score_chart(bands.hundredths, bands.maps, bands.edges)
        described = f"Histogram of the scores of {total:,} maps."
        blocks.append(Chart("The maps alone", as_svg(chart, "map_scores"), described, "map_scores"))
    for band, chosen in enumerate(bands.choose(images) if images else ()):
        maps = int(bands.map_counts[band])
        title = f"Score {bands.name(band)}: {maps:,} maps, {percent(maps / (total or 1))}"
        note = "" if chosen else "None of the sampled images lies here."
        blocks.append(Gallery(title, [image.picture(thumbnails) for image in chosen], note))
    missing = "" if is_fetched else "Sample images of each band are shown once mappool/map_images is materialised."
    return Section("scores", "How sure the classifier was", blocks, "", missing)


def _filled(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the empty bins at both ends."""
    filled = np.flatnonzero(counts)
    return edges[filled[0] : filled[-1] + 2], counts[filled[0] : filled[-1] + 1]
