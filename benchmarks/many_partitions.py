"""Dagster with a pool of 25,000 shards, half of them done: what the sensor, a run, the pages and the daemon take.

The pool is a folder of 25,000 shards, hard links to one. The sensor and the asset ``pool_shards`` list it and add the
partitions; a run of ``shard_maps`` filters 64 shards; its records are written again for half of the pool (see
``harness/recorded_runs``), and one more run of 64 shows what a shard costs then. Dagster is started as ``make ui``
does, on the repository's ``dagster.yaml``, and asked what its pages ask. A backfill of all that is missing is launched
as the dialog does it, and the pages ask again while the daemon submits its runs. None of these is started: what a run
takes is for ``run_cost`` to measure. What the browser does with the answers is not measured here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import yaml
from harness.dagster_services import Services, running_dagster
from harness.recorded_runs import repeat_last_run
from harness.verdict import Claim, conclude, print_table
from harness.world import link_copies, make_shard
from run_cost import execute

from mappool_assets.definitions import build_defs
from mappool_assets.defs.automation import new_pool_shards
from mappool_assets.defs.mappool.pool_shards import KEY as POOL_SHARDS
from mappool_assets.defs.mappool.shard_maps import KEY, SHARDS_A_RUN
from mappool_assets.defs.partitions import POOL_SHARD, add_shards
from mappool_assets.defs.resources import LakeResource, PoolResource
from mappool_assets.lib.classifier_store import store_classifier
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.shard_filter import TABLE

MOST_SECONDS_A_TICK = 10.0  # of the sixty that Dagster gives a sensor
MOST_SECONDS_TO_ADD = 5.0
MOST_SECONDS_A_SHARD = 0.3  # of Dagster's own, as in a small pool (run_cost)
MOST_SECONDS_AN_ANSWER = 2.0
MOST_SECONDS_TO_FIRST_RUN = 60.0  # the daemon looks for new backfills every thirty seconds
MOST_BYTES = 1e9  # of web server and daemon together, each at its peak
TIMES_ASKED = 3
WATCHED_SECONDS = 20.0  # the daemon, once the backfill's first run is queued
DIMENSION = 768
ASSET = {"path": KEY.path}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Question:
    """What a page asks, by the UI's name of the operation, and how it was answered."""

    page: str
    operation: str
    variables: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    seconds_during_backfill: list[float] = field(default_factory=list)
    answer_bytes: int = 0

    @property
    def waits(self) -> list[float | None]:
        """Seconds for the first answer, for further ones, and beside a busy daemon (medians); None: not asked."""
        groups = self.seconds[:1], self.seconds[1:], self.seconds_during_backfill
        return [median(group) if group else None for group in groups]


class Backfill(NamedTuple):
    """What a backfill of all missing shards took, until its first runs were queued."""

    launch_seconds: float
    first_run_seconds: float
    seconds_a_run: float
    printed_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=25_000)
    parser.add_argument("--rows", type=int, default=300, help="of each shard")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        root = Path(folder)
        make_world(root, arguments.shards, arguments.rows)
        shards, listing = list_the_pool(root)
        done, shard_seconds = record_half(root, shards)
        with running_dagster(root, os.environ) as services:
            questions = page_questions(missing=shards[done:], one=shards[0])
            ask_all(services, questions)
            check_status(services, done)
            backfill, of_backfill = launch(root, services, shards[done:], questions)
            peaks = services.peak_bytes()
    print_seconds(len(shards), done, listing, shard_seconds, backfill)
    print_pages([*questions, *of_backfill])
    print_table("memory at its peak", ["", "MB"], [[role, f"{peak / 1e6:.0f}"] for role, peak in peaks.items()])
    slowest = max(wait for question in [*questions, *of_backfill] for wait in question.waits if wait is not None)
    conclude(
        Claim("many_partitions_tick", MOST_SECONDS_A_TICK / max(listing["tick, new"], listing["tick, known"]), 1.0),
        Claim("many_partitions_add", MOST_SECONDS_TO_ADD / listing["adding the partitions"], 1.0),
        Claim("many_partitions_shard", MOST_SECONDS_A_SHARD / shard_seconds, 1.0),
        Claim("many_partitions_first_run", MOST_SECONDS_TO_FIRST_RUN / backfill.first_run_seconds, 1.0),
        Claim("many_partitions_memory", MOST_BYTES / (peaks["web server"] + peaks["daemon"]), 1.0),
        Claim("many_partitions", MOST_SECONDS_AN_ANSWER / slowest, 1.0),
    )


def make_world(root: Path, shards: int, rows: int) -> None:
    """Make a pool, a lake with some classifier, an instance as the repository's, and name them in the environment."""
    pool, instance = root / "pool", root / "instance"
    link_copies(pool, make_shard(pool, rows), shards - 1)
    coefficients = np.random.default_rng(0).standard_normal(DIMENSION).astype(np.float32)
    arrays = {"coefficients": coefficients, "intercept": np.zeros(1, np.float32)}
    classifier = MapClassifier(LOGISTIC_REGRESSION, arrays, encoder_id="synthetic", training_set_id="synthetic")
    store_classifier(Lake(str(root / "lake")), ClassifierRecord(classifier, (), {}))
    settings = yaml.safe_load((Path(__file__).parents[1] / "dagster.yaml").read_text(encoding="utf-8"))
    settings["concurrency"]["runs"]["max_concurrent_runs"] = 0  # queued runs stay queued
    instance.mkdir()
    (instance / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    os.environ |= {
        "DAGSTER_HOME": str(instance),
        "MAPPOOL_INSTANCE": str(instance),
        "MAPPOOL_LAKE": str(root / "lake"),
        "MAPPOOL_POOL": str(pool),
    }


def list_the_pool(root: Path) -> tuple[list[str], dict[str, float]]:
    """Find the shards as the sensor and its run do; return them in the order of their partitions, and the seconds."""
    resources = {"pool": PoolResource(source=str(root / "pool")), "lake": LakeResource(root=str(root / "lake"))}
    job = build_defs(**resources).resolve_implicit_global_asset_job_def()
    keys = sorted(path.stem for path in (root / "pool").glob("*.npz"))
    with dg.DagsterInstance.from_config(str(root / "instance")) as instance:
        context = dg.build_sensor_context(instance, resources=resources)
        seconds = {
            "tick, new": seconds_of(lambda: new_pool_shards(context)),
            "adding the partitions": seconds_of(lambda: add_shards(instance, keys)),
            "run of pool_shards": seconds_of(
                lambda: job.execute_in_process(instance=instance, asset_selection=[POOL_SHARDS], run_config=QUIET)
            ),
            "tick, known": seconds_of(lambda: new_pool_shards(context)),
        }
        shards = list(instance.get_dynamic_partitions(POOL_SHARD))
    assert shards == keys
    return shards, seconds


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def record_half(root: Path, shards: Sequence[str]) -> tuple[int, float]:
    """Record half of the shards as done; return how many, and Dagster's seconds a shard in the last run of them."""
    groups = [shards[start : start + SHARDS_A_RUN] for start in range(0, len(shards) // 2, SHARDS_A_RUN)]
    first, *others, last = groups
    execute(root, first)
    repeat_last_run(root / "instance", first, others)
    maps = root / "lake" / TABLE
    for group in others:
        for shard, like in zip(group, first, strict=True):
            os.link(maps / f"{like}.parquet", maps / f"{shard}.parquet")
    return len(groups) * SHARDS_A_RUN, execute(root, last).cost_a_shard


def page_questions(missing: Sequence[str], one: str) -> list[Question]:
    """Return what the pages ask that show many shards or launch them."""
    asset, assets = {"assetKey": ASSET}, {"assetKeys": [ASSET]}
    kinds = ["MATERIALIZATION", "OBSERVATION", "FAILED_TO_MATERIALIZE"]
    repository = {"repositoryName": "__repository__", "repositoryLocationName": "mappool_assets"}
    return [
        Question("asset", "AssetGraphLiveQuery", assets),
        Question("asset", "AssetViewDefinitionQuery", asset),
        Question("asset", "AssetStaleStatusDataQuery", assets),
        Question("asset", "AssetOverviewMetadataEventsQuery", asset),
        Question("asset, checks", "AssetChecksQuery", asset),
        Question("asset, partitions", "PartitionHealthQuery", asset),
        Question("asset, one partition", "AssetPartitionDetailQuery", {**asset, "partitionKey": one}),
        Question(
            "asset, events",
            "RecentAssetEventsQuery",
            {**asset, "limit": 100, "partitions": [], "eventTypeSelectors": kinds},
        ),
        Question("asset, events", "FullPartitionsQuery", asset),
        Question("launch", "LaunchAssetLoaderQuery", assets),
        Question(
            "launch",
            "LaunchpadRootQuery",
            {**repository, "pipelineName": "__ASSET_JOB", "assetSelection": [ASSET]},
        ),
        Question("launch, preview", "BackfillPreviewQuery", {**assets, "partitionNames": missing}),
        Question("runs", "RunsFeedRootQuery", {"filter": {}, "limit": 30, "view": "ROOTS"}),
    ]


def backfill_questions(backfill: str) -> list[Question]:
    """Return what the page of a backfill asks."""
    its_runs = {"tags": [{"key": "dagster/backfill", "value": backfill}]}
    return [
        Question("backfill", "BackfillDetailsQuery", {"backfillId": backfill}),
        Question("backfill, runs", "RunsFeedRootQuery", {"filter": its_runs, "limit": 30, "view": "RUNS"}),
    ]


def ask_all(services: Services, questions: Iterable[Question], *, during_backfill: bool = False) -> None:
    """Ask each question some times and note how long the answers took."""
    for question in questions:
        for _ in range(TIMES_ASKED):
            answer = services.ask(question.operation, question.variables)
            (question.seconds_during_backfill if during_backfill else question.seconds).append(answer.seconds)
            question.answer_bytes = answer.size_bytes


def check_status(services: Services, done: int) -> None:
    """Make sure that Dagster counts as done what was recorded."""
    node = services.ask("PartitionHealthQuery", {"assetKey": ASSET}).data["assetNodeOrError"]
    status = node["assetPartitionStatuses"]
    assert len(status["materializedPartitions"]) == done, f"{len(status['materializedPartitions'])} are done"
    assert not status["failedPartitions"]


def launch(
    root: Path, services: Services, missing: Sequence[str], questions: Sequence[Question]
) -> tuple[Backfill, list[Question]]:
    """Launch a backfill of all missing shards and ask everything while its runs are queued; return that and more."""
    parameters = {"assetSelection": [ASSET], "partitionNames": missing, "fromFailure": False, "tags": []}
    printed, began = services.log.stat().st_size, time.perf_counter()
    answer = services.ask("LaunchPartitionBackfill", {"backfillParams": parameters})
    backfill = answer.data["launchPartitionBackfill"]["backfillId"]
    of_backfill = backfill_questions(backfill)
    with dg.DagsterInstance.from_config(str(root / "instance")) as instance:
        queued = dg.RunsFilter(tags={"dagster/backfill": backfill})
        while not instance.get_runs_count(queued):
            assert time.perf_counter() - began < 2 * MOST_SECONDS_TO_FIRST_RUN, "no run of the backfill was queued"
            time.sleep(0.1)
        first_run_seconds, first_at = time.perf_counter() - began, time.perf_counter()
        while time.perf_counter() - first_at < WATCHED_SECONDS:
            ask_all(services, [*questions, *of_backfill], during_backfill=True)
        runs = instance.get_runs_count(queued)
        seconds_a_run = (time.perf_counter() - first_at) / runs
    printed = services.log.stat().st_size - printed
    return Backfill(answer.seconds, first_run_seconds, seconds_a_run, printed), of_backfill


def print_seconds(shards: int, done: int, listing: dict[str, float], shard_seconds: float, backfill: Backfill) -> None:
    """Print what the sensor, runs and the daemon took."""
    rows = {
        "sensor, all shards new": listing["tick, new"],
        "sensor, nothing new": listing["tick, known"],
        "adding the partitions": listing["adding the partitions"],
        "run of pool_shards": listing["run of pool_shards"],
        f"Dagster's own, a shard in a run of {SHARDS_A_RUN}": shard_seconds,
        f"launching a backfill of {shards - done:,}": backfill.launch_seconds,
        "… until its first run is queued": backfill.first_run_seconds,
        "… and for each further run": backfill.seconds_a_run,
    }
    title = f"{shards:,} shards, {done:,} of them done"
    print_table(title, ["", "seconds"], [[name, f"{seconds:.2f}"] for name, seconds in rows.items()])
    print(f"the daemon printed {backfill.printed_bytes / 1e6:.1f} MB meanwhile")


def print_pages(questions: Sequence[Question]) -> None:
    """Print how long answers took."""
    print_table(
        "seconds for the answers to the UI's questions",
        ["page", "operation", "first", "then", "in a backfill", "answer, MB"],
        [
            [
                question.page,
                question.operation,
                *("" if wait is None else f"{wait:.2f}" for wait in question.waits),
                f"{question.answer_bytes / 1e6:.2f}",
            ]
            for question in questions
        ],
    )


if __name__ == "__main__":
    main()
