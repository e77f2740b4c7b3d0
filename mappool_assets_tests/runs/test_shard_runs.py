"""Many shards a run: each recorded when done, failures alone, nothing done twice."""

import shutil

import dagster as dg
import pytest

from mappool_assets.defs.mappool.shard_maps import MEASURED
from mappool_assets.lib.train_classifier import train
from mappool_assets_tests.runs.conftest import platform_in

SHARD_MAPS = dg.AssetKey(["mappool", "shard_maps"])


@pytest.fixture
def five(platform):
    shards = [platform.add_shard(seed) for seed in range(5)]
    assert platform.materialise("pool_shards").success
    return platform, shards


def materialised(platform):
    return platform.instance.get_materialized_partitions(SHARD_MAPS)


def metadata_of(platform, shard):
    wanted = dg.AssetRecordsFilter(asset_key=SHARD_MAPS, asset_partitions=[shard])
    materialization = platform.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    return {name: value.value for name, value in materialization.metadata.items()}, materialization.tags


def test_the_listing_becomes_partitions(five):
    platform, shards = five
    assert sorted(platform.instance.get_dynamic_partitions("pool_shard")) == sorted(shards)
    platform.add_shard(5)
    result = platform.materialise("pool_shards")
    assert result.success
    assert len(platform.instance.get_dynamic_partitions("pool_shard")) == 6


def test_a_run_records_each_shard_with_its_counts_and_passes_its_checks(five):
    platform, shards = five
    result = platform.materialise("shard_maps", shards=shards)
    assert result.success
    assert materialised(platform) == set(shards)
    for shard in shards:
        metadata, tags = metadata_of(platform, shard)
        dropped = sum(value for name, value in metadata.items() if name.startswith("dropped_"))
        assert metadata["rows_in"] == 300 == metadata["rows_kept"] + dropped
        assert metadata["score_histogram"].startswith("![scores](data:image/png;base64,")
        assert tags["dagster/data_version"] == platform.lake.provenance("mappool/shard_maps", shard).fingerprint
        assert tags["dagster/input_data_version/mappool/pool_shards"]
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {
        "shard_maps_uid_unique",
        "shard_maps_score_over_threshold",
        "shard_maps_screen_missed",
        "rows_accounted",
    }
    assert all(check.passed for check in checks)


def test_one_bad_shard_fails_alone_and_a_second_run_does_only_it(five):
    platform, shards = five
    bad = shards[2]
    content = platform.spoil(bad)
    assert platform.materialise("pool_shards").success
    result = platform.materialise("shard_maps", shards=shards)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert bad in str(failure.event_specific_data.user_failure_data)
    assert materialised(platform) == set(shards) - {bad}
    (row,) = platform.lake.read_table("mappool/shard_failures", bad).to_pylist()
    assert row["error"] == "BadShard"
    assert "zip" in row["what"]
    assert all(check.passed for check in result.get_asset_check_evaluations())

    (platform.folder / "pool" / f"{bad}.npz").write_bytes(content)
    assert platform.materialise("pool_shards").success
    before = {s: platform.lake.read_bytes(f"mappool/shard_maps/{s}.parquet") for s in shards if s != bad}
    assert platform.materialise("shard_maps", shards=shards).success
    assert materialised(platform) == set(shards)
    assert {shard: metadata_of(platform, shard)[0]["is_reused"] for shard in shards} == {
        shard: shard != bad for shard in shards
    }
    assert {s: platform.lake.read_bytes(f"mappool/shard_maps/{s}.parquet") for s in before} == before
    assert platform.lake.partitions("mappool/shard_failures") == []


def test_unchanged_shards_are_skipped_unless_forced(five):
    platform, shards = five
    for config, is_reused in (({}, False), ({}, True), ({"force": True}, False)):
        assert platform.materialise("shard_maps", shards=shards, config=config).success
        assert all(metadata_of(platform, shard)[0]["is_reused"] is is_reused for shard in shards)


def test_another_classifier_makes_every_shard_anew(five):
    platform, shards = five
    assert platform.materialise("shard_maps", shards=shards).success
    train(platform.lake, "centroid_l2")
    assert platform.materialise("shard_maps", shards=shards).success
    assert all(metadata_of(platform, shard)[0]["is_reused"] is False for shard in shards)


def test_two_workers_give_the_same_bytes_as_one(platform, trained):
    shards = [platform.add_shard(seed) for seed in range(3)]
    shutil.copytree(trained, platform.folder / "lake2")
    with dg.DagsterInstance.ephemeral() as instance:
        two = platform_in(platform.folder, instance, MAPPOOL_WORKERS="2", MAPPOOL_LAKE=str(platform.folder / "lake2"))
        for each in (platform, two):
            assert each.materialise("pool_shards").success
            assert each.materialise("shard_maps", shards=shards).success
        for shard in shards:
            path = f"mappool/shard_maps/{shard}.parquet"
            assert platform.lake.read_bytes(path) == two.lake.read_bytes(path)


def test_without_classifier_or_listing_the_error_says_what_to_do(five):
    platform, shards = five
    platform.lake.delete("mappool/classifier/classifier.json")
    result = platform.materialise("shard_maps", shards=shards)
    (failure,) = result.get_step_failure_events()
    assert "Materialise the asset mappool/classifier first" in failure.event_specific_data.user_failure_data.description


def test_publishing_what_there_is_then_what_is_new_then_nothing(five):
    platform, shards = five
    assert platform.materialise("shard_maps", shards=shards[:3]).success

    def publish():
        result = platform.materialise("published_dataset")
        assert result.success
        assert all(check.passed for check in result.get_asset_check_evaluations())
        (event,) = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}

    first = publish()
    done = platform.lake.partitions("mappool/shard_maps")
    assert (first["shards"], first["missing_shards"]) == (len(done), 5 - len(done))
    assert platform.materialise("shard_maps", shards=shards).success
    second = publish()
    assert (second["shards"], second["missing_shards"]) == (5, 0)
    assert second["dagster/row_count"] == sum(
        platform.lake.provenance("mappool/shard_maps", shard).rows_kept for shard in shards
    )
    third = publish()
    assert (third["files_written"], third["bytes_written"]) == (0, 0)


def test_a_corpus_that_breaks_a_rule_is_not_published(five):
    platform, shards = five
    assert platform.materialise("shard_maps", shards=shards).success
    content = platform.lake.read_bytes(f"mappool/shard_maps/{shards[0]}.parquet")
    with platform.lake.writing(f"mappool/shard_maps/{shards[1]}.parquet") as file:
        file.write_bytes(content)  # the same uids twice
    result = platform.materialise("published_dataset")
    assert not result.success
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["shard_maps_uid_unique"]
    assert not (platform.folder / "published").exists()


def tick(platform):
    resources = {name: platform.defs.resources[name] for name in ("lake", "pool")}
    context = dg.build_sensor_context(platform.instance, definitions=platform.defs, resources=resources)
    with context:
        return platform.defs.resolve_sensor_def("new_pool_shards").evaluate_tick(context)


def test_the_sensor_asks_for_a_listing_where_there_are_new_shards_and_removes_none(five):
    platform, _ = five
    assert "are known" in tick(platform).skip_message
    platform.add_shard(7)
    assert len(tick(platform).run_requests) == 1
    assert platform.materialise("pool_shards").success
    assert "are known" in tick(platform).skip_message
    for path in (platform.folder / "pool").iterdir():
        path.unlink()
    with pytest.raises(dg.Failure, match="no pool"):
        tick(platform)
    assert len(platform.instance.get_dynamic_partitions("pool_shard")) == 6


def test_a_listing_that_was_lost_is_asked_for_again(five):
    """The sensor judges by the lake: partitions without a listing, or changed files, make it ask."""
    platform, shards = five
    platform.lake.delete("mappool/pool_shards/all.parquet")
    assert tick(platform).run_requests
    assert platform.materialise("pool_shards").success
    assert not tick(platform).run_requests
    platform.spoil(shards[0])
    assert tick(platform).run_requests


def test_a_partition_that_no_listing_has_fails_alone(five):
    platform, shards = five
    platform.instance.add_dynamic_partitions("pool_shard", ["0" * 32])
    result = platform.materialise("shard_maps", shards=[*shards, "0" * 32])
    assert not result.success
    assert materialised(platform) == set(shards)
    (failure,) = result.get_step_failure_events()
    assert "No listing of the pool has this shard" in failure.event_specific_data.user_failure_data.description


def test_a_first_run_in_which_every_shard_fails_says_why(platform):
    shard = platform.add_shard(1)
    platform.spoil(shard)
    assert platform.materialise("pool_shards").success
    result = platform.materialise("shard_maps", shards=[shard])
    (failure,) = result.get_step_failure_events()
    assert "cannot be read as a zip file" in failure.event_specific_data.user_failure_data.description


def test_a_shard_that_came_back_under_another_key_is_published_once(platform):
    first = platform.add_shard(1)
    assert platform.materialise("pool_shards").success
    assert platform.materialise("shard_maps", shards=[first]).success
    second = "f" * 32
    for suffix in ("parquet", "npz"):
        (platform.folder / "pool" / f"{first}.{suffix}").rename(platform.folder / "pool" / f"{second}.{suffix}")
    assert platform.materialise("pool_shards").success
    assert platform.materialise("shard_maps", shards=[second]).success
    assert platform.materialise("published_dataset").success
    assert [path.stem for path in (platform.folder / "published").glob("part_*/*")] == [second]


def test_what_was_measured_stays_in_sight_where_nothing_was_done_again(five):
    platform, shards = five
    assert platform.materialise("shard_maps", shards=shards[:1]).success
    before, _ = metadata_of(platform, shards[0])
    assert platform.materialise("shard_maps", shards=shards[:1]).success
    after, _ = metadata_of(platform, shards[0])
    assert after["is_reused"] is True
    assert {name: after[name] for name in MEASURED} == {name: before[name] for name in MEASURED}
