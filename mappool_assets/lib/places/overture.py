"""Overture's places as GeoParquet (https://docs.overturemaps.org/guides/places; mostly CDLA-Permissive-2.0).

What ``overturemaps download --type=place -f geoparquet`` writes, or files of a release. With a bounding box, row groups
whose own box lies outside are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mappool_assets.lib.places.mapped_table import prefixed
from mappool_assets.lib.places.place import ALTERNATE, RawPlaces, RowCounts, alternates_column
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.source_files import SourceFiles, unusable

PREFIX = "overture:"
BATCH_ROWS = 16_384
RULE = "Overture's places: columns id, names.primary and geometry (points as WKB) or bbox"

CATEGORIES = ("categories", "taxonomy")  # their member primary; a release has one of them, or both
WKB_POINT_BYTES = 21  # byte order, type (uint32), x, y


def overture(
    files: SourceFiles,
    address: str,
    counts: RowCounts,
    *,
    place_filter: PlaceFilter,
    least_confidence: float = 0.0,
    wants_alternates: bool = False,
    languages: tuple[str, ...] = (),
) -> Iterator[RawPlaces]:
    """Yield the rows of a file of places.

    Parameters
    ----------
    files : SourceFiles
    address : str
    counts : RowCounts
    place_filter : PlaceFilter
        Its box, where there is one, leaves out row groups (counted as ``outside_bbox``).
    least_confidence : float
        0 to 1: how sure Overture is that the place exists. Rows below, and with another threshold than 0 rows without,
        are dropped as ``low_confidence``.
    wants_alternates : bool
        Whether the translations (``names.common``) are further names.
    languages : tuple of str
        Of these; all where empty.
    """
    with files.parquet(address, RULE) as file:
        schema = file.schema_arrow
        missing = _missing(schema)
        if missing:
            raise unusable(address, RULE, f"no {missing} among {', '.join(schema.names[:20])}")
        wanted = ("id", "names", "confidence", "addresses", "bbox", "geometry", "basic_category", *CATEGORIES)
        columns = [name for name in wanted if name in schema.names]
        groups = _groups_in_box(file, place_filter, counts)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns) if groups else ():
            sure = _confident(batch, least_confidence, counts)
            yield _places(sure, wants_alternates, languages)


def _missing(schema: pa.Schema) -> str | None:
    def has(name: str, member: str | None = None) -> bool:
        if name not in schema.names:
            return False
        type_ = schema.field(name).type
        return member is None or (pa.types.is_struct(type_) and type_.get_field_index(member) >= 0)

    if not has("id") or not has("names", "primary"):
        return "id" if not has("id") else "names.primary"
    return None if has("geometry") or has("bbox", "xmin") else "geometry and no bbox"


def _groups_in_box(file: pq.ParquetFile, place_filter: PlaceFilter, counts: RowCounts) -> list[int]:
    every = list(range(file.num_row_groups))
    if place_filter.bbox is None:
        return every
    position = {file.schema.column(i).path: i for i in range(len(file.schema))}
    inside = []
    for number in every:
        group = file.metadata.row_group(number)
        if _may_meet(_box(group, position), place_filter.bbox):
            inside.append(number)
        elif group.num_rows:
            counts.rows_in += group.num_rows
            counts.drop("outside_bbox", [f"row group {number}"], group.num_rows)
    return inside


def _box(group: pq.RowGroupMetaData, position: dict[str, int]) -> tuple[float, ...] | None:
    """Return west, south, east, north of a row group, or None where its statistics do not say."""
    edges = []
    for path, edge in (("bbox.xmin", "min"), ("bbox.ymin", "min"), ("bbox.xmax", "max"), ("bbox.ymax", "max")):
        statistics = group.column(position[path]).statistics if path in position else None
        if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
            return None
        edges.append(getattr(statistics, edge))
    return tuple(edges)


def _may_meet(group: tuple[float, ...] | None, wanted: tuple[float, float, float, float]) -> bool:
    if group is None:
        return True
    margin = 1e-4  # degrees: bbox is float32, rounded outwards, the points are float64
    west, south, east, north = group[0] - margin, group[1] - margin, group[2] + margin, group[3] + margin
    if north < wanted[1] or south > wanted[3]:
        return False
    if wanted[0] <= wanted[2]:
        return east >= wanted[0] and west <= wanted[2]
    return east >= wanted[0] or west <= wanted[2]


def _confident(batch: pa.RecordBatch, least: float, counts: RowCounts) -> pa.RecordBatch:
    if least <= 0:
        return batch
    known = batch["confidence"] if "confidence" in batch.schema.names else pa.nulls(batch.num_rows, pa.float64())
    is_sure = pc.fill_null(pc.greater_equal(known, least), False)
    unsure = batch.filter(pc.invert(is_sure))
    if unsure.num_rows:
        counts.rows_in += unsure.num_rows
        counts.drop("low_confidence", (str(i) for i in unsure["id"][:3].to_pylist()), unsure.num_rows)
    return batch.filter(is_sure)


def _places(batch: pa.RecordBatch, wants_alternates: bool, languages: tuple[str, ...]) -> dict[str, pa.Array]:
    longitude, latitude = _points(batch)
    places = {
        "place_id": prefixed(batch["id"], PREFIX),
        "name": pc.struct_field(batch["names"], "primary"),
        "feature_code": _category(batch),
        "longitude": longitude,
        "latitude": latitude,
        **_address(batch),
    }
    if wants_alternates and batch.schema.field("names").type.get_field_index("common") >= 0:
        places["alternates"] = _translations(pc.struct_field(batch["names"], "common"), languages)
    return places


def _points(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return longitude and latitude: of the points, and of the middle of the box where there is no point."""
    points = np.full((batch.num_rows, 2), np.nan)
    if "geometry" in batch.schema.names:
        _read_points(batch["geometry"], points)
    if "bbox" in batch.schema.names:
        ends = [pc.cast(pc.struct_field(batch["bbox"], e), pa.float64()) for e in ("xmin", "xmax", "ymin", "ymax")]
        xmin, xmax, ymin, ymax = (end.to_numpy(zero_copy_only=False) for end in ends)
        is_unknown = np.isnan(points[:, 0])
        points[is_unknown] = np.column_stack([(xmin + xmax) / 2, (ymin + ymax) / 2])[is_unknown]
    longitude, latitude = (pa.array(axis, from_pandas=True) for axis in points.T)
    return longitude, latitude


def _read_points(geometry: Any, points: NDArray[np.float64]) -> None:
    """Write the coordinates of those geometries that are WKB points."""
    storage = geometry.storage if isinstance(geometry, pa.ExtensionArray) else geometry
    if not pa.types.is_binary(storage.type) and not pa.types.is_large_binary(storage.type):
        return
    is_long_enough = pc.fill_null(pc.equal(pc.binary_length(storage), WKB_POINT_BYTES), False)
    rows = np.flatnonzero(is_long_enough.to_numpy(zero_copy_only=False))
    data = b"".join(storage.take(rows).to_pylist())
    for order, marks in ((">", 0), ("<", 1)):
        layout = np.dtype([("order", "u1"), ("type", f"{order}u4"), ("x", f"{order}f8"), ("y", f"{order}f8")])
        found = np.frombuffer(data, layout)
        is_point = (found["order"] == marks) & (found["type"] == 1)
        points[rows[is_point]] = np.column_stack([found["x"], found["y"]])[is_point]


def _category(batch: pa.RecordBatch) -> pa.Array:
    found = [pc.struct_field(batch[name], "primary") for name in CATEGORIES if name in batch.schema.names]
    found += [batch["basic_category"]] if "basic_category" in batch.schema.names else []
    return pc.coalesce(*found, pa.nulls(batch.num_rows, pa.string()))


def _address(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return locality and country of the first address: people say "in Berlin, Germany", not "in DE-BE"."""
    if "addresses" not in batch.schema.names:
        return {}
    addresses = batch["addresses"]
    rows = pc.list_parent_indices(addresses).to_numpy()
    has_one, first = np.unique(rows, return_index=True)
    entries = addresses.flatten().take(first)
    at = np.full(batch.num_rows, -1)
    at[has_one] = np.arange(len(has_one))
    position = pa.array(at, mask=at < 0)
    members = {"admin1": "locality", "country": "country"}
    return {field: pc.struct_field(entries, member).take(position) for field, member in members.items()}


def _translations(common: Any, languages: tuple[str, ...]) -> pa.Array:
    listed = common.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    row_of, entries = pc.list_parent_indices(listed).to_numpy(), listed.flatten()
    names, language = entries.field("value"), entries.field("key")
    if languages:
        names = pc.if_else(pc.is_in(language, value_set=pa.array(languages)), names, None)
    return alternates_column(len(common), row_of, names, pa.repeat(ALTERNATE, len(names)))
