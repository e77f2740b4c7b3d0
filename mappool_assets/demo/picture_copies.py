"""Copies of a picture as the web makes them, and what only looks like one: the same base map with another mark."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from mappool_assets.demo.canvas import Random

Change = Callable[[Image.Image, Random], Image.Image]
USUAL_QUALITY = 90  # of the JPEG that a copy is saved as
MARK_SHARE = 0.12  # of the shorter side: what a locator map highlights


def _resized(share: float) -> Change:
    def change(image: Image.Image, _: Random) -> Image.Image:
        width, height = (max(1, round(side * share)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)

    return change


def _cropped(share: float) -> Change:
    """Cut a share of the width and of the height off, at random from either side."""

    def change(image: Image.Image, random: Random) -> Image.Image:
        (width, height), (left, top) = image.size, random.random(2) * share
        corner = (round(left * width), round(top * height))
        return image.crop((*corner, round((1 - share + left) * width), round((1 - share + top) * height)))

    return change


def _brightened(factor: float) -> Change:
    return lambda image, _: ImageEnhance.Brightness(image).enhance(factor)


def watermarked(image: Image.Image, _: Random) -> Image.Image:
    """Write across the middle in half-transparent white, as stock agencies do."""
    layer = Image.new("RGBA", image.size)
    middle, size = (image.width / 2, image.height / 2), max(8.0, image.width / 8)
    ImageDraw.Draw(layer).text(
        middle, "SAMPLE MAP", (255, 255, 255, 150), ImageFont.load_default(size), "mm", stroke_width=1,
        stroke_fill=(90, 90, 90, 150),
    )  # fmt: skip
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def captioned(image: Image.Image, _: Random) -> Image.Image:
    """Cover the lowest tenth with a bar of text."""
    copy, top = image.copy(), round(image.height * 0.9)
    draw = ImageDraw.Draw(copy)
    draw.rectangle((0, top, image.width, image.height), (20, 20, 20))
    text_size = max(6.0, image.height * 0.06)
    draw.text((4, (top + image.height) / 2), "maps.example", "white", ImageFont.load_default(text_size), "lm")
    return copy


def marked(image: Image.Image, random: Random) -> Image.Image:
    """Lay a red disc on a random place: another map by its meaning, though nearly the same picture."""
    copy, radius = image.copy(), min(image.size) * MARK_SHARE / 2
    x, y = (random.uniform(radius, side - radius) for side in image.size)
    ImageDraw.Draw(copy).ellipse((x - radius, y - radius, x + radius, y + radius), (215, 30, 35), (90, 0, 0))
    return copy


COPIES: Mapping[str, Change] = {
    "re-encoded, quality 70": lambda image, _: image,
    "re-encoded, quality 30": lambda image, _: image,
    "half as wide": _resized(0.5),
    "a quarter as wide": _resized(0.25),
    "2 % cropped": _cropped(0.02),
    "5 % cropped": _cropped(0.05),
    "10 % cropped": _cropped(0.1),
    "20 % cropped": _cropped(0.2),
    "watermarked": watermarked,
    "captioned": captioned,
    "brightness × 1.3": _brightened(1.3),
    "brightness × 0.7": _brightened(0.7),
    "grey": lambda image, _: ImageOps.grayscale(image).convert("RGB"),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "mirrored, half as wide": lambda image, random: _resized(0.5)(ImageOps.mirror(image), random),
}
QUALITIES: Mapping[str, int] = {"re-encoded, quality 70": 70, "re-encoded, quality 30": 30}


def copied(image: Image.Image, kind: str, random: Random) -> bytes:
    """Return a copy, a key of :data:`COPIES`, as JPEG."""
    return as_jpeg(COPIES[kind](image, random), QUALITIES.get(kind, USUAL_QUALITY))


def as_jpeg(image: Image.Image, quality: int = USUAL_QUALITY) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
