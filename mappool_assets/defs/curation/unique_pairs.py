"""Each image and each text once, between the two draws."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.curation.balanced_pool import balanced_pool
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import data_version, log_progress, table_metadata
from mappool_assets.defs.resources import CurationResource, LakeResource, ScratchResource
from mappool_assets.lib.curation.unique_pairs import TABLE, find_unique_pairs

KEY = dg.AssetKey(["curation", "unique_pairs"])
UNIQUE_IMAGES = dg.AssetKey(["mappool", "unique_images"])


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    deps=[balanced_pool, UNIQUE_IMAGES],
    check_specs=sql_check_specs(KEY),
    pool="unique_pairs",
)
def unique_pairs(
    context: dg.AssetExecutionContext, lake: LakeResource, curation: CurationResource, scratch: ScratchResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one text with the image that it is of, each such pair once, over all shards.

    Of what the first draw left. Images are the same where `unique_images` says so or, by a setting, where the pool
    lists the same sha256; a text stays with so many images as the settings allow (one, by default). Where lot decides,
    a hash of the seed and the uid does.
    """
    with as_failures():
        made = find_unique_pairs(
            lake.open(), scratch.folder(), curation.pair_settings(), tell=log_progress(context, "shards")
        )
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    yield dg.MaterializeResult(
        metadata={**table_metadata(lake.open(), TABLE), "images": made.measures["images"]},
        data_version=data_version(made),
    )
