"""A page about the curated pairs."""

import dagster as dg

from mappool_assets.defs.curation.curated_pairs import curated_pairs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import file_metadata, image
from mappool_assets.defs.resources import LakeResource
from mappool_assets.lib.curation.curation_report import write_curation_report

COUNTS = ("pairs", "entries", "head_entries", "lost_entries")
SHARES = ("top_share_before", "top_share_after", "tail_share_before", "tail_share_after")


@dg.asset(
    key=dg.AssetKey(["curation", "curation_report"]),
    group_name="curation",
    kinds={"html", "matplotlib"},
    owners=["team:mappool"],
    code_version="1",
    deps=[curated_pairs],
    pool="curation_report",
)
def curation_report(lake: LakeResource) -> dg.MaterializeResult:
    """One HTML page about the curated pairs: entries before and after, head and tail, what was expected and drawn.

    With the way of the rows from all texts to the last draw, the overlap of the seeds, and sample images.
    """
    with as_failures():
        report = write_curation_report(lake.open())
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.path(lake.open().url(report.path)),
            **file_metadata(lake.open(), report.path),
            **{name: getattr(report, name) for name in COUNTS},
            "expected_pairs": round(report.expected_pairs, 1),
            "expected_sd": round(report.sd_pairs, 1),
            **{f"{name}_percent": round(100 * getattr(report, name), 2) for name in SHARES},
            "missing": dg.MetadataValue.md("\n".join(f"- {what}" for what in report.missing) or "nothing"),
            **{name: image(picture, name) for name, picture in report.pictures.items()},
        },
        data_version=dg.DataVersion(report.sha256[:16]),
    )
