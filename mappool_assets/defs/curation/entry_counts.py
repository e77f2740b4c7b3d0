"""How many texts each entry matches."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.curation.matches import matches
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import sample, table_metadata
from mappool_assets.defs.resources import CurationResource, LakeResource, ScratchResource
from mappool_assets.lib.curation.curation_samples import frequent_entries
from mappool_assets.lib.curation.entry_counts import TABLE, count_entries

KEY = dg.AssetKey(["curation", "entry_counts"])


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    deps=[matches],
    check_specs=sql_check_specs(KEY),
    pool="entry_counts",
)
def entry_counts(
    context: dg.AssetExecutionContext, lake: LakeResource, curation: CurationResource, scratch: ScratchResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one entry with the number of texts that it matches, over all matched shards.

    A new shard is added, a shard that was matched anew replaces its own; the rest is not read again.
    """
    with as_failures():
        made = count_entries(lake.open(), curation.match_settings(scratch.folder()))
    if made.left_out:
        context.log.warning(
            f"{len(made.left_out):,} shards were matched by other settings or with other entries, and are not counted: "
            f"{', '.join(made.left_out[:5])}{' …' if len(made.left_out) > 5 else ''}. Materialise their matches again."
        )
    yield from sql_check_results(KEY, lake.open(), table=TABLE)
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "shards": made.shards,
            "texts": made.rows,
            "matched_texts": made.matched_rows,
            "matches": made.matches,
            "shards_added": len(made.added),
            "shards_replaced": len(made.replaced),
            "shards_removed": len(made.removed),
            "shards_left_out": len(made.left_out),
            "most_frequent": sample(frequent_entries(lake.open())),
        },
        data_version=dg.DataVersion(made.fingerprint),
    )
