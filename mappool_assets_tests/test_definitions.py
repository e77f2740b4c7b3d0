"""The asset graph as it stands: a change of keys, dependencies, partitions or checks shows here."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from mappool_assets.definitions import build_defs, defs
from mappool_assets.defs.resources import resources_from
from mappool_assets.lib.errors import BadSetting

GRAPH = {
    "mappool/training_set": ([], None),
    "mappool/training_embeddings": (["mappool/training_set"], None),
    "mappool/classifier": (["mappool/training_embeddings"], None),
    "mappool/pool_shards": ([], None),
    "mappool/shard_maps": (["mappool/classifier", "mappool/pool_shards"], "pool_shard"),
    "mappool/map_images": (["mappool/shard_maps"], "pool_shard"),
    "mappool/unique_images": (["mappool/map_images", "mappool/shard_maps"], None),
    "mappool/pool_report": (["mappool/map_images", "mappool/shard_maps", "mappool/unique_images"], None),
    "geo_subset/place_queries": ([], None),
    "geo_subset/image_index": (["mappool/shard_maps"], None),
    "geo_subset/neighbours": (["geo_subset/place_queries", "mappool/shard_maps"], None),
    "geo_subset/geo_images": (["geo_subset/neighbours"], None),
    "geo_subset/geo_report": (["geo_subset/geo_images"], None),
    "web_documents/crawl_files": ([], None),
    "web_documents/documents": (["web_documents/crawl_files"], "crawl_file"),
    "web_documents/media_links": (["web_documents/documents"], "crawl_file"),
    "web_documents/interleaved": (["web_documents/media_links"], "crawl_file"),
    "web_documents/packed_documents": (["web_documents/interleaved"], "crawl_file"),
    "web_documents/page_images": (["mappool/classifier", "web_documents/packed_documents"], "crawl_file"),
    "web_documents/page_maps": (["web_documents/page_images"], None),
    "web_documents/file_media_urls": (["web_documents/documents"], "crawl_file"),
    "web_documents/media_urls": (["web_documents/file_media_urls"], None),
    "curation/entries": ([], None),
    "curation/matches": (["curation/entries", "mappool/shard_maps"], "pool_shard"),
    "curation/entry_counts": (["curation/matches"], None),
    "curation/balance_plan": (["curation/entry_counts", "curation/matches"], None),
    "curation/balanced_pool": (["curation/entry_counts", "curation/matches"], "pool_shard"),
    "curation/unique_pairs": (["curation/balanced_pool", "mappool/unique_images"], None),
    "curation/curated_pairs": (["curation/entry_counts", "curation/unique_pairs"], None),
    "curation/curation_report": (["curation/curated_pairs"], None),
    "mappool/published_model": (["mappool/classifier"], None),
    "mappool/published_dataset": (["mappool/classifier", "mappool/pool_shards", "mappool/shard_maps"], None),
}
CHECKS = {
    ("mappool/training_set", "training_set_splits_disjoint"),
    ("mappool/training_set", "rows_accounted"),
    ("mappool/training_embeddings", "encoder_parity"),
    ("mappool/training_embeddings", "rows_accounted"),
    ("mappool/pool_shards", "rows_accounted"),
    ("mappool/shard_maps", "shard_maps_uid_unique"),
    ("mappool/shard_maps", "shard_maps_score_over_threshold"),
    ("mappool/shard_maps", "shard_maps_screen_missed"),
    ("mappool/shard_maps", "rows_accounted"),
    ("mappool/map_images", "map_images_one_row_a_map"),
    ("mappool/map_images", "map_images_ok_complete"),
    ("mappool/map_images", "rows_accounted"),
    ("mappool/unique_images", "unique_images_complete"),
    ("mappool/unique_images", "unique_images_representative_kept"),
    ("mappool/unique_images", "unique_images_bytes_kept_once"),
    ("mappool/unique_images", "unique_images_best_kept"),
    ("mappool/unique_images", "unique_images_within_limits"),
    ("mappool/unique_images", "rows_accounted"),
    ("geo_subset/place_queries", "rows_accounted"),
    ("geo_subset/image_index", "image_index_as_the_maps"),
    ("geo_subset/image_index", "image_index_aligned"),
    ("geo_subset/image_index", "image_index_recall"),
    ("geo_subset/image_index", "image_index_lists"),
    ("geo_subset/neighbours", "rows_accounted"),
    ("geo_subset/geo_images", "geo_images_complete"),
    ("geo_subset/geo_images", "geo_images_best_place"),
    ("geo_subset/geo_images", "geo_images_duplicates_kept_once"),
    ("geo_subset/geo_images", "geo_images_within_limits"),
    ("geo_subset/geo_images", "place_counts_add_up"),
    ("geo_subset/geo_images", "rows_accounted"),
    ("web_documents/crawl_files", "rows_accounted"),
    ("web_documents/documents", "documents_once"),
    ("web_documents/documents", "documents_dropped_stored"),
    ("web_documents/documents", "rows_accounted"),
    ("web_documents/media_links", "media_links_within_text"),
    ("web_documents/media_links", "media_links_complete"),
    ("web_documents/media_links", "rows_accounted"),
    ("web_documents/interleaved", "interleaved_in_order"),
    ("web_documents/interleaved", "interleaved_complete"),
    ("web_documents/interleaved", "rows_accounted"),
    ("web_documents/file_media_urls", "rows_accounted"),
    ("web_documents/media_urls", "media_urls_unique"),
    ("web_documents/media_urls", "media_urls_seen_complete"),
    ("web_documents/media_urls", "rows_accounted"),
    ("web_documents/packed_documents", "rows_accounted"),
    ("web_documents/page_images", "rows_accounted"),
    ("web_documents/page_maps", "page_maps_complete"),
    ("web_documents/page_maps", "page_maps_duplicates_kept_once"),
    ("web_documents/page_maps", "page_maps_of_these_packs"),
    ("web_documents/page_maps", "rows_accounted"),
    ("mappool/published_model", "scores_as_in_the_lake"),
    ("mappool/published_dataset", "shard_maps_uid_unique"),
    ("mappool/published_dataset", "shard_maps_score_over_threshold"),
    ("mappool/published_dataset", "rows_accounted"),
    ("mappool/published_dataset", "pool_shards_scored_or_missing"),
    ("curation/entries", "entries_unique_in_order"),
    ("curation/entries", "entry_lint_of_entries"),
    ("curation/entries", "rows_accounted"),
    ("curation/matches", "matches_complete"),
    ("curation/matches", "shard_entry_counts_add_up"),
    ("curation/matches", "rows_accounted"),
    ("curation/entry_counts", "entry_counts_add_up"),
    ("curation/entry_counts", "rows_accounted"),
    ("curation/balance_plan", "balance_plan_monotone"),
    ("curation/balance_plan", "balance_plan_of_entries"),
    ("curation/balance_plan", "planned_entries_within_counts"),
    ("curation/balance_plan", "rows_accounted"),
    ("curation/balanced_pool", "balanced_pool_of_matches"),
    ("curation/balanced_pool", "rows_accounted"),
    ("curation/unique_pairs", "unique_pairs_once"),
    ("curation/unique_pairs", "unique_pairs_of_balanced_pool"),
    ("curation/unique_pairs", "unique_pairs_text_copies"),
    ("curation/unique_pairs", "rows_accounted"),
    ("curation/curated_pairs", "curated_pairs_of_unique_pairs"),
    ("curation/curated_pairs", "curated_pairs_named"),
    ("curation/curated_pairs", "curated_pairs_image_once"),
    ("curation/curated_pairs", "curated_entries_add_up"),
    ("curation/curated_pairs", "rows_accounted"),
}


def test_keys_dependencies_and_partitions():
    specs = defs.resolve_all_asset_specs()
    found = {
        spec.key.to_user_string(): (
            sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            spec.partitions_def.name if isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition) else None,
        )
        for spec in specs
    }
    assert found == GRAPH


def test_checks():
    keys = defs.resolve_asset_graph().asset_check_keys
    assert {(key.asset_key.to_user_string(), key.name) for key in keys} == CHECKS


def test_every_asset_is_described_for_people():
    for spec in defs.resolve_all_asset_specs():
        assert len(spec.description) > 100, spec.key
        assert spec.group_name == spec.key.path[0]
        assert spec.owners
        assert spec.kinds
        assert spec.code_version
        assert "dagster/code_references" in spec.metadata


def test_many_shards_share_a_run_and_none_runs_twice_at_once():
    shard_maps = defs.resolve_assets_def(dg.AssetKey(["mappool", "shard_maps"]))
    assert shard_maps.backfill_policy.max_partitions_per_run == 64
    assert shard_maps.op.pool == "shard_maps"


def test_jobs_sensor_and_schedule_are_there_and_off():
    assert {"train", "filter", "images", "report", "publish", "publish_preview"} <= {
        job.name for job in defs.resolve_all_job_defs()
    }
    (schedule,), sensors = defs.schedules, defs.sensors
    statuses = {sensor.name: sensor.default_status for sensor in sensors}
    assert statuses == dict.fromkeys(
        ("new_pool_shards", "new_crawl_files", "publish_when_enough"), dg.DefaultSensorStatus.STOPPED
    )
    assert (schedule.name, schedule.default_status) == ("publish_daily", dg.DefaultScheduleStatus.STOPPED)


def test_definitions_load_without_credentials_settings_or_home(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    code = "from mappool_assets.definitions import defs; import dagster as dg; dg.Definitions.validate_loadable(defs)"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_resources_can_be_overridden():
    from mappool_assets.defs.resources import LakeResource

    mine = LakeResource(root="elsewhere")
    assert build_defs(lake=mine).resources["lake"] is mine


def test_files_of_every_kind_are_fetched_under_one_name_and_through_one_proxy(monkeypatch):
    proxy = "http://user:secret@proxy.example:3128"
    monkeypatch.setenv("MAPPOOL_EGRESS_PROXY", proxy)
    settings = {"MAPPOOL_USER_AGENT": "mybot (+https://me.example)", "MAPPOOL_EGRESS_PROXY": proxy}
    web = resources_from(settings)["web"]
    assert "secret" not in repr(web.model_dump()), "the UI shows what resources are made of"
    ready = web.process_config_and_initialize()
    for obeys_robots in (False, True):
        rules = ready.rules(obeys_robots=obeys_robots)
        assert (rules.user_agent, rules.egress_proxy) == ("mybot (+https://me.example)", proxy)
        assert (rules.obeys_robots, rules.obeys_opt_out) == (obeys_robots, obeys_robots)
    assert resources_from({})["web"].rules().egress_proxy is None
    assert not resources_from({"MAPPOOL_ROBOTS": "0"})["web"].rules(obeys_robots=True).obeys_robots


def test_a_switch_is_on_or_off():
    for text, keeps in (("1", True), ("0", False)):
        assert resources_from({"MAPPOOL_PAGE_BOILERPLATE": text})["pages"].keeps_boilerplate is keeps
    with pytest.raises(BadSetting, match=r"MAPPOOL_PAGE_BOILERPLATE.*1 or 0.*'true'"):
        resources_from({"MAPPOOL_PAGE_BOILERPLATE": "true"})


def test_the_instance_file_is_one_that_dagster_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("MAPPOOL_INSTANCE", str(tmp_path / "instance"))
    text = (Path(__file__).parents[1] / "dagster.yaml").read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    assert yaml.safe_load(text)["retention"]["sensor"]["purge_after_days"]["skipped"] == 7
