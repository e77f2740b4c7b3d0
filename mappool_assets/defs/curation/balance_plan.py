"""What balancing will keep, before anything is drawn."""

import functools
from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.curation.entry_counts import entry_counts
from mappool_assets.defs.curation.matches import matches
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import data_version, image, log_progress, table_metadata
from mappool_assets.defs.resources import CurationResource, LakeResource, ScratchResource
from mappool_assets.lib.curation.balance_plan import TABLE, plan_balance
from mappool_assets.lib.curation.plan_charts import plan_pictures
from mappool_assets.lib.curation.plan_tables import TRAINING
from mappool_assets.lib.curation.plan_text import explanation, sizes_markdown

KEY = dg.AssetKey(["curation", "balance_plan"])


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet", "matplotlib"},
    owners=["team:mappool"],
    code_version="1",
    deps=[entry_counts, matches],
    check_specs=sql_check_specs(KEY),
    pool="balance_plan",
)
def balance_plan(
    context: dg.AssetExecutionContext, lake: LakeResource, curation: CurationResource, scratch: ScratchResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one t with the number of pairs that balancing keeps at it, and how far chance moves that.

    With the share of the tail, what an entry of the head keeps, and the t for a wanted number of pairs or share of the
    tail, where the settings name one. The table `balance_growth` tells how the number grows with the shards,
    `planned_entries` what each entry gets. Nothing is drawn here.
    """
    with as_failures():
        report = plan_balance(
            lake.open(),
            curation.match_settings(scratch.folder()),
            curation.plan_settings(),
            tell=functools.partial(log_progress, context),
        )
        pictures = plan_pictures(lake.open(), report)
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    training = report.size(TRAINING)
    assert training is not None
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "expected_pairs": round(training.expected_size, 1),
            "expected_sd": round(training.sd_size, 1),
            "explanation": dg.MetadataValue.md(explanation(report)),
            "sizes": dg.MetadataValue.md(sizes_markdown(report.sizes)),
            **{name: image(picture, name) for name, picture in pictures.items()},
            "shards_left_out": len(report.left_out),
        },
        data_version=data_version(report.made),
    )
