"""Asset checks that are SQL: a file under ``sql/checks`` selects the rows that break a rule; no row, and it holds.

They run inside the asset's own step: in a run that ends with failed partitions, later steps are skipped.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
import pyarrow as pa

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake

ROWS_ACCOUNTED = "rows_accounted"
SCREEN_MISSED = "shard_maps_screen_missed"  # the maps missed in the sample are kept: a warning, no fault of the rows
OF_SHARD_MAPS = ("shard_maps_uid_unique", "shard_maps_score_over_threshold", ROWS_ACCOUNTED)
CHECKS = {
    "training_set": ("training_set_splits_disjoint", ROWS_ACCOUNTED),
    "training_embeddings": (ROWS_ACCOUNTED,),
    "pool_shards": (ROWS_ACCOUNTED,),
    "shard_maps": (*OF_SHARD_MAPS, SCREEN_MISSED),
    "map_images": ("map_images_one_row_a_map", "map_images_ok_complete", ROWS_ACCOUNTED),
    "unique_images": (
        "unique_images_complete",
        "unique_images_representative_kept",
        "unique_images_bytes_kept_once",
        "unique_images_best_kept",
        "unique_images_within_limits",
        ROWS_ACCOUNTED,
    ),
    "place_queries": (ROWS_ACCOUNTED,),
    "neighbours": (ROWS_ACCOUNTED,),
    "geo_images": (
        "geo_images_complete",
        "geo_images_best_place",
        "geo_images_duplicates_kept_once",
        "geo_images_within_limits",
        "place_counts_add_up",
        ROWS_ACCOUNTED,
    ),
    "crawl_files": (ROWS_ACCOUNTED,),
    "documents": ("documents_once", "documents_dropped_stored", ROWS_ACCOUNTED),
    "media_links": ("media_links_within_text", "media_links_complete", ROWS_ACCOUNTED),
    "interleaved": ("interleaved_in_order", "interleaved_complete", ROWS_ACCOUNTED),
    "file_media_urls": (ROWS_ACCOUNTED,),
    "media_urls": ("media_urls_unique", "media_urls_seen_complete", ROWS_ACCOUNTED),
    "packed_documents": (ROWS_ACCOUNTED,),
    "page_images": (ROWS_ACCOUNTED,),
    "page_maps": (
        "page_maps_complete",
        "page_maps_duplicates_kept_once",
        "page_maps_of_these_packs",
        ROWS_ACCOUNTED,
    ),
    "entries": ("entries_unique_in_order", "entry_lint_of_entries", ROWS_ACCOUNTED),
    "matches": ("matches_complete", "shard_entry_counts_add_up", ROWS_ACCOUNTED),
    "entry_counts": ("entry_counts_add_up", ROWS_ACCOUNTED),
    "balance_plan": (
        "balance_plan_monotone",
        "balance_plan_of_entries",
        "planned_entries_within_counts",
        ROWS_ACCOUNTED,
    ),
    "balanced_pool": ("balanced_pool_of_matches", ROWS_ACCOUNTED),
    "unique_pairs": ("unique_pairs_once", "unique_pairs_of_balanced_pool", "unique_pairs_text_copies", ROWS_ACCOUNTED),
    "curated_pairs": (
        "curated_pairs_of_unique_pairs",
        "curated_pairs_named",
        "curated_pairs_image_once",
        "curated_entries_add_up",
        ROWS_ACCOUNTED,
    ),
    "published_dataset": (*OF_SHARD_MAPS, "pool_shards_scored_or_missing"),
}
SHOWN_ROWS = 10


def sql_check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Return the specifications of an asset's checks; their description is the question that the SQL answers."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=sql_files.question(f"checks/{name}"))
        for name in CHECKS[key.path[-1]]
    ]


def sql_check_results(
    key: dg.AssetKey,
    lake: Lake,
    *,
    only: Sequence[str] | None = None,
    table: str | None = None,
    partitions: Sequence[str] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """Run an asset's checks.

    Parameters
    ----------
    only : sequence of str, optional
        Some of the asset's checks instead of all.
    table, partitions
        Bound where a statement has these parameters (``$shards`` takes the partitions too); None means all.
    """
    bound = {"table": table, "partitions": partitions, "shards": partitions}
    for name in only or CHECKS[key.path[-1]]:
        statement = f"checks/{name}"
        offending = sql_files.run(lake, statement, **{p: bound[p] for p in sql_files.parameters(statement)})
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=key,
            passed=offending.num_rows == 0,
            severity=dg.AssetCheckSeverity.WARN if name == SCREEN_MISSED else dg.AssetCheckSeverity.ERROR,
            description=f"{sql_files.question(statement)} {offending.num_rows:,} found.",
            metadata={"offending_rows": offending.num_rows, **_examples(offending)},
        )


def _examples(offending: pa.Table) -> dict[str, dg.MetadataValue]:
    rows = offending.slice(0, SHOWN_ROWS).to_pylist()
    if not rows:
        return {}
    records = [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in rows]
    return {"first_rows": dg.MetadataValue.table(records)}
