"""Jobs, the sensors that find new shards and crawl files, what publishes by itself; all are off until switched on."""

import dagster as dg

from mappool_assets.defs.curation.balance_plan import balance_plan
from mappool_assets.defs.curation.balanced_pool import balanced_pool
from mappool_assets.defs.curation.curated_pairs import curated_pairs
from mappool_assets.defs.curation.curation_report import curation_report
from mappool_assets.defs.curation.entries import entries
from mappool_assets.defs.curation.entry_counts import entry_counts
from mappool_assets.defs.curation.matches import matches
from mappool_assets.defs.curation.unique_pairs import unique_pairs
from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.mappool.map_images import map_images
from mappool_assets.defs.mappool.pool_report import pool_report
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.mappool.published_dataset import published_dataset
from mappool_assets.defs.mappool.published_model import published_model
from mappool_assets.defs.mappool.shard_maps import shard_maps
from mappool_assets.defs.mappool.unique_images import unique_images
from mappool_assets.defs.publish_preview import publish_preview
from mappool_assets.defs.resources import CrawlResource, LakeResource, PoolResource, PublishResource
from mappool_assets.defs.web_documents.crawl_files import crawl_files
from mappool_assets.defs.web_documents.media_urls import media_urls
from mappool_assets.defs.web_documents.page_maps import page_maps
from mappool_assets.lib.crawl.crawl_files_table import has_changed as has_other_files
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import has_changed

EVENTS_A_PAGE = 500

train_job = dg.define_asset_job(
    "train",
    selection=dg.AssetSelection.assets(classifier).upstream() | dg.AssetSelection.assets(pool_shards),
    description="From labelled images to a fitted classifier, with the encoder's parity with the pool checked.",
)
filter_job = dg.define_asset_job(
    "filter",
    selection=dg.AssetSelection.assets(shard_maps),
    description="The maps of chosen shards. For many shards backfill the asset shard_maps instead: only asset "
    "backfills put many shards into one run.",
)
images_job = dg.define_asset_job(
    "images",
    selection=dg.AssetSelection.assets(map_images),
    description="The images of the maps of chosen shards. For many shards backfill the asset map_images instead.",
)
report_job = dg.define_asset_job(
    "report",
    selection=dg.AssetSelection.assets(unique_images, pool_report),
    description="What is there twice among the fetched images, and a page about the whole pool.",
)
geo_subset_job = dg.define_asset_job(
    "geo_subset",
    selection=dg.AssetSelection.groups("geo_subset"),
    description="The images of the places that the settings name, a page about them, and the index for single queries.",
)
crawl_job = dg.define_asset_job(
    "crawl",
    selection=dg.AssetSelection.assets(crawl_files),
    description="The files of the crawl that the settings name; each becomes a partition of documents.",
)
pages_job = dg.define_asset_job(
    "pages",
    selection=dg.AssetSelection.groups("web_documents") - dg.AssetSelection.assets(crawl_files, media_urls, page_maps),
    description="Of chosen crawl files the documents, the media with the text around them, packed and scored images. "
    "For many files backfill these assets instead.",
)
collections_job = dg.define_asset_job(
    "page_collections",
    selection=dg.AssetSelection.assets(media_urls, page_maps),
    description="Over all crawl files: the media URLs, each once, and the maps.",
)
matches_job = dg.define_asset_job(
    "matches",
    selection=dg.AssetSelection.assets(entries, matches),
    description="The metadata list, and which of its entries match which text of chosen shards. For many shards "
    "backfill the asset matches instead.",
)
balance_plan_job = dg.define_asset_job(
    "balance_plan",
    selection=dg.AssetSelection.assets(entry_counts, balance_plan),
    description="How many texts each entry matches, and what balancing will keep, before anything is drawn.",
)
balanced_pool_job = dg.define_asset_job(
    "balanced_pool",
    selection=dg.AssetSelection.assets(balanced_pool),
    description="The first draw, of chosen shards. For many shards backfill the asset balanced_pool instead.",
)
curate_job = dg.define_asset_job(
    "curate",
    selection=dg.AssetSelection.assets(unique_pairs, curated_pairs, curation_report),
    description="Each image and text once, the second draw, and a page about it.",
)
publish_job = dg.define_asset_job(
    "publish",
    selection=dg.AssetSelection.assets(published_dataset, published_model),
    description="Publish whatever was filtered since the last time.",
)
JOBS = (
    train_job,
    filter_job,
    images_job,
    report_job,
    geo_subset_job,
    crawl_job,
    pages_job,
    collections_job,
    matches_job,
    balance_plan_job,
    balanced_pool_job,
    curate_job,
    publish_job,
    publish_preview,
)

publish_daily = dg.ScheduleDefinition(
    name="publish_daily",
    job=publish_job,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at three, publish what is new; an unchanged corpus writes nothing.",
)
SCHEDULES = [publish_daily]


@dg.sensor(
    target=dg.AssetSelection.assets(pool_shards),
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def new_pool_shards(pool: PoolResource, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Look at the pool every hour; where it has other shards or files than the lake knows, list it into the lake.

    That run adds the new partitions. A listing that fails fails this tick and removes nothing.
    """
    with as_failures():
        listing = list_pool(pool.source, pool.storage())
        is_new = has_changed(lake.open(), listing)
    if not is_new:
        return dg.SkipReason(f"All {len(listing.shards):,} shards at {pool.source} are known")
    return dg.RunRequest()


@dg.sensor(
    target=dg.AssetSelection.assets(crawl_files),
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def new_crawl_files(crawl: CrawlResource, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Look at the crawl every hour; where it has other files than the lake knows, list it into the lake.

    For folders and buckets that grow: a crawl of Common Crawl is complete when it appears.
    """
    with as_failures():
        listing = crawl.listing()
        is_new = has_other_files(lake.open(), listing)
    if not is_new:
        return dg.SkipReason(f"All {len(listing.files):,} files of {crawl.source} are known")
    return dg.RunRequest()


@dg.sensor(job=publish_job, minimum_interval_seconds=600, default_status=dg.DefaultSensorStatus.STOPPED)
def publish_when_enough(
    context: dg.SensorEvaluationContext, publishing: PublishResource
) -> dg.RunRequest | dg.SkipReason:
    """Publish once enough shards (MAPPOOL_PUBLISH_AFTER_SHARDS) have been filtered.

    They are counted from when the last publish began, as what is filtered meanwhile is not in it, or from when one was
    last asked for: a publish that fails is asked for again after as many further shards.
    """
    after = max(last_publish_began(context.instance), int(context.cursor or 0))
    enough = max(1, publishing.after_shards)
    new = newly_filtered(context.instance, after, enough=enough)
    if len(new) < enough:
        return dg.SkipReason(f"{len(new)} of {enough} shards filtered since the last publish")
    newest = context.instance.fetch_materializations(shard_maps.key, limit=1).records[0].storage_id
    context.update_cursor(str(newest))
    return dg.RunRequest(run_key=f"after-{after}")


def last_publish_began(instance: dg.DagsterInstance) -> int:
    """Return the event with which the last successful publish was planned; 0 where there was none."""
    last = instance.fetch_materializations(published_dataset.key, limit=1).records
    if not last:
        return 0
    planned = instance.get_records_for_run(
        last[0].run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, limit=1
    ).records
    return planned[0].storage_id if planned else last[0].storage_id


def newly_filtered(instance: dg.DagsterInstance, after: int, *, enough: int) -> set[str]:
    """Return shards recorded as filtered after an event, not as unchanged; not all where there are more than enough."""
    found: set[str] = set()
    records, cursor, has_more = dg.AssetRecordsFilter(shard_maps.key, after_storage_id=after), None, True
    while has_more and len(found) < enough:
        page = instance.fetch_materializations(records, limit=EVENTS_A_PAGE, cursor=cursor)
        cursor, has_more = page.cursor, page.has_more
        for record in page.records:
            made = record.asset_materialization
            is_reused = made.metadata.get("is_reused") if made else None
            if record.partition_key and is_reused is not None and not is_reused.value:
                found.add(record.partition_key)
    return found


SENSORS = [new_pool_shards, new_crawl_files, publish_when_enough]
