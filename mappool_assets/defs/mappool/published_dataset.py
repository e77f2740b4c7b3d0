"""The dataset that people load."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mappool_assets.defs.checks import OF_SHARD_MAPS, sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.metadata import log_progress
from mappool_assets.defs.resources import LakeResource, PublishResource, TakeDownResource
from mappool_assets.lib.curation import published_curation
from mappool_assets.lib.geo_subset import published_geo
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.corpus import read_corpus
from mappool_assets.lib.publish.publish_target import PublishTarget
from mappool_assets.lib.publish.publisher import PublishReport, publish
from mappool_assets.lib.publish.targets import dataset_name
from mappool_assets.lib.shard_filter import TABLE as SHARD_MAPS

KEY = dg.AssetKey(["mappool", "published_dataset"])
SHOWN_PATHS = 20


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "huggingface"},
    owners=["team:mappool"],
    code_version="1",
    deps=[shard_maps, classifier, pool_shards],
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
    pool="published_dataset",
)
def published_dataset(
    context: dg.AssetExecutionContext, lake: LakeResource, publishing: PublishResource, take_down: TakeDownResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """The corpus as MapPool publishes it: `part_*/HASH.parquet`, `file_list.json`, card and checksums.

    Only what is new or changed is sent, to a folder or to the Hub; an unchanged corpus sends nothing. Nothing is
    published while a rule is broken anywhere in the corpus. Known shards without maps yet are listed as missing, with
    the reason; what is on the take-down list leaves and stays out. The images of places, where the lake has any, are
    the configuration `geo`, as they are, also while prompts and neighbours are being made anew; so are the curated
    pairs, as `curated`.
    """
    with as_failures():
        corpus = [shard.shard for shard in read_corpus(lake.open()).shards]
    checked = list(sql_check_results(KEY, lake.open(), only=OF_SHARD_MAPS, table=SHARD_MAPS, partitions=corpus))
    yield from checked
    broken = [result for result in checked if not result.passed]
    if broken:
        raise dg.Failure(
            "Not published, because the corpus breaks a rule: "
            + "; ".join(f"{result.check_name} ({result.description})" for result in broken)
            + " Filter the shards concerned again with force; where two shards hold the same rows, take one out of the "
            "pool and list it anew.",
            allow_retries=False,
        )
    with as_failures():
        target = publishing.open_target()
        report = publish_corpus(context, lake, publishing, take_down, target)
    yield from sql_check_results(KEY, lake.open(), only=("pool_shards_scored_or_missing",))
    card = target.read("README.md").decode().split("\n---\n", 1)[-1]
    yield dg.MaterializeResult(
        metadata={"card": dg.MetadataValue.md(card), **publish_metadata(report, publishing.target)},
        data_version=dg.DataVersion(report.version),
    )


def publish_corpus(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    lake: LakeResource,
    publishing: PublishResource,
    take_down: TakeDownResource,
    target: PublishTarget,
    *,
    is_dry_run: bool = False,
) -> PublishReport:
    """Publish the lake's corpus as the settings say, with a live count in the log."""
    for message in _warnings(lake.open()):
        context.log.warning(message)
    return publish(
        lake.open(),
        target,
        publishing.card(),
        log_progress(context, "shards"),
        take_down=take_down.read(),
        configurations=[published_geo.GeoConfiguration(), published_curation.CuratedConfiguration()],
        is_dry_run=is_dry_run,
    )


def _warnings(lake: Lake) -> Iterator[str]:
    """Yield what is published otherwise than people may think."""
    if published_geo.is_behind(lake):
        yield (
            "The images of places are published as they are; prompts or neighbours were made anew since. Materialise "
            "geo_subset/neighbours and geo_subset/geo_images to bring them up to date."
        )
    if published_curation.is_behind(lake):
        yield (
            "The curated pairs are published as they are; unique pairs were found anew since. Materialise "
            "curation/curated_pairs to bring them up to date."
        )
    if published_curation.are_withheld(lake):
        yield "The curated pairs are not published: they are of the whole pool, and the dataset holds its maps alone."


def publish_metadata(report: PublishReport, target: str) -> dict[str, Any]:
    """Return what a publish sent, or would send."""
    name = dataset_name(target)
    return {
        "published_to": dg.MetadataValue.url(f"https://huggingface.co/datasets/{name}")
        if name
        else dg.MetadataValue.path(str(Path(target).absolute())),
        "version": report.version,
        "dagster/row_count": report.rows,
        "bytes": report.bytes_total,
        "shards": report.shards,
        "missing_shards": report.missing_shards,
        "files_written": report.files_written,
        "files_unchanged": report.files_unchanged,
        "files_removed": report.files_removed,
        "rows_taken_down": report.rows_taken_down,
        "bytes_written": report.bytes_written,
        "paths_written": _some(report.paths_written),
        "paths_removed": _some(report.paths_removed),
    }


def _some(paths: tuple[str, ...]) -> str:
    """Return the first of many paths, one a line."""
    more = [f"… and {len(paths) - SHOWN_PATHS:,} more"] if len(paths) > SHOWN_PATHS else []
    return "\n".join([*paths[:SHOWN_PATHS], *more]) or "none"
