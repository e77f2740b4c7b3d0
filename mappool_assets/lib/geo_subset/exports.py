"""The images of places for others' tools: a list that img2dataset takes.

``geo_subset/image_list`` has one row an image that is returned. For img2dataset: ``--input_format parquet --url_col
url --caption_col text``, ``--save_additional_columns`` with :data:`ADDITIONAL_COLUMNS`, and ``--verify_hash
'["sha256","sha256"]'`` where only images are wanted that are still what the pool saw.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.geo_subset import geo_images
from mappool_assets.lib.lake import Lake, Provenance

TABLE = "geo_subset/image_list"
CODE_VERSION = "1"  # raise when the same images would give other rows

ADDITIONAL_COLUMNS = (
    "uid",
    "place_id",
    "place",
    "country",
    "latitude",
    "longitude",
    "similarity",
    "place_margin",
    "generic_margin",
)
SCHEMA = pa.schema([geo_images.SCHEMA.field(name) for name in ("url", "text", "sha256", *ADDITIONAL_COLUMNS)])
BATCH_ROWS = 65_536


def write_image_list(lake: Lake) -> Provenance:
    """Write the list, unless it was made from the same images.

    Raises
    ------
    MissingInput
        There are no images of places.
    """
    images = lake.provenance(geo_images.TABLE)
    if images is None:
        raise MissingInput(
            "There are no images of places to list",
            where=lake.url(geo_images.TABLE),
            rule="a table of the lake",
            got="nothing",
            action=f"Materialise {geo_images.TABLE} first.",
        )
    inputs = {"geo_images": images.fingerprint, "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if made is not None and made.inputs == inputs:
        return made
    with tempfile.TemporaryDirectory(prefix="mappool-") as folder, lake.table_writer(TABLE, SCHEMA) as writer:
        file = Path(folder) / "list.parquet"
        sql_files.run(lake, "exports/image_list", file=str(file))
        with pq.ParquetFile(file) as rows:
            for batch in rows.iter_batches(BATCH_ROWS, columns=SCHEMA.names):
                writer.write(pa.table(batch).select(SCHEMA.names).cast(SCHEMA))
        writer.provenance = Provenance(inputs, writer.rows_written, writer.rows_written)
    return writer.provenance
