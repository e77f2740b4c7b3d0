"""The table of unique images: numbers get their names again and are written, with the count of what was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib import sql_files
from mappool_assets.lib.duplicates.edges import EMBEDDING, EXACT, MIRRORED, PERCEPTUAL, RELATIONS
from mappool_assets.lib.duplicates.image_places import ImagePlaces, batches
from mappool_assets.lib.duplicates.representatives import KEPT, Representatives
from mappool_assets.lib.lake import Lake, Provenance

TABLE = "mappool/unique_images"

SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("is_kept", pa.bool_(), nullable=False),
        pa.field("representative_shard", pa.string(), nullable=False),
        pa.field("representative_uid", pa.string(), nullable=False),
        pa.field("relation", pa.string()),  # null where kept
        pa.field("hash_distance", pa.int16()),  # bits, where the relation is by hash
        pa.field("similarity", pa.float32()),  # cosine, where the relation is by embedding
        pa.field("group_size", pa.int32(), nullable=False),  # images attached to the representative, itself included
    ]
)


def write_unique_images(
    lake: Lake,
    images: ImagePlaces,
    chosen: Representatives,
    folder: Path,
    inputs: Mapping[str, Any],
    measures: Mapping[str, Any],
) -> Provenance:
    """Write what became of each image.

    Parameters
    ----------
    images : ImagePlaces
        All images.
    chosen : Representatives
        Of the images of different bytes. A file with the bytes of another shares its fate: where that one is kept, it
        is an exact duplicate, else it is what that one is to the image that is kept.
    folder : Path
        For what is on its way.
    inputs, measures : mapping
        Of the table's provenance.

    Returns
    -------
    Provenance
        The table's.
    """
    relations = _relations(images, chosen)
    decided, named = folder / "decided.parquet", folder / "named.parquet"
    _write_decided(images, chosen, relations, decided)
    sql_files.run(lake, "steps/unique_images", decided=str(decided), file=str(named))
    dropped = {f"{name}_duplicate": int(np.sum(relations == code)) for code, name in enumerate(RELATIONS)}
    dropped = {reason: rows for reason, rows in dropped.items() if rows}
    rows = len(relations)
    provenance = Provenance(inputs, rows, rows - sum(dropped.values()), dropped, measures)
    with lake.table_writer(TABLE, SCHEMA, is_ledger=True) as writer:
        for _, batch in batches(named, *SCHEMA.names):
            writer.write(pa.table(batch).cast(SCHEMA))
        writer.provenance = provenance
    return provenance


def _relations(images: ImagePlaces, chosen: Representatives) -> NDArray[np.int8]:
    """Return how each row is a duplicate."""
    relations = chosen.relation[images.numbers]
    relations[(relations == KEPT) & ~images.is_first] = EXACT
    return relations


def _write_decided(images: ImagePlaces, chosen: Representatives, relations: NDArray[np.int8], file: Path) -> None:
    """Write a row an image with its place and that of its representative, for ``sql/steps/unique_images.sql``."""
    sizes = np.bincount(chosen.representative[images.numbers], minlength=len(chosen.representative)).astype(np.int32)
    names = pa.array([*RELATIONS])
    schema = pa.schema([*(SCHEMA.field(name) for name in SCHEMA.names if not name.startswith("representative_"))])
    schema = schema.append(pa.field("place", pa.int32())).append(pa.field("representative_place", pa.int32()))
    with pq.ParquetWriter(file, schema) as writer:
        for rows, batch in batches(images.file, "shard", "uid", "sha256"):
            numbers, relation = images.numbers[rows], relations[rows]
            representative, measure = chosen.representative[numbers], chosen.measure[numbers]
            is_by_hash = (relation == PERCEPTUAL) | (relation == MIRRORED)
            columns = {
                **dict(zip(batch.column_names, batch.columns, strict=True)),
                "is_kept": relation == KEPT,
                "relation": names.take(pa.array(relation, mask=relation == KEPT)),
                "hash_distance": pa.array(np.where(is_by_hash, measure, 0).astype(np.int16), mask=~is_by_hash),
                "similarity": pa.array(measure, mask=relation != EMBEDDING),
                "group_size": sizes[representative],
                "place": images.places[rows],
                "representative_place": images.place_of_number[representative],
            }
            writer.write_table(pa.table(columns, schema=schema))
