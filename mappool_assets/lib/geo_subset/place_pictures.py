"""A look at the images of a few places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mappool_assets.lib import sql_files
from mappool_assets.lib.geo_subset.place_sections import Places
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.page import MOST_CELL_CHARACTERS, Gallery, Picture, Section, one_line
from mappool_assets.lib.report_page.thumbnails import NO_THUMBNAIL, read_thumbnails

PLACES, IMAGES_A_PLACE = 8, 8


def picture_section(lake: Lake, places: Places) -> Section:
    """Show the fetched images that are most similar to a few places, from the one with the most to one with few."""
    title = "A look at some places"
    fetched = {row["place_id"]: row["images"] for row in sql_files.run(lake, "reports/places_fetched").to_pylist()}
    if not fetched:
        missing = "Materialise mappool/map_images for shards of these images to see some."
        return Section("look", title, missing=missing)
    chosen = evenly([row for row in places.rows if row["place_id"] in fetched], PLACES)
    bound = {"places": [row["place_id"] for row in chosen], "images": IMAGES_A_PLACE}
    rows = sql_files.run(lake, "reports/place_pictures", **bound).to_pylist()
    thumbnails = read_thumbnails(lake, {(row["shard"], row["uid"]) for row in rows})
    of_place = {place_id: list(some) for place_id, some in groupby(rows, key=lambda row: row["place_id"])}
    galleries = []
    for place in chosen:
        pictures = []
        for row in of_place[place["place_id"]]:
            found = thumbnails.get((row["shard"], row["uid"]), NO_THUMBNAIL)
            label = f"{row['similarity']:.3f}"
            pictures.append(Picture(found.jpeg, found.width, found.height, row["text"], row["url"], label))
        note = _fetched_of(place["returned"], fetched[place["place_id"]])
        title_of_place = one_line(place["place"] or place["place_id"], MOST_CELL_CHARACTERS)
        galleries.append(Gallery(title_of_place, pictures, note))
    lead = "The fetched images that are most similar to their place; the number is the similarity."
    return Section("look", title, galleries, lead)


def _fetched_of(images: int, fetched: int) -> str:
    if images == 1:
        return "1 image, fetched."
    return f"{images:,} images, {'all' if fetched == images else f'{fetched:,}'} of them fetched."


def evenly(rows: Sequence[dict], most: int) -> list[dict]:
    """Return rows from the first to the last, at even distances.

    >>> [row["n"] for row in evenly([{"n": n} for n in range(10)], 4)]
    [0, 3, 6, 9]
    """
    if len(rows) <= most:
        return list(rows)
    return [rows[round(number * (len(rows) - 1) / (most - 1))] for number in range(most)]
