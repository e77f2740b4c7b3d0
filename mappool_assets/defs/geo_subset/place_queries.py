"""What is asked for each place."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import counts_table, data_version, log_steps, table_metadata
from mappool_assets.defs.resources import EncoderResource, LakeResource, PlacesResource
from mappool_assets.lib.places.place_queries import PLACE_QUERIES, make_place_queries

KEY = dg.AssetKey(["geo_subset", "place_queries"])


@dg.asset(
    key=KEY,
    group_name="geo_subset",
    kinds={"parquet", "pytorch"},
    owners=["team:mappool"],
    code_version="1",
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
    pool="place_queries",
)
def place_queries(
    context: dg.AssetExecutionContext, lake: LakeResource, places: PlacesResource, encoder: EncoderResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one prompt of one place with its CLIP text vector.

    The places come from a keyword list, GeoNames, Natural Earth, Overture, Linked Places or a table of one's own; what
    the filters refuse is counted. A prompt that was embedded before by the same encoder is not embedded again.
    """
    with as_failures():
        made = make_place_queries(
            lake.open(), places.settings(), encoder.load(), storage=places.storage(), progress=log_steps(context)
        )
    yield from sql_check_results(KEY, lake.open(), table=PLACE_QUERIES)
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), PLACE_QUERIES),
            "places_read": made.places.rows_in,
            "places": made.places.rows_kept,
            "places_dropped": dg.MetadataValue.md(counts_table("reason", "places", made.places.rows_dropped)),
            "prompts_embedded_now": made.embedded,
            **made.place_queries.measures,
        },
        data_version=data_version(made.place_queries),
    )
