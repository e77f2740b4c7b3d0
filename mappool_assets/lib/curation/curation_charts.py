"""The charts of curation: what it did to the entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.plots import BLUE, GREY, ORANGE
from mappool_assets.lib.report_page.axes import finished, plain_axes, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DRAWN_RANKS = 240  # of half a million: more than the chart has pixels for the steep part
CLASSES_A_DECADE = 6
SHORT_SPAN = 200  # powers of ten alone would be two marks, or one
LEAST = 0.5  # where no pair is drawn on a logarithmic scale
Numbers = npt.NDArray[np.floating]


def entries_chart(before: npt.ArrayLike, after: npt.ArrayLike, t: float) -> Figure:
    """Draw how many texts the entries match and how many pairs are drawn of them, each from the most to the fewest.

    Parameters
    ----------
    before, after : array, shape (entries,)
        Counts; those of 0 are not drawn.
    t : float
        Drawn as a line.
    """
    axes = plain_axes("entries, the most frequent first, logarithmic", "texts of an entry, log.")
    for counts, name, colour, width in ((before, "before", GREY, 2.6), (after, "after", BLUE, 2.2)):
        descending = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
        descending = descending[descending > 0]
        if len(descending):
            ranks = np.unique(np.geomspace(1, len(descending), DRAWN_RANKS).round().astype(np.int64))
            axes.plot(ranks, descending[ranks - 1], color=colour, linewidth=width, label=name)
    _logarithmic(axes, t)
    return finished(axes)


def kept_chart(unique: npt.ArrayLike, curated: npt.ArrayLike, t: float) -> Figure:
    """Draw how many pairs are drawn of an entry, by how many unique texts match it.

    Parameters
    ----------
    unique, curated : array, shape (entries,)
        The estimate of its unique texts, and pairs that were drawn.
    t : float
        Drawn as a line: what an entry passes by itself. It gets more where its texts are drawn for other entries too.
    """
    texts, pairs = (np.asarray(values, dtype=np.float64) for values in (unique, curated))
    texts, pairs = texts[texts > 0], pairs[texts > 0]
    axes = plain_axes("unique texts of an entry, logarithmic", "pairs drawn, log.")
    classes = np.floor(CLASSES_A_DECADE * np.log10(np.maximum(texts, 1))).astype(np.int64)
    middles, rows = [], []
    for number in np.unique(classes):
        of_class = classes == number
        middles.append(float(np.exp(np.log(texts[of_class]).mean())))
        rows.append(np.quantile(pairs[of_class], (0.1, 0.5, 0.9)))
    if middles:
        low, median, high = np.maximum(np.array(rows).T, LEAST)
        axes.fill_between(middles, low, high, color=BLUE, alpha=0.22, linewidth=0, label="10–90 %")
        axes.plot(middles, median, "o-", color=BLUE, linewidth=2, markersize=3, label="median")
    _logarithmic(axes, t)
    return finished(axes)


def _logarithmic(axes: Axes, t: float) -> None:
    axes.axhline(t, color=ORANGE, linewidth=1.4, label="t")
    axes.set_xscale("log")
    axes.set_yscale("log")
    mark_counts(axes.xaxis, axes.get_xlim())
    mark_counts(axes.yaxis, axes.get_ylim())


def mark_counts(axis: Axis, limits: tuple[float, float]) -> None:
    """Mark powers of ten on a logarithmic axis, of a short one two and five times as much too."""
    from matplotlib.ticker import LogLocator

    low, high = limits
    if high < SHORT_SPAN * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda count, _: short_count(count))
    axis.set_minor_formatter(lambda count, _: "")
