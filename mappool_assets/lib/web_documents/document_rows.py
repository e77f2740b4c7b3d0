"""The tables ``documents`` and ``dropped_pages``: their columns, and rows gathered into them."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa

from mappool_assets.lib.crawl.warc_pages import RefusedRecord
from mappool_assets.lib.web_documents.page_documents import OVERHEAD_CHARACTERS, Document

MEDIA_COUNTS = {"image": "images", "audio": "audios", "video": "videos"}

CANDIDATE = pa.struct([("url", pa.string()), ("descriptor", pa.string())])
ITEM = pa.struct(
    [
        ("position", pa.int32()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("url", pa.string()),
        ("alt", pa.string()),
        ("candidates", pa.list_(CANDIDATE)),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
DOCUMENTS_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("url", pa.string()),
        ("canonical_url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("charset", pa.string()),
        ("fetched_at", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_length", pa.int64()),
        ("truncated", pa.string()),
        ("robots", pa.list_(pa.string())),
        ("items", pa.list_(ITEM)),
        ("words", pa.int32()),
        ("texts", pa.int32()),
        ("images", pa.int32()),
        ("audios", pa.int32()),
        ("videos", pa.int32()),
    ]
)
DROPPED_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_length", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
ROW_GROUP_CHARACTERS = 8 * 2**20  # 350 pages of 80 kB, 2.5 MB as stored


class DocumentRows:
    """Documents gathered to a row group, a list a column.

    Parameters
    ----------
    crawl_file : str
        Key of the file that they are of.
    """

    def __init__(self, crawl_file: str) -> None:
        self._crawl_file = crawl_file
        self._documents: list[Document] = []
        self._characters = 0

    def add(self, document: Document) -> pa.Table | None:
        """Take a document; return the rows before it where they would be too large a row group with it."""
        characters = document.characters
        rows = self.take() if self._documents and self._characters + characters > ROW_GROUP_CHARACTERS else None
        self._documents.append(document)
        self._characters += characters
        return rows

    def take(self) -> pa.Table:
        """Return the rows, and forget them."""
        table = documents_table(self._documents, self._crawl_file)
        self._documents, self._characters = [], 0
        return table


def documents_table(documents: list[Document], crawl_file: str) -> pa.Table:
    """Return documents of a crawl file as rows of ``documents``."""
    counts = [Counter(document.items.kinds) for document in documents]
    columns: dict[str, Any] = {
        "document_id": [f"{crawl_file}:{document.warc_offset}" for document in documents],
        "warc_file": [crawl_file] * len(documents),
        "items": _items(documents),
        "texts": [count["text"] for count in counts],
        **{column: [count[kind] for count in counts] for kind, column in MEDIA_COUNTS.items()},
    }
    for name in DOCUMENTS_SCHEMA.names:
        if name not in columns:
            columns[name] = [getattr(document, name) for document in documents]
    arrays = [
        column if isinstance(column := columns[field.name], pa.Array) else pa.array(column, field.type)
        for field in DOCUMENTS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=DOCUMENTS_SCHEMA)


def _items(documents: list[Document]) -> pa.ListArray:
    """Return the items of each document, from flat columns: a tenth of the time that dictionaries take."""
    columns = [document.items for document in documents]

    def flat(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array(list(chain.from_iterable(getattr(items, name) for items in columns)), kind)

    candidates = pa.StructArray.from_arrays(
        [flat("candidate_urls", pa.string()), flat("descriptors", pa.string())], fields=list(CANDIDATE)
    )
    lists = pa.ListArray.from_arrays(
        _offsets(chain.from_iterable(items.candidate_counts for items in columns)), candidates
    )
    lengths = [len(items.kinds) for items in columns]
    structs = pa.StructArray.from_arrays(
        [
            pa.array(list(chain.from_iterable(map(range, lengths))), pa.int32()),
            flat("kinds", pa.string()),
            flat("texts", pa.string()),
            flat("urls", pa.string()),
            flat("alts", pa.string()),
            lists.cast(ITEM.field("candidates").type),
            flat("widths", pa.int32()),
            flat("heights", pa.int32()),
        ],
        fields=list(ITEM),
    )
    return pa.ListArray.from_arrays(_offsets(lengths), structs).cast(DOCUMENTS_SCHEMA.field("items").type)


def _offsets(lengths: Any) -> pa.Array:
    return pa.array(list(accumulate(lengths, initial=0)), pa.int32())


class DroppedRows:
    """Records of which there is no document, gathered to a row group."""

    def __init__(self) -> None:
        self._records: list[RefusedRecord] = []
        self._characters = 0

    def add(self, record: RefusedRecord) -> pa.Table | None:
        """Take a record; return the rows before it where they would be too large a row group with it."""
        characters = len(record.url or "") + len(record.detail) + OVERHEAD_CHARACTERS
        rows = self.take() if self._records and self._characters + characters > ROW_GROUP_CHARACTERS else None
        self._records.append(record)
        self._characters += characters
        return rows

    def take(self) -> pa.Table:
        """Return the rows, and forget them."""
        fields = ("url", "offset", "length", "reason", "detail")
        arrays = [
            pa.array([getattr(record, name) for record in self._records], column.type)
            for name, column in zip(fields, DROPPED_SCHEMA, strict=True)
        ]
        self._records, self._characters = [], 0
        return pa.Table.from_arrays(arrays, schema=DROPPED_SCHEMA)
