"""Curated pairs as a configuration of the published dataset, in a folder and in a repository."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from mappool_assets.lib.curation import published_curation
from mappool_assets.lib.curation.curated_pairs import TABLE
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.published_curation import (
    COLUMN_MEANINGS,
    CuratedConfiguration,
    are_withheld,
    count_curation,
    is_behind,
)
from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.geo_subset.published_geo import GeoConfiguration
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.corpus import Corpus, read_corpus
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.hub_client import Patience
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets.lib.publish.publish_target import FolderTarget, PublishTarget
from mappool_assets.lib.publish.published_files import PublishedFile, parse_record
from mappool_assets.lib.publish.publisher import PublishReport
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown
from mappool_assets_tests.curated_corpus import MAPS, SEEDS, SHARDS, curate_maps, write_corpus_with_pairs
from mappool_assets_tests.dying_folder import Dying
from mappool_assets_tests.hub_double import HubDouble
from mappool_assets_tests.published_lists import assert_lists_name_only_what_is_there
from mappool_assets_tests.small_lake import folder_bytes, write_maps
from mappool_assets_tests.small_lake import write_pool as write_listing

REPO = "owner/maps"
NAME = f"datasets/{REPO}"
CURATED_FILE, RECORD = "curated/00000.parquet", "provenance/curated.csv"
QUICK = Patience(attempts=4, first_wait_seconds=0.01, request_seconds=5.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_corpus_with_pairs(tmp_path_factory.mktemp("made")).root)


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


def publish_to(
    target: PublishTarget, lake: Lake, take_down: TakeDown = NO_TAKE_DOWN, *, is_dry_run: bool = False
) -> PublishReport:
    return publisher.publish(
        lake,
        target,
        CardSettings(repository=REPO),
        take_down=take_down,
        configurations=[GeoConfiguration(), CuratedConfiguration()],
        is_dry_run=is_dry_run,
    )


def publish(lake: Lake, folder: Path, take_down: TakeDown = NO_TAKE_DOWN) -> PublishReport:
    return publish_to(FolderTarget(folder), lake, take_down)


def drawn(lake: Lake) -> list[dict[str, Any]]:
    return lake.read_table(TABLE).to_pylist()


def published(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("curated/*.parquet")) for row in pq.read_table(file).to_pylist()]


def uids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["uid"] for row in rows]


def split_into_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_curation, "ROWS_A_FILE", 20)
    monkeypatch.setattr(published_curation, "ROWS_PER_GROUP", 10)


def without_pairs(lake: Lake) -> None:
    lake.delete(Lake.table_path(TABLE))


# -- a folder -------------------------------------------------------------------------------------------------


def test_the_configuration_is_among_all_that_names_and_describes(lake: Lake, folder: Path) -> None:
    report = publish(lake, folder)
    assert published(folder) == [{name: row[name] for name in COLUMN_MEANINGS} for row in drawn(lake)]
    tree = folder_bytes(folder)
    sums = {line[66:]: line[:64] for line in tree["SHA256SUMS"].decode().splitlines()}
    assert sums == {path: hashlib.sha256(data).hexdigest() for path, data in tree.items() if path != "SHA256SUMS"}
    assert parse_record(tree[RECORD])["00000"].sha256 == sums[CURATED_FILE]
    paths = list(report.paths_written)
    assert paths.index(CURATED_FILE) < paths.index(RECORD) < paths.index("README.md")
    assert (report.files_written, report.rows) == (3, 3 * MAPS), "counts are of maps"

    card = DatasetCard(tree["README.md"].decode(), ignore_metadata_errors=False)
    header = card.data.to_dict()
    assert [config["config_name"] for config in header["configs"]] == ["default", "curated"]
    assert header["configs"][1]["data_files"] == [{"split": "train", "path": "curated/*.parquet"}]
    of_seeds = Counter(seed for row in drawn(lake) for seed in row["seeds"])
    for said in (
        "## Curated pairs",
        "| `curated/*.parquet` |",
        f"lists {len(drawn(lake))} of these maps",
        f"2 draws that overlap: of {of_seeds[4]} (seed 4) and {of_seeds[0]} (seed 0) pairs",
        "each passes 20\npairs on average",
        "An image can be there more than once",
        "lambda pair: 4 in pair",
    ):
        assert said in card.text, said
    assert "Not published" not in card.text


def test_datasets_reads_it(lake: Lake, folder: Path, tmp_path: Path) -> None:
    publish(lake, folder)
    rows = load_dataset(str(folder), "curated", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["uid"][:] == uids(drawn(lake))
    assert len(rows.filter(lambda pair: SEEDS[0] in pair["seeds"])) == sum(
        SEEDS[0] in row["seeds"] for row in drawn(lake)
    )


def test_the_card_tells_one_draw_of_one_text_an_image_as_such(lake: Lake, folder: Path) -> None:
    curate_maps(lake, CurationSettings(t=20.0, policy="image"))
    publish(lake, folder)
    card = (folder / "README.md").read_text()
    assert "Of each image there is one pair at most. They are one draw." in card
    images = [row["image_uid"] for row in published(folder)]
    assert len(set(images)) == len(images)


def test_without_pairs_it_is_the_same_dataset_as_without_the_configuration(lake: Lake, tmp_path: Path) -> None:
    without_pairs(lake)
    publish(lake, tmp_path / "with")
    publisher.publish(lake, FolderTarget(tmp_path / "without"), CardSettings(repository=REPO))
    assert folder_bytes(tmp_path / "with") == folder_bytes(tmp_path / "without")
    assert not are_withheld(lake)


def test_pairs_of_the_whole_pool_are_not_published(lake: Lake, folder: Path, tmp_path: Path) -> None:
    assert not are_withheld(lake)
    publish(lake, folder)
    rule = lake.provenance("curation/entry_counts").inputs["rule"]  # type: ignore[union-attr]
    counts, said = lake.read_table("curation/entry_counts"), lake.provenance("curation/entry_counts")
    of_pool = {**said.inputs, "rule": {**rule, "matched": "pool"}}  # type: ignore[union-attr]
    lake.write_table("curation/entry_counts", counts, dataclasses.replace(said, inputs=of_pool))  # type: ignore[type-var]
    curate_maps(lake, shard_maps={})
    assert are_withheld(lake)
    assert CuratedConfiguration().made_from(lake, read_corpus(lake)) is None
    report = publish(lake, folder)
    assert report.paths_removed == (RECORD, CURATED_FILE), "what was published of maps leaves"
    publisher.publish(lake, FolderTarget(tmp_path / "without"), CardSettings(repository=REPO))
    assert folder_bytes(folder) == folder_bytes(tmp_path / "without")


def test_nothing_new_writes_and_sends_nothing(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    report = publish(lake, folder)
    assert (report.bytes_written, report.paths_written, report.paths_removed) == (0, (), ())
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_what_is_taken_down_leaves_and_stays_out(lake: Lake, folder: Path, tmp_path: Path) -> None:
    publish(lake, folder)
    uid = next(row["uid"] for row in drawn(lake) if row["uid"] != row["image_uid"])
    take_down = TakeDown(uids=frozenset({uid}))
    publish(lake, folder, take_down)
    assert uids(published(folder)) == [other for other in uids(drawn(lake)) if other != uid]
    assert not any(uid.encode() in content for content in folder_bytes(folder).values())
    assert f"Not published of {len(drawn(lake))}: 1 taken down." in (folder / "README.md").read_text()
    assert publish(lake, folder, take_down).bytes_written == 0
    publish(lake, tmp_path / "at once", take_down)
    assert folder_bytes(folder) == folder_bytes(tmp_path / "at once")


def test_with_a_pair_that_is_taken_down_go_those_that_have_its_image(lake: Lake, folder: Path) -> None:
    images = Counter(row["image_uid"] for row in drawn(lake) if row["uid"] != row["image_uid"])
    uid = next(row["uid"] for row in drawn(lake) if images[row["uid"]])
    publish(lake, folder, TakeDown(uids=frozenset({uid})))
    assert uids(published(folder)) == [row["uid"] for row in drawn(lake) if row["image_uid"] != uid]
    assert "2 taken down" in (folder / "README.md").read_text()
    named = {path for path, content in folder_bytes(folder).items() if uid.encode() in content}
    assert named == set()


def test_pairs_of_a_shard_filtered_anew_leave_until_they_are_drawn_again(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    write_maps(lake, SHARDS[0], MAPS, seed=1)
    report = publish(lake, folder)
    assert {CURATED_FILE, RECORD, "README.md"} <= set(report.paths_written)
    left = [row["uid"] for row in drawn(lake) if row["shard"] != SHARDS[0]]
    assert uids(published(folder)) == left
    assert f"{len(drawn(lake)) - len(left)} shard changed" in (folder / "README.md").read_text()
    curate_maps(lake)
    publish(lake, folder)
    assert uids(published(folder)) == uids(drawn(lake))


def test_pairs_of_a_shard_that_is_not_published_are_not_either(lake: Lake, folder: Path) -> None:
    write_listing(lake, dict.fromkeys(SHARDS[:2], "part_1") | {SHARDS[2]: "part_2"}, unlisted=[SHARDS[2]])
    publish(lake, folder)
    left = [row["uid"] for row in drawn(lake) if row["shard"] != SHARDS[2]]
    assert uids(published(folder)) == left
    counted = count_curation(lake, read_corpus(lake))
    assert (counted.rows, counted.rows_in) == (len(left), len(drawn(lake)))
    assert counted.rows_dropped == {"not_published": len(drawn(lake)) - len(left)}
    of_seeds = Counter(seed for row in published(folder) for seed in row["seeds"])
    assert counted.of_seeds == {seed: of_seeds[seed] for seed in SEEDS}


def test_without_pairs_any_more_the_configuration_leaves(lake: Lake, folder: Path, monkeypatch) -> None:
    split_into_files(monkeypatch)
    publish(lake, folder)
    (folder / "curated" / "notes.txt").write_text("somebody's")
    files = {path for path in folder_bytes(folder) if path.startswith("curated/0")}
    assert len(files) > 1
    without_pairs(lake)
    report = publish(lake, folder)
    assert report.paths_removed == (RECORD, *sorted(files))
    tree = folder_bytes(folder)
    assert {path for path in tree if "curated" in path} == {"curated/notes.txt"}
    assert "curated" not in tree["README.md"].decode() + tree["SHA256SUMS"].decode()
    assert_lists_name_only_what_is_there(tree)


def test_files_and_groups_hold_all_rows_in_order(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_into_files(monkeypatch)
    publish(lake, folder)
    files = sorted(folder.glob("curated/*.parquet"))
    assert [file.name for file in files] == [f"{number:05d}.parquet" for number in range(len(files))]
    assert all(pq.read_metadata(file).num_rows == 20 for file in files[:-1])
    assert pq.read_metadata(files[0]).num_row_groups == 2
    assert uids(published(folder)) == uids(drawn(lake))
    gone = TakeDown(uids=frozenset(uids(drawn(lake))[5:]))
    assert f"curated/{files[-1].name}" in publish(lake, folder, gone).paths_removed


def test_pairs_that_are_all_taken_down_leave_an_empty_file(lake: Lake, folder: Path) -> None:
    publish(lake, folder, TakeDown(uids=frozenset(uids(drawn(lake)))))
    assert published(folder) == []
    assert pq.read_schema(folder / CURATED_FILE).names == list(COLUMN_MEANINGS)


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        (CURATED_FILE, lambda file: file.unlink()),
        (CURATED_FILE, lambda file: file.write_bytes(file.read_bytes()[:-1])),
        (RECORD, lambda file: file.unlink()),
    ],
    ids=["no file", "a cut file", "no record"],
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


def test_while_pairs_are_found_anew_those_that_are_drawn_stay_published(lake: Lake, folder: Path) -> None:
    assert not is_behind(lake)
    publish(lake, folder)
    rows, said = lake.read_table(UNIQUE_PAIRS), lake.provenance(UNIQUE_PAIRS)
    assert said is not None
    lake.write_table(UNIQUE_PAIRS, rows, dataclasses.replace(said, inputs={**said.inputs, "rows": "others"}))
    assert is_behind(lake)
    assert publish(lake, folder).bytes_written == 0
    lake.delete(Lake.table_path(UNIQUE_PAIRS))
    assert is_behind(lake)
    without_pairs(lake)
    assert not is_behind(lake)


def test_pairs_drawn_anew_meanwhile_are_refused(lake: Lake, folder: Path) -> None:
    class DrawnAnew(CuratedConfiguration):
        def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
            curate_maps(lake, CurationSettings(t=5.0))
            return super().write_files(lake, corpus, folder)

    with pytest.raises(SourceChanged, match="Publish again"):
        publisher.publish(lake, FolderTarget(folder), CardSettings(), configurations=[DrawnAnew()])
    assert folder_bytes(folder) == {}


def test_a_dry_run_reports_what_a_publish_does(lake: Lake, folder: Path) -> None:
    would = publish_to(FolderTarget(folder), lake, is_dry_run=True)
    assert not folder_bytes(folder)
    assert publish(lake, folder) == would
    assert CURATED_FILE in would.paths_written


def test_wherever_it_dies_lists_name_what_is_there_and_the_next_publish_completes_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_files(monkeypatch)
    publish(lake, tmp_path / "before")
    gone = TakeDown(uids=frozenset(uids(drawn(lake))[::3]))
    publish(lake, tmp_path / "after", gone)
    paths = publish_to(FolderTarget(tmp_path / "before"), lake, gone, is_dry_run=True).paths_written
    for files in (paths.index(CURATED_FILE) + 1, paths.index(RECORD), paths.index(RECORD) + 1):
        folder = tmp_path / f"dies after {files}"
        shutil.copytree(tmp_path / "before", folder)
        with pytest.raises(InterruptedError):
            publish_to(Dying(folder, files), lake, gone)
        assert_lists_name_only_what_is_there(folder_bytes(folder))
        publish(lake, folder, gone)
        assert folder_bytes(folder) == folder_bytes(tmp_path / "after")


# -- a repository ---------------------------------------------------------------------------------------------


def test_a_repository_holds_what_a_folder_holds_at_every_change(lake: Lake, hub: HubDouble, tmp_path: Path) -> None:
    target = HubTarget(REPO, endpoint=hub.url, patience=QUICK)
    gone = TakeDown(uids=frozenset({drawn(lake)[0]["uid"]}))
    for number, take_down in enumerate((NO_TAKE_DOWN, gone, gone)):
        if number == 2:
            without_pairs(lake)
        publish_to(target, lake, take_down)
        publish(lake, tmp_path / f"{number}", take_down)
        there = {path: content for path, content in hub.files(NAME).items() if path != ".gitattributes"}
        assert there == folder_bytes(tmp_path / f"{number}")
        assert (CURATED_FILE in there) is (number < 2)
        commits, tags = dict(hub.repos[NAME].commits), dict(hub.repos[NAME].tags)
        publish_to(target, lake, take_down)
        assert (hub.repos[NAME].commits, hub.repos[NAME].tags) == (commits, tags)
