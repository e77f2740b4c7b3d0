"""The maps among the images of web pages."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import data_version, table_metadata
from mappool_assets.defs.resources import LakeResource, ScratchResource
from mappool_assets.defs.web_documents.page_images import page_images
from mappool_assets.lib.page_maps.page_maps import TABLE, find_page_maps

KEY = dg.AssetKey(["web_documents", "page_maps"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[page_images],
    check_specs=sql_check_specs(KEY),
    pool="page_maps",
)
def page_maps(lake: LakeResource, scratch: ScratchResource) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """One row is one map on a web page, in MapPool's columns and with the page around it, over all crawl files.

    A map that is there twice stays with its page and names the one that is kept for it.
    """
    with as_failures():
        made = find_page_maps(lake.open(), scratch.folder())
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    yield dg.MaterializeResult(metadata=table_metadata(lake.open(), TABLE), data_version=data_version(made))
