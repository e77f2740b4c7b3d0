import hashlib

import pytest

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.publish.model_publisher import publish_model
from mappool_assets.lib.publish.publish_target import FolderTarget
from mappool_assets.lib.publish.targets import model_target
from mappool_assets_tests.small_lake import folder_bytes

FILES = {
    "model.safetensors": b"arrays" * 100,
    "parity.safetensors": b"scores",
    "model.skops": b"estimator",
    "config.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "SHA256SUMS": b"sums",
}
WITHOUT_SKOPS = {name: content for name, content in FILES.items() if name != "model.skops"} | {"SHA256SUMS": b"less"}


def test_a_folder_holds_the_files_and_a_second_time_nothing_is_written(tmp_path):
    folder = tmp_path / "published"
    first = publish_model(FILES, FolderTarget(folder))
    assert folder_bytes(folder) == FILES
    assert first.files_written == tuple(FILES)
    assert first.bytes_written == first.bytes_total == sum(map(len, FILES.values()))
    assert first.version == hashlib.sha256(b"sums").hexdigest()[:16]
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = publish_model(FILES, FolderTarget(folder))
    assert (again.files_written, again.files_removed, again.bytes_written) == ((), (), 0)
    assert again.version == first.version
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_only_what_differs_is_written_and_what_the_model_no_longer_has_goes(tmp_path):
    folder = tmp_path / "published"
    publish_model(FILES, FolderTarget(folder))
    (folder / "LICENSE").write_text("somebody's own")
    report = publish_model(WITHOUT_SKOPS, FolderTarget(folder))
    assert report.files_written == ("SHA256SUMS",)
    assert report.files_removed == ("model.skops",)
    assert report.bytes_written == 4
    assert folder_bytes(folder) == WITHOUT_SKOPS | {"LICENSE": b"somebody's own"}


def test_a_damaged_file_is_replaced(tmp_path):
    folder = tmp_path / "published"
    publish_model(FILES, FolderTarget(folder))
    (folder / "config.json").write_bytes(b"[]")
    assert publish_model(FILES, FolderTarget(folder)).files_written == ("config.json",)
    assert folder_bytes(folder) == FILES


@pytest.mark.parametrize("put", range(len(FILES)))
def test_a_kill_between_two_files_leaves_checksums_that_do_not_fit(put, tmp_path):
    folder = tmp_path / "published"
    publish_model({name: b"old " + content for name, content in FILES.items()}, FolderTarget(folder))

    class Killed(FolderTarget):
        def put(self, files):
            super().put(dict(list(files.items())[:put]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_model(FILES, Killed(folder))
    assert (folder / "SHA256SUMS").read_bytes() == b"old sums"
    assert publish_model(FILES, FolderTarget(folder)).files_written == tuple(FILES)[put:]
    assert folder_bytes(folder) == FILES


def test_a_repository_of_the_hub_gets_one_commit_and_a_second_time_none(hub):
    target = model_target("hf://owner/maps", hub_endpoint=hub.url)
    report = publish_model(FILES, target)
    assert report.files_written == tuple(FILES)
    assert {n: c for n, c in hub.files("owner/maps").items() if n != ".gitattributes"} == FILES
    assert hub.repos["owner/maps"].is_private
    assert hub.count("POST", "/commit/") == 1
    again = publish_model(FILES, model_target("hf://owner/maps", hub_endpoint=hub.url))
    assert (again.files_written, again.bytes_written) == ((), 0)
    assert hub.count("POST", "/commit/") == 1
    assert hub.files("owner/maps", report.version)["SHA256SUMS"] == b"sums"


def test_a_repository_loses_what_the_model_no_longer_has_and_nothing_else(hub):
    publish_model(FILES, model_target("hf://owner/maps", hub_endpoint=hub.url))
    hub.commit("owner/maps", {"figure.png": b"somebody's own"})
    report = publish_model(WITHOUT_SKOPS, model_target("hf://owner/maps", hub_endpoint=hub.url))
    assert (report.files_written, report.files_removed) == (("SHA256SUMS",), ("model.skops",))
    assert hub.files("owner/maps").keys() - {".gitattributes"} == WITHOUT_SKOPS.keys() | {"figure.png"}


@pytest.mark.parametrize(
    "address", ["s3://bucket/model", "hf://owner/maps@v1", "hf://datasets/owner/maps", "hf://maps"]
)
def test_places_where_no_model_goes(address):
    with pytest.raises(BadSetting, match="MAPPOOL_PUBLISH_MODEL_TO"):
        model_target(address)
