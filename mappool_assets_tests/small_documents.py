"""Documents of a few items, as the asset ``documents`` leaves them in a lake."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.web_documents.document_rows import DOCUMENTS_SCHEMA, ITEM

Items = list[dict[str, Any]]

# Each is one grapheme or a few letters; the last two, a joiner and a mark, may have nothing before them.
PIECES = (
    "a", "map", "12", "don't", "Straße", "e\u0301", "İ", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "東", "京", "が",
    "か\u3099", "ｶﾞ", "ー", "。", "ส", "กำ", "ที่", "ភ្នំ", "မြန်", "ລາວ", "שלום", "مرحبا", "\u200f", "&amp;", "x" * 70,
    "<end_of_text>", "\u200d", "\u0301",
)  # fmt: skip
words = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
texts = st.lists(words, max_size=6).map(" ".join)


def numbered(*items: str | tuple[str, str]) -> Items:
    """Items of a page: a str is a text, a pair a kind and a name of a medium."""
    return [_item(position, item) for position, item in enumerate(items)]


def _item(position: int, item: str | tuple[str, str]) -> dict[str, Any]:
    nothing = dict.fromkeys(ITEM.names)
    if isinstance(item, str):
        return {**nothing, "position": position, "kind": "text", "text": item}
    kind, name = item
    medium = {"kind": kind, "url": f"https://maps.example/{name}", "alt": name or None, "candidates": []}
    return {**nothing, "position": position, **medium}


media = st.tuples(st.sampled_from(("image", "image", "audio", "video")), st.sampled_from(("1.png", "2.png", "")))
pages = st.lists(texts | media, max_size=12).map(lambda items: numbered(*items))


def write_documents(lake: Lake, crawl_file: str, documents: Sequence[Items], *, rows_a_group: int = 1024) -> None:
    """Write documents; their number in the file is their id."""
    rows = [
        {
            "document_id": f"{crawl_file}:{number}",
            "url": f"https://pages.example/{number}",
            "title": f"Page {number}",
            "language": "en" if number % 3 else None,
            "items": items,
        }
        for number, items in enumerate(documents)
    ]
    table = pa.Table.from_pylist(rows, schema=DOCUMENTS_SCHEMA)
    provenance = Provenance(
        {"rows": hashlib.sha256(str(rows).encode()).hexdigest()}, len(rows), len(rows), origin={"source": "made up"}
    )
    with lake.table_writer("web_documents/documents", DOCUMENTS_SCHEMA, crawl_file) as writer:
        for start in range(0, len(rows), rows_a_group):
            writer.write(table.slice(start, rows_a_group))
        writer.provenance = provenance
