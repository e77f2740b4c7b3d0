"""The table of known shards: what a listing found, and what earlier listings had found."""

from __future__ import annotations

import dataclasses
import hashlib
import json

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
    known = lake.read_table(TABLE).to_pylist() if made and made.inputs["source"] == listing.source else []
    rows = {shard.shard: {**dataclasses.asdict(shard), "is_listed": True} for shard in listing.shards}
    for row in known:
        rows.setdefault(row["shard"], {**row, "is_listed": False})
    table = pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=SCHEMA)
    provenance = Provenance(
        {
            "source": listing.source,
            "revision": listing.revision,
            "shards": hashlib.sha256(json.dumps(table.to_pylist(), sort_keys=True).encode()).hexdigest(),
            "code_version": CODE_VERSION,
        },
        rows_in=table.num_rows,
        rows_kept=table.num_rows,
        measures={"files_dropped": listing.files_dropped},
    )
    lake.write_table(TABLE, table, provenance)
    return provenance


def known_shards(lake: Lake) -> dict[str, PoolShard]:
    """Return all known shards by key; ``MissingInput`` where the pool was not listed yet."""
    names = [field.name for field in dataclasses.fields(PoolShard)]
    rows = lake.read_table(TABLE, columns=names).to_pylist()
    return {row["shard"]: PoolShard(**row) for row in rows}


def pool_source(lake: Lake) -> tuple[str, str]:
    """Return the pool's address and pinned revision, as listed."""
    made = lake.provenance(TABLE)
    return (made.inputs["source"], made.inputs["revision"]) if made else ("", "")
