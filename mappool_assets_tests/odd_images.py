"""Image files as the web serves them: every format, and what only claims to be one."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mappool_assets_tests.labelled_pictures import picture

WIDTH, HEIGHT = 48, 40
BOMB_SIDE = 30_000  # 900 million pixels: 2.7 GB as RGB


class ImageFile(NamedTuple):
    """A file's bytes, and what a reader that goes by its content finds."""

    data: bytes
    mime: str
    width: int = WIDTH
    height: int = HEIGHT


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return saved(picture(seed, width, height), "JPEG", quality=90)


@functools.cache
def image_files() -> dict[str, ImageFile]:
    """Return sound images by name; each is another picture."""
    grey16 = Image.fromarray(np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16))
    frames = [picture(seed) for seed in (110, 111, 112)]
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: turned by 90°
    return {
        "jpeg": ImageFile(jpeg(100), "image/jpeg"),
        "progressive_jpeg": ImageFile(saved(picture(101), "JPEG", progressive=True), "image/jpeg"),
        "cmyk_jpeg": ImageFile(saved(picture(102).convert("CMYK"), "JPEG"), "image/jpeg"),
        "grey_jpeg": ImageFile(saved(picture(103).convert("L"), "JPEG"), "image/jpeg"),
        "rotated_jpeg": ImageFile(saved(picture(104), "JPEG", exif=rotated), "image/jpeg"),
        "jpeg_of_two_pictures": ImageFile(
            saved(picture(105), "MPO", save_all=True, append_images=[picture(106)]), "image/jpeg"
        ),
        "jpeg_with_bytes_after_its_end": ImageFile(jpeg(107) + b"\0" * 1000, "image/jpeg"),
        "jpeg_of_5_MB": ImageFile(jpeg(118) + bytes(5_000_000), "image/jpeg"),
        "png": ImageFile(saved(picture(108), "PNG"), "image/png"),
        "png_of_16_bits": ImageFile(saved(grey16, "PNG"), "image/png"),
        "transparent_png": ImageFile(saved(_with_transparency(), "PNG"), "image/png"),
        "one_pixel_png": ImageFile(saved(picture(109, 1, 1), "PNG"), "image/png", 1, 1),
        "animated_gif": ImageFile(
            saved(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0), "image/gif"
        ),
        "animated_png": ImageFile(saved(frames[1], "PNG", save_all=True, append_images=frames[2:]), "image/png"),
        "webp": ImageFile(saved(picture(113), "WEBP"), "image/webp"),
        "animated_webp": ImageFile(
            saved(frames[2], "WEBP", save_all=True, append_images=frames[:2]), "image/webp"
        ),
        "avif": ImageFile(saved(picture(114), "AVIF"), "image/avif"),
        "bmp": ImageFile(saved(picture(115), "BMP"), "image/bmp"),
        "tiff": ImageFile(saved(picture(116), "TIFF", compression="tiff_lzw"), "image/tiff"),
    }  # fmt: skip


def _with_transparency() -> Image.Image:
    image = picture(117).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb() -> bytes:
    """Return a sound PNG of 110 kB and 900 million black pixels."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    deflate = zlib.compressobj(9)
    row = bytes(1 + -(-BOMB_SIDE // 8))
    pixels = b"".join(deflate.compress(row * 1000) for _ in range(BOMB_SIDE // 1000)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def png_with_text_bomb() -> bytes:
    """Return a PNG whose comment unpacks to 100 MB."""
    png = saved(picture(120), "PNG")
    comment = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    return png[:33] + comment + png[33:]  # 33: signature and IHDR


def jpeg_of_claimed_size(side: int = 65_500) -> bytes:
    """Return a JPEG whose header claims a width and height that its data do not have."""
    data = jpeg(121)
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", side, side) + data[frame + 4 :]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="40"><rect width="48" height="40"/></svg>'
PAGE = b"<!doctype html><title>This domain is for sale</title>" + b"<p>Buy it now.</p>" * 40


def jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG that goes over its pixels as often as said: some 120 bytes a scan."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    scan = data[last:].removesuffix(b"\xff\xd9")
    return data[:last] + scan * scans + b"\xff\xd9"


def tiff_of_many_strips(strips: int, order: str = "<", *, is_big: bool = False, is_tiled: bool = False) -> bytes:
    """A grey TIFF one pixel wide whose rows are strips or tiles of their own, all of them at the same place.

    ``order`` is that of the bytes, as :mod:`struct` writes it; ``is_big``: BigTIFF.
    """
    number, directory_at, pixel_at = ("Q", 16, 4) if is_big else ("L", 8, 0)
    rows = {322: 1, 323: 1} if is_tiled else {278: 1}
    tags = {256: 1, 257: strips, 258: 8, 259: 1, 262: 1, **rows, 324 if is_tiled else 273: None}
    count, entry = ("Q" if is_big else "H"), "HH" + 2 * number
    blob_at = directory_at + struct.calcsize(f"{order}{count}{number}") + len(tags) * struct.calcsize(order + entry)
    directory = struct.pack(order + count, len(tags))
    for tag, value in sorted(tags.items()):
        # SHORTs (3) at another place, or one LONG (4), of 8 bytes in BigTIFF (16).
        kind = 3 if value is None else 16 if is_big else 4
        directory += struct.pack(order + entry, tag, kind, *((strips, blob_at) if value is None else (1, value)))
    magic = {"<": b"II", ">": b"MM"}[order]
    version = struct.pack(order + "HHH", 43, 8, 0) if is_big else struct.pack(order + "H", 42)
    header = magic + version + struct.pack(order + number, directory_at)
    return header + directory + bytes(struct.calcsize(number)) + struct.pack(order + "H", pixel_at) * strips
