"""A page about the images of places."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.geo_subset.geo_images import geo_images
from mappool_assets.defs.metadata import file_metadata, image
from mappool_assets.defs.resources import GeoSubsetResource, LakeResource
from mappool_assets.lib.geo_subset.geo_report import write_geo_report

COUNTS = ("places", "places_without_images", "images", "median_images", "domains", "labelled")


@dg.asset(
    key=dg.AssetKey(["geo_subset", "geo_report"]),
    group_name="geo_subset",
    kinds={"html", "duckdb", "matplotlib"},
    owners=["team:mappool"],
    code_version="1",
    deps=[geo_images],
    pool="geo_report",
)
def geo_report(lake: LakeResource, geo_subset: GeoSubsetResource) -> dg.MaterializeResult:
    """One HTML page with the analysis of LAION-geo's article: images per place, domains, a map of the places, samples.

    With labels (a uid and yes or no a line) it tells the precision per place too.
    """
    with as_failures():
        report = write_geo_report(lake.open(), labels=geo_subset.read_labels())
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.path(lake.open().url(report.path)),
            **file_metadata(lake.open(), report.path),
            **{name: getattr(report, name) for name in COUNTS},
            "mean_images": round(report.mean_images, 2),
            "precision": "no labels" if report.precision is None else round(report.precision, 4),
            "top_20_domains_percent": round(100 * report.top_domains_share, 2),
            "missing": dg.MetadataValue.md("\n".join(f"- {what}" for what in report.missing) or "nothing"),
            **{name: image(picture, name) for name, picture in report.pictures.items()},
        },
        data_version=dg.DataVersion(report.sha256[:16]),
    )
