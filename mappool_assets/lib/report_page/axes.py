"""The look that the pages' charts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mappool_assets.lib.plots import GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (5.2, 3.1)  # with letters of 10 points these are still 9 pixels high on a phone of 400
PLOT_AREA = (0.105, 0.17, 0.88, 0.72)  # left, bottom, width and height of the axes; short_count keeps within it
LETTER_POINTS = 10
MOST_BARS = 40


def plain_axes(xlabel: str, ylabel: str) -> Axes:
    """Return the axes of a new chart of :data:`INCHES`, with horizontal grid lines and a baseline.

    Parameters
    ----------
    xlabel : str
        Stands below.
    ylabel : str
        Stands over the left end.
    """
    from matplotlib.figure import Figure

    axes = Figure(INCHES).add_axes(PLOT_AREA)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(which="both", colors=INK, labelsize=LETTER_POINTS, length=0)
    axes.grid(axis="y", color=GRID)
    axes.set_xlabel(xlabel, color=INK, fontsize=LETTER_POINTS)
    axes.set_title(ylabel, color=INK, fontsize=LETTER_POINTS, loc="left")  # nobody tilts the head for it
    return axes


def finished(axes: Axes) -> Figure:
    """Return the chart of the axes, with a legend over its right end where anything drawn has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, labelcolor=INK, fontsize=LETTER_POINTS,
            borderaxespad=0.1, columnspacing=1.2, handlelength=1.2, handletextpad=0.5,
        )  # fmt: skip
    return axes.figure  # type: ignore[return-value]  # of no subfigure


def whole_numbers(axes: Axes) -> None:
    """Mark some five heights, whole numbers alone, as :func:`short_count` writes them."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(lambda count, _: short_count(count))


def short_count(count: float) -> str:
    """Return a count in at most six characters.

    >>> [short_count(count) for count in (0, 999, 1_500, 20_000, 3e6, 1.28e10)]
    ['0', '999', '1.5 k', '20 k', '3 M', '12.8 G']
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:g}"


def round_step(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is no less.

    >>> round_step(0.03), round_step(700), round_step(1)
    (0.05, 1000.0, 1.0)
    """
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))
