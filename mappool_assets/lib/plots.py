"""Plots for Dagster's UI as PNG bytes: light background, readable at 700 pixels; same numbers, same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from mappool_assets.lib.evaluation import METHOD_NAMES, PAPER_ACCURACY, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, DOTS_PER_INCH = (
    7.0,
    110,
)  # 770 pixels: the UI shows pictures pixel by pixel and cuts what is wider than 1,150
# Okabe and Ito (2008): colours that the colour-blind can tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8F98"
INK, GRID = "#22262E", "#E3E6EB"


def accuracy_plot(evaluations: Sequence[Evaluation], chosen: str | None = None) -> bytes:
    """Draw each method's accuracy with its 95 % interval, the paper's figure beside it.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Drawn from top to bottom.
    chosen : str, optional
        The method whose name is set in bold.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _canvas(height_inches=1.3 + 0.5 * len(evaluations))
    rows = np.arange(len(evaluations))
    accuracy, low, high = (
        100 * np.array([getattr(e, name) for e in evaluations])
        for name in ("accuracy", "accuracy_low", "accuracy_high")
    )
    paper = 100 * np.array([PAPER_ACCURACY[e.method] for e in evaluations])
    axes.errorbar(
        accuracy, rows, xerr=[accuracy - low, high - accuracy], fmt="o", color=BLUE, markersize=8, capsize=4,
        elinewidth=2, label="here, with 95 % interval",
    )  # fmt: skip
    axes.plot(paper, rows, "D", color=ORANGE, markersize=7, markerfacecolor="white", label="MapPool's paper")
    for row, value in zip(rows, accuracy, strict=True):
        axes.annotate(f"{value:.1f}", (value, row), (0, 8), textcoords="offset points", ha="center", color=BLUE)
    axes.set_yticks(rows, [METHOD_NAMES[e.method].replace(", ", "\n", 1) for e in evaluations])
    for label, e in zip(axes.get_yticklabels(), evaluations, strict=True):
        label.set_fontweight("bold" if e.method == chosen else "normal")
    axes.set_ylim(len(evaluations) - 0.5, -0.6)
    margin = 0.06 * (100 - min(low.min(), paper.min()))
    axes.set_xlim(min(low.min(), paper.min()) - margin, 100 + margin)
    axes.set_xlabel(f"accuracy in % on {evaluations[0].rows:,} evaluation images")
    axes.grid(axis="x", color=GRID)
    _legend_above(axes)
    return _png(figure)


def score_histogram_plot(edges: npt.ArrayLike, counts: npt.ArrayLike, threshold: float) -> bytes:
    """Draw how many rows have which score, maps set off by colour.

    Parameters
    ----------
    edges : array, shape (b + 1,)
        Ascending bin edges; the outermost bins may hold what lies beyond.
    counts : array of int, shape (b,)
        Drawn on a logarithmic scale: one row is as visible as the bulk is.
    threshold : float
        Score above which a row is a map.

    Returns
    -------
    bytes
        A PNG.
    """
    edges, counts = np.asarray(edges, dtype=np.float64), np.asarray(counts)
    figure, axes = _canvas(height_inches=3.2)
    axes.set_yscale("log")
    axes.set_ylim(0.5, max(10.0, 2.0 * float(counts.max(initial=1))))
    is_map = edges[:-1] >= threshold
    for which, colour, label in ((~is_map, GREY, "not a map"), (is_map, BLUE, "map")):
        axes.bar(edges[:-1][which], counts[which], np.diff(edges)[which], align="edge", color=colour, label=label)
    axes.axvline(threshold, color=ORANGE, linewidth=2, label=f"threshold {threshold:g}")
    (filled,) = np.nonzero(counts)
    if len(filled):
        left, right = min(edges[filled[0]], threshold), max(edges[filled[-1] + 1], threshold)
        axes.set_xlim(left - 0.03 * (right - left), right + 0.03 * (right - left))
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.set_xlabel("map score")
    axes.set_ylabel("rows, logarithmic")
    axes.grid(axis="y", color=GRID)
    _legend_above(axes)
    return _png(figure)


def _canvas(height_inches: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure((WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=11, length=0)
    axes.xaxis.label.set(color=INK, fontsize=11)
    axes.yaxis.label.set(color=INK, fontsize=11)
    return figure, axes


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, labelcolor=INK, fontsize=11,
        borderaxespad=0.2, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def _palette() -> Image.Image:
    """Return our colours in twelve steps towards white.

    With them a plot takes 5 kB instead of 15, which matters where each of 25,000 partitions has one in the event log.
    """
    colours = [np.array(ImageColor.getrgb(colour)) for colour in (BLUE, ORANGE, GREY, INK, GRID)]
    shades = [255 - (255 - colour) * step // 12 for colour in colours for step in range(13)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate(shades).astype(np.uint8).tobytes())
    return palette
