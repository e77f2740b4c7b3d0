"""The charts of a balance plan: pairs over t, pairs over shards, and texts of each entry with t across.

Each returns a figure, which :func:`~mappool_assets.lib.report_page.figures.as_png` and ``as_svg`` write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation.balance_plan import ENTRIES_TABLE, PlanReport
from mappool_assets.lib.curation.plan_tables import FIRST, TABLE_ROLE, TRAINING, PlannedGrowth, PlannedSize
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.plots import BLUE, GREY, INK, ORANGE
from mappool_assets.lib.report_page.axes import LETTER_POINTS, plain_axes, short_count, whole_numbers
from mappool_assets.lib.report_page.figures import as_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN_ENTRIES = 400  # of half a million: as many as there are pixels
MARKS = {"training": (BLUE, "o"), "first": (ORANGE, "s"), "wanted_pairs": (INK, "D"), "wanted_tail_share": (GREY, "^")}


def plan_pictures(lake: Lake, report: PlanReport) -> dict[str, bytes]:
    """Return the three charts of a plan as PNGs for Dagster: ``pairs``, ``growth`` and ``entries``."""
    counts = lake.read_table(ENTRIES_TABLE, columns=["texts"])["texts"].to_numpy()
    ts = {size.role: size.t for size in report.sizes if size.role in (TRAINING, FIRST)}
    charts = {
        "pairs": size_chart(report.sizes),
        "growth": growth_chart(report.growth),
        "entries": counts_chart(counts, ts),
    }
    return {name: as_png(chart) for name, chart in charts.items()}


def size_chart(sizes: Sequence[PlannedSize]) -> Figure:
    """Draw how many pairs are kept over t, with ± 2 sd, and the t that have a role."""
    ordered = sorted(sizes, key=lambda size: size.t)
    t = np.array([size.t for size in ordered])
    axes = plain_axes("t, logarithmic", "pairs kept")
    _line(axes, t, ordered, BLUE, "with ± 2 sd")
    for size in ordered:
        if size.role != TABLE_ROLE:
            colour, marker = MARKS[size.role]
            name = f"{size.role.replace('_', ' ')}, t = {size.t:,.7g}"
            axes.plot(size.t, size.expected_size, marker, color=colour, markersize=6, label=name, linestyle="none")
    axes.set_ylim(bottom=0)
    _logarithmic(axes)
    whole_numbers(axes)
    return _with_legend(axes, "lower right")


def growth_chart(growth: Sequence[PlannedGrowth]) -> Figure:
    """Draw how many pairs are kept over the number of shards, a line for each t, with ± 2 sd."""
    from matplotlib.ticker import MaxNLocator

    axes = plain_axes("shards", "pairs kept of these shards alone")
    for t, colour in zip(sorted({size.t for size in growth}), (BLUE, ORANGE, GREY), strict=False):
        of_t = sorted((size for size in growth if size.t == t), key=lambda size: size.shards)
        shards = np.array([size.shards for size in of_t])
        _line(axes, shards, of_t, colour, f"t = {t:,.7g}")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(lambda count, _: short_count(count))
    whole_numbers(axes)
    return _with_legend(axes, "upper left")


def counts_chart(counts: npt.ArrayLike, ts: Mapping[str, float]) -> Figure:
    """Draw how many texts each entry matches, most first, with lines at some t.

    Parameters
    ----------
    counts : array, shape (entries,)
        Entries that match nothing are not drawn.
    ts : mapping of str to float
        t by name.
    """
    descending = np.sort(np.asarray(counts))[::-1]
    descending = descending[descending > 0]
    axes = plain_axes("entries, those with most texts first, logarithmic", "texts that an entry matches, logarithmic")
    if len(descending):
        ranks = np.unique(np.geomspace(1, len(descending), DRAWN_ENTRIES).round().astype(np.int64))
        axes.plot(ranks, descending[ranks - 1], color=BLUE, linewidth=2)
    for (name, t), style in zip(ts.items(), ("-", "--", ":", "-."), strict=False):
        axes.axhline(t, color=ORANGE, linewidth=1.5, linestyle=style, label=f"{name}, t = {t:,.7g}")
    _logarithmic(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda texts, _: short_count(texts))
    return _with_legend(axes, "upper right")


def _line(axes: Axes, x: npt.NDArray, sizes: Sequence[PlannedSize | PlannedGrowth], colour: str, label: str) -> None:
    mean, sd = np.array([(size.expected_size, size.sd_size) for size in sizes]).T
    axes.errorbar(x, mean, yerr=2 * sd, fmt="o-", color=colour, linewidth=1.5, markersize=3, capsize=3, label=label)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: short_count(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")


def _with_legend(axes: Axes, corner: Literal["lower right", "upper left", "upper right"]) -> Figure:
    """Return the chart with a legend in the corner where no curve of its kind goes."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc=corner, frameon=False, labelcolor=INK, fontsize=LETTER_POINTS)
    return axes.figure  # type: ignore[return-value]  # of no subfigure
