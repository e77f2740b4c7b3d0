"""Fetched images of a small lake's maps, as `map_images` and `unique_images` leave them."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from mappool_assets.lib.duplicates.unique_table import SCHEMA as UNIQUE_SCHEMA
from mappool_assets.lib.duplicates.unique_table import TABLE as UNIQUE_TABLE
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_archive import WEBDATASET, ArchiveWriter
from mappool_assets.lib.map_images.image_ledger import SCHEMA, TABLE

PNG_SIZE = (40, 30)


def flat_png(row: int) -> bytes:
    """A picture of one colour, another for each row."""
    content = io.BytesIO()
    Image.new("RGB", PNG_SIZE, (row * 37 % 256, row * 101 % 256, 90)).save(content, "PNG")
    return content.getvalue()


def write_images(
    lake: Lake,
    shard: str,
    statuses: Sequence[str] = (),
    *,
    image: Callable[[int], bytes] = flat_png,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write images and ledger of a shard's maps: all of them ok, or with the given statuses; some columns as given."""
    maps = lake.read_table("mappool/shard_maps", shard, ["uid", "url", "text", "sha256"]).to_pylist()
    rows = []
    with ArchiveWriter(lake, shard, WEBDATASET, 0) as archive:
        for number, each in enumerate(maps):
            status = statuses[number] if statuses else "ok"
            row = {"uid": each["uid"], "url": each["url"], "expected_sha256": each["sha256"], "status": status}
            rows.append({**row, "detail": "", "attempts": 1})
            if status == "ok":
                data = image(number)
                file = archive.add(each["uid"], "png", data, each["text"], {})
                rows[-1] |= {"file": file, "extension": "png", "mime": "image/png", "bytes": len(data)}
                rows[-1] |= {"width": PNG_SIZE[0], "height": PNG_SIZE[1], "sha256": hashlib.sha256(data).hexdigest()}
                rows[-1] |= {"perceptual_hash": number, "perceptual_hash_mirrored": number}
            rows[-1] |= {name: values[number] for name, values in (columns or {}).items()}
    ok = sum(row["status"] == "ok" for row in rows)
    dropped = {"not_fetched": len(rows) - ok} if ok < len(rows) else {}
    provenance = Provenance({"shard": shard}, len(rows), ok, dropped)
    lake.write_table(TABLE, pa.Table.from_pylist(rows, schema=SCHEMA), provenance, shard, is_ledger=True)


def write_unique_images(lake: Lake, groups: Sequence[Sequence[tuple[str, str, str | None]]]) -> None:
    """Write `unique_images`: each group as (shard, uid, relation), the one that is kept first and without relation."""
    rows = [
        {"shard": shard, "uid": uid, "sha256": uid, "is_kept": relation is None, "relation": relation}
        | {"representative_shard": group[0][0], "representative_uid": group[0][1], "group_size": len(group)}
        | {"hash_distance": 3 if relation == "perceptual" else None}
        | {"similarity": 0.99 if relation == "embedding" else None}
        for group in groups
        for shard, uid, relation in group
    ]
    dropped = Counter(f"{row['relation']}_duplicate" for row in rows if not row["is_kept"])
    provenance = Provenance({"groups": str(groups)}, len(rows), len(groups), dropped)
    lake.write_table(UNIQUE_TABLE, pa.Table.from_pylist(rows, schema=UNIQUE_SCHEMA), provenance, is_ledger=True)
