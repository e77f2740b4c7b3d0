"""The images of places."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.geo_subset.neighbours import neighbours
from mappool_assets.defs.metadata import data_version, table_metadata
from mappool_assets.defs.resources import GeoSubsetResource, LakeResource, ScratchResource
from mappool_assets.lib.geo_subset.exports import TABLE as IMAGE_LIST
from mappool_assets.lib.geo_subset.exports import write_image_list
from mappool_assets.lib.geo_subset.geo_images import TABLE, find_geo_images
from mappool_assets.lib.geo_subset.manifest import PATH as MANIFEST
from mappool_assets.lib.geo_subset.manifest import write_manifest

KEY = dg.AssetKey(["geo_subset", "geo_images"])


@dg.asset(
    key=KEY,
    group_name="geo_subset",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    deps=[neighbours],
    check_specs=sql_check_specs(KEY),
    pool="geo_images",
)
def geo_images(
    lake: LakeResource, geo_subset: GeoSubsetResource, scratch: ScratchResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one image that a place's prompts found, with its best place, margins, and whether it is returned.

    Near duplicates, unsafe images and those over a domain's quota are not, with the reason. Beside it lie the counts of
    each place, a list that img2dataset takes, and a manifest by which the run can be repeated bit by bit.
    """
    with as_failures():
        made = find_geo_images(
            lake.open(),
            scratch.folder(),
            geo_subset.image_settings(),
            safety_head=geo_subset.safety_head_file(),
        )
        write_manifest(lake.open())
        listed = write_image_list(lake.open())
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "images_returned": listed.rows_kept,
            "image_list": dg.MetadataValue.path(lake.open().url(lake.open().table_path(IMAGE_LIST))),
            "manifest": dg.MetadataValue.path(lake.open().url(MANIFEST)),
        },
        data_version=data_version(made),
    )
