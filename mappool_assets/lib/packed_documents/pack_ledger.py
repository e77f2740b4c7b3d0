"""The ledger of a crawl file's packed documents: one row a page with media, with what became of each of its images."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.map_images.image_ledger import OK, LedgerRow, may_come_later
from mappool_assets.lib.packed_documents.packs import Place

TABLE = "web_documents/packed_documents"
ROWS_A_WRITE = 4096  # a row group
DOCUMENTS_SHA256 = "documents_sha256"  # a measure: of all packed documents, which one more attempt in vain leaves alike

IMAGE = pa.struct(
    [
        ("position", pa.int32()),
        ("url", pa.string()),
        ("outcome", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int16()),
        ("file", pa.string()),  # from here on null where the outcome is not ok
        ("mime", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("perceptual_hash", pa.uint64()),
        ("perceptual_hash_mirrored", pa.uint64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("pack", pa.string()),  # from here to gaps null where the status is not ok
        pa.field("pack_offset", pa.int64()),
        pa.field("pack_bytes", pa.int64()),  # null in parquet packs
        pa.field("sha256", pa.string()),
        pa.field("parts", pa.int32()),
        pa.field("text_tokens", pa.int32()),
        pa.field("gaps", pa.int32()),
        pa.field("images", pa.list_(IMAGE), nullable=False),
    ]
)


class ImageRow(NamedTuple):
    """One of the images chosen of a page.

    Attributes
    ----------
    position : int
        Of the first place at which it stands, among the items of the page.
    url : str
        Canonical.
    outcome : str
        ``ok`` or why it is not there, as :class:`~mappool_assets.lib.map_images.image_ledger.LedgerRow` has it.
    detail : str
        A sentence for people; empty where ok.
    attempts : int
        Runs that asked for it under the present rules, whichever of its pages they did it for.
    file : str or None
        Its name in the packed document.
    mime, width, height, bytes, sha256, perceptual_hash, perceptual_hash_mirrored
        See :class:`~mappool_assets.lib.map_images.image_facts.ImageFacts`.
    """

    position: int
    url: str
    outcome: str
    detail: str
    attempts: int
    file: str | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    perceptual_hash: int | None = None
    perceptual_hash_mirrored: int | None = None


# What an image's row has of its facts, besides the extension, which is in the name of its file.
FACTS = ("mime", "width", "height", "bytes", "sha256", "perceptual_hash", "perceptual_hash_mirrored")


class DocumentRow(NamedTuple):
    """A row of the ledger; fields as in :data:`SCHEMA`.

    Attributes
    ----------
    status : str
        ``ok``: it is packed. Otherwise why not: ``no_image`` (its media are audio and video alone),
        ``no_image_fetched``, ``opted_out`` (the page's robots signals keep its images from us) or ``taken_down`` (the
        page itself is on the take-down list).
    pack, pack_offset, pack_bytes
        Where it lies: a :class:`~mappool_assets.lib.packed_documents.packs.Place`.
    sha256 : str or None
        Of its tar, also where it lies in parquet: 64 hex digits.
    parts, text_tokens, gaps : int or None
        How many it has.
    images : tuple of ImageRow
        Those chosen, in the order of the page; none where nothing was asked for on the page's behalf.
    """

    document_id: str
    url: str
    language: str | None
    status: str
    pack: str | None = None
    pack_offset: int | None = None
    pack_bytes: int | None = None
    sha256: str | None = None
    parts: int | None = None
    text_tokens: int | None = None
    gaps: int | None = None
    images: tuple[ImageRow, ...] = ()

    @property
    def place(self) -> Place | None:
        """Where it lies; None where it is not packed."""
        if self.pack is None or self.pack_offset is None:
            return None
        return Place(self.pack, self.pack_offset, self.pack_bytes)


@dataclass(frozen=True)
class PackLedger:
    """A ledger as it was read.

    Attributes
    ----------
    rows : list of DocumentRow
        In their order. They stay in memory, some 3 kB each; texts and images never do.
    provenance : Provenance
        What made it.
    """

    rows: list[DocumentRow]
    provenance: Provenance

    @property
    def packs(self) -> set[str]:
        """The packs that are named."""
        return {row.pack for row in self.rows if row.pack is not None}


def read_ledger(lake: Lake, crawl_file: str) -> PackLedger | None:
    """Return a crawl file's ledger, or None where there is none yet."""
    provenance = lake.provenance(TABLE, crawl_file)
    return None if provenance is None else PackLedger(list(ledger_rows(lake, crawl_file)), provenance)


def ledger_rows(lake: Lake, crawl_file: str) -> Iterator[DocumentRow]:
    """Yield the rows of a ledger, in their order.

    Raises
    ------
    MissingInput
        There is none.
    """
    with lake.open_table(TABLE, crawl_file) as file:
        for batch in file.iter_batches(ROWS_A_WRITE, columns=SCHEMA.names):
            for values in batch.to_pylist():
                images = tuple(ImageRow(**image) for image in values.pop("images"))
                yield DocumentRow(**values, images=images)


class PackLedgerWriter:
    """Puts rows into a table and counts them.

    Attributes
    ----------
    statuses : Counter
        Rows by status.
    packs : set of str
        Where the documents lie.
    """

    def __init__(self, table: TableWriter) -> None:
        self.statuses: Counter[str] = Counter()
        self.packs: set[str] = set()
        self._table = table
        self._rows: list[DocumentRow] = []
        self._digest, self._documents_digest = hashlib.sha256(), hashlib.sha256()

    def add(self, row: DocumentRow) -> None:
        """Append a row."""
        self._rows.append(row)
        self._digest.update(json.dumps(row).encode())
        if row.status == OK:
            self._documents_digest.update(json.dumps([row.document_id, row.sha256]).encode())
        self.statuses[row.status] += 1
        if row.pack is not None:
            self.packs.add(row.pack)
        if len(self._rows) == ROWS_A_WRITE:
            self._flush()

    def close(
        self,
        inputs: Mapping[str, Any],
        images: Collection[LedgerRow],
        measures: Mapping[str, Any],
        origin: Mapping[str, str],
    ) -> Provenance:
        """Write what is left and give the table its provenance, which is returned.

        Its inputs are those given and the checksum of the rows, so that its fingerprint changes with them: what the
        web answers is an input too.

        Parameters
        ----------
        images : collection of LedgerRow
            What is known of each image that was chosen: the measures count them, each once.
        """
        self._flush()
        to_retry = Counter(row.attempts for row in images if may_come_later(row.status))
        provenance = Provenance(
            {**inputs, "rows_sha256": self._digest.hexdigest()},
            sum(self.statuses.values()),
            self.statuses[OK],
            {status: count for status, count in sorted(self.statuses.items()) if status != OK},
            {
                **measures,
                DOCUMENTS_SHA256: self._documents_digest.hexdigest(),
                "images": dict(sorted(Counter(row.status for row in images).items())),
                "image_bytes": sum(row.bytes or 0 for row in images if row.status == OK),
                "to_retry": {str(attempts): count for attempts, count in sorted(to_retry.items())},
            },
            origin,
        )
        self._table.provenance = provenance
        return provenance

    def _flush(self) -> None:
        if self._rows:
            rows = [{**row._asdict(), "images": [image._asdict() for image in row.images]} for row in self._rows]
            self._table.write(pa.Table.from_pylist(rows, schema=SCHEMA))
            self._rows.clear()
