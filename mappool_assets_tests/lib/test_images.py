import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib.images import FORMATS, MAX_STRIPS, ImageRefused, contact_sheet, open_image
from mappool_assets_tests.odd_images import jpeg_of_many_scans, tiff_of_many_strips


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(width=40, height=30, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def reason_of(data, **bounds):
    with pytest.raises(ImageRefused) as caught:
        open_image(data, **bounds)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_allowed_can_be_opened(format):
    image = open_image(encoded(picture(), format))
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "CMYK"])
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode):
    image = picture(mode=mode if mode != "I;16" else "L").convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(np.asarray(open_image(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white(mode):
    image = Image.new("RGBA", (40, 30), (10, 20, 30, 0))
    image.paste((10, 10, 10, 255), (0, 0, 20, 30))
    if mode == "P":
        data = encoded(image.convert("P"), "PNG", transparency=image.convert("P").getpixel((30, 0)))
    else:
        data = encoded(image.convert(mode), "PNG")
    opened = open_image(data)
    assert opened.getpixel((5, 5)) == pytest.approx((10, 10, 10), abs=40)
    assert opened.getpixel((30, 5)) == (255, 255, 255)


def test_the_first_frame_is_taken():
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    assert open_image(encoded(red, "GIF", save_all=True, append_images=[blue])).getpixel((0, 0)) == (255, 0, 0)


def test_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert open_image(encoded(picture(40, 30), "JPEG", exif=exif)).size == (40, 30)


@pytest.mark.parametrize(
    "data", [b"", b"<html></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_raster_image_is_refused(data):
    assert reason_of(data) == "not_an_image"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_image_is_refused(format):
    data = encoded(picture(), format)
    assert reason_of(data[: len(data) // 2]) == "not_an_image"


def test_formats_that_hide_their_size_or_run_programs_are_refused():
    assert reason_of(encoded(picture(32, 32), "ICO")) == "not_an_image"
    assert reason_of(encoded(picture(), "EPS")) == "not_an_image"


def bomb(width, height):
    """Return a PNG of a few hundred bytes whose header claims a size; it has no pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_the_pixel_cap_is_checked_before_decoding():
    assert reason_of(bomb(1000, 1000), max_pixels=999_999) == "too_many_pixels"
    assert reason_of(bomb(1000, 1000), max_pixels=1_000_000) == "not_an_image", (
        "within the cap it is decoded, and broken"
    )
    assert reason_of(bomb(100_000, 100_000)) == "too_many_pixels"


def test_the_shorter_side_counts():
    data = encoded(picture(40, 30))
    assert open_image(data, min_side=30).size == (40, 30)
    assert reason_of(data, min_side=31) == "too_small"


def test_contact_sheet_shows_each_image_and_says_what_it_cannot_show():
    red, green = encoded(Image.new("RGB", (300, 100), "red")), encoded(Image.new("RGB", (20, 20), "lime"))
    sheet_bytes = contact_sheet(
        [(red, "a/" + "long " * 50), (green, "b"), (b"broken", "c")], columns=2, thumbnail_pixels=100
    )
    sheet = Image.open(io.BytesIO(sheet_bytes)).convert("RGB")
    colours = {colour: count for count, colour in sheet.getcolors(maxcolors=100_000)}
    assert sheet.size == (270, 314)
    assert colours[0, 255, 0] == 400, "a small image is not enlarged"
    assert abs(colours[255, 0, 0] - 100 * 33) <= 100
    assert contact_sheet([(red, "a")]) == contact_sheet([(red, "a")])


def test_a_contact_sheet_has_at_most_a_byte_a_pixel():
    images = [(encoded(picture(160 + number, 160)), "noise") for number in range(6)]
    sheet_bytes = contact_sheet(images)
    sheet = Image.open(io.BytesIO(sheet_bytes))
    assert (sheet.format, sheet.mode) == ("PNG", "P")
    assert len(sheet_bytes) < sheet.width * sheet.height + 2_000, "the event log keeps them"


def test_an_empty_contact_sheet_is_an_image():
    assert Image.open(io.BytesIO(contact_sheet([]))).size[0] > 0


def test_a_jpeg_that_repeats_its_scans_is_refused_before_they_are_decoded():
    assert open_image(jpeg_of_many_scans(300, 20)).size == (300, 300)
    with pytest.raises(ImageRefused) as refused:
        open_image(jpeg_of_many_scans(3_000, 400))
    assert refused.value.reason == "too_many_pixels"
    assert "3000 x 3000 pixels in 4" in refused.value.detail


@pytest.mark.parametrize("is_tiled", [False, True])
@pytest.mark.parametrize(("order", "is_big"), [("<", False), (">", False), ("<", True)])  # Pillow reads no other
def test_a_tiff_of_too_many_strips_is_refused_before_they_are_made(order, is_big, is_tiled):
    assert open_image(tiff_of_many_strips(300, order, is_big=is_big, is_tiled=is_tiled)).size == (1, 300)
    began = time.process_time()
    with pytest.raises(ImageRefused, match=r"^too_many_pixels: 70000 strips or tiles, more than 65536$"):
        open_image(tiff_of_many_strips(70_000, order, is_big=is_big, is_tiled=is_tiled))
    assert time.process_time() - began < 1, "Pillow alone takes some 3 s"
    assert MAX_STRIPS < 70_000


@pytest.mark.parametrize(
    "options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"tiffinfo": {278: 1}}]
)
def test_tiffs_of_every_kind_can_be_opened(options):
    assert open_image(encoded(picture(), "TIFF", **options)).size == (40, 30)


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0", b"MM\0*\0\0\0\x08\xff\xff"])
def test_a_tiff_that_ends_in_its_header_is_no_image(data):
    assert reason_of(data) == "not_an_image"
