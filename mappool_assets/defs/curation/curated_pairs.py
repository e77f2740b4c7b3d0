"""The pairs to train on."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.curation.entry_counts import entry_counts
from mappool_assets.defs.curation.unique_pairs import unique_pairs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import data_version, log_progress, sample, table_metadata
from mappool_assets.defs.resources import CurationResource, LakeResource
from mappool_assets.lib.curation.curated_pairs import TABLE, curate_pairs
from mappool_assets.lib.curation.curated_subset import PATH, write_curated_subset
from mappool_assets.lib.curation.curation_samples import curated_sample

KEY = dg.AssetKey(["curation", "curated_pairs"])


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet", "numpy"},
    owners=["team:mappool"],
    code_version="1",
    deps=[unique_pairs, entry_counts],
    check_specs=sql_check_specs(KEY),
    pool="curated_pairs",
)
def curated_pairs(
    context: dg.AssetExecutionContext, lake: LakeResource, curation: CurationResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one pair that the second draw kept, with the reason: the entries that it matches, and its chance.

    Drawn at the t of training from what is unique, weighted for the first draw, so that each pair has the chance that
    one draw from all would have given it. Several seeds draw independently; at a smaller t each draws a part of what it
    draws at a larger one. All are the configuration `curated` of the published dataset; the first seed's are a DataComp
    subset file too.
    """
    with as_failures():
        report = curate_pairs(lake.open(), curation.curation_settings(), tell=log_progress(context, "pairs read"))
        write_curated_subset(lake.open())
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    measures = report.made.measures
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "expected_pairs": round(measures["expected_pairs"], 1),
            "expected_sd": round(measures["sd_pairs"], 1),
            "drawn": dg.MetadataValue.md(_drawn(measures, report.made.inputs["seeds"])),
            "sample": sample(curated_sample(lake.open())),
            "datacomp_subset": PATH,  # in the lake; the whole address would push the sample out of sight
        },
        data_version=data_version(report.made),
    )


def _drawn(measures: Mapping[str, Any], seeds: list[int]) -> str:
    lines = [f"| {seed} | {drawn:,} |" for seed, drawn in zip(seeds, measures["drawn"], strict=True)]
    return "\n".join(["| seed | pairs |", "| --- | ---: |", *lines])
