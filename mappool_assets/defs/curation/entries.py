"""The metadata list: the concepts over which pairs are balanced."""

from collections.abc import Iterator

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import counts_table, data_version, sample, table_metadata
from mappool_assets.defs.resources import CurationResource, FilterResource, LakeResource, ScratchResource
from mappool_assets.lib.curation.curation_samples import entry_sample
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH, make_entries

KEY = dg.AssetKey(["curation", "entries"])


@dg.asset(
    key=KEY,
    group_name="curation",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
    pool="entries",
)
def entries(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    curation: CurationResource,
    scratch: ScratchResource,
    filtering: FilterResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One row is one entry of the metadata list: a word, a pair of words, a title, a place, a term of cartography.

    From a list that is given, or built of WordNet, a corpus of text, page views, gazetteers and our own terms, each if
    the settings name it. Order and list are the same for the same files. Entries that no text can ever match are in the
    table `entry_lint`, with the reason.
    """
    with as_failures():
        made = make_entries(
            lake.open(),
            curation.entry_settings(scratch.folder()),
            curation.storage(),
            workers=filtering.worker_count(),
            tell=context.log.info,
        )
    yield from sql_check_results(KEY, lake.open(), table=ENTRIES)
    measures = made.measures
    yield dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), ENTRIES),
            "list_hash": measures[LIST_HASH],
            "by_source": dg.MetadataValue.md(counts_table("source", "entries", measures["entries_by_source"])),
            "sample": sample(entry_sample(lake.open())),
            "never_matching": dg.MetadataValue.md(counts_table("reason", "entries", measures["never_matching"])),
        },
        data_version=data_version(made),
    )
