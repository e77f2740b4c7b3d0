"""Seeded pictures with captions: maps of eleven kinds, and seventeen kinds of what is none, some of them close.

Nobody's pictures, so they can be shipped, shown and published; and as a classifier finds most, not all, of the maps
among them, the demo's accuracy table says something.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from mappool_assets.demo import diagrams, pictures, thematic_maps, topographic_maps
from mappool_assets.demo.canvas import Random, Sheet

Artist = Callable[[Sheet, Random], str]

MAPS: Mapping[str, Artist] = {
    "coast": topographic_maps.coast,
    "roads": topographic_maps.roads,
    "streets": topographic_maps.streets,
    "relief": topographic_maps.relief,
    "sea_chart": topographic_maps.sea_chart,
    "antique": topographic_maps.antique,
    "choropleth": thematic_maps.choropleth,
    "political": thematic_maps.political,
    "transit": thematic_maps.transit,
    "weather": thematic_maps.weather,
    "routes": thematic_maps.routes,
}
NEAR_MAPS: Mapping[str, Artist] = {
    "floor_plan": diagrams.floor_plan,
    "aerial": diagrams.aerial,
    "camouflage": diagrams.camouflage,
    "circuit": diagrams.circuit,
    "mind_map": diagrams.mind_map,
}
NON_MAPS: Mapping[str, Artist] = {
    "landscape": pictures.landscape,
    "portrait": pictures.portrait,
    "product": pictures.product,
    "food": pictures.food,
    "pattern": pictures.pattern,
    "bokeh": pictures.bokeh,
    "texture": pictures.texture,
    "abstract": pictures.abstract,
    "chart": diagrams.chart,
    "text_page": diagrams.text_page,
    "screenshot": diagrams.screenshot,
    "doodle": diagrams.doodle,
}
NEAR_MAP_SHARE = 0.15  # of the non-maps: enough to be confused, few enough to look like the web
_SIDES = (180, 420)  # pixels, small ones more often, which saves time
_GREY_SHARE = 0.03  # of all pictures, as grey-level files: decoders must convert them
_JPEG_SHARE = 0.7


@dataclass(frozen=True)
class Drawing:
    """A picture as a web server would hold it.

    Attributes
    ----------
    content : bytes
        The file, JPEG or PNG.
    suffix : str
        ``.jpg`` or ``.png``.
    width, height : int
        In pixels.
    caption : str
        What an alt text would say.
    kind : str
        A key of :data:`MAPS`, :data:`NEAR_MAPS` or :data:`NON_MAPS`.
    """

    content: bytes
    suffix: str
    width: int
    height: int
    caption: str
    kind: str

    @property
    def is_map(self) -> bool:
        """The truth."""
        return self.kind in MAPS

    def image(self) -> Image.Image:
        """Decode, as whoever fetches it would."""
        return Image.open(io.BytesIO(self.content)).convert("RGB")


def draw(random: Random, *, is_map: bool) -> Drawing:
    """Draw a map, or something else; the same state of the generator gives the same bytes."""
    artists = MAPS if is_map else NEAR_MAPS if random.random() < NEAR_MAP_SHARE else NON_MAPS
    return draw_kind(str(random.choice(list(artists))), random)


def draw_kind(kind: str, random: Random) -> Drawing:
    """Draw a picture of a certain kind, in any size and file format."""
    artist = {**MAPS, **NEAR_MAPS, **NON_MAPS}[kind]
    shortest, longest = _SIDES
    width, height = (int(shortest + (longest - shortest) * u**2) for u in random.random(2))
    sheet = Sheet(width, height)
    caption = artist(sheet, random)
    image = sheet.finish()
    if random.random() < _GREY_SHARE:
        image = image.convert("L")
    content = io.BytesIO()
    if random.random() < _JPEG_SHARE:
        image.save(content, "JPEG", quality=int(random.integers(70, 95)))
        return Drawing(content.getvalue(), ".jpg", width, height, caption, kind)
    image.save(content, "PNG", compress_level=1)
    return Drawing(content.getvalue(), ".png", width, height, caption, kind)


def contact_sheet(random: Random, columns: int = 8, side: int = 200) -> Image.Image:
    """Draw a row of each kind, each picture fitted into a square."""
    kinds = [*MAPS, *NEAR_MAPS, *NON_MAPS]
    sheet = Image.new("RGB", (columns * side, len(kinds) * side), "white")
    for row, kind in enumerate(kinds):
        for column in range(columns):
            image = draw_kind(kind, random).image()
            image.thumbnail((side - 6, side - 6))
            sheet.paste(image, (column * side + 3, row * side + 3))
    return sheet
