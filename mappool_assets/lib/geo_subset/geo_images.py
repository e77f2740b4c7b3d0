"""The images of places: one row is one image that a prompt found, with its best place, and whether it is returned.

The steps: choose each image's best place among those that found it and put the images in order of preference (SQL);
read their rows once, for metadata, margins and scores; find near duplicates; keep a domain's quota and join (SQL).
``geo_subset/geo_images`` is a ledger: it holds all images that were found, in the order of places and similarities, and
``dropped`` says why one is not returned, the first reason that holds:

==========================  =========================================================================================
``below_min_similarity``    Its similarity is below ``min_similarity``.
``unsafe``                  Its ``unsafe_score`` is over ``max_unsafe_score``.
``near_duplicate``          It is one of ``duplicate_of``, as :mod:`mappool_assets.lib.geo_subset.near_duplicates` says.
``over_domain_quota``       Its place has enough images of its domain that are more similar.
==========================  =========================================================================================

``place_margin`` is the difference to the best prompt of any other place, also of one that did not find the image, as
``k`` others were nearer to it: where it is negative, that place would have been the better one.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.geo_subset.found_images import describe_images
from mappool_assets.lib.geo_subset.geo_sources import GeoSources, check_unchanged
from mappool_assets.lib.geo_subset.near_duplicates import find_near_duplicates
from mappool_assets.lib.geo_subset.place_counts import write_place_counts
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.retrieval.row_file import RowFile, write_rows
from mappool_assets.lib.scratch_folder import scratch_folder

TABLE = "geo_subset/geo_images"
CODE_VERSION = "2"  # raise when the same inputs would give other rows

BELOW_MINIMUM, UNSAFE, DUPLICATE, OVER_QUOTA = (
    "below_min_similarity",
    "unsafe",
    "near_duplicate",
    "over_domain_quota",
)
SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("uid", pa.string()),
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("place", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("country", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("rank", pa.int32(), nullable=False),  # among the prompt's neighbours, from 1
        pa.field("similarity", pa.float32(), nullable=False),  # to that prompt
        pa.field("place_margin", pa.float32()),  # null where there is one place
        pa.field("generic_margin", pa.float32()),  # null without generic prompts
        pa.field("unsafe_score", pa.float32()),  # null without a safety head
        pa.field("dropped", pa.string()),  # null where returned
        pa.field("duplicate_of", pa.string()),  # uid
        pa.field("duplicate_of_shard", pa.string()),
        pa.field("duplicate_similarity", pa.float32()),
        pa.field("group_size", pa.int32(), nullable=False),  # near duplicates together with what is kept for them
        pa.field("url", pa.string()),
        pa.field("text", pa.string()),
        pa.field("original_width", pa.int64()),
        pa.field("original_height", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("map_score", pa.float32()),
        pa.field("domain", pa.string()),
    ]
)
BATCH_ROWS = 65_536


def find_geo_images(
    lake: Lake,
    scratch: Path,
    settings: GeoSettings | None = None,
    *,
    safety_head: Path | None = None,
    force: bool = False,
) -> Provenance:
    """Write ``geo_subset/geo_images`` and ``geo_subset/place_counts``, unless they were made from the same.

    Parameters
    ----------
    lake : Lake
        Has ``geo_subset/neighbours``, what these were made from, and ``geo_subset/generic_queries`` where margins to
        them are wanted.
    scratch : Path
        A folder on a local disk; takes some 7 kB an image, and DuckDB's spill, while this runs.
    settings : GeoSettings, optional
    safety_head : Path, optional
        As :mod:`mappool_assets.lib.geo_subset.safety_head` says.

    Returns
    -------
    Provenance
        Of the images. ``measures`` holds how many pairs of prompt and image they come from.

    Raises
    ------
    MissingInput
        No neighbours, or nothing that they were made from.
    SourceChanged
        Prompts or maps are others than those that the neighbours were made from, or become others meanwhile.
    BadModel
        A safety head, or generic prompts, of another encoder.
    BadSetting
        A most unsafe score without a head.
    """
    chosen = settings or GeoSettings()
    if chosen.max_unsafe_score is not None and safety_head is None:
        raise BadSetting(
            "A most unsafe score is set, and nothing that tells scores",
            where="max_unsafe_score",
            rule="a safety head beside it",
            got=f"{chosen.max_unsafe_score} without one",
            action="Give a safety head, or leave the score out.",
        )
    sources = GeoSources.read(lake, safety_head)
    inputs = {**sources.inputs, **asdict(chosen), "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if force or made is None or made.fingerprint != fingerprint(inputs):
        with scratch_folder(scratch, lake, "geo_images") as folder:
            made = _make(lake, folder, sources, chosen, inputs)
    write_place_counts(lake, made, sources.neighbours)
    return made


def _make(lake: Lake, folder: Path, sources: GeoSources, settings: GeoSettings, inputs: dict[str, Any]) -> Provenance:
    names = ("found.parquet", "described.parquet", "decided.parquet", "named.parquet", "rows.npy")
    found, described, decided, named, rows = (folder / name for name in names)
    sql_files.run(lake, "steps/geo_found", file=str(found))
    measures = {"pairs": sources.neighbours.rows_kept}
    images = pq.read_metadata(found).num_rows
    if not images:
        check_unchanged(lake, sources.neighbours)
        return _write(lake, None, inputs, measures)
    blocks = describe_images(lake, found, sources.neighbours.inputs["shards"], sources.measures, described)
    write_rows(rows, blocks, images, sources.prompts.shape[1])
    _decide(described, RowFile.open(rows), settings, folder / "lists", decided)
    bound = {"described": str(described), "decided": str(decided), "most_a_domain": settings.most_a_domain}
    sql_files.run(lake, "steps/geo_images", file=str(named), **bound)
    check_unchanged(lake, sources.neighbours)
    return _write(lake, named, inputs, measures)


def _decide(described: Path, vectors: RowFile, settings: GeoSettings, lists: Path, decided: Path) -> None:
    """Write for each image, by number, why it is dropped, if it is, and what it is a duplicate of."""
    columns = pq.read_table(described, columns=["number", "similarity", "unsafe_score"])
    numbers, similarity = columns["number"].to_numpy(), columns["similarity"].to_numpy()
    unsafe = pc.fill_null(columns["unsafe_score"], 0).to_numpy()
    is_below = similarity < np.float32(-np.inf if settings.min_similarity is None else settings.min_similarity)
    is_unsafe = unsafe > np.float32(np.inf if settings.max_unsafe_score is None else settings.max_unsafe_score)
    lists.mkdir()
    is_eligible = ~(is_below | is_unsafe)
    duplicates = find_near_duplicates(vectors, numbers, is_eligible, settings.duplicate_similarity, lists)
    is_kept = duplicates.is_kept[numbers]
    reasons = np.select([is_below, is_unsafe, ~is_kept], [0, 1, 2], 3).astype(np.int8)
    names = pa.array([BELOW_MINIMUM, UNSAFE, DUPLICATE])
    table = {
        "number": numbers,
        "representative": duplicates.representative[numbers],
        "duplicate_similarity": pa.array(duplicates.measure[numbers], mask=is_kept),
        "dropped": names.take(pa.array(reasons, mask=reasons == len(names))),
    }
    pq.write_table(pa.table(table), decided)


def _write(lake: Lake, named: Path | None, inputs: dict[str, Any], measures: dict[str, Any]) -> Provenance:
    dropped = dict.fromkeys((BELOW_MINIMUM, UNSAFE, DUPLICATE, OVER_QUOTA), 0)
    with lake.table_writer(TABLE, SCHEMA, is_ledger=True) as writer:
        if named is not None:
            with pq.ParquetFile(named) as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    rows = pa.table(batch).select(SCHEMA.names).cast(SCHEMA)
                    writer.write(rows)
                    for reason in pc.value_counts(rows["dropped"].drop_null()).to_pylist():
                        dropped[reason["values"]] += reason["counts"]
        reasons = {reason: rows for reason, rows in dropped.items() if rows}
        kept = writer.rows_written - sum(reasons.values())
        writer.provenance = Provenance(inputs, writer.rows_written, kept, reasons, measures)
    return writer.provenance
