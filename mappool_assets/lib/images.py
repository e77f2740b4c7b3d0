"""Open images that strangers made, and lay out contact sheets of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin

MAX_PIXELS = 89_478_485  # Pillow's own limit (1 GiB / 4 / 3): below it, a decoded RGB image takes at most 256 MiB
# A progressive JPEG goes over its pixels about ten times; a forged one of 300 kB may do so thousands of times, at some
# 30 ms a scan of 81 million pixels.
MAX_SCANNED_PIXELS = 30 * MAX_PIXELS

MAX_STRIPS = 2**16  # a row each of the tallest pictures there are

# Raster formats that pages carry. Left out on purpose: EPS (Pillow runs Ghostscript on it) and ICO and ICNS (the images
# inside may be larger than the size in their header, so the pixel cap could not be held before decoding).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")


class ImageRefused(Exception):
    """Bytes that are no usable image.

    Attributes
    ----------
    reason : str
        ``not_an_image`` (no known raster format, or broken), ``too_many_pixels`` or ``too_small``.
    detail : str
        A sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = 1) -> Image.Image:
    """Decode the first frame of an image as RGB.

    The orientation in EXIF is not applied: neither open_clip's preprocessing nor img2dataset, with which CommonPool
    was fetched and embedded, does. What is transparent is laid on white, as img2dataset does; dropping it, as
    ``image.convert("RGB")`` alone would, shows whatever colour lies hidden there. RGB conversion comes before the
    resize, not after as in open_clip: Pillow can resize palette images only by nearest neighbour.

    Parameters
    ----------
    data : bytes
        An encoded image.
    max_pixels : int
        Width times height allowed; checked from the header, before decoding.
    min_side : int
        Pixels that the shorter side needs.

    Raises
    ------
    ImageRefused
        The bytes are not an image, or its size is outside the bounds.
    """
    try:
        _check_strips(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, max_pixels, min_side)
            _check_scans(image, data)
            return _on_white(image)
    except ImageRefused:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own bound, twice MAX_PIXELS
        raise ImageRefused("too_many_pixels", str(error)) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files: struct.error, SyntaxError, …
        raise ImageRefused("not_an_image", f"{type(error).__name__}: {error}".partition(" <_io")[0]) from None


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


def _check_size(size: tuple[int, int], max_pixels: int, min_side: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageRefused("too_many_pixels", f"{width} x {height} pixels, more than {max_pixels}")
    if min(width, height) < min_side:
        raise ImageRefused("too_small", f"{width} x {height} pixels, a side under {min_side}")


def _check_strips(data: bytes) -> None:
    # Pillow makes an object of each strip or tile of a TIFF, at some 300 bytes and 40 microseconds, when it opens it.
    if data[:4] not in TiffImagePlugin.PREFIXES:
        return
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
    file = io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    strips = max(len(directory.get(tag, ())) for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS))
    if strips > MAX_STRIPS:
        raise ImageRefused("too_many_pixels", f"{strips} strips or tiles, more than {MAX_STRIPS}")


def _check_scans(image: Image.Image, data: bytes) -> None:
    # The marker FF DA begins a scan and cannot occur inside one: FF is followed by a stuffed 00 there.
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
    if image.width * image.height * scans > MAX_SCANNED_PIXELS:
        raise ImageRefused("too_many_pixels", f"{image.width} x {image.height} pixels in {scans} scans")


BACKGROUND, CELL, TEXT = "#f6f7f9", "#ffffff", "#3a3f47"  # light, so that dark line drawings are seen in a dark UI too
CELL_BORDER = "#d9dde3"
MOST_CAPTION_CHARACTERS = 160  # several times what fits under a thumbnail; each is measured when a caption is shortened


def contact_sheet(images: Sequence[tuple[bytes, str]], *, columns: int = 6, thumbnail_pixels: int = 160) -> bytes:
    """Lay out images with captions on one sheet.

    Parameters
    ----------
    images : sequence of (bytes, str)
        Encoded images and their captions; one that cannot be shown gets a cell that says why.
    columns : int
        Cells in a row; fewer where there are fewer images.
    thumbnail_pixels : int
        Longest side of a thumbnail. Smaller images are not enlarged.

    Returns
    -------
    bytes
        A PNG.
    """
    margin, caption_height = 10, 22
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    step_x, step_y = thumbnail_pixels + 3 * margin, thumbnail_pixels + 3 * margin + caption_height
    sheet = Image.new("RGB", (columns * step_x + margin, rows * step_y + margin), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for position, (data, caption) in enumerate(images):
        left = margin + position % columns * step_x
        top = margin + position // columns * step_y
        right, bottom = left + step_x - margin - 1, top + step_y - margin - 1
        draw.rounded_rectangle((left, top, right, bottom), radius=6, fill=CELL, outline=CELL_BORDER)
        middle = ((left + right) // 2, top + margin + thumbnail_pixels // 2)
        _draw_thumbnail(sheet, draw, data, middle, thumbnail_pixels)
        text = _elided(caption, font, thumbnail_pixels)
        draw.text((middle[0], bottom - caption_height // 2 - 2), text, fill=TEXT, font=font, anchor="mm")
    buffer = io.BytesIO()
    # 256 colours: a third of the bytes, which the event log keeps, and no difference at this size.
    sheet.quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_thumbnail(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, data: bytes, middle: tuple[int, int], pixels: int
) -> None:
    try:
        image = open_image(data)
    except ImageRefused as refusal:
        draw.text(middle, refusal.reason.replace("_", " "), fill=TEXT, font=ImageFont.load_default(13), anchor="mm")
        return
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    sheet.paste(image, (middle[0] - image.width // 2, middle[1] - image.height // 2))


def _elided(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, pixels: int) -> str:
    """Shorten a caption to a width, taking from its middle: names differ most at their ends."""
    text = " ".join(text[:MOST_CAPTION_CHARACTERS].split())
    if font.getlength(text) <= pixels:
        return text
    for kept in range(len(text) - 1, 0, -1):
        shorter = f"{text[: -(-kept // 2)]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= pixels:
            return shorter
    return "…"
