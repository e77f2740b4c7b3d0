"""The demo: the whole of MapPool on a small world, as runs of the same assets that the UI shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pyarrow as pa

from mappool_assets.definitions import build_defs
from mappool_assets.defs.partition_runs import DATA_VERSION
from mappool_assets.defs.partitions import CRAWL_FILE, POOL_SHARD
from mappool_assets.defs.resources import resources_from
from mappool_assets.demo.world import World, build_world, serve_images
from mappool_assets.lib import sql_files
from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.curation.curation_report import PATH as CURATION_REPORT
from mappool_assets.lib.evaluation import METHOD_NAMES, PAPER_ACCURACY, Evaluation
from mappool_assets.lib.geo_subset.geo_report import PATH as GEO_REPORT
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import IMAGES
from mappool_assets.lib.packed_documents.packs import PACKS
from mappool_assets.lib.pool_report.report import PATH as POOL_REPORT
from mappool_assets.lib.text_table import as_text

Say = Callable[[str], None]
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Stage:
    """What one run of the demo did.

    Attributes
    ----------
    made, unchanged : tuple of str
        Assets or shards that were made, and those whose inputs were as before.
    checks : int
        Asset checks that passed.
    seconds : float
        Duration of the run.
    """

    made: tuple[str, ...]
    unchanged: tuple[str, ...]
    checks: int
    seconds: float


def run_demo(folder: Path, instance: dg.DagsterInstance, say: Say) -> None:
    """Build the world, run the graph from training set to published folder, and sum up.

    Raises
    ------
    dagster.DagsterExecutionStepExecutionError, dagster.Failure
        A step failed.
    """
    began = time.perf_counter()
    say("\n1  A small world in CommonPool's format: drawings instead of the web, random weights instead of OpenAI's.")
    world = build_world(folder / "world", progress=lambda line: say(f"   {line}"))
    defs = build_defs(**resources_from(world.settings))
    with serve_images(world):
        say("\n2  Labelled images → CLIP embeddings → classifier; the pool's shards.")
        _tell(_run(defs, instance, "train"), say)
        shards = sorted(instance.get_dynamic_partitions(POOL_SHARD))
        say(f"\n3  The maps of {len(shards)} shards, in one run.")
        _tell(_run(defs, instance, "filter", shards), say)
        say("\n4  Their images: fetched, verified, looked at.")
        _tell(_run(defs, instance, "images", shards), say)
        say("\n5  What is there twice, and a page about all of it.")
        _tell(_run(defs, instance, "report"), say)
        say("\n6  Images of places, and an index of all (by chance: the encoder's weights are random).")
        _tell(_run(defs, instance, "geo_subset"), say)
        say("\n7  Web pages: a small crawl, its documents, their images.")
        _tell(_run(defs, instance, "crawl"), say)
        _tell(_run(defs, instance, "pages", sorted(instance.get_dynamic_partitions(CRAWL_FILE))), say)
        _tell(_run(defs, instance, "page_collections"), say)
        say("\n8  Curation: captions balanced over concepts; duplicates left out; balanced again.")
        _tell(_run(defs, instance, "matches", shards), say)
        _tell(_run(defs, instance, "balance_plan"), say)
        _tell(_run(defs, instance, "balanced_pool", shards), say)
        _tell(_run(defs, instance, "curate"), say)
        say("\n9  The dataset, into a folder.")
        _tell(_run(defs, instance, "publish"), say)
    _sum_up(world, folder, time.perf_counter() - began, say)


def _run(defs: dg.Definitions, instance: dg.DagsterInstance, job: str, shards: Sequence[str] = ()) -> Stage:
    """Run a job as the UI would, many shards in one run; tell what was made from what was there already."""
    before = _versions(defs, instance, shards)
    began = time.perf_counter()
    definition = defs.resolve_job_def(job)
    assets = list(definition.asset_layer.executable_asset_keys)
    result = definition.execute_in_process(
        instance=instance,
        run_config=QUIET,
        tags=dict(zip(RANGE_TAGS, (shards[0], shards[-1]), strict=True)) if shards else {},
    )
    seconds = time.perf_counter() - began
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    if failed:
        raise dg.Failure(f"Checks that failed: {', '.join(failed)}. See them in the UI: make ui")
    made: list[str] = []
    unchanged: list[str] = []
    for event in result.get_asset_materialization_events():
        name = (event.materialization.asset_key, event.materialization.partition)
        is_unchanged = before.get(name, "") == _version(event.materialization)
        (unchanged if is_unchanged else made).append(_name(*name, is_alone=len(assets) == 1))
    return Stage(tuple(made), tuple(unchanged), len(result.get_asset_check_evaluations()), seconds)


def _name(asset: dg.AssetKey, partition: str | None, *, is_alone: bool) -> str:
    """Return what tells one thing that a job makes from the others."""
    if partition is None:
        return asset.path[-1]
    return partition if is_alone else f"{asset.path[-1]} of {partition}"


def _versions(
    defs: dg.Definitions, instance: dg.DagsterInstance, shards: Sequence[str]
) -> dict[tuple[dg.AssetKey, str | None], str | None]:
    """Return the data version of everything that was materialised before, by asset and partition."""
    versions = {}
    for key in defs.resolve_all_asset_keys():
        for partition in (None, *shards):
            wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
            for record in instance.fetch_materializations(wanted, limit=1).records:
                versions[key, partition] = _version(record.asset_materialization)
    return versions


def _version(materialization: dg.AssetMaterialization | None) -> str | None:
    return (materialization.tags or {}).get(DATA_VERSION) if materialization else None


def _tell(stage: Stage, say: Say) -> None:
    say(f"   made: {', '.join(stage.made) or 'nothing'}")
    if stage.unchanged:
        say(f"   already done, inputs unchanged: {', '.join(stage.unchanged)}")
    say(f"   {stage.checks} checks passed; {stage.seconds:.0f} s")


def _sum_up(world: World, folder: Path, seconds: float, say: Say) -> None:
    lake = Lake(world.settings["MAPPOOL_LAKE"])
    record = classifier_record(lake)
    say("\nWhere the rows went")
    say(as_text(sql_files.run(lake, "reports/funnel")))
    chosen = METHOD_NAMES[record.classifier.kind]
    say(f"\nAccuracy on images that were not trained on (95 % interval); the pool was filtered by: {chosen}")
    say(as_text(_accuracies(record.evaluations)))
    say(
        f"""
Done in {seconds:.0f} s.
  the dataset          {world.settings["MAPPOOL_PUBLISH_TO"]}
  the page about it    {lake.url(POOL_REPORT)}
  the page on places   {lake.url(GEO_REPORT)}
  the page on pairs    {lake.url(CURATION_REPORT)}
  the images           {lake.url(IMAGES)}
  pages with images    {lake.url(PACKS)}

What to type next
  make ui            look at all of it in Dagster, on http://localhost:3000
  make demo          again: nothing that is done is done twice
  .venv/bin/python -c "import pandas; print(pandas.read_parquet('{folder}/published/{_first_part(world)}'))"
  cp .env.example .env     then name your own images and pool in it, and make ui"""
    )


def _accuracies(evaluations: Sequence[Evaluation]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "method": METHOD_NAMES[each.method],
                "accuracy %": "{:.1f} ({:.1f}–{:.1f})".format(
                    *(100 * share for share in (each.accuracy, each.accuracy_low, each.accuracy_high))
                ),
                "paper %": f"{PAPER_ACCURACY[each.method]:.1%}".rstrip("%"),
                "precision %": "–" if each.precision is None else f"{100 * each.precision:.1f}",
                "recall %": f"{100 * each.recall:.1f}",
                "false maps": each.false_positives,
                "missed maps": each.false_negatives,
            }
            for each in evaluations
        ]
    )


def _first_part(world: World) -> str:
    return min(path.name for path in Path(world.settings["MAPPOOL_PUBLISH_TO"]).glob("part_*"))
