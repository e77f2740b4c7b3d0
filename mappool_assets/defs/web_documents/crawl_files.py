"""The files of a crawl, found at its source."""

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import table_metadata
from mappool_assets.defs.partitions import CRAWL_FILE, add_partitions
from mappool_assets.defs.resources import CrawlResource, LakeResource
from mappool_assets.lib.crawl.crawl_files_table import TABLE, known_crawl_files, write_crawl_files

KEY = dg.AssetKey(["web_documents", "crawl_files"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet"},
    owners=["team:mappool"],
    code_version="1",
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
)
def crawl_files(context: dg.AssetExecutionContext, lake: LakeResource, crawl: CrawlResource) -> dg.MaterializeResult:
    """One row is one WARC or WAT file of a crawl: its key, its path in the crawl and its address.

    Found in Common Crawl's own path list, in another list, a folder or a bucket; a sample of them, drawn by the seed.
    Each becomes a partition of `documents`. A file that is listed or drawn no more stays, marked, so that nothing made
    from it is forgotten.
    """
    with as_failures():
        listing = crawl.listing()
        write_crawl_files(lake.open(), listing)
    new = add_partitions(context.instance, CRAWL_FILE, list(known_crawl_files(lake.open())))
    context.log.info(f"{len(listing.files):,} files of {crawl.source}, {len(new):,} of them new")
    return dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TABLE),
            "source": crawl.source,
            "files_drawn": len(listing.files),
            "new_files": len(new),
        },
        # The crawl, not the sample: one more file must not make what was made of the others stale.
        data_version=dg.DataVersion(crawl.source),
        check_results=list(sql_check_results(KEY, lake.open(), table=TABLE)),
    )
