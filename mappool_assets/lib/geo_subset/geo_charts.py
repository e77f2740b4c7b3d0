"""The charts that the page on places alone has."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.plots import BLUE, GREY, GRID, INK, ORANGE
from mappool_assets.lib.report_page.axes import (
    LETTER_POINTS,
    MOST_BARS,
    finished,
    plain_axes,
    round_step,
    short_count,
    whole_numbers,
)
from mappool_assets.lib.report_page.charts import steps_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP_INCHES, MAP_AREA = (5.2, 3.2), (0.105, 0.1, 0.88, 0.78)
MOST_DOTS = 2000  # of more places the images of each cell of a grid are drawn: as many dots would be one blot
GRID_CELLS = (90, 45)
# Yields are drawn in quarters of the places that have images: the more, the larger and the denser.
CLASS_ALPHAS, CLASS_AREAS = (0.3, 0.5, 0.75, 1.0), (10, 16, 24, 34)
LEAST_SPAN = 0.5  # degrees


def yields_chart(returned: npt.ArrayLike) -> Figure:
    """Draw how many places have how many images.

    Parameters
    ----------
    returned : array of int, shape (places,)
    """
    from matplotlib.ticker import MaxNLocator

    counts = np.asarray(returned, dtype=np.int64)
    bars = min(MOST_BARS, 2 * math.ceil(math.sqrt(len(counts))))
    step = max(1, round(round_step(max(1, int(np.ptp(counts))) / bars)))
    first = int(counts.min()) // step
    heights = np.bincount(counts // step - first)
    axes = plain_axes("images of a place", "places")
    left = step * (np.arange(len(heights)) + first)
    axes.bar(left, heights, width=0.94 * step, align="edge", color=BLUE)
    for value, name, style in ((np.median(counts), "median", "-"), (counts.mean(), "mean", (0, (3, 2)))):
        axes.axvline(float(value), color=ORANGE, linewidth=2, linestyle=style, label=f"{name} {float(value):,.4g}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(lambda count, _: short_count(count))
    whole_numbers(axes)
    return finished(axes)


def margins_chart(steps: Mapping[str, Mapping[int, int]]) -> Figure:
    """Draw how many images have which margin, a source each, in hundredths."""
    every = [step for counts in steps.values() for step in counts]
    low, high = min([*every, 0]), max([*every, 0]) + 1
    apart = max(1, round(round_step((high - low) / 6)))
    ticks = {step: f"{step / 100:g}" for step in range(low - low % apart, high + 1, apart)}
    return steps_chart(steps, ticks, "margin")


def places_map(longitudes: npt.ArrayLike, latitudes: npt.ArrayLike, returned: npt.ArrayLike) -> Figure:
    """Draw the places where they are, by how many images each has: a plain cylindrical map with a graticule.

    Parameters
    ----------
    longitudes, latitudes : array of shape (places,)
        In degrees, −180 to 180 and −90 to 90.
    returned : array of int, shape (places,)
        Images of each. Of more than :data:`MOST_DOTS` places, those of each cell of a grid are added up.
    """
    x, y, images = (np.asarray(values, dtype=np.float64) for values in (longitudes, latitudes, returned))
    left, right, bottom, top = extent(x, y)
    axes = _map_axes((left, right), (bottom, top))
    marker = "o"
    if len(x) > MOST_DOTS:
        marker = "s"
        x, y, images = _cells(x, y, images, (left, right, bottom, top))
    is_empty = images == 0
    if is_empty.any():
        axes.scatter(x[is_empty], y[is_empty], 9, marker="x", color=GREY, linewidth=0.8, label="none")
    limits = np.unique(np.quantile(images[~is_empty], (0, 0.25, 0.5, 0.75, 1))) if (~is_empty).any() else np.empty(0)
    limits = np.append(limits, limits + 1) if len(limits) == 1 else limits
    for number, (low, high) in enumerate(itertools.pairwise(limits)):
        is_last = number == len(limits) - 2
        chosen = ~is_empty & (images >= low) & ((images <= high) if is_last else (images < high))
        if chosen.any():
            style = number + len(CLASS_ALPHAS) - len(limits) + 1
            label = f"{short_count(images[chosen].min())}–{short_count(images[chosen].max())}"
            axes.scatter(
                x[chosen], y[chosen], CLASS_AREAS[style], marker=marker, color=BLUE, alpha=CLASS_ALPHAS[style],
                linewidth=0, label=label,
            )  # fmt: skip
    return _with_legend(axes)


def extent(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return left, right, bottom and top of a map of places, with a margin, that fills the chart without distortion.

    >>> extent(np.array([-180.0, 180.0]), np.array([-90.0, 90.0]))
    (-180.0, 180.0, -90.0, 90.0)
    """
    spans = []
    for values, most in ((longitudes, 180.0), (latitudes, 90.0)):
        margin = max(0.06 * float(np.ptp(values)), LEAST_SPAN / 2)
        spans.append([max(-most, float(values.min()) - margin), min(most, float(values.max()) + margin)])
    (left, right), (bottom, top) = spans
    # How many degrees of longitude are as long as the chart is wide where one of latitude is as high as it is.
    ratio = MAP_INCHES[0] * MAP_AREA[2] / (MAP_INCHES[1] * MAP_AREA[3]) * _stretch(bottom, top)
    wider, higher = max(0.0, ratio * (top - bottom) - (right - left)), max(0.0, (right - left) / ratio - (top - bottom))
    left, right = max(-180.0, left - wider / 2), min(180.0, right + wider / 2)
    bottom, top = max(-90.0, bottom - higher / 2), min(90.0, top + higher / 2)
    return left, right, bottom, top


def _stretch(bottom: float, top: float) -> float:
    """Return how many degrees of longitude are as long as one of latitude in the middle, 5 at most."""
    return min(5.0, 1 / max(0.2, math.cos(math.radians((bottom + top) / 2))))


def _map_axes(across: tuple[float, float], upwards: tuple[float, float]) -> Axes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    axes = Figure(MAP_INCHES).add_axes(MAP_AREA)
    axes.set_axisbelow(True)
    axes.spines[:].set_color(GRID)
    axes.tick_params(which="both", colors=INK, labelsize=LETTER_POINTS - 1, length=0)
    axes.grid(color=GRID)
    axes.set_xlim(across)
    axes.set_ylim(upwards)
    axes.set_aspect(_stretch(*upwards))
    for axis, negative, positive in ((axes.xaxis, "W", "E"), (axes.yaxis, "S", "N")):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6, 10]))
        axis.set_major_formatter(functools.partial(_degrees, negative=negative, positive=positive))
    return axes


def _degrees(degrees: float, _: int | None, *, negative: str, positive: str) -> str:
    side = negative if degrees < 0 else positive if degrees > 0 else ""
    return f"{abs(round(degrees, 6)):g}°{side}"


def _cells(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], images: npt.NDArray[np.float64], box: tuple[float, ...]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the centres of the grid's cells that hold places, and their images."""
    left, right, bottom, top = box
    columns, rows = GRID_CELLS
    column = np.clip((columns * (x - left) / (right - left)).astype(np.int64), 0, columns - 1)
    row = np.clip((rows * (y - bottom) / (top - bottom)).astype(np.int64), 0, rows - 1)
    cells, which = np.unique(row * columns + column, return_inverse=True)
    centre_x = left + (cells % columns + 0.5) * (right - left) / columns
    centre_y = bottom + (cells // columns + 0.5) * (top - bottom) / rows
    return centre_x, centre_y, np.bincount(which, weights=images).astype(np.float64)


def _with_legend(axes: Axes) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(labels) or 1, frameon=False,
        labelcolor=INK, fontsize=LETTER_POINTS - 1, borderaxespad=0.1, columnspacing=1.0, handletextpad=0.2,
    )  # fmt: skip
    return axes.figure  # type: ignore[return-value]  # of no subfigure
