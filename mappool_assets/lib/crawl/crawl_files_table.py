"""The table of known crawl files: what a listing found, and what earlier listings had found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from mappool_assets.lib.crawl.crawl_files import CrawlFile, CrawlListing
from mappool_assets.lib.lake import Lake, Provenance

TABLE = "web_documents/crawl_files"
CODE_VERSION = "1"
SCHEMA = pa.schema(
    [
        pa.field("crawl_file", pa.string(), False),
        pa.field("kind", pa.string(), False),
        pa.field("crawl", pa.string(), False),
        pa.field("path", pa.string(), False),
        pa.field("url", pa.string(), False),
        pa.field("is_listed", pa.bool_(), False),
    ]
)


def write_crawl_files(lake: Lake, listing: CrawlListing) -> Provenance:
    """Write one row a known file, by key.

    A file that the listing does not hold, of this crawl or another, stays with ``is_listed`` false: what was made of it
    is not forgotten. A WARC and its WAT have one key: the one listed last stands.
    """
    rows = {file.crawl_file: {**dataclasses.asdict(file), "is_listed": True} for file in listing.files}
    for row in lake.read_table(TABLE).to_pylist() if lake.exists(lake.table_path(TABLE)) else []:
        rows.setdefault(row["crawl_file"], {**row, "is_listed": False})
    table = pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=SCHEMA)
    provenance = Provenance(
        {"content": content_of(listing.files), "code_version": CODE_VERSION},
        rows_in=table.num_rows + sum(listing.dropped.values()),
        rows_kept=table.num_rows,
        rows_dropped=listing.dropped,
        origin={"source": listing.source},
    )
    lake.write_table(TABLE, table, provenance)
    return provenance


def has_changed(lake: Lake, listing: CrawlListing) -> bool:
    """Tell whether a listing has other files than the table was made from."""
    made = lake.provenance(TABLE)
    return made is None or made.inputs["content"] != content_of(listing.files)


def content_of(files: Sequence[CrawlFile]) -> str:
    """Return the hash of all kinds and addresses."""
    return hashlib.sha256(json.dumps(sorted((file.kind, file.url) for file in files)).encode()).hexdigest()


def known_crawl_files(lake: Lake, *, only_listed: bool = False) -> dict[str, CrawlFile]:
    """Return known files by key; ``MissingInput`` where no crawl was listed yet."""
    return {
        row["crawl_file"]: CrawlFile(**row)
        for row in lake.read_table(TABLE).to_pylist()
        if row.pop("is_listed") or not only_listed
    }
