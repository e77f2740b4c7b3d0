"""The asset ``published_model``: what it publishes, what it records, what it refuses."""

import json
import shutil

import dagster as dg
import pytest

from mappool_assets.defs.resources import PublishResource, resources_from
from mappool_assets.defs.settings import SETTINGS
from mappool_assets.lib.classifier_store import DOCUMENT_PATH
from mappool_assets.lib.published_model import load_published_model
from mappool_assets.lib.train_classifier import train
from mappool_assets_tests.hub_double import WRITE, HubDouble, without_xet
from mappool_assets_tests.runs.conftest import platform_in
from mappool_assets_tests.small_lake import folder_bytes
from mappool_assets_tests.small_model import small_model

__all__ = ["small_model"]  # the fixture

KEY = dg.AssetKey(["mappool", "published_model"])
CHECK = "scores_as_in_the_lake"


@pytest.fixture
def platform(tmp_path, small_model):
    shutil.copytree(small_model.lake.root, tmp_path / "lake")
    with dg.DagsterInstance.ephemeral() as instance:
        yield platform_in(tmp_path, instance, MAPPOOL_ENCODER_MODEL=small_model.encoder.model)


def plain(value):
    return [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value


def publish(platform):
    result = platform.materialise("published_model")
    (check,) = result.get_asset_check_evaluations() or [None]
    materialisations = result.asset_materializations_for_node("mappool__published_model")
    metadata = {k: plain(v) for k, v in materialisations[0].metadata.items()} if materialisations else {}
    return result, check, metadata


def test_a_folder_beside_the_dataset_is_published_proved_and_described(platform):
    result, check, metadata = publish(platform)
    assert result.success
    assert (check.check_name, check.passed, check.metadata["largest_difference"].value) == (CHECK, True, 0)
    folder = platform.folder / "published_model"
    assert load_published_model(str(folder)).parity_difference == 0
    assert metadata["published_to"] == str(folder)
    assert metadata["card"].startswith("\n# Map classifier\n")
    assert "--model published_model --encoder" in metadata["card"]
    files = folder_bytes(folder)
    assert [(row["file"], row["bytes"]) for row in metadata["files"]] == [
        (name, len(files[name])) for name in metadata["files_written"].split(", ")
    ]
    assert metadata["bytes"] == metadata["bytes_written"] == sum(map(len, files.values()))
    assert metadata["encoder_id"].startswith("encoder-")


def test_a_second_time_nothing_is_written_and_the_version_stays(platform):
    versions = []
    for _ in range(2):
        result, _, metadata = publish(platform)
        (event,) = result.asset_materializations_for_node("mappool__published_model")
        versions.append(event.tags["dagster/data_version"])
    assert (metadata["files_written"], metadata["bytes_written"]) == ("none", 0)
    assert versions[0] == versions[1]


def test_another_classifier_replaces_the_files(platform):
    publish(platform)
    train(platform.lake, "logistic_regression", 0.5)
    _, check, metadata = publish(platform)
    assert check.passed
    assert "model.safetensors" in metadata["files_written"]
    assert load_published_model(str(platform.folder / "published_model")).record.classifier.threshold == 0.5


def test_the_hub(platform, tmp_path, monkeypatch, small_model):
    without_xet(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", WRITE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubDouble(tmp_path) as hub, dg.DagsterInstance.ephemeral() as instance:
        on_hub = platform_in(
            tmp_path,
            instance,
            MAPPOOL_ENCODER_MODEL=small_model.encoder.model,
            MAPPOOL_PUBLISH_MODEL_TO="hf://owner/maps",
            MAPPOOL_HUB_ENDPOINT=hub.url,
        )
        result, check, metadata = publish(on_hub)
        assert result.success
        assert check.passed
        assert metadata["published_to"] == "hf://owner/maps"
        assert "--model hf://owner/maps" in hub.files("owner/maps")["README.md"].decode()
        assert load_published_model("hf://owner/maps", hub.url)
    assert not (tmp_path / "published_model").exists()


def test_a_model_that_a_reader_would_refuse_is_not_published(platform, monkeypatch):
    monkeypatch.setattr("mappool_assets.lib.model_parity.TOLERANCE", -1.0)  # no model can be within
    result, check, _ = publish(platform)
    assert not result.success
    assert (check.check_name, check.passed) == (CHECK, False)
    assert "does not score as it did" in check.description
    assert not (platform.folder / "published_model").exists()


def test_a_setting_of_another_encoder_fails_with_what_to_do(tmp_path, small_model):
    shutil.copytree(small_model.lake.root, tmp_path / "lake")
    with dg.DagsterInstance.ephemeral() as instance:
        result = platform_in(tmp_path, instance).materialise("published_model")
    (failure,) = result.get_failed_step_keys()
    assert failure == "mappool__published_model"
    assert "another encoder's embeddings" in str(result.failure_data_for_node("mappool__published_model").error)


def test_a_damaged_classifier_is_not_published(platform):
    document = json.loads((platform.folder / "lake" / DOCUMENT_PATH).read_bytes()) | {"threshold": 1.0}
    (platform.folder / "lake" / DOCUMENT_PATH).write_text(json.dumps(document))
    assert not publish(platform)[0].success
    assert not (platform.folder / "published_model").exists()


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "data/published_model"),
        ({"MAPPOOL_PUBLISH_TO": "/srv/maps/published"}, "/srv/maps/published_model"),
        ({"MAPPOOL_PUBLISH_TO": "hf://datasets/me/maps"}, "data/published_model"),
        ({"MAPPOOL_PUBLISH_MODEL_TO": "hf://me/maps"}, "hf://me/maps"),
        ({"MAPPOOL_PUBLISH_MODEL_TO": "models/maps", "MAPPOOL_PUBLISH_TO": "/srv/x"}, "models/maps"),
    ],
)
def test_where_the_model_goes(settings, address):
    environment = {name: setting.default for name, setting in SETTINGS.items()} | settings
    publishing = resources_from(environment)["publishing"]
    assert isinstance(publishing, PublishResource)
    assert publishing.model_address() == address
