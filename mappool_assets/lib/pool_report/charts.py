"""The charts that the pool's page alone has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.plots import BLUE, GREY, ORANGE
from mappool_assets.lib.report_page.axes import (
    MOST_BARS,
    finished,
    plain_axes,
    round_step,
    short_count,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def yield_chart(yields: npt.ArrayLike) -> Figure:
    """Draw how many shards have which share of maps.

    Parameters
    ----------
    yields : array of shape (shards,)
        Shares, 0 to 1.
    """
    percents = 100 * np.asarray(yields, dtype=np.float64)
    bars = min(MOST_BARS, 2 * math.ceil(math.sqrt(len(percents))))
    step = round_step(max(float(np.ptp(percents)), 1e-3) / bars)
    first, last = np.floor(percents.min() / step), np.floor(percents.max() / step) + 1
    edges = step * np.arange(first, last + 1)
    axes = plain_axes("maps among the pairs of a shard, in %", "shards")
    # by whole steps, as the edges themselves are not exact
    counts = np.bincount((np.floor(percents / step) - first).astype(int), minlength=len(edges) - 1)
    axes.bar(edges[:-1], counts, width=0.94 * step, align="edge", color=BLUE)
    median = float(np.median(percents))
    axes.axvline(median, color=ORANGE, linewidth=2, label=f"median {median:.3g} %")
    whole_numbers(axes)
    return finished(axes)


def score_chart(edges: npt.ArrayLike, counts: npt.ArrayLike, thresholds: Sequence[float]) -> Figure:
    """Draw how many rows of the pool have which score, on a logarithmic scale.

    Parameters
    ----------
    edges : array of shape (b + 1,)
        Ascending.
    counts : array of int, shape (b,)
    thresholds : sequence of float
        Scores over which rows are maps; the lowest sets the bars' colours.
    """
    edges, counts = np.asarray(edges, dtype=np.float64), np.asarray(counts)
    axes = plain_axes("score", "rows, logarithmic")
    is_map = edges[:-1] >= min(thresholds) - 1e-9
    for chosen, colour, label in ((~is_map, GREY, "not a map"), (is_map, BLUE, "map")):
        bars = chosen & (counts > 0)
        axes.bar(edges[:-1][bars], counts[bars], np.diff(edges)[bars], align="edge", color=colour, label=label)
    for threshold in {min(thresholds), max(thresholds)}:
        axes.axvline(threshold, color=ORANGE, linewidth=2, label=f"threshold {threshold:g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter(lambda count, _: short_count(count))
    return finished(axes)


def map_score_chart(hundredths: npt.ArrayLike, maps: npt.ArrayLike, band_edges: Sequence[int]) -> Figure:
    """Draw how many maps have which score, and where the bands of the sample images begin.

    Parameters
    ----------
    hundredths : array of int, shape (n,)
        Lower bounds of steps of 0.01, in hundredths.
    maps : array of int, shape (n,)
    band_edges : sequence of int
        In hundredths.
    """
    hundredths, maps = np.asarray(hundredths), np.asarray(maps)
    step = max(1, int(round_step(max(1, np.ptp(hundredths)) / MOST_BARS)))
    bars = hundredths // step
    counts = np.bincount(bars - bars.min(), weights=maps)
    axes = plain_axes("score", "maps")
    left = (np.arange(len(counts)) + bars.min()) * step / 100
    axes.bar(left, counts, width=0.94 * step / 100, align="edge", color=BLUE)
    for number, edge in enumerate(band_edges):
        label = "bands of the pictures below" if number == 0 else None
        axes.axvline(edge / 100, color=GREY, linewidth=1, linestyle=(0, (3, 3)), label=label)
    whole_numbers(axes)
    return finished(axes)
