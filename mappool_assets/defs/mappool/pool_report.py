"""A page about the whole pool."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.map_images import map_images
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.mappool.unique_images import unique_images
from mappool_assets.defs.metadata import file_metadata, image
from mappool_assets.defs.resources import LakeResource, PublishResource
from mappool_assets.lib.pool_report.report import write_pool_report

COUNTS = ("shards", "pairs", "maps", "shards_with_images", "images_tried", "images_fetched", "dead_links", "domains")


@dg.asset(
    key=dg.AssetKey(["mappool", "pool_report"]),
    group_name="mappool",
    kinds={"html", "duckdb", "matplotlib"},
    owners=["team:mappool"],
    code_version="1",
    deps=[shard_maps, map_images, unique_images],
    pool="pool_report",
)
def pool_report(lake: LakeResource, publishing: PublishResource) -> dg.MaterializeResult:
    """One HTML page over the lake: yields, scores with sample images, sizes, captions, domains, dead links, duplicates.

    It needs no network to be looked at, and says in its place what has not been made yet.
    """
    with as_failures():
        report = write_pool_report(lake.open(), publishing.title)
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.path(lake.open().url(report.path)),
            **file_metadata(lake.open(), report.path),
            **{name: getattr(report, name) for name in COUNTS},
            "unique_images": "not looked for yet" if report.unique_images is None else report.unique_images,
            "top_20_domains_percent": round(100 * report.top_domains_share, 2),
            "missing": "\n".join(report.missing) or "nothing",
            **{name: image(picture, name) for name, picture in report.pictures.items()},
        },
        data_version=dg.DataVersion(report.sha256[:16]),
    )
