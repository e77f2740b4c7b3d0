"""A dry run of publishing: what would be sent, and how many bytes."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.published_dataset import KEY, publish_corpus, publish_metadata
from mappool_assets.defs.resources import LakeResource, PublishResource, TakeDownResource


@dg.op
def what_would_be_published(
    context: dg.OpExecutionContext, lake: LakeResource, publishing: PublishResource, take_down: TakeDownResource
) -> None:
    """Make every file that would be sent, send none, and record the counts as an observation of `published_dataset`."""
    with as_failures():
        report = publish_corpus(context, lake, publishing, take_down, publishing.open_target(), is_dry_run=True)
    context.log.info(f"Nothing was sent: {len(report.paths_written):,} files, {report.bytes_written:,} bytes would be")
    metadata = {"dry_run": True, **publish_metadata(report, publishing.target)}
    context.log_event(dg.AssetObservation(KEY, metadata=metadata))


@dg.job(description="A dry run: what publishing would send and remove, as an observation of published_dataset.")
def publish_preview() -> None:
    """Tell what `publish` would do."""
    what_would_be_published()
