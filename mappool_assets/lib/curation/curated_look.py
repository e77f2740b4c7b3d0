"""A look at some curated pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.curated_numbers import Curated
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.report_page.page import Gallery, Picture, Section, Table
from mappool_assets.lib.report_page.thumbnails import NO_THUMBNAIL, read_thumbnails

PAIRS, PICTURES = 10, 24  # shown
NAMED_ENTRIES = 4  # of a pair


def pair_section(lake: Lake, curated: Curated) -> Section:
    """Show some pairs, why they are there, and their images where these are stored."""
    title = "A look at some pairs"
    tables = [_pairs(lake, curated, is_sure) for is_sure in (True, False)]
    blocks: list[Table | Gallery] = [table for table in tables if table.rows]
    if not blocks:
        return Section("look", title, lead="There are no pairs.")
    lead = f"As they come by uid, which is as good as by lot, of seed {curated.seeds[0]}."
    rows = sql_files.run(lake, "reports/curated_sample", pairs=PICTURES, is_fetched=True).to_pylist()
    if not rows:
        return Section("look", title, blocks, lead, "Materialise mappool/map_images for these shards to see images.")
    return Section("look", title, [*blocks, _pictures(lake, rows)], lead)


def _pairs(lake: Lake, curated: Curated, is_sure: bool) -> Table:
    rows = sql_files.run(lake, "reports/curated_sample", pairs=PAIRS, is_sure=is_sure).to_pylist()
    cells = [(row["text"], ", ".join(_rarest(row, curated)), f"{row['p']:.3g}") for row in rows]
    columns = {"text": "web", "entries, the rarest first": "web", "P": "number"}
    if is_sure:
        caption, note = "Kept for sure", "They hold an entry of the tail, or several that are nearly so."
    else:
        caption = "Drawn by lot"
        note = "All their entries are frequent. P: the chance of such a text, were there one draw from all."
    return Table(caption, columns, cells, "curated_sample", note)


def _pictures(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> Gallery:
    thumbnails = read_thumbnails(lake, {(row["image_shard"], row["image_uid"]) for row in rows})
    pictures = []
    for row in rows:
        found = thumbnails.get((row["image_shard"], row["image_uid"]), NO_THUMBNAIL)
        label = f"{row['p']:.2g}"
        pictures.append(Picture(found.jpeg, found.width, found.height, row["text"] or "", row["url"] or "", label))
    return Gallery("Images of curated pairs", pictures, "The number is P.")


def _rarest(row: Mapping[str, Any], curated: Curated) -> list[str]:
    order = sorted(zip(row["entries"], row["matched"], strict=True), key=lambda pair: (curated.texts[pair[0]], pair[0]))
    return [name for _, name in order[:NAMED_ENTRIES]]
