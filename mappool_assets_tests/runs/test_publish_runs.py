"""Publishing through Dagster: to the Hub, dry, with a take-down list, and asked for by the sensor."""

import dagster as dg
import numpy as np
import pytest

from mappool_assets.definitions import build_defs
from mappool_assets.lib.errors import BadSetting
from mappool_assets_tests.hub_double import WRITE, HubDouble, without_xet
from mappool_assets_tests.runs.conftest import QUIET, platform_in

NAME = "owner/maps"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    without_xet(monkeypatch)
    with HubDouble(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_TOKEN", WRITE)
        yield hub


@pytest.fixture
def filtered(platform):
    """A platform with three filtered shards."""
    shards = [platform.add_shard(seed) for seed in range(3)]
    assert platform.materialise("pool_shards").success
    assert platform.materialise("shard_maps", shards=shards).success
    return platform, shards


def set_to(platform, **settings):
    return platform_in(platform.folder, platform.instance, **settings)


def metadata(events):
    (event,) = events
    return {name: value.value for name, value in event.metadata.items()}


def published(platform, **config):
    result = platform.materialise("published_dataset", config=config or None)
    assert result.success, [event.event_specific_data.error for event in result.get_step_failure_events()]
    return metadata([event.materialization for event in result.get_asset_materialization_events()])


def uids(platform, shards):
    tables = [platform.lake.read_table("mappool/shard_maps", shard, columns=["uid", "url"]) for shard in shards]
    return [row for table in tables for row in table.to_pylist()]


def test_to_the_hub_by_its_address_with_the_token_of_the_hubs_usual_place(filtered, hub):
    platform, shards = filtered
    platform = set_to(platform, MAPPOOL_PUBLISH_TO=f"hf://datasets/{NAME}", MAPPOOL_HUB_ENDPOINT=hub.url)
    shown = published(platform)
    repository = hub.repos[f"datasets/{NAME}"]
    assert repository.is_private
    assert {f"part_{shard[0]}/{shard}.parquet" for shard in shards} < set(hub.tree(f"datasets/{NAME}"))
    assert shown["version"] in repository.tags
    assert f'load_dataset("{NAME}"' in shown["card"]
    assert WRITE not in str(shown)
    before = len(repository.commits)
    assert published(platform)["bytes_written"] == 0
    assert len(repository.commits) == before


def test_a_dry_run_sends_nothing_and_says_what_it_would_send(filtered):
    platform, shards = filtered
    preview = platform.defs.resolve_job_def("publish_preview")
    result = preview.execute_in_process(instance=platform.instance, run_config=QUIET, raise_on_error=False)
    assert result.success, [event.event_specific_data.error for event in result.get_step_failure_events()]
    assert result.get_asset_materialization_events() == []
    shown = metadata(
        [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    )
    assert (shown["files_written"], shown["shards"]) == (3, 3)
    assert shards[0] in shown["paths_written"]
    assert not (platform.folder / "published").exists()
    assert published(platform)["bytes_written"] == shown["bytes_written"]


def test_what_is_on_the_take_down_list_leaves_and_stays_out(filtered):
    platform, shards = filtered
    rows = uids(platform, shards)
    assert published(platform)["dagster/row_count"] == len(rows)
    taken = platform.folder / "take_down.txt"
    taken.write_text(f"{rows[0]['uid']}  # asked for on 1 May\n{rows[-1]['url']}\n", encoding="utf-8")
    platform = set_to(platform, MAPPOOL_TAKE_DOWN=str(taken))
    shown = published(platform)
    assert (shown["dagster/row_count"], shown["rows_taken_down"]) == (len(rows) - 2, 2)
    subset = np.load(platform.folder / "published" / "datacomp_subset.npy")
    assert len(subset) == len(rows) - 2
    assert platform.materialise("shard_maps", shards=shards, config={"force": True}).success
    assert published(platform)["dagster/row_count"] == len(rows) - 2


def test_a_take_down_list_that_is_not_there_stops_the_publish(filtered):
    platform, _ = filtered
    platform = set_to(platform, MAPPOOL_TAKE_DOWN=str(platform.folder / "absent.txt"))
    assert not platform.materialise("published_dataset").success
    assert not (platform.folder / "published").exists()


def resources_of(platform):
    return {name: platform.defs.resources[name] for name in ("lake", "pool", "filtering", "encoder")}


def tick(platform, cursor=None):
    resources = {"publishing": platform.defs.resources["publishing"]}
    with dg.build_sensor_context(
        platform.instance, definitions=platform.defs, resources=resources, cursor=cursor
    ) as context:
        return platform.defs.resolve_sensor_def("publish_when_enough").evaluate_tick(context)


def test_the_sensor_publishes_when_enough_new_shards_were_filtered(filtered):
    platform, shards = filtered
    platform = set_to(platform, MAPPOOL_PUBLISH_AFTER_SHARDS="3")
    first = tick(platform)
    (request,) = first.run_requests
    assert "0 of 3" in tick(platform, first.cursor).skip_message  # one run, however often it looks
    published(platform)
    assert "0 of 3" in tick(platform).skip_message
    assert platform.materialise("shard_maps", shards=shards).success  # unchanged, skipped
    assert "0 of 3" in tick(platform).skip_message
    assert platform.materialise("shard_maps", shards=shards[:1], config={"force": True}).success
    assert platform.materialise("shard_maps", shards=shards[:1], config={"force": True}).success
    assert "1 of 3" in tick(platform).skip_message
    assert platform.materialise("shard_maps", shards=shards, config={"force": True}).success
    second = tick(platform)
    assert second.run_requests[0].run_key != request.run_key
    assert platform.materialise("shard_maps", shards=shards, config={"force": True}).success  # that publish failed
    third = tick(platform, second.cursor)
    assert third.run_requests[0].run_key not in (request.run_key, second.run_requests[0].run_key)


def test_what_is_filtered_while_a_publish_runs_counts_for_the_next(filtered, monkeypatch):
    platform, shards = filtered
    platform = set_to(platform, MAPPOOL_PUBLISH_AFTER_SHARDS="3")
    check_names = []

    class Busy(type(platform.defs.resources["publishing"])):
        def card(self):
            if not check_names:  # in the midst of the publish
                check_names.append("filtered")
                assert platform.materialise("shard_maps", shards=shards, config={"force": True}).success
            return super().card()

    publishing = platform.defs.resources["publishing"]
    busy = build_defs(**{**resources_of(platform), "publishing": Busy(**publishing.model_dump())})
    result = busy.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=platform.instance, run_config=QUIET, asset_selection=[dg.AssetKey(["mappool", "published_dataset"])]
    )
    assert result.success
    assert len(tick(platform).run_requests) == 1


def test_dataset_and_model_do_not_share_a_folder_and_an_empty_address_is_none(filtered):
    platform, _ = filtered
    shared = set_to(platform, MAPPOOL_PUBLISH_MODEL_TO=str(platform.folder / "published"))
    with pytest.raises(BadSetting, match="cannot share a folder"):
        shared.defs.resources["publishing"].open_model_target()
    nowhere = set_to(platform, MAPPOOL_PUBLISH_TO="")
    with pytest.raises(BadSetting, match="cannot be published there"):
        nowhere.defs.resources["publishing"].open_target()
