"""The ledger of a shard's images: one row a map, in the order of the maps, with what became of its image."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.retry_after import TRANSIENT_STATUSES

TABLE = "mappool/map_images"
OK = "ok"
TAKEN_DOWN = "taken_down"  # on the take-down list: not fetched, and removed where it was
BAD_UID = "bad_uid"  # cannot name a file
NOT_BALANCED = "not_balanced"  # not among what the first balancing kept: not asked for
ROWS_A_WRITE = 4096  # a row group

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("expected_sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("file", pa.string()),  # from here on null where the status is not ok
        pa.field("extension", pa.string()),
        pa.field("mime", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("perceptual_hash", pa.uint64()),
        pa.field("perceptual_hash_mirrored", pa.uint64()),
    ]
)

# What stays as it is however often it is asked for: our own rules, the owner's word, and what the file is. Whoever asks
# again after any of these asks in vain, or against the owner's will.
PERMANENT = frozenset(
    {
        BAD_UID,
        "bad_scheme",
        "bad_url",
        "blocked_address",
        "opted_out",
        "robots_txt",
        "too_many_redirects",
        "too_large",
        "bad_encoding",
        "hash_changed",
        "not_an_image",
        "too_many_pixels",
    }
)


class LedgerRow(NamedTuple):
    """A row of the ledger; fields as in :data:`SCHEMA`.

    Attributes
    ----------
    status : str
        ``ok`` or the reason: ``taken_down``, ``bad_uid``, ``not_balanced``, those of
        :class:`~mappool_assets.lib.image_download.downloads.Download` (``http_404``, ``timeout``, ``hash_changed``, …)
        and of :class:`~mappool_assets.lib.images.ImageRefused` (``not_an_image``, ``too_many_pixels``).
    attempts : int
        Runs that asked for it under the rules and at the address that it has now.
    file : str or None
        Where it lies, inside ``mappool/images/<shard>``.
    extension, mime, width, height, bytes, sha256, perceptual_hash, perceptual_hash_mirrored
        See :class:`~mappool_assets.lib.map_images.image_facts.ImageFacts`.
    """

    uid: str
    url: str
    expected_sha256: str | None
    status: str = ""
    detail: str = ""
    attempts: int = 0
    file: str | None = None
    extension: str | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    perceptual_hash: int | None = None
    perceptual_hash_mirrored: int | None = None


def may_come_later(status: str) -> bool:
    """Tell whether the same request may succeed on another day.

    So it may where a server was busy or broken (408, 425, 429 and any 5xx), silent or away (``timeout``,
    ``connection``, ``robots_unreachable``), and where the reason is none that we know. Not where it refused (other
    4xx: whoever answers 404 or 403 is alive and means it), nor for the reasons in :data:`PERMANENT`.

    >>> may_come_later("http_503"), may_come_later("timeout"), may_come_later("http_404"), may_come_later("robots_txt")
    (True, True, False, False)
    """
    if status in (OK, TAKEN_DOWN, NOT_BALANCED):
        return False
    code = re.fullmatch(r"http_(\d+)", status)
    if code is None:
        return status not in PERMANENT
    return int(code[1]) in TRANSIENT_STATUSES or int(code[1]) >= 500


@dataclass(frozen=True)
class Ledger:
    """A ledger as it was read.

    Attributes
    ----------
    rows : dict of str to LedgerRow
        By uid, in their order. They stay in memory, some 1 kB each; images never do.
    provenance : Provenance
        What made it.
    """

    rows: dict[str, LedgerRow]
    provenance: Provenance

    @property
    def files(self) -> Counter[str]:
        """How many images lie in each file that is named."""
        return Counter(row.file for row in self.rows.values() if row.file is not None)


def read_ledger(lake: Lake, shard: str) -> Ledger | None:
    """Return a shard's ledger, or None where there is none yet."""
    provenance = lake.provenance(TABLE, shard)
    if provenance is None:
        return None
    rows = {}
    with lake.open_table(TABLE, shard) as file:
        for batch in file.iter_batches(ROWS_A_WRITE, columns=SCHEMA.names):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                rows[values[0]] = LedgerRow(*values)
    return Ledger(rows, provenance)


class LedgerWriter:
    """Puts rows into a table and counts them.

    Attributes
    ----------
    statuses : Counter
        Rows by status.
    image_bytes : int
        Of all images that are ok.
    files : set of str
        Where they lie.
    to_retry : Counter
        Rows that may come later, by the runs that asked for them.
    """

    def __init__(self, table: TableWriter) -> None:
        self.statuses: Counter[str] = Counter()
        self.image_bytes = 0
        self.files: set[str] = set()
        self.to_retry: Counter[int] = Counter()
        self._table = table
        self._rows: list[LedgerRow] = []
        self._digest, self._images_digest = hashlib.sha256(), hashlib.sha256()

    def add(self, row: LedgerRow) -> None:
        """Append a row."""
        self._rows.append(row)
        self._digest.update(json.dumps(row).encode())
        self.statuses[row.status] += 1
        if row.file is not None:
            self.image_bytes += row.bytes or 0
            self.files.add(row.file)
            self._images_digest.update(json.dumps([row.uid, *row[9:]]).encode())  # width to perceptual_hash_mirrored
        if may_come_later(row.status):
            self.to_retry[row.attempts] += 1
        if len(self._rows) == ROWS_A_WRITE:
            self._flush()

    def close(self, inputs: Mapping[str, Any], measures: Mapping[str, Any], origin: Mapping[str, str]) -> Provenance:
        """Write what is left and give the table its provenance, which is returned.

        Its inputs are those given and the checksum of the rows, so that its fingerprint changes with them: what the
        web answers is an input too.
        """
        self._flush()
        provenance = Provenance(
            {**inputs, "rows_sha256": self._digest.hexdigest()},
            sum(self.statuses.values()),
            self.statuses[OK],
            {status: count for status, count in sorted(self.statuses.items()) if status != OK},
            {
                **measures,
                "image_bytes": self.image_bytes,
                "images_sha256": self._images_digest.hexdigest(),  # of what unique_images looks at
                "to_retry": {str(attempts): rows for attempts, rows in sorted(self.to_retry.items())},
            },
            origin,
        )
        self._table.provenance = provenance
        return provenance

    def _flush(self) -> None:
        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            self._table.write(pa.table(columns, schema=SCHEMA))
            self._rows.clear()
