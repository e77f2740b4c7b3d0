"""The place that an image was found for, where ``geo_subset/geo_images`` has it; found by uid, so never another's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.lake import Lake

GEO_IMAGES = "geo_subset/geo_images"
COLUMNS = ("place_id", "place", "country", "latitude", "longitude")


class PlaceNotes:
    """Places by uid. Takes some 60 bytes an image that has one."""

    def __init__(self, table: pa.Table) -> None:
        named = table.filter(pc.is_valid(table["uid"]))
        uids = np.array(named["uid"].to_pylist(), dtype=np.bytes_)
        order = np.argsort(uids, kind="stable")
        self._uids = uids[order]
        self._rows = named.select([name for name in COLUMNS if name in named.column_names]).take(order)

    @classmethod
    def read(cls, lake: Lake) -> PlaceNotes | None:
        """Return the places of a lake's images, or None where there are none yet."""
        if not lake.exists(lake.table_path(GEO_IMAGES)):
            return None
        with lake.open_table(GEO_IMAGES) as file:
            names = [name for name in ("uid", *COLUMNS) if name in file.schema_arrow.names]
            texts = [name for name in names[1:] if pa.types.is_string(file.schema_arrow.field(name).type)]
            table = file.read(columns=names)
        for name in texts:
            table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
        return cls(table.combine_chunks())

    def of(self, uid: str) -> dict[str, Any]:
        """Return what is known of an image's place; nothing where it has none.

        >>> table = pa.table({"uid": ["b", "a"], "place_id": ["p:2", "p:1"], "place": ["Two", "One"]})
        >>> PlaceNotes(table).of("a"), PlaceNotes(table).of("c")
        ({'place_id': 'p:1', 'place': 'One'}, {})
        """
        key = np.bytes_(uid.encode())
        found = int(np.searchsorted(self._uids, key))
        if found == len(self._uids) or self._uids[found] != key:
            return {}
        return {name: value for name, value in self._rows.slice(found, 1).to_pylist()[0].items() if value is not None}
