"""The images of places as a configuration of the published dataset, in a folder and in a repository."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.geo_subset import published_geo
from mappool_assets.lib.geo_subset.geo_images import TABLE
from mappool_assets.lib.geo_subset.published_geo import GeoConfiguration, is_behind
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.corpus import Corpus
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.hub_client import Patience
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets.lib.publish.publish_target import FolderTarget, PublishTarget
from mappool_assets.lib.publish.published_files import PublishedFile, parse_record
from mappool_assets.lib.publish.publisher import PublishReport
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets_tests.dying_folder import Dying
from mappool_assets_tests.geo_corpus import find_places, write_corpus_with_places, write_listed_shard
from mappool_assets_tests.geo_lake import SHARDS, NeighbourSettings, find_neighbours, place, write_places
from mappool_assets_tests.hub_double import HubDouble
from mappool_assets_tests.published_lists import assert_lists_name_only_what_is_there
from mappool_assets_tests.small_lake import folder_bytes

REPO = "owner/maps"
NAME = f"datasets/{REPO}"
GEO_FILE, RECORD = "geo/00000.parquet", "provenance/geo.csv"
QUICK = Patience(attempts=4, first_wait_seconds=0.01, request_seconds=5.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_corpus_with_places(tmp_path_factory.mktemp("made")).root)


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


class Watched(GeoConfiguration):
    """Counts how often its files are written."""

    def __init__(self) -> None:
        self.writes = 0

    def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
        self.writes += 1
        return super().write_files(lake, corpus, folder)


def publish_to(
    target: PublishTarget, lake: Lake, take_down: TakeDown = NO_TAKE_DOWN, *, is_dry_run: bool = False
) -> PublishReport:
    return publisher.publish(
        lake,
        target,
        CardSettings(repository=REPO),
        take_down=take_down,
        configurations=[GeoConfiguration()],
        is_dry_run=is_dry_run,
    )


def publish(lake: Lake, folder: Path, take_down: TakeDown = NO_TAKE_DOWN) -> PublishReport:
    return publish_to(FolderTarget(folder), lake, take_down)


def returned(lake: Lake) -> list[dict]:
    return [row for row in lake.read_table(TABLE).to_pylist() if row["dropped"] is None]


def published_uids(folder: Path) -> list[str]:
    return [uid for file in sorted(folder.glob("geo/*.parquet")) for uid in pq.read_table(file)["uid"].to_pylist()]


def split_into_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_geo, "ROWS_A_FILE", 20)
    monkeypatch.setattr(published_geo, "ROWS_PER_GROUP", 10)


def without_images(lake: Lake) -> None:
    lake.delete(Lake.table_path(TABLE))


# -- a folder -------------------------------------------------------------------------------------------------


def test_the_configuration_is_among_all_that_names_and_describes(lake: Lake, folder: Path) -> None:
    report = publish(lake, folder)
    assert published_uids(folder) == [row["uid"] for row in returned(lake)]
    tree = folder_bytes(folder)
    sums = {line[66:]: line[:64] for line in tree["SHA256SUMS"].decode().splitlines()}
    assert sums == {path: hashlib.sha256(data).hexdigest() for path, data in tree.items() if path != "SHA256SUMS"}
    assert parse_record(tree[RECORD])["00000"].sha256 == sums[GEO_FILE]
    paths = list(report.paths_written)
    assert paths.index(GEO_FILE) < paths.index(RECORD) < paths.index("README.md")
    assert (report.files_written, report.files_unchanged, report.rows) == (3, 0, 120), "counts are of maps"

    card = DatasetCard(tree["README.md"].decode(), ignore_metadata_errors=False)
    header = card.data.to_dict()
    assert [config["config_name"] for config in header["configs"]] == ["default", "geo"]
    assert header["configs"][1]["data_files"] == [{"split": "train", "path": "geo/*.parquet"}]
    assert [info["config_name"] for info in header["dataset_info"]] == ["default", "geo"]
    assert "## Images of places" in card.text
    assert "| `geo/*.parquet` |" in card.text


def test_without_images_it_is_the_same_dataset_as_without_the_configuration(lake: Lake, tmp_path: Path) -> None:
    without_images(lake)
    publish(lake, tmp_path / "with")
    publisher.publish(lake, FolderTarget(tmp_path / "without"), CardSettings(repository=REPO))
    tree = folder_bytes(tmp_path / "with")
    assert tree == folder_bytes(tmp_path / "without")
    assert isinstance(DatasetCard(tree["README.md"].decode()).data.to_dict()["dataset_info"], dict)


def test_nothing_new_writes_and_sends_nothing(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    geo = Watched()
    report = publisher.publish(lake, FolderTarget(folder), CardSettings(repository=REPO), configurations=[geo])
    assert (report.bytes_written, report.paths_written, report.paths_removed, geo.writes) == (0, (), (), 0)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_what_is_taken_down_leaves_and_stays_out(lake: Lake, folder: Path, tmp_path: Path) -> None:
    publish(lake, folder)
    uid = returned(lake)[0]["uid"]
    take_down = TakeDown(uids=frozenset({uid}))
    publish(lake, folder, take_down)
    assert published_uids(folder) == [row["uid"] for row in returned(lake)[1:]]
    assert not any(uid.encode() in content for content in folder_bytes(folder).values())
    assert "1 taken down" in (folder / "README.md").read_text()
    assert publish(lake, folder, take_down).bytes_written == 0
    publish(lake, tmp_path / "at once", take_down)
    assert folder_bytes(folder) == folder_bytes(tmp_path / "at once")


def test_images_of_a_shard_filtered_anew_leave_until_they_are_found_again(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    write_listed_shard(lake, SHARDS[0], revision=2)
    report = publish(lake, folder)
    assert {GEO_FILE, RECORD, "README.md"} <= set(report.paths_written)
    assert published_uids(folder) == [row["uid"] for row in returned(lake) if row["shard"] != SHARDS[0]]
    find_places(lake, folder.parent / "scratch")
    publish(lake, folder)
    assert published_uids(folder) == [row["uid"] for row in returned(lake)]
    assert SHARDS[0] in pq.read_table(folder / GEO_FILE)["shard"].to_pylist()


def test_without_images_any_more_the_configuration_leaves(lake: Lake, folder: Path, monkeypatch) -> None:
    split_into_files(monkeypatch)
    publish(lake, folder)
    (folder / "geo" / "notes.txt").write_text("somebody's")
    files = {path for path in folder_bytes(folder) if path.startswith("geo/0")}
    assert len(files) > 1
    without_images(lake)
    report = publish(lake, folder)
    assert report.paths_removed == (RECORD, *sorted(files))
    assert report.files_removed == 0, "counts are of maps"
    tree = folder_bytes(folder)
    assert {path for path in tree if "geo" in path} == {"geo/notes.txt"}
    assert "Images of places" not in tree["README.md"].decode()
    assert "geo/" not in tree["README.md"].decode() + tree["SHA256SUMS"].decode()
    assert_lists_name_only_what_is_there(tree)


def test_files_that_are_too_many_leave(lake: Lake, folder: Path, tmp_path: Path, monkeypatch) -> None:
    split_into_files(monkeypatch)
    publish(lake, folder)
    last = max(path for path in folder_bytes(folder) if path.startswith("geo/"))
    gone = TakeDown(uids=frozenset(row["uid"] for row in returned(lake)[5:]))
    assert last in publish(lake, folder, gone).paths_removed
    publish(lake, tmp_path / "at once", gone)
    assert folder_bytes(folder) == folder_bytes(tmp_path / "at once")


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        (GEO_FILE, lambda file: file.unlink()),
        (GEO_FILE, lambda file: file.write_bytes(file.read_bytes()[:-1])),
        (RECORD, lambda file: file.unlink()),
        (RECORD, lambda file: file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))),
    ],
    ids=["no file", "a cut file", "no record", "a line of the record lost"],
)
def test_what_is_damaged_is_mended(
    lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, damage: Callable[[Path], object]
) -> None:
    split_into_files(monkeypatch)
    publish(lake, folder)
    whole = folder_bytes(folder)
    damage(folder / path)
    publish(lake, folder)
    assert folder_bytes(folder) == whole


def other_neighbours(lake: Lake) -> None:
    find_neighbours(lake, NeighbourSettings(k=10))


def other_prompts(lake: Lake) -> None:
    write_places(lake, [place(number) for number in range(7, 9)])


@pytest.mark.parametrize(
    "change", [other_neighbours, other_prompts, lambda lake: lake.delete(f"{NEIGHBOURS}/all.parquet")]
)
def test_while_a_geo_subset_is_made_anew_the_one_that_is_there_is_published(
    lake: Lake, folder: Path, tmp_path: Path, change: Callable[[Lake], None]
) -> None:
    assert not is_behind(lake)
    publish(lake, folder)
    before = folder_bytes(folder)
    change(lake)
    assert is_behind(lake)
    assert publish(lake, folder).bytes_written == 0
    publish(lake, tmp_path / "at once")
    assert folder_bytes(folder) == folder_bytes(tmp_path / "at once") == before


def test_what_was_found_in_maps_of_before_is_published_neither_before_nor_after_their_neighbours_are_found(
    lake: Lake, folder: Path
) -> None:
    write_listed_shard(lake, SHARDS[0], revision=2)
    left = [row["uid"] for row in returned(lake) if row["shard"] != SHARDS[0]]
    for neighbours_are_found in (False, True):
        if neighbours_are_found:
            find_neighbours(lake)
        report = publish(lake, folder)
        assert published_uids(folder) == left
        assert f"{len(returned(lake)) - len(left)} shard changed" in (folder / "README.md").read_text()
        assert report.rows == 120, "maps are published as they are now"
    assert is_behind(lake)
    find_places(lake, folder.parent / "scratch")
    assert not is_behind(lake)
    publish(lake, folder)
    assert SHARDS[0] in pq.read_table(folder / GEO_FILE)["shard"].to_pylist()


def test_images_that_do_not_say_their_maps_are_refused_before_anything_is_sent(lake: Lake, folder: Path) -> None:
    images, made = lake.read_table(TABLE), lake.provenance(TABLE)
    assert made is not None
    inputs = {name: value for name, value in made.inputs.items() if name != "shard_maps"}
    lake.write_table(TABLE, images, dataclasses.replace(made, inputs=inputs), is_ledger=True)
    with pytest.raises(MissingInput, match="Materialise geo_subset/geo_images again"):
        publish(lake, folder)
    assert folder_bytes(folder) == {}


def test_a_lake_without_images_of_places_is_not_behind(lake: Lake) -> None:
    without_images(lake)
    assert not is_behind(lake)


def test_images_made_anew_meanwhile_are_refused(lake: Lake, folder: Path) -> None:
    class MadeAnew(GeoConfiguration):
        def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
            write_listed_shard(lake, SHARDS[0], revision=2)
            find_places(lake, folder.parent / "scratch")
            return super().write_files(lake, corpus, folder)

    with pytest.raises(SourceChanged, match="Publish again"):
        publisher.publish(lake, FolderTarget(folder), CardSettings(), configurations=[MadeAnew()])
    assert folder_bytes(folder) == {}


def test_a_dry_run_reports_what_a_publish_does(lake: Lake, folder: Path) -> None:
    would = publish_to(FolderTarget(folder), lake, is_dry_run=True)
    assert not folder_bytes(folder)
    assert publish(lake, folder) == would
    assert GEO_FILE in would.paths_written


def test_wherever_it_dies_lists_name_what_is_there_and_the_next_publish_completes_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_files(monkeypatch)
    publish(lake, tmp_path / "before")
    gone = TakeDown(uids=frozenset(row["uid"] for row in returned(lake)[::3]))
    publish(lake, tmp_path / "after", gone)
    paths = publish_to(FolderTarget(tmp_path / "before"), lake, gone, is_dry_run=True).paths_written
    for files in (paths.index(GEO_FILE) + 1, paths.index(RECORD), paths.index(RECORD) + 1):
        folder = tmp_path / f"dies after {files}"
        shutil.copytree(tmp_path / "before", folder)
        with pytest.raises(InterruptedError):
            publish_to(Dying(folder, files), lake, gone)
        assert_lists_name_only_what_is_there(folder_bytes(folder))
        publish(lake, folder, gone)
        assert folder_bytes(folder) == folder_bytes(tmp_path / "after")


# -- a repository ---------------------------------------------------------------------------------------------


def contents(hub: HubDouble) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(NAME).items() if path != ".gitattributes"}


def test_a_repository_holds_what_a_folder_holds_at_every_change(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    target = HubTarget(REPO, endpoint=hub.url, patience=QUICK)
    gone = TakeDown(uids=frozenset({returned(lake)[0]["uid"]}))
    changes: list[tuple[Callable[[], None], TakeDown]] = [
        (lambda: None, NO_TAKE_DOWN),
        (lambda: None, gone),
        (lambda: without_images(lake), gone),
    ]
    for number, (change, take_down) in enumerate(changes):
        change()
        publish_to(target, lake, take_down)
        publish(lake, tmp_path / f"{number}", take_down)
        assert contents(hub) == folder_bytes(tmp_path / f"{number}")
        assert (GEO_FILE in contents(hub)) is (number < 2)
        commits, tags = dict(hub.repos[NAME].commits), dict(hub.repos[NAME].tags)
        report = publish_to(target, lake, take_down)
        assert (report.bytes_written, report.paths_removed) == (0, ())
        assert (hub.repos[NAME].commits, hub.repos[NAME].tags) == (commits, tags), "nothing new sends nothing"
    for oid in hub.repos[NAME].commits:
        assert_lists_name_only_what_is_there(hub.files(NAME, oid))
