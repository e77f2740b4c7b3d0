"""Plots for Dagster's UI as PNG bytes: light background, readable at 700 pixels; same numbers, same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mappool_assets.lib.evaluation import METHOD_NAMES, PAPER_ACCURACY, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 770  # the UI shows pictures pixel by pixel and cuts what is wider than 1,150
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
    picture = Image.new("RGB", (WIDTH, 352), "white")
    axes = _HistogramAxes(ImageDraw.Draw(picture), *_shown_scores(edges, counts, threshold), int(counts.max(initial=1)))
    axes.draw_grid()
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        axes.draw_bar(low, high, count, BLUE if low >= threshold else GREY)
    axes.draw_threshold(threshold)
    axes.draw_frame()
    axes.draw_legend({f"threshold {threshold:g}": ORANGE, "not a map": GREY, "map": BLUE})
    return _small_png(picture)


def _shown_scores(edges: np.ndarray, counts: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return the range of the bins that are not empty and of the threshold, with a margin."""
    filled = np.nonzero(counts)[0]
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, -1)
    low, high = min(edges[first], threshold), max(edges[last], threshold)
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


class _HistogramAxes:
    """Axes drawn with Pillow in 8 ms; matplotlib takes 170, and each of 25,000 shards has such a plot."""

    TOP, RIGHT, BOTTOM = 38, WIDTH - 6, 302  # pixels
    MOST_LABELS = 8  # on an axis

    def __init__(self, draw: ImageDraw.ImageDraw, low: float, high: float, most: int) -> None:
        self.draw, self.low, self.high = draw, low, high
        self.least, self.most = 0.5, max(10.0, 2.0 * most)
        self.font = ImageFont.load_default(16)
        decades = int(math.log10(self.most))
        self.marked_counts = [10**decade for decade in range(0, decades + 1, 1 + decades // self.MOST_LABELS)]
        self.left = 16 + round(self.font.getlength(f"{self.marked_counts[-1]:,}"))

    def x(self, score: float) -> int:
        return round(self.left + (score - self.low) / (self.high - self.low) * (self.RIGHT - self.left))

    def y(self, count: float) -> int:
        share = math.log(max(count, self.least) / self.least) / math.log(self.most / self.least)
        return round(self.BOTTOM - share * (self.BOTTOM - self.TOP))

    def draw_grid(self) -> None:
        for count in self.marked_counts:
            y = self.y(count)
            self.draw.line([(self.left, y), (self.RIGHT, y)], GRID)
            self.draw.text((self.left - 8, y), f"{count:,}", INK, self.font, "rm")

    def draw_bar(self, low: float, high: float, count: int, colour: str) -> None:
        if count > 0:
            left = self.x(low)
            self.draw.rectangle([left, self.y(count), max(left, self.x(high) - 1), self.BOTTOM], colour)

    def draw_threshold(self, threshold: float) -> None:
        x = self.x(threshold)
        self.draw.rectangle([x - 1, self.TOP, x + 1, self.BOTTOM], ORANGE)

    def draw_frame(self) -> None:
        self.draw.line([(self.left, self.TOP), (self.left, self.BOTTOM), (self.RIGHT, self.BOTTOM)], GREY)
        step = _round_step((self.high - self.low) / self.MOST_LABELS)
        for multiple in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            self.draw.text((self.x(multiple * step), self.BOTTOM + 8), f"{multiple * step:g}", INK, self.font, "mt")
        self.draw.text(((self.left + self.RIGHT) // 2, 334), "map score", INK, self.font, "mm")
        self.draw.text((8, self.TOP // 2), "rows, logarithmic", INK, self.font, "lm")

    def draw_legend(self, colours: Mapping[str, str]) -> None:
        x, y = self.RIGHT, self.TOP // 2
        for text, colour in reversed(list(colours.items())):
            x -= round(self.font.getlength(text))
            self.draw.text((x, y), text, INK, self.font, "lm")
            self.draw.rectangle([x - 32, y - 5, x - 8, y + 4], colour)
            x -= 50


def _round_step(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _canvas(height_inches: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure((WIDTH / 110, height_inches), dpi=110, facecolor="white", layout="constrained")
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
    return _small_png(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def _small_png(picture: Image.Image) -> bytes:
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
