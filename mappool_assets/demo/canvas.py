"""What all drawings share: an anti-aliased sheet, noise fields, colour ramps, contours, wandering lines, names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

T = TypeVar("T")
Colour = tuple[int, int, int]
Field = npt.NDArray[np.float32]  # (height, width)
Points = npt.NDArray[np.floating]  # (n, 2): x, y in pixels
Random = np.random.Generator

OVERSAMPLING = 2  # everything is drawn twice as large and reduced: Pillow's lines are not anti-aliased
INK: Colour = (45, 45, 50)
_NOISE_STEP = 2  # pixels between the support points of noise; finer detail is drawn as lines
_PERSISTENCE = 0.55  # weight of each octave relative to the one before: coasts rough, hills smooth enough

_ONSETS = [
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
    "th",
    "gl",
    "kr",
]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "o", "ia", "ei", "au"]
_CODAS = ["", "", "n", "r", "l", "s", "nd", "rn", "lm", "x", "ck"]
_ENDINGS = ["", "", "a", "ia", "burg", "ford", "stad", "ville", " Bay", "mora", "holm", "wick", "dorf", "haven"]


class Sheet:
    """A picture under the pen; coordinates are pixels of the finished picture."""

    def __init__(self, width: int, height: int, colour: Colour = (255, 255, 255)) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), colour)
        self._draw = ImageDraw.Draw(self._image)

    def paint(self, raster: npt.NDArray[np.uint8]) -> None:
        """Cover the sheet with an array of shape (height, width, 3)."""
        self._image.paste(Image.fromarray(raster).resize(self._image.size, Image.Resampling.NEAREST))

    def line(self, points: Points, colour: Colour, width: float = 1.0) -> None:
        """Draw a polyline."""
        thickness = max(1, round(width * OVERSAMPLING))
        # rounded joints are seen only on thick lines, and take five times as long
        self._draw.line(_flat(points), colour, thickness, joint="curve" if thickness > 9 else None)

    def cased_line(self, points: Points, casing: Colour, colour: Colour, width: float) -> None:
        """Draw a line with a border, as roads have it on maps."""
        self.line(points, casing, width + 1.5)
        self.line(points, colour, width)

    def dashed_line(self, points: Points, colour: Colour, width: float = 1.0) -> None:
        """Draw every other segment of a polyline."""
        for a, b in zip(points[:-1:2], points[1::2], strict=False):
            self.line(np.array([a, b]), colour, width)

    def polygon(self, points: Points, fill: Colour | None, outline: Colour | None = None, width: float = 1) -> None:
        """Draw a closed shape."""
        self._draw.polygon(_flat(points), fill, outline, max(1, round(width * OVERSAMPLING)))

    def rectangle(
        self,
        box: tuple[float, float, float, float],
        fill: Colour | None,
        outline: Colour | None = None,
        radius: float = 0,
    ) -> None:
        """Draw left, top, right, bottom."""
        scaled = [v * OVERSAMPLING for v in box]
        self._draw.rounded_rectangle(scaled, radius * OVERSAMPLING, fill, outline, OVERSAMPLING)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour | None, outline: Colour | None = None
    ) -> None:
        """Draw around a centre."""
        box = [v * OVERSAMPLING for v in (x - rx, y - ry, x + rx, y + ry)]
        self._draw.ellipse(box, fill, outline, OVERSAMPLING)

    def arc(
        self, x: float, y: float, radius: float, degrees: tuple[float, float], colour: Colour, width: float = 1
    ) -> None:
        """Draw part of a circle."""
        box = [v * OVERSAMPLING for v in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.arc(box, *degrees, colour, max(1, round(width * OVERSAMPLING)))

    def slice(self, x: float, y: float, radius: float, degrees: tuple[float, float], fill: Colour) -> None:
        """Draw a slice of a pie."""
        box = [v * OVERSAMPLING for v in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.pieslice(box, *degrees, fill, (255, 255, 255), OVERSAMPLING)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 9,
        colour: Colour = INK,
        anchor: str = "mm",
        halo: Colour | None = None,
    ) -> None:
        """Write at a point, by Pillow's two-letter anchors, perhaps with a halo that frees it from what is below."""
        position = (x * OVERSAMPLING, y * OVERSAMPLING)
        font = _font(round(size * OVERSAMPLING))
        self._draw.text(
            position, text, colour, font, anchor, stroke_width=OVERSAMPLING if halo else 0, stroke_fill=halo
        )

    def finish(self) -> Image.Image:
        """Return the picture."""
        return self._image.reduce(OVERSAMPLING)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # the font inside Pillow: the same pictures on every machine


def _flat(points: Points) -> list[float]:
    return (np.asarray(points) * OVERSAMPLING).ravel().tolist()


def noise(random: Random, width: int, height: int, cells: float, octaves: int = 4) -> Field:
    """Return fractal noise from 0 to 1: white noise on grids of doubled fineness and falling weight.

    Parameters
    ----------
    random : numpy.random.Generator
    width, height : int
        Of the field.
    cells : float
        Features along the longer side in the coarsest grid.
    octaves : int
        Grids.
    """
    small = (-(-width // _NOISE_STEP), -(-height // _NOISE_STEP))
    total = np.zeros((small[1], small[0]), np.float32)
    for octave in range(octaves):
        density = cells * 2**octave / max(small)
        grid = random.random((int(small[1] * density) + 2, int(small[0] * density) + 2), dtype=np.float32)
        total += resized(grid, *small) * _PERSISTENCE**octave
    field = resized(total, width, height)
    low, high = field.min(), field.max()
    return (field - low) / (high - low)


def resized(field: Field, width: int, height: int) -> Field:
    """Interpolate a field bicubically."""
    return np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))


def tint(field: Field, colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """Colour a field of 0 to 1 by a ramp through evenly spaced colours."""
    at = np.linspace(0, 1, len(colours))
    steps = np.linspace(0, 1, 256)
    ramp = np.stack([np.interp(steps, at, [c[i] for c in colours]) for i in range(3)], 1).astype(np.uint8)
    return ramp.take((np.clip(field, 0, 1) * 255).astype(np.uint8), axis=0)


def bands(field: Field, colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """Colour a field of 0 to 1 by as many equal classes as there are colours."""
    index = np.clip((field * len(colours)).astype(np.int8), 0, len(colours) - 1)
    return np.array(colours, np.uint8).take(index, axis=0)


def draw_contours(raster: npt.NDArray[np.uint8], field: Field, interval: float, colour: Colour) -> None:
    """Draw, in place, a line wherever the field passes a multiple of the interval."""
    level = np.floor(field / interval).astype(np.int16)
    edge = np.zeros(level.shape, bool)
    edge[:-1] = level[:-1] != level[1:]
    edge[:, :-1] |= level[:, :-1] != level[:, 1:]
    raster[edge] = colour


def two_tone(where: npt.NDArray[np.bool_], colour: Colour, other: Colour) -> npt.NDArray[np.uint8]:
    """Colour a mask, and the rest."""
    return np.array([other, colour], np.uint8).take(where, axis=0)


def edges(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell where a cell's right or lower neighbour has another label."""
    edge = np.zeros(labels.shape, bool)
    edge[:-1] = labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge


def nearest_seed(seeds: Points, width: int, height: int, warp: Field | None = None) -> npt.NDArray[np.intp]:
    """Return, for each pixel, the index of the nearest seed; a warp in pixels makes the borders wander.

    Worked out for every other pixel in both directions, which takes a quarter of the time.
    """
    y, x = np.mgrid[:height:2, :width:2].astype(np.float32)
    if warp is not None:
        x, y = x + warp[::2, ::2], y + warp.max() - warp[::2, ::2]
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    centres = seeds.astype(np.float32)
    nearest = ((centres**2).sum(1) - 2 * pixels @ centres.T).argmin(1).reshape(x.shape)
    return nearest.repeat(2, 0).repeat(2, 1)[:height, :width]


def wander(random: Random, start: npt.ArrayLike, end: npt.ArrayLike, roughness: float = 0.15) -> Points:
    """Return a line from one point to another that strays by about the roughness times its length."""
    steps = 24
    along = np.linspace(0, 1, steps)[:, None]
    straight = np.asarray(start) * (1 - along) + np.asarray(end) * along
    walk = random.standard_normal(steps).cumsum()
    walk -= np.linspace(walk[0], walk[-1], steps)
    walk = np.convolve(np.pad(walk, 2, "edge"), np.full(5, 0.2), "valid") * np.sin(np.pi * along[:, 0])
    direction = np.asarray(end, float) - np.asarray(start, float)
    return straight + roughness * 0.4 * walk[:, None] * np.array([-direction[1], direction[0]])


def across(random: Random, width: int, height: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return two points on opposite sides, a little outside."""
    if random.random() < width / (width + height):
        return (-5, random.uniform(0, height)), (width + 5, random.uniform(0, height))
    return (random.uniform(0, width), -5), (random.uniform(0, width), height + 5)


def jitter(random: Random, colour: Colour, amount: int = 14) -> Colour:
    """Vary a colour."""
    red, green, blue = np.clip(np.array(colour) + random.integers(-amount, amount + 1, 3), 0, 255).tolist()
    return red, green, blue


def scaled(colour: Colour, factor: float) -> Colour:
    """Darken (below 1) or lighten a colour."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def any_colour(random: Random, low: int = 0, high: int = 256) -> Colour:
    """Draw a colour with channels from ``low`` to ``high``."""
    red, green, blue = random.integers(low, high, 3).tolist()
    return red, green, blue


def choose(random: Random, options: Sequence[T]) -> T:
    """Draw one of the options."""
    return options[int(random.integers(len(options)))]


def place_name(random: Random) -> str:
    """Invent a place."""
    syllables = "".join(
        choose(random, _ONSETS) + choose(random, _VOWELS) + choose(random, _CODAS) for _ in range(random.integers(1, 3))
    )
    return (syllables + choose(random, _ENDINGS)).capitalize().replace(" bay", " Bay")
