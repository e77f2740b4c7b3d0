"""Many shards to their images: those with which there is nothing to do are recognised, the others fetched."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence

from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.balanced_maps import BALANCED_TABLE
from mappool_assets.lib.map_images.image_ledger import TABLE
from mappool_assets.lib.map_images.image_task import (
    BALANCED_POOL,
    ImageEngine,
    ImageReport,
    ImageSettings,
    ImageTask,
)
from mappool_assets.lib.map_images.shard_images import MAPS_TABLE, fetch_shard_images, reused_report
from mappool_assets.lib.shard_runs import run_shards
from mappool_assets.lib.workers import Outcome, run_tasks

__all__ = [
    "FAILURES_TABLE",
    "TABLE",
    "ImageReport",
    "ImageSettings",
    "ImageTask",
    "fetch_map_images",
    "map_image_tasks",
]

FAILURES_TABLE = "mappool/map_image_failures"


def map_image_tasks(
    lake: Lake, shards: Sequence[str], settings: ImageSettings, *, engine: ImageEngine = download_images
) -> list[ImageTask]:
    """Return the tasks of some shards, from what the lake holds."""
    tasks = []
    for key in shards:
        made = lake.provenance(MAPS_TABLE, key)
        fingerprint, origin = (made.fingerprint, made.origin) if made else ("", {})
        balanced = None
        if settings.images_of == BALANCED_POOL:
            of_balanced = lake.provenance(BALANCED_TABLE, key)
            balanced = of_balanced.fingerprint if of_balanced else ""
        tasks.append(ImageTask(key, fingerprint, origin, lake, settings, engine, balanced))
    return tasks


def fetch_map_images(
    tasks: Sequence[ImageTask], workers: int, force: bool = False
) -> Generator[Outcome[ImageTask, ImageReport]]:
    """Fetch the images of shards with a pool of workers; yield each outcome as it comes.

    A shard is done when its ledger was made from the same inputs and nothing in it is left to be tried again: its
    outcome comes first, with ``is_reused`` set. A failure is stored in ``mappool/map_image_failures`` until the shard
    succeeds.

    Parameters
    ----------
    workers : int
        Shards under way at once.
    force : bool
        Whether images that were given up are asked for again; those that are there stay.
    """
    reused = (lambda _: None) if force else reused_report
    fetch = functools.partial(fetch_shard_images, force=force)
    return run_shards(tasks, reused, lambda pending: run_tasks(fetch, pending, workers), FAILURES_TABLE)
