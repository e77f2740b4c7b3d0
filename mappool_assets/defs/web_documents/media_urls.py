"""The media URLs of all crawl files."""

from collections import Counter
from collections.abc import Iterable, Mapping

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import counts_table, row_counts
from mappool_assets.defs.resources import LakeResource, ScratchResource
from mappool_assets.defs.web_documents.file_media_urls import file_media_urls
from mappool_assets.lib.lake import fingerprint
from mappool_assets.lib.media_urls.media_url_task import TABLE, MergeReport, MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.media_urls import make_media_urls

KEY = dg.AssetKey(["web_documents", "media_urls"])


@dg.asset(
    key=KEY,
    group_name="web_documents",
    kinds={"parquet", "duckdb"},
    owners=["team:mappool"],
    code_version="1",
    deps=[file_media_urls],
    check_specs=sql_check_specs(KEY),
    pool="media_urls",
)
def media_urls(context: dg.AssetExecutionContext, lake: LakeResource, scratch: ScratchResource) -> dg.MaterializeResult:
    """One row is one image, sound or film by its URL, with how often and on how many domains it was seen.

    Over all crawl files, in parts by the hash of the URL, each merged by itself with what does not fit in memory on
    disk.
    """
    reports: list[MergeReport] = []
    with as_failures():
        tasks = media_url_tasks(lake.open(), MergeSettings(scratch.folder()))
        for outcome in make_media_urls(tasks, workers=1):
            if outcome.error is not None:
                raise outcome.error
            assert outcome.result is not None
            reports.append(outcome.result)
            context.log.info(f"{len(reports)}/{len(tasks)} parts, {outcome.result.rows_kept:,} URLs in the last one")
    return dg.MaterializeResult(
        metadata={
            **row_counts(
                sum(r.rows_in for r in reports),
                sum(r.rows_kept for r in reports),
                _total(r.rows_dropped for r in reports),
            ),
            "dagster/row_count": sum(report.rows_kept for report in reports),
            "urls": dg.MetadataValue.md(counts_table("kind", "URLs", _total(r.urls for r in reports))),
            "seen": dg.MetadataValue.md(counts_table("kind", "on pages", _total(r.seen for r in reports))),
            "parts": len(reports),
            "folder": dg.MetadataValue.path(lake.open().url(TABLE)),
        },
        data_version=dg.DataVersion(fingerprint({report.shard: report.fingerprint for report in reports})),
        check_results=list(sql_check_results(KEY, lake.open(), table=TABLE)),
    )


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    return sum(map(Counter, counts), Counter[str]())
