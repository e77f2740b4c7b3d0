"""How many images each place asked for, found and keeps: one row is one place.

``requested`` is k for each of its prompts, ``pairs`` what these found, ``retrieved`` the different images among them.
Of these ``best_here`` are more similar to no other place that found them; ``eligible`` are similar and safe enough;
``after_duplicates`` are left without near duplicates, of the same place and of others; ``returned`` are left after the
domains' quota.
"""

from __future__ import annotations

import pyarrow as pa

from mappool_assets.lib import sql_files
from mappool_assets.lib.geo_subset.geo_sources import check_unchanged
from mappool_assets.lib.lake import Lake, Provenance

TABLE = "geo_subset/place_counts"
CODE_VERSION = "1"  # raise when the same inputs would give other rows

SCHEMA = pa.schema(
    [
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("place", pa.string()),
        pa.field("country", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("prompts", pa.int32(), nullable=False),
        *(
            pa.field(name, pa.int64(), nullable=False)
            for name in (
                "requested",
                "pairs",
                "retrieved",
                "best_here",
                "eligible",
                "after_duplicates",
                "returned",
            )
        ),
    ]
)


def write_place_counts(lake: Lake, images: Provenance, neighbours: Provenance) -> Provenance:
    """Write the table, unless it was made from the same images.

    Parameters
    ----------
    images : Provenance
        Of ``geo_subset/geo_images``.
    neighbours : Provenance
        That these were made from. Its inputs hold ``k``, how many images were asked for with each prompt.

    Raises
    ------
    SourceChanged
        Neighbours or prompts were written anew since.
    """
    k = neighbours.inputs["k"]
    inputs = {"geo_images": images.fingerprint, "k": k, "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if made is not None and made.inputs == inputs:
        return made
    rows = sql_files.run(lake, "steps/place_counts", k=k).select(SCHEMA.names).cast(SCHEMA)
    check_unchanged(lake, neighbours)
    provenance = Provenance(inputs, len(rows), len(rows))
    lake.write_table(TABLE, rows, provenance)
    return provenance
