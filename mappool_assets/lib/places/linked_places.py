"""Linked Places: historical gazetteers as LP-TSV (also its CSV form) or as Linked Places Format (GeoJSON-LD).

https://github.com/LinkedPasts/linked-places. Further names of LP-TSV (``variants``) carry no dates and are attested in
historical sources, hence historic; those of the JSON form are historic where their time has an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.places.json_rows import BATCH_ROWS, load_features, point_of
from mappool_assets.lib.places.mapped_table import SEPARATOR, prefixed
from mappool_assets.lib.places.place import ALTERNATE, ALTERNATES, HISTORIC, RawPlaces, RowCounts, listed_names
from mappool_assets.lib.places.source_files import SourceFiles, file_name, unusable
from mappool_assets.lib.places.table_rows import DELIMITED, table_rows
from mappool_assets.lib.places.wanted_columns import WantedColumns

PREFIX = "linked_places:"
TSV_RULE = "LP-TSV: columns id and title, variants, ccodes, fclasses, parent_name, lon, lat"
JSON_RULE = "Linked Places Format: a FeatureCollection whose features have @id and properties.title"
TSV_COLUMNS = WantedColumns(
    {
        "place_id": ("id",),
        "name": ("title",),
        "alternates": ("variants",),
        "admin1": ("parent_name",),
        "country": ("ccodes",),
        "feature_class": ("fclasses",),
        "feature_code": ("types",),
        "latitude": ("lat",),
        "longitude": ("lon",),
        "geowkt": ("geowkt",),
    },
    required=frozenset({"place_id", "name"}),
)
PART_OF = ("gvp:broaderPartitive", "broaderPartitive", "partOf")  # relations to what a place lies in

_LANGUAGE = r"@[A-Za-z]{2,3}(-[A-Za-z0-9-]+)?\s*$"  # at the end of a variant: "Aleppo@en", "…@fa-arab"
_POINT = r"(?i)^\s*POINT\s*\(\s*(?P<longitude>\S+)\s+(?P<latitude>[^\s)]+)\s*\)\s*$"


def linked_places_tsv(files: SourceFiles, address: str, counts: RowCounts) -> Iterator[RawPlaces]:
    """Yield the rows of LP-TSV; of several countries, classes or types the first is taken.

    Coordinates are those of ``lon`` and ``lat``, or of a point in ``geowkt``; other geometries give none.
    """
    for raw in table_rows(files, address, TSV_COLUMNS, counts, rule=TSV_RULE):
        texts = {field: column.cast(pa.string()) for field, column in raw.items()}
        yield {
            **_coordinates(texts),
            "place_id": prefixed(texts["place_id"], PREFIX),
            "name": texts["name"],
            **({"admin1": texts["admin1"]} if "admin1" in texts else {}),
            **{f: _first(texts[f]) for f in ("country", "feature_class", "feature_code") if f in texts},
            **({"alternates": _variants(texts["alternates"])} if "alternates" in texts else {}),
        }


def _coordinates(texts: RawPlaces) -> dict[str, pa.Array]:
    """Return longitude and latitude; from a point in WKT where the columns are empty."""
    rows = len(texts["name"])
    nothing = pa.nulls(rows, pa.string())
    point = pc.extract_regex(texts.get("geowkt", nothing), _POINT)
    return {
        axis: pc.coalesce(_null_if_empty(texts.get(axis, nothing)), pc.struct_field(point, axis))
        for axis in ("longitude", "latitude")
    }


def _null_if_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), None, texts)


def _first(texts: pa.Array) -> pa.Array:
    """Return what stands before the first semicolon or comma."""
    return pc.struct_field(pc.extract_regex(texts, r"^\s*(?P<first>[^;,]*)"), "first")


def _variants(texts: pa.Array) -> pa.Array:
    """Return names separated by semicolons without their codes of language and script."""
    listed = listed_names(texts, SEPARATOR, HISTORIC)
    names = pc.replace_substring_regex(listed.flatten().field("name"), _LANGUAGE, "")
    named = pa.StructArray.from_arrays([names, listed.flatten().field("kind")], fields=list(ALTERNATES.value_type))
    return pa.ListArray.from_arrays(listed.offsets, named, type=ALTERNATES)


# -- Linked Places Format -------------------------------------------------------------------------------------


def linked_places_json(files: SourceFiles, address: str, counts: RowCounts) -> Iterator[RawPlaces]:
    """Yield the features of a collection; a feature of another form is dropped (``not_a_feature``)."""
    with files.text(address, JSON_RULE, (".json", ".geojson", ".jsonld")) as (stream, name):
        features = enumerate(load_features(stream), start=1)
        while batch := list(islice(features, BATCH_ROWS)):
            rows = []
            for number, feature in batch:
                try:
                    rows.append(_row(feature))
                except (KeyError, TypeError, AttributeError, ValueError):
                    counts.rows_in += 1
                    counts.drop("not_a_feature", [f"{name}, feature {number}"])
            yield {field: pa.array([row[field] for row in rows], type_) for field, type_ in _TYPES.items()}


_TEXT_FIELDS = ("place_id", "name", "admin1", "country", "feature_class", "feature_code")
_TYPES = {
    **dict.fromkeys(_TEXT_FIELDS, pa.string()),
    "alternates": ALTERNATES,
    "longitude": pa.float64(),
    "latitude": pa.float64(),
}


def _row(feature: dict[str, Any]) -> dict[str, Any]:
    properties, point = feature["properties"], point_of(feature.get("geometry")) or (None, None)
    names = [
        {"name": entry["toponym"], "kind": HISTORIC if _has_ended(entry.get("when")) else ALTERNATE}
        for entry in _list(feature, "names")
    ]
    types = [entry.get("label") or entry.get("sourceLabel") for entry in _list(feature, "types")]
    wholes = [r.get("label") for r in _list(feature, "relations") if r.get("relationType") in PART_OF]
    row = {
        "place_id": PREFIX + feature["@id"],
        "name": properties["title"],
        "alternates": names,
        "admin1": next(iter(wholes), None),
        "country": next(iter(_list(properties, "ccodes")), None),
        "feature_class": next(iter(_list(properties, "fclasses")), None),
        "feature_code": next(iter(types), None),
        "longitude": point[0],
        "latitude": point[1],
    }
    texts = [row[field] for field in _TEXT_FIELDS] + [entry["name"] for entry in names]
    for text in texts:
        if text is not None:
            text.encode()  # neither a number nor half a surrogate pair
    return row


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    found = holder.get(key) or []
    if not isinstance(found, list):
        raise TypeError(f"{key} is no list")
    return found


def _has_ended(when: Any) -> bool:
    spans = _list(when, "timespans") if when else []
    return bool(spans) and all(span.get("end") for span in spans)


def linked_places(files: SourceFiles, address: str, counts: RowCounts) -> Iterator[RawPlaces]:
    """Yield the places of either form; which one follows from the end of the name."""
    name = file_name(address).lower().removesuffix(".zip")
    if name.endswith((".json", ".geojson", ".jsonld")):
        return linked_places_json(files, address, counts)
    if name.endswith(tuple(DELIMITED)):
        return linked_places_tsv(files, address, counts)
    raise unusable(address, "a name that ends with .tsv, .csv, .json, .geojson or .jsonld, or that and .zip", name)
