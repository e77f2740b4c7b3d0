"""A packed document as a row of a parquet file: the same content as in its tar."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mappool_assets.lib.packed_documents.packed_document import Gap, ImagePart, PackedDocument, PackedImage, TextPart

# A part is a text (text, start, end, token_ids) or an image's place (image, position, alt); the other fields are null.
PART = pa.struct(
    [
        ("text", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("image", pa.int32()),
        ("position", pa.int32()),
        ("alt", pa.string()),
    ]
)
IMAGE = pa.struct(
    [
        ("file", pa.string()),
        ("url", pa.string()),
        ("mime", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("data", pa.binary()),
    ]
)
GAP = pa.struct(
    [
        ("part", pa.int32()),
        ("position", pa.int32()),
        ("url", pa.string()),
        ("alt", pa.string()),
        ("reason", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("tokenizer", pa.string(), nullable=False),
        pa.field("vocabulary", pa.int32(), nullable=False),
        pa.field("parts", pa.list_(PART), nullable=False),
        pa.field("images", pa.list_(IMAGE), nullable=False),
        pa.field("gaps", pa.list_(GAP), nullable=False),
    ]
)


def to_row(document: PackedDocument) -> dict[str, Any]:
    """Return a row of :data:`SCHEMA`."""
    return {
        **{name: getattr(document, name) for name in ("document_id", "url", "language", "tokenizer", "vocabulary")},
        "parts": [part._asdict() for part in document.parts],
        "images": [image._asdict() for image in document.images],
        "gaps": [gap._asdict() for gap in document.gaps],
    }


def from_row(row: dict[str, Any]) -> PackedDocument:
    """Return the document of a row of :data:`SCHEMA`."""
    return PackedDocument(
        **{name: row[name] for name in ("document_id", "url", "language", "tokenizer", "vocabulary")},
        parts=tuple(_part(part) for part in row["parts"]),
        images=tuple(PackedImage(**image) for image in row["images"]),
        gaps=tuple(Gap(**gap) for gap in row["gaps"]),
    )


def _part(part: dict[str, Any]) -> TextPart | ImagePart:
    if part["image"] is None:
        return TextPart(part["text"], part["start"], part["end"], tuple(part["token_ids"]))
    return ImagePart(part["image"], part["position"], part["alt"])
