"""The table of known shards: what a listing found, and what earlier listings had found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence

import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.pool import PoolListing, PoolShard

TABLE = "mappool/pool_shards"
CODE_VERSION = "1"
SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), False),
        pa.field("part", pa.string(), False),
        pa.field("parquet_url", pa.string(), False),
        pa.field("npz_url", pa.string(), False),
        pa.field("parquet_bytes", pa.int64(), False),
        pa.field("npz_bytes", pa.int64(), False),
        pa.field("parquet_version", pa.string(), False),
        pa.field("npz_version", pa.string(), False),
        pa.field("is_listed", pa.bool_(), False),
    ]
)


def write_pool_shards(lake: Lake, listing: PoolListing) -> Provenance:
    """Write one row a known shard, by key.

    A shard that vanished from the listing stays, with ``is_listed`` false: what was made of it is not forgotten.
    Another pool's shards do not stay: a lake holds one pool.
    """
    made = lake.provenance(TABLE)
    is_same_pool = made is not None and pool_name(made.origin["source"]) == pool_name(listing.source)
    rows = {shard.shard: {**dataclasses.asdict(shard), "is_listed": True} for shard in listing.shards}
    for row in lake.read_table(TABLE).to_pylist() if is_same_pool else []:
        rows.setdefault(row["shard"], {**row, "is_listed": False})
    table = pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=SCHEMA)
    provenance = Provenance(
        {"content": content_of(listing.shards), "code_version": CODE_VERSION},
        rows_in=table.num_rows + sum(listing.dropped.values()),
        rows_kept=table.num_rows,
        rows_dropped=listing.dropped,
        origin={"source": listing.source, "revision": listing.revision},
    )
    lake.write_table(TABLE, table, provenance)
    return provenance


def has_changed(lake: Lake, listing: PoolListing) -> bool:
    """Tell whether a listing has other shards, or other versions of their files, than the table was made from."""
    made = lake.provenance(TABLE)
    return made is None or made.inputs["content"] != content_of(listing.shards)


def content_of(shards: Sequence[PoolShard]) -> str:
    """Return the hash of all keys and file versions."""
    versions = sorted((shard.shard, shard.parquet_version, shard.npz_version) for shard in shards)
    return hashlib.sha256(json.dumps(versions).encode()).hexdigest()


def pool_name(source: str) -> str:
    """Return a pool's address without revision and trailing slash: what stays when it is listed anew."""
    return re.sub(r"(?<=[^/])@[^/@]+$", "", source.rstrip("/")) if source.startswith("hf://") else source.rstrip("/")


def known_shards(lake: Lake, *, only_listed: bool = False) -> dict[str, PoolShard]:
    """Return known shards by key; ``MissingInput`` where the pool was not listed yet."""
    return {
        row["shard"]: PoolShard(**row)
        for row in lake.read_table(TABLE).to_pylist()
        if row.pop("is_listed") or not only_listed
    }


def pool_origin(lake: Lake) -> dict[str, str]:
    """Return the pool's address and pinned revision, as listed."""
    made = lake.provenance(TABLE)
    return dict(made.origin) if made else {}
