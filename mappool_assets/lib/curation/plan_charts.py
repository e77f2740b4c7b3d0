"""The charts of a balance plan: pairs over t, pairs over shards, and texts of each entry with t across.

Each returns a figure, which :func:`~mappool_assets.lib.report_page.figures.as_png` and ``as_svg`` write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.curation.balance_plan import ENTRIES_TABLE, PlanReport
from mappool_assets.lib.curation.curation_charts import mark_counts
from mappool_assets.lib.curation.plan_tables import FIRST, TABLE_ROLE, TRAINING, PlannedGrowth, PlannedSize
from mappool_assets.lib.curation.plan_text import ROLE_NAMES, written_t
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.plots import BLUE, GREY, INK, ORANGE
from mappool_assets.lib.report_page.axes import LETTER_POINTS, plain_axes, short_count, whole_numbers
from mappool_assets.lib.report_page.figures import as_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN_ENTRIES = 400  # of half a million: as many as there are pixels
CLOSE = 5  # of two t that lie closer, the lower one is named below its line, in the way of the curve
MARKS = {"training": (BLUE, "o"), "first": (ORANGE, "s"), "wanted_pairs": (INK, "D"), "wanted_tail_share": (GREY, "^")}


def plan_pictures(lake: Lake, report: PlanReport) -> dict[str, bytes]:
    """Return the three charts of a plan as PNGs for Dagster, by what they show."""
    counts = lake.read_table(ENTRIES_TABLE, columns=["texts"])["texts"].to_numpy()
    ts = {ROLE_NAMES[size.role]: size.t for size in report.sizes if size.role in (TRAINING, FIRST)}
    charts = {
        "pairs_over_t": size_chart(report.sizes),
        "pairs_over_shards": growth_chart(report.growth),
        "texts_of_entries": counts_chart(counts, ts),
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
            name = f"{ROLE_NAMES[size.role]}, t = {written_t(size.t)}"
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
        _line(axes, shards, of_t, colour, f"t = {written_t(t)}")
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
    for name, t in ts.items():
        axes.axhline(t, color=ORANGE, linewidth=1.5)
        is_close = any(t < other < CLOSE * t for other in ts.values())
        _name_line(axes, t, f"{name}, t = {written_t(t)}", is_above=not is_close)
    _logarithmic(axes)
    axes.set_yscale("log")
    mark_counts(axes.yaxis, axes.get_ylim())
    return axes.figure  # type: ignore[return-value]  # of no subfigure


def _name_line(axes: Axes, height: float, name: str, *, is_above: bool) -> None:
    """Write at a line's right end what it is."""
    axes.annotate(
        name,
        (1, height),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 2 if is_above else -2),
        textcoords="offset points",
        ha="right",
        va="bottom" if is_above else "top",
        color=INK,
        fontsize=LETTER_POINTS,
    )


def _line(axes: Axes, x: npt.NDArray, sizes: Sequence[PlannedSize | PlannedGrowth], colour: str, label: str) -> None:
    mean, sd = np.array([(size.expected_size, size.sd_size) for size in sizes]).T
    axes.errorbar(x, mean, yerr=2 * sd, fmt="o-", color=colour, linewidth=1.5, markersize=3, capsize=3, label=label)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    mark_counts(axes.xaxis, axes.get_xlim())


def _with_legend(axes: Axes, corner: Literal["lower right", "upper left"]) -> Figure:
    """Return the chart with a legend in the corner where no curve of its kind goes."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc=corner, frameon=False, labelcolor=INK, fontsize=LETTER_POINTS)
    return axes.figure  # type: ignore[return-value]  # of no subfigure
