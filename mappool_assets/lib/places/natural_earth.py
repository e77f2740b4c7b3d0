"""Natural Earth's populated places, as CSV, GeoJSON or GeoParquet (public domain, https://www.naturalearthdata.com).

The shapefile's own table (DBF) is not read; ``ogr2ogr places.csv ne_10m_populated_places.shp`` makes one that is. Names
of columns are in upper case there and in lower case in the ``simple`` edition; both are found.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.places.mapped_table import prefixed, with_content_ids
from mappool_assets.lib.places.place import ALTERNATE, RawPlaces, RowCounts, listed_names
from mappool_assets.lib.places.source_files import SourceFiles
from mappool_assets.lib.places.table_rows import table_rows
from mappool_assets.lib.places.wanted_columns import WantedColumns

PREFIX = "natural_earth:"
NONE = "-99"  # what Natural Earth writes where there is no code
RULE = "Natural Earth's populated places, with a column NAME and ADM0NAME"
COLUMNS = WantedColumns(
    {
        "place_id": ("NE_ID",),
        "name": ("NAME",),
        "alternates": ("NAMEALT",),
        "admin1": ("ADM1NAME",),
        "country": ("ISO_A2",),
        "country_name": ("ADM0NAME",),
        "feature_code": ("FEATURECLA",),
        "latitude": ("LATITUDE", "geometry.latitude"),
        "longitude": ("LONGITUDE", "geometry.longitude"),
        "population": ("POP_MAX",),
    },
    required=frozenset({"name", "country_name"}),
    ignores_case=True,
)
FEATURE_CLASS = "P"  # GeoNames' letter for populated places


def natural_earth(files: SourceFiles, address: str, counts: RowCounts) -> Iterator[RawPlaces]:
    """Yield the rows of a file of populated places; further names are those of NAMEALT, separated by ``|``."""
    for raw in table_rows(files, address, COLUMNS, counts, rule=RULE):
        texts = {field: _none_as_empty(column.cast(pa.string())) for field, column in raw.items()}
        rows = len(texts["name"])
        # In parquet the column is a float where some ids are missing.
        ids = pc.replace_substring_regex(texts.pop("place_id", pa.nulls(rows, pa.string())), r"\.0$", "")
        alternates = listed_names(texts.pop("alternates", pa.nulls(rows, pa.string())), "|", ALTERNATE)
        yield {
            **texts,
            "place_id": with_content_ids(prefixed(ids, PREFIX), texts, PREFIX),
            "alternates": alternates,
            "feature_class": pa.repeat(FEATURE_CLASS, rows),
        }


def _none_as_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), NONE), None, texts)
