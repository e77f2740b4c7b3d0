"""Charts as SVG that takes its colours and its font from the page, and as PNG for Dagster; same numbers, same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from mappool_assets.lib.plots import BLUE, GREY, GRID, INK, ORANGE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (5.2, 3.1)  # with letters of 10 points these are still 9 pixels high on a phone of 400
PLOT_AREA = (0.105, 0.17, 0.88, 0.72)  # left, bottom, width and height of the axes; short_count keeps within it
LETTER_POINTS = 10
PAPER = "#FFFFFF"
MOST_BARS = 40
# What the page calls our colours: it has others for them where the reader prefers dark.
COLOUR_NAMES = {BLUE: "blue", ORANGE: "orange", GREY: "grey", INK: "ink", GRID: "grid", PAPER: "panel"}
LAION_GEO_DOMAINS, LAION_GEO_TOP_20_SHARE = 44_992, 0.3788  # of 484,714 images, in the article on LAION-geo


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
    axes = _axes("maps among the pairs of a shard, in %", "shards")
    # by whole steps, as the edges themselves are not exact
    counts = np.bincount((np.floor(percents / step) - first).astype(int), minlength=len(edges) - 1)
    axes.bar(edges[:-1], counts, width=0.94 * step, align="edge", color=BLUE)
    median = float(np.median(percents))
    axes.axvline(median, color=ORANGE, linewidth=2, label=f"median {median:.3g} %")
    _whole_numbers(axes)
    return _finished(axes)


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
    axes = _axes("score", "rows, logarithmic")
    is_map = edges[:-1] >= min(thresholds) - 1e-9
    for chosen, colour, label in ((~is_map, GREY, "not a map"), (is_map, BLUE, "map")):
        bars = chosen & (counts > 0)
        axes.bar(edges[:-1][bars], counts[bars], np.diff(edges)[bars], align="edge", color=colour, label=label)
    for threshold in {min(thresholds), max(thresholds)}:
        axes.axvline(threshold, color=ORANGE, linewidth=2, label=f"threshold {threshold:g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter(lambda count, _: short_count(count))
    return _finished(axes)


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
    axes = _axes("score", "maps")
    left = (np.arange(len(counts)) + bars.min()) * step / 100
    axes.bar(left, counts, width=0.94 * step / 100, align="edge", color=BLUE)
    for number, edge in enumerate(band_edges):
        label = "bands of the pictures below" if number == 0 else None
        axes.axvline(edge / 100, color=GREY, linewidth=1, linestyle=(0, (3, 3)), label=label)
    _whole_numbers(axes)
    return _finished(axes)


def steps_chart(
    images: Mapping[str, Mapping[int, int]], ticks: Mapping[int, str], xlabel: str, *, is_centred: bool = False
) -> Figure:
    """Draw the share of the images in each step, one outline a source.

    Parameters
    ----------
    images : mapping of str to mapping of int to int
        By source, the first one filled: images by step.
    ticks : mapping of int to str
        Labels of the steps.
    xlabel : str
        What the steps are.
    is_centred : bool
        Whether a step lies around its number, not between it and the next.
    """
    steps = sorted({step for counts in images.values() for step in counts})
    every = np.arange(steps[0], steps[-1] + 1)
    edges = np.append(every, every[-1] + 1) - (0.5 if is_centred else 0)
    axes = _axes(xlabel, "images, in %")
    for number, (source, counts) in enumerate(images.items()):
        shares = 100 * np.array([counts.get(int(step), 0) for step in every]) / sum(counts.values())
        if number == 0:
            axes.stairs(shares, edges, label=source, color=GREY, alpha=0.45, fill=True)
        else:
            axes.stairs(shares, edges, label=source, color=BLUE, linewidth=2.2)
    shown = {step: label for step, label in ticks.items() if edges[0] <= step <= edges[-1]}
    axes.set_xticks(list(shown), list(shown.values()))
    return _finished(axes)


def concentration_chart(ranks: npt.ArrayLike, shares: npt.ArrayLike) -> Figure:
    """Draw which share of the maps the domains up to each rank hold, the figure of LAION-geo beside it.

    Parameters
    ----------
    ranks : array of int, shape (n,)
        Ascending from 1.
    shares : array of shape (n,)
        Cumulative, 0 to 1.
    """
    axes = _axes("domains with the most maps, logarithmic", "their share of all maps, in %")
    axes.plot(ranks, 100 * np.asarray(shares), "o-", color=BLUE, linewidth=2, markersize=3.5, label="here")
    axes.plot(
        [20, LAION_GEO_DOMAINS], [100 * LAION_GEO_TOP_20_SHARE, 100], "D", color=ORANGE, markersize=7,
        markerfacecolor=PAPER, label="LAION-geo", linestyle="none",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 105)
    axes.xaxis.set_major_formatter(lambda rank, _: short_count(rank))
    return _finished(axes)


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


def as_svg(figure: Figure, name: str) -> Markup:
    """Return a chart as an ``<svg>`` element to stand in the page, without a clock or the library's name.

    Parameters
    ----------
    name : str
        Sets its ids apart from those of the page's other charts.
    """
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", transparent=True, metadata=no_metadata)
    svg = re.sub(r"^.*?(?=<svg)|<!--.*?-->|<style.*?</style>", "", content.getvalue(), flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg)  # as wide as the page has room for
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # the same in each chart of the page
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)  # the page's
    for colour, name in COLOUR_NAMES.items():
        svg = re.sub(colour, f"var(--{name})", svg, flags=re.IGNORECASE)
    return Markup("\n".join(line.rstrip() for line in svg.splitlines() if line.strip()))  # noqa: S704  no web text in it


def as_png(figure: Figure) -> bytes:
    """Return a chart as a PNG on white, as wide as Dagster's UI shows whole."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=WIDTH / INCHES[0], facecolor="white", metadata={"Software": None})
    return content.getvalue()


def _axes(xlabel: str, ylabel: str) -> Axes:
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


def _finished(axes: Axes) -> Figure:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, labelcolor=INK, fontsize=LETTER_POINTS,
            borderaxespad=0.1, columnspacing=1.2, handlelength=1.2, handletextpad=0.5,
        )  # fmt: skip
    return axes.figure  # type: ignore[return-value]  # of no subfigure


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(lambda count, _: short_count(count))
