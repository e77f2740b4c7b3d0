"""Drawings are the same each time, of all kinds, sizes and formats, and quick."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mappool_assets.demo.drawings import MAPS, NEAR_MAPS, NON_MAPS, contact_sheet, draw, draw_kind

KINDS = [*MAPS, *NEAR_MAPS, *NON_MAPS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_drawn_the_same_each_time(kind):
    one, again, other = (draw_kind(kind, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == again
    assert one.content != other.content
    assert one.kind == kind
    assert one.is_map == (kind in MAPS)
    assert len(one.caption) > 5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), is_map=st.booleans())
def test_every_drawing_is_a_picture_as_described(seed, is_map):
    drawing = draw(np.random.default_rng(seed), is_map=is_map)
    assert drawing.is_map == is_map
    with Image.open(io.BytesIO(drawing.content)) as image:
        assert image.format == {".jpg": "JPEG", ".png": "PNG"}[drawing.suffix]
        assert image.size == (drawing.width, drawing.height)
        assert 180 <= min(image.size) <= max(image.size) <= 420
    decoded = drawing.image()
    assert decoded.mode == "RGB"
    assert np.asarray(decoded).std() > 1  # not blank


def test_all_kinds_sizes_formats_and_grey_come_up():
    random = np.random.default_rng(0)
    drawings = [draw(random, is_map=index % 2 == 0) for index in range(500)]
    assert {drawing.kind for drawing in drawings} == set(KINDS)
    assert {drawing.suffix for drawing in drawings} == {".jpg", ".png"}
    assert {Image.open(io.BytesIO(drawing.content)).mode for drawing in drawings} == {"RGB", "L"}
    assert len({(drawing.width, drawing.height) for drawing in drawings}) > 300
    assert len({drawing.content for drawing in drawings}) == 500
    near = sum(drawing.kind in NEAR_MAPS for drawing in drawings)
    assert 20 < near < 60


def test_contact_sheet_has_a_row_a_kind():
    sheet = contact_sheet(np.random.default_rng(0), columns=2, side=40)
    assert sheet.size == (80, 40 * len(KINDS))
