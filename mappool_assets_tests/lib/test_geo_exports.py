from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.geo_subset import exports, published_geo
from mappool_assets.lib.geo_subset.exports import write_image_list
from mappool_assets.lib.geo_subset.geo_images import TABLE, find_geo_images
from mappool_assets.lib.geo_subset.published_geo import (
    COLUMN_MEANINGS,
    GeoConfiguration,
    card_section,
    count_geo,
)
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.corpus import Corpus, CorpusShard
from mappool_assets_tests.geo_lake import SHARDS, find_neighbours, place, write_classifier, write_places, write_shard
from mappool_assets_tests.small_lake import folder_bytes

GEO = GeoConfiguration()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    lake = Lake(str(folder / "lake"))
    write_classifier(lake)
    write_places(lake, [place(number) for number in range(1, 5)])
    for shard in SHARDS:
        write_shard(lake, shard)
    find_neighbours(lake)
    find_geo_images(lake, folder / "scratch", GeoSettings(most_a_domain=5))
    return folder / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def returned(lake: Lake) -> list[dict]:
    return [row for row in lake.read_table(TABLE).to_pylist() if row["dropped"] is None]


def corpus(lake: Lake, taken_down: dict[str, tuple[str, ...]] | None = None, shards=SHARDS) -> Corpus:
    rows = []
    for shard in shards:
        maps = lake.provenance("mappool/shard_maps", shard)
        assert maps is not None
        row = CorpusShard(shard, "part_0", 40, 40, maps.fingerprint, "hf://x", "0", "svm", 0.0)
        rows.append(dataclasses.replace(row, taken_down=(taken_down or {}).get(shard, ())))
    return Corpus(tuple(rows), {}, {}, ())


def published_rows(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


# -- img2dataset ----------------------------------------------------------------------------------------------


def test_the_list_has_the_returned_images_in_their_order(lake: Lake) -> None:
    made = write_image_list(lake)
    rows = lake.read_table(exports.TABLE).to_pylist()
    assert [(row["uid"], row["url"], row["sha256"]) for row in rows] == [
        (row["uid"], row["url"], row["sha256"]) for row in returned(lake)
    ]
    assert set(rows[0]) == {"url", "text", "sha256", *exports.ADDITIONAL_COLUMNS}
    assert (made.rows_in, made.rows_kept) == (len(rows), len(rows))
    before = folder_bytes(Path(lake.root))
    assert write_image_list(lake) == made
    lake.delete(f"{exports.TABLE}/all.parquet")
    write_image_list(lake)
    assert folder_bytes(Path(lake.root)) == before


def test_img2dataset_reads_the_list(lake: Lake, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks for a newer version of itself as it is imported
    from img2dataset.reader import Reader

    write_image_list(lake)
    columns = list(exports.ADDITIONAL_COLUMNS)
    options = {"number_sample_per_shard": 1000, "start_shard_id": 0, "tmp_path": str(tmp_path)}
    verify = {"verify_hash_col": "sha256", "verify_hash_type": "sha256", "save_additional_columns": columns}
    reader = Reader(
        str(Path(lake.root) / Lake.table_path(exports.TABLE)),
        "parquet",
        "url",
        "text",
        **verify,
        **options,
        done_shards=set(),
    )
    assert set(columns) <= set(reader.column_list)


# -- the second configuration ---------------------------------------------------------------------------------


def test_all_returned_images_are_published_in_their_order(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    GEO.write_files(lake, corpus(lake), folder)
    expected = returned(lake)
    assert published_rows(folder) == [{name: row[name] for name in COLUMN_MEANINGS} for row in expected]
    geo = count_geo(lake, corpus(lake))
    assert (geo.rows, geo.rows_in, geo.rows_dropped) == (len(expected), len(expected), {})
    assert geo.places == len({row["place_id"] for row in expected})


def test_files_are_cut_at_their_most_rows_and_described(lake: Lake, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(published_geo, "ROWS_A_FILE", 25)
    monkeypatch.setattr(published_geo, "ROWS_PER_GROUP", 10)
    folder = tmp_path / "files"
    folder.mkdir()
    files = GEO.write_files(lake, corpus(lake), folder)
    rows = returned(lake)
    assert [file.rows for file in files] == [20] * (len(rows) // 20) + [len(rows) % 20] * (len(rows) % 20 > 0)
    assert [row["uid"] for row in published_rows(folder)] == [row["uid"] for row in rows]
    assert [file.shard for file in files] == [f"{number:05d}" for number in range(len(files))]
    assert sorted(path.name for path in folder.iterdir()) == [f"{file.shard}.parquet" for file in files]
    for file in files:
        content = (folder / f"{file.shard}.parquet").read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert {file.made_from for file in files} == {GEO.made_from(lake, corpus(lake))}


def test_what_is_taken_down_changed_or_not_published_is_left_out_and_counted(lake: Lake, tmp_path: Path) -> None:
    rows = returned(lake)
    gone = {shard: tuple(row["uid"] for row in rows if row["shard"] == shard)[:2] for shard in SHARDS}
    of_corpus = corpus(lake, gone, SHARDS[:2])
    changed = dataclasses.replace(of_corpus.shards[1], fingerprint="filtered anew")
    folder = tmp_path / "files"
    folder.mkdir()
    of_corpus = dataclasses.replace(of_corpus, shards=(of_corpus.shards[0], changed))
    GEO.write_files(lake, of_corpus, folder)
    geo = count_geo(lake, of_corpus)
    found = published_rows(folder)
    assert (len(found), len({row["place_id"] for row in found})) == (geo.rows, geo.places)
    assert {row["shard"] for row in found} == {SHARDS[0]}
    assert not {row["uid"] for row in found} & {uid for uids in gone.values() for uid in uids}
    assert geo.rows_dropped == {
        "taken_down": 2,
        "shard_changed": sum(row["shard"] == SHARDS[1] for row in rows),
        "not_published": sum(row["shard"] == SHARDS[2] for row in rows),
    }
    assert geo.rows_in == geo.rows + sum(geo.rows_dropped.values()) == len(rows)
    assert "2 taken down" in card_section(geo, "me/maps")


def test_the_same_gives_the_same_bytes_and_another_take_down_another_fingerprint(lake: Lake, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        GEO.write_files(lake, corpus(lake), folder)
    assert folder_bytes(folders[0]) == folder_bytes(folders[1])
    uid = returned(lake)[0]["uid"]
    made_from = {GEO.made_from(lake, corpus(lake)), GEO.made_from(lake, corpus(lake, {SHARDS[0]: (uid,)}))}
    assert len(made_from) == 2


def test_without_images_there_is_no_configuration(lake: Lake, tmp_path: Path) -> None:
    lake.delete(f"{TABLE}/all.parquet")
    assert GEO.made_from(lake, corpus(lake)) is None
    with pytest.raises(MissingInput, match="Materialise geo_subset/geo_images first"):
        write_image_list(lake)
