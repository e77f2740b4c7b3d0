"""Curation as Dagster records it: jobs in their order, shards that fail alone, nothing done twice or out of date."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from mappool_assets.defs.checks import CHECKS
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.runs.conftest import QUIET, Platform, platform_in
from mappool_assets_tests.small_curation import use_compiled
from mappool_assets_tests.small_lake import folder_bytes, write_maps

A, B, C = (f"{number:x}" * 32 for number in (1, 2, 3))
ENTRIES = ["map", "chart", "harbour", "valley", "railway", "old map"]
JOBS = {"matches": True, "balance_plan": False, "balanced_pool": True, "curate": False}  # with partitions or not
GROUP = ("entries", "matches", "entry_counts", "balance_plan", "balanced_pool", "unique_pairs", "curated_pairs")
PARTITIONED = ("matches", "balanced_pool")
PAGE = "curation_report"


class CurationPlatform(Platform):
    """A platform with shards' maps, but no pool."""

    def add_maps(self, shard: str, *, rows: int = 60, seed: int = 0) -> None:
        words = [entry for entry in ENTRIES if " " not in entry]
        texts = [f"{words[row % 5]} no. {row} of {shard[:4]}, map" if row % 7 else "none" for row in range(rows)]
        write_maps(self.lake, shard, rows, seed=seed, columns={"text": texts})
        self.instance.add_dynamic_partitions("pool_shard", [shard])

    def run(self, job: str, *shards: str) -> dg.ExecuteInProcessResult:
        names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        ends = (shards[0], shards[-1]) if shards else ()
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            tags=dict(zip(names, ends, strict=False)),
            raise_on_error=False,
        )

    def run_all(self, *shards: str) -> list[dg.ExecuteInProcessResult]:
        return [self.run(job, *(shards if is_partitioned else ())) for job, is_partitioned in JOBS.items()]

    def curation_bytes(self) -> dict[str, bytes]:
        return folder_bytes(self.folder / "lake" / "curation")


def platform_of(folder: Path, instance: dg.DagsterInstance, factory, **settings: str) -> CurationPlatform:
    (folder / "entries.json").write_text(json.dumps(ENTRIES))
    (folder / "scratch").mkdir()
    (folder / "scratch" / "compiled").symlink_to(use_compiled(factory))  # compiling takes ten seconds
    settings = {
        "MAPPOOL_ENTRIES": f"given:{folder / 'entries.json'}",
        "MAPPOOL_SCRATCH": str(folder / "scratch"),
        "MAPPOOL_UNIQUE_BY": "listed",
        "MAPPOOL_BALANCE_FIRST_T": "20",
        "MAPPOOL_BALANCE_T": "5",
        "MAPPOOL_BALANCE_SEEDS": "3,4",
        **settings,
    }
    made = platform_in(folder, instance, **settings)
    return CurationPlatform(made.folder, made.instance, made.defs, made.lake)


@pytest.fixture
def curation(tmp_path, tmp_path_factory):
    with dg.DagsterInstance.ephemeral() as instance:
        yield platform_of(tmp_path, instance, tmp_path_factory)


def recorded(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], dict]:
    """Return the metadata of all that a run recorded, by asset and partition; nothing may be recorded twice."""
    events = [event.materialization for event in result.get_asset_materialization_events()]
    found = {(event.asset_key.path[-1], event.partition): event.metadata for event in events}
    assert len(found) == len(events)
    return {key: {name: value.value for name, value in metadata.items()} for key, metadata in found.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    error = event.event_specific_data.user_failure_data or event.event_specific_data.error
    return error.description if hasattr(error, "description") else error.message


def test_four_jobs_from_the_list_to_the_page(curation):
    for shard in (A, B):
        curation.add_maps(shard)
    results = curation.run_all(A, B)
    assert all(result.success for result in results)
    checks = [check for result in results for check in result.get_asset_check_evaluations()]
    assert all(check.passed for check in checks)
    assert Counter((check.asset_key.path[-1], check.check_name) for check in checks) == Counter(
        (asset, name) for asset in GROUP for name in CHECKS[asset]
    )
    made = {key: values for result in results for key, values in recorded(result).items()}
    per_shard = {(asset, shard) for asset in PARTITIONED for shard in (A, B)}
    assert set(made) == per_shard | {(asset, None) for asset in (*GROUP, PAGE) if asset not in PARTITIONED}
    kept = sum(made["balanced_pool", shard]["rows_kept"] for shard in (A, B))
    assert made["unique_pairs", None]["rows_in"] == kept
    assert made["curated_pairs", None]["rows_in"] == made["unique_pairs", None]["rows_kept"]
    assert 0 < made["curated_pairs", None]["rows_kept"] < kept < 120
    assert "Of 120 texts in 2 shards, 102 match an entry" in made["balance_plan", None]["explanation"]
    assert Path(made[PAGE, None]["page"]).read_text().startswith("<!DOCTYPE html>")
    assert made[PAGE, None]["entries"] == len(ENTRIES)
    for asset, name in (("matches", "sample"), ("balanced_pool", "sample")):
        assert all(" of 1" in row.data["text"] and "map" in row.data["entries"] for row in made[asset, A][name].records)
    assert made["entry_counts", None]["most_frequent"].records[0].data["entry"] == "map"
    assert len(made["curated_pairs", None]["sample"].records) == 10
    assert {key: value for key, value in curation.out_of_date().items() if key[0] in (*GROUP, PAGE)} == {}


def test_what_is_done_is_not_done_again(curation):
    for shard in (A, B):
        curation.add_maps(shard)
    curation.run_all(A, B)
    before = curation.curation_bytes()
    again = curation.run_all(A, B)
    assert curation.curation_bytes() == before
    values = {key: value for result in again for key, value in recorded(result).items()}
    assert all(values[asset, shard]["is_reused"] for asset in PARTITIONED for shard in (A, B))
    assert all(len(values[asset, shard]["sample"].records) == 10 for asset in PARTITIONED for shard in (A, B))


def test_a_further_shard_is_matched_alone_and_ends_as_if_it_had_been_there_from_the_beginning(
    curation, tmp_path_factory
):
    curation.add_maps(A)
    curation.run_all(A)
    curation.add_maps(B)
    results = curation.run_all(A, B)
    matched = recorded(results[0])
    assert [matched["matches", shard]["is_reused"] for shard in (A, B)] == [True, False]
    assert recorded(results[1])["entry_counts", None]["shards_added"] == 1
    folder = tmp_path_factory.mktemp("whole")
    with dg.DagsterInstance.ephemeral() as instance:
        whole = platform_of(folder, instance, tmp_path_factory)
        for shard in (A, B):
            whole.add_maps(shard)
        whole.run_all(A, B)
        assert all(result.success for result in results)
        mine, others = ({**each.curation_bytes()} for each in (curation, whole))
    assert mine.keys() == others.keys()
    assert [name for name in mine if mine[name] != others[name] and "entries/" not in name] == []


def test_a_shard_without_maps_fails_alone(curation):
    curation.add_maps(A)
    curation.instance.add_dynamic_partitions("pool_shard", [B])
    result = curation.run("matches", A, B)
    assert "1 of 2 partitions failed" in failure(result)
    assert B in failure(result)
    assert ("matches", A) in recorded(result)


def test_maps_that_were_filtered_again_are_curated_again_or_refused(curation):
    for shard in (A, B):
        curation.add_maps(shard)
    curation.run_all(A, B)
    curation.add_maps(B, seed=1, rows=30)
    assert "Materialise" in failure(curation.run("balanced_pool", A, B))
    assert all(result.success for result in curation.run_all(A, B))
    assert {row["uid"] for row in curation.lake.read_table("curation/curated_pairs").to_pylist()} <= uids(curation.lake)


def uids(lake: Lake) -> set[str]:
    return {uid for shard in (A, B) for uid in lake.read_table("mappool/shard_maps", shard)["uid"].to_pylist()}


def test_images_of_the_first_draw_come_after_it(curation, tmp_path_factory):
    key = dg.AssetKey(["mappool", "map_images"])
    first_draw = dg.AssetKey(["curation", "balanced_pool"])
    assert first_draw not in curation.defs.resolve_asset_graph().get(key).parent_keys
    folder = tmp_path_factory.mktemp("drawn")
    with dg.DagsterInstance.ephemeral() as instance:
        drawn = platform_of(folder, instance, tmp_path_factory, MAPPOOL_IMAGES_OF="balanced_pool")
        assert first_draw in drawn.defs.resolve_asset_graph().get(key).parent_keys
        drawn.add_maps(A)
        assert "Materialise" in failure(drawn.run("images", A))


@pytest.mark.parametrize(
    ("settings", "job", "words"),
    [
        ({"MAPPOOL_ENTRIES": ""}, "matches", "one of the sources"),
        ({"MAPPOOL_ENTRIES": "thesaurus:x"}, "matches", "A source of the metadata list cannot be used"),
        ({"MAPPOOL_BALANCE_T": "0"}, "balance_plan", "a number above 0"),
        ({"MAPPOOL_BALANCE_PAIRS": "100000"}, "balance_plan", "100,000"),
        ({"MAPPOOL_BALANCE_SEEDS": "1,1"}, "balanced_pool", "different whole numbers"),
        ({"MAPPOOL_MATCH_TEXTS": "captions"}, "matches", "maps or pool"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_the_step(tmp_path, tmp_path_factory, settings, job, words):
    with dg.DagsterInstance.ephemeral() as instance:
        refused = platform_of(tmp_path, instance, tmp_path_factory, **settings)
        refused.add_maps(A)
        for before, is_partitioned in JOBS.items():
            result = refused.run(before, *([A] if is_partitioned else []))
            if before == job:
                break
        assert words in failure(result)
