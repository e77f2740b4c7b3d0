"""The corpus published to a repository: the same as in a folder, and whole at each commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib.errors import BadSetting, TargetChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.hub_client import Patience
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets.lib.publish.publish_target import FolderTarget
from mappool_assets.lib.publish.publisher import PublishReport
from mappool_assets_tests.hub_double import (
    READ,
    Fault,
    HubDouble,
    Request,
    deleted,
    other_writer,
    rate_limited,
)
from mappool_assets_tests.published_lists import assert_lists_name_only_what_is_there
from mappool_assets_tests.small_lake import (
    A2,
    A,
    B,
    C,
    D,
    folder_bytes,
    write_flat_pool,
    write_maps,
    write_pool,
)

REPO = "owner/maps"
NAME = f"datasets/{REPO}"
QUICK = Patience(attempts=4, first_wait_seconds=0.01, request_seconds=5.0)
CARD = CardSettings(repository=REPO)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_flat_pool(lake)
    return lake


def publish(lake: Lake, hub: HubDouble, *, is_dry_run: bool = False) -> PublishReport:
    target = HubTarget(REPO, endpoint=hub.url, patience=QUICK)
    return publisher.publish(lake, target, CARD, is_dry_run=is_dry_run)


def in_a_folder(lake: Lake, folder: Path) -> dict[str, bytes]:
    """What the lake looks like when it is published all at once, undisturbed, to a folder."""
    publisher.publish(lake, FolderTarget(folder), CARD)
    return folder_bytes(folder)


def contents(hub: HubDouble) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(NAME).items() if path != ".gitattributes"}


def assert_whole_at_every_commit(hub: HubDouble) -> None:
    for oid in hub.repos[NAME].commits:
        assert_lists_name_only_what_is_there(hub.files(NAME, oid))


def change_everything(lake: Lake) -> None:
    """A new shard in an old part, one in a new part, a changed one, a lost one, and a part that vanishes."""
    write_pool(lake, dict.fromkeys((A, A2, C, D), ""))
    write_maps(lake, A, 4, threshold=0.6, seed=1)
    write_maps(lake, C)
    write_maps(lake, D)


def test_a_first_publish_is_what_a_folder_holds(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    report = publish(lake, hub)
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")
    repository = hub.repos[NAME]
    assert repository.is_private
    assert repository.tags == {report.version: repository.head.oid}
    assert_whole_at_every_commit(hub)
    *_, maps, lists = repository.commits.values()
    assert set(maps.changed) == {p for p in contents(hub) if p.startswith(("part_", "provenance/part_"))}
    assert set(lists.changed) == contents(hub).keys() - set(maps.changed)


def test_nothing_new_asks_and_changes_nothing(lake: Lake, hub: HubDouble) -> None:
    publish(lake, hub)
    before = dict(hub.repos[NAME].commits), dict(hub.repos[NAME].tags)
    hub.requests.clear()
    report = publish(lake, hub)
    assert (hub.repos[NAME].commits, hub.repos[NAME].tags) == before
    assert report.bytes_written == 0
    # head, tree, two parts' records and the subset's, tags
    assert [request.method for request in hub.requests] == ["GET"] * 6


def test_a_new_shard_costs_one_upload_and_two_commits(lake: Lake, hub: HubDouble) -> None:
    publish(lake, hub)
    commits = set(hub.repos[NAME].commits)
    hub.requests.clear()
    write_maps(lake, D)
    report = publish(lake, hub)
    assert len(hub.repos[NAME].commits.keys() - commits) == 2
    assert report.files_written == 1
    assert hub.count("PUT") == 2  # the maps, and DataComp's subset file
    assert_whole_at_every_commit(hub)


def test_a_changed_threshold_replaces_files(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    publish(lake, hub)
    for key, rows in ((A, 1), (A2, 5), (B, 2)):
        write_maps(lake, key, rows, threshold=0.7, seed=1)
    report = publish(lake, hub)
    assert (report.files_written, report.files_unchanged) == (3, 0)
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")
    assert len(hub.repos[NAME].tags) == 2
    assert_whole_at_every_commit(hub)


def test_bit_by_bit_gives_the_same_and_each_version_stays_tagged(
    lake: Lake, hub: HubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "FILES_PER_COMMIT", 2)
    versions = {}
    for change in (lambda: None, lambda: change_everything(lake), lambda: write_maps(lake, A2, 1, seed=3)):
        change()
        version = publish(lake, hub).version
        versions[version] = contents(hub)
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")
    assert_whole_at_every_commit(hub)
    assert hub.repos[NAME].tags.keys() == versions.keys()
    for version, published in versions.items():
        assert {k: v for k, v in hub.files(NAME, version).items() if k != ".gitattributes"} == published


def test_what_others_put_there_stays(lake: Lake, hub: HubDouble) -> None:
    hub.create(NAME)
    others = {"LICENSE": b"CC BY 4.0", "images/one.png": b"png", "part_x/notes.txt": b""}
    hub.commit(NAME, others)
    publish(lake, hub)
    write_pool(lake, {A: ""})
    publish(lake, hub)
    assert others.items() <= contents(hub).items()


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "changes"])
def test_a_dry_run_reports_what_a_publish_does_and_sends_nothing(lake: Lake, hub: HubDouble, is_first: bool) -> None:
    if not is_first:
        publish(lake, hub)
        change_everything(lake)
    hub.requests.clear()
    before = contents(hub) if hub.repos else {}
    would = publish(lake, hub, is_dry_run=True)
    assert {request.method for request in hub.requests} == {"GET"}
    assert (contents(hub) if hub.repos else {}) == before
    assert publish(lake, hub) == would
    assert would.bytes_written > 0


FAULTS: dict[str, Callable[[str, str, int], Fault]] = {
    # skip: what a fault kept from happening is asked again, which passes
    "429": lambda method, path, number: Fault(method, path, 429, {"Retry-After": "0"}, skip=number),
    "no answer": lambda method, path, number: Fault(method, path, is_cut=True, skip=number),
    "503 on the commit that did happen": lambda method, path, number: Fault(method, path, 503, is_done=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_trouble_at_each_commit_changes_nothing(
    lake: Lake, hub: HubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(publisher, "FILES_PER_COMMIT", 3)
    publish(lake, hub)
    change_everything(lake)
    commits = len(hub.repos[NAME].commits)
    hub.faults = [FAULTS[fault]("POST", "/commit/", number) for number in range(6)]
    hub.faults += [rate_limited("POST", "/tag/"), rate_limited("GET", "/resolve/")]
    publish(lake, hub)
    assert hub.faults == []
    assert len(hub.repos[NAME].commits) - commits == 6
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")
    assert_whole_at_every_commit(hub)
    assert len(hub.repos[NAME].tags) == 2


def test_another_writers_licence_is_merged(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    publish(lake, hub)
    change_everything(lake)
    hub.faults = [other_writer(NAME, {"LICENSE": b"CC BY"}), other_writer(NAME, {"LICENSE": b"CC BY 4.0"})]
    publish(lake, hub)
    assert hub.faults == []
    assert contents(hub) == {**in_a_folder(lake, tmp_path / "folder"), "LICENSE": b"CC BY 4.0"}
    assert_whole_at_every_commit(hub)


@pytest.mark.parametrize("path", ["README.md", "datacomp_subset.npy", f"part_b/{B}.parquet", "part_f/new.parquet"])
def test_another_publisher_is_refused_and_a_later_publish_mends(
    lake: Lake, hub: HubDouble, tmp_path: Path, path: str
) -> None:
    publish(lake, hub)
    change_everything(lake)
    hub.faults = [other_writer(NAME, {path: b"theirs"})]
    with pytest.raises(TargetChanged, match=path):
        publish(lake, hub)
    assert contents(hub)[path] == b"theirs"
    publish(lake, hub)
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")


def test_a_repository_deleted_in_between_is_filled_anew(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    publish(lake, hub)
    change_everything(lake)
    hub.faults = [deleted(NAME, "POST", "/commit/")]
    with pytest.raises(TargetChanged, match="deleted or renamed"):
        publish(lake, hub)
    assert hub.repos == {}
    publish(lake, hub)
    assert contents(hub) == in_a_folder(lake, tmp_path / "folder")


def test_a_read_only_token_creates_nothing(lake: Lake, hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ)
    with pytest.raises(BadSetting, match="no right"):
        publish(lake, hub)
    assert hub.repos == {}
    assert publish(lake, hub, is_dry_run=True).files_written == 3  # which needs no right to write


def test_a_thousand_shards(tmp_path: Path, hub: HubDouble) -> None:
    """Requests and bytes of a publish, by what is new; printed with ``pytest -s``."""
    lake = Lake(str(tmp_path / "lake"))
    random = np.random.default_rng(0)
    keys = sorted(random.bytes(16).hex() for _ in range(1001))
    write_pool(lake, dict.fromkeys(keys, ""))
    for key in keys[1:]:
        write_maps(lake, key, 1)
    figures = {}
    for name in ("1,000 shards", "nothing new", "one new shard"):
        if name == "one new shard":
            write_maps(lake, keys[0], 1)
        hub.requests.clear()
        report = publish(lake, hub)
        figures[name] = _figures(hub.requests)
        assert figures[name]["commits"] == {"1,000 shards": 12, "nothing new": 0, "one new shard": 2}[name]
        if name == "nothing new":
            assert report.bytes_written == 0
            assert figures[name]["requests"] <= 24
    assert_whole_at_every_commit(hub)
    assert max(len(commit.changed) for commit in hub.repos[NAME].commits.values()) <= 100
    for name, figure in figures.items():
        print(f"{name:14s}", figure)


def _figures(requests: list[Request]) -> dict[str, int]:
    uploads = [request for request in requests if request.method == "PUT"]
    verified = [request for request in requests if request.path.endswith("/objects/verify")]
    return {
        "commits": sum("/commit/" in request.path for request in requests),
        "requests": len(requests),
        "of these uploads": len(uploads),
        "of these checks of uploads": len(verified),
        "bytes uploaded": sum(request.bytes_in for request in uploads),
        "bytes sent": sum(request.bytes_in for request in requests),
        "bytes received": sum(request.bytes_out for request in requests),
    }
