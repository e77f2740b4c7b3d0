"""What people read the published dataset with gives back the lake's rows."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.geo_subset.published_geo import COLUMN_MEANINGS, SCHEMA, GeoConfiguration
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import FolderTarget
from mappool_assets.lib.publish.published_files import published_schema
from mappool_assets.lib.publish.publisher import publish
from mappool_assets_tests import loopback_server
from mappool_assets_tests.geo_corpus import write_corpus_with_places
from mappool_assets_tests.geo_lake import SHARDS as PLACE_SHARDS
from mappool_assets_tests.small_lake import shard_key, write_maps, write_pool

REPOSITORY = "someone/maps"
SHARDS = {shard_key("0"): ("part_7", 5), shard_key("1"): ("part_7", 0), shard_key("2"): ("part_8", 1200)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("readers")
    lake = Lake(str(root / "lake"))
    write_pool(lake, {key: part for key, (part, _) in SHARDS.items()})
    for key, (_, rows) in SHARDS.items():
        write_maps(lake, key, rows, dimension=768)
    publish(lake, FolderTarget(root / "published"), CardSettings(repository=REPOSITORY))
    return root / "published"


@pytest.fixture(scope="module")
def rows(folder: Path) -> pa.Table:
    """The lake's rows, by part and shard as the files are sorted."""
    lake = Lake(str(folder.parent / "lake"))
    return pa.concat_tables(lake.read_table("mappool/shard_maps", key) for key in sorted(SHARDS)).combine_chunks()


def embeddings(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy().reshape(-1, 768)


def snippets(folder: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("is_streaming", [False, True])
def test_datasets(
    folder: Path, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_streaming: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    dataset = load_dataset(str(folder), split="train", streaming=is_streaming, cache_dir=str(tmp_path))
    assert list(dataset.features) == rows.column_names
    assert (dataset.features["l14_img"].length, dataset.features["l14_img"].feature.dtype) == (768, "float16")
    if is_streaming:
        read = list(dataset)
        assert [row["uid"] for row in read] == rows["uid"].to_pylist()
        np.testing.assert_array_equal([row["l14_txt"] for row in read], embeddings(rows["l14_txt"]))
    else:
        read = dataset.with_format("arrow")[:]
        assert read.cast(rows.schema).equals(rows)


def test_pandas(folder: Path, rows: pa.Table) -> None:
    frames = [pd.read_parquet(folder / part / f"{key}.parquet") for key, (part, _) in sorted(SHARDS.items())]
    assert [len(frame) for frame in frames] == [5, 0, 1200]
    read = pd.concat(frames, ignore_index=True)
    pd.testing.assert_frame_equal(
        read.drop(columns=["l14_img", "l14_txt"]), rows.drop(["l14_img", "l14_txt"]).to_pandas()
    )
    np.testing.assert_array_equal(np.stack(list(read["l14_img"])), embeddings(rows["l14_img"]))


def test_duckdb(folder: Path, rows: pa.Table) -> None:
    relation = duckdb.sql("SELECT * FROM read_parquet($1) ORDER BY uid", params=[f"{folder}/part_*/*.parquet"])
    assert relation is not None
    read = relation.to_arrow_table()
    assert read.column_names == rows.column_names
    assert read.drop(["l14_img", "l14_txt"]).to_pydict() == rows.drop(["l14_img", "l14_txt"]).to_pydict()
    np.testing.assert_array_equal(embeddings(read["l14_txt"]), embeddings(rows["l14_txt"]).astype(np.float32))


def test_the_cards_sql(folder: Path, rows: pa.Table) -> None:
    (statement,) = snippets(folder, "sql")
    read = duckdb.execute(statement.replace(f"hf://datasets/{REPOSITORY}", str(folder))).fetchall()
    best = rows.sort_by([("map_score", "descending")]).slice(0, 20)
    assert [row[2] for row in read] == best["map_score"].to_pylist()


def test_the_cards_python(folder: Path, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, with the folder in the place of the Hub; the third one is MapPool's way to download."""
    import huggingface_hub

    def from_folder(repository: str, path: str, *, repo_type: str, local_dir: str = "cache") -> str:
        assert (repository, repo_type) == (REPOSITORY, "dataset")
        target = Path(local_dir) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(folder / path, target))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with_datasets, with_pandas, download, with_numpy = snippets(folder, "python")

    names: dict = {}
    exec(with_datasets.replace(REPOSITORY, str(folder)), names)
    assert sum(1 for _ in names["maps"]) == rows.num_rows
    exec(with_pandas.replace(f"hf://datasets/{REPOSITORY}", str(folder)), names)
    assert list(names["maps"].columns) == rows.column_names
    exec(download, names)
    fetched = {file.relative_to(tmp_path / "maps").as_posix() for file in (tmp_path / "maps").rglob("*.parquet")}
    assert fetched == {f"{part}/{key}.parquet" for key, (part, _) in SHARDS.items()}
    exec(with_numpy, names)
    assert [f"{high:016x}{low:016x}" for high, low in names["uids"].tolist()] == sorted(rows["uid"].to_pylist())


def test_new_maps_under_an_old_card_can_be_loaded(
    folder: Path, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader finds between two commits of a publish, whose last one brings the card."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    part, key = "part_7", min(SHARDS)
    (tmp_path / "maps" / part).mkdir(parents=True)
    shutil.copyfile(folder / "README.md", tmp_path / "maps" / "README.md")
    shutil.copyfile(folder / part / f"{key}.parquet", tmp_path / "maps" / part / f"{key}.parquet")
    dataset = load_dataset(str(tmp_path / "maps"), split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset.num_rows == SHARDS[key][1] < rows.num_rows


def test_images_of_places_are_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the features that the card's header names, by the card's own snippet, and beside the maps."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Features, load_dataset

    lake, folder = write_corpus_with_places(tmp_path), tmp_path / "published"
    card = CardSettings(repository=REPOSITORY)
    publish(lake, FolderTarget(folder), card, configurations=[GeoConfiguration()])
    places = load_dataset(str(folder), "geo", split="train", cache_dir=str(tmp_path / "cache"))
    images = [row for row in lake.read_table("geo_subset/geo_images").to_pylist() if row["dropped"] is None]
    assert places.to_list() == [{name: row[name] for name in COLUMN_MEANINGS} for row in images]
    assert places.features == Features.from_arrow_schema(SCHEMA)
    names: dict = {}
    exec(snippets(folder, "python")[-1].replace(REPOSITORY, str(folder)), names)
    assert [row["uid"] for row in names["places"]] == places["uid"]
    maps = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert maps.num_rows == sum(lake.read_table("mappool/shard_maps", shard).num_rows for shard in PLACE_SHARDS)
    assert maps.column_names == published_schema(16).names


def test_the_cards_img2dataset(tmp_path: Path) -> None:
    """As printed: images that are still those of the index come byte for byte, the others are counted."""
    images = [f"picture {number}".encode() * 100 for number in range(5)]
    agents = set()

    def answer(handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
        agents.add(handler.headers["User-Agent"])
        loopback_server.answer(handler, 200, body, **headers)

    with loopback_server.running() as server:
        for number in range(3):
            server.routes[f"/{number}.png"] = functools.partial(answer, body=images[number])
        server.routes["/3.png"] = functools.partial(answer, body=b"another image by now")
        server.routes["/4.png"] = functools.partial(answer, body=images[4], X_Robots_Tag="noai")
        lake = Lake(str(tmp_path / "lake"))
        write_pool(lake, {shard_key("0"): "part_7"})
        columns = {
            "url": [f"{server.url}/{number}.png" for number in range(5)],
            "sha256": [hashlib.sha256(image).hexdigest() for image in images],
        }
        maps = write_maps(lake, shard_key("0"), 5, columns=columns)
        publish(lake, FolderTarget(tmp_path / "maps"), CardSettings())
        (snippet,) = snippets(tmp_path / "maps", "bash")
        # It needs neither of these two, and each of its three processes takes seconds to import them.
        (tmp_path / "left out").mkdir()
        for name in ("torch", "ray"):
            (tmp_path / "left out" / f"{name}.py").write_text("raise ModuleNotFoundError(__name__)")
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": tools, "PYTHONPATH": str(tmp_path / "left out")}
        subprocess.run(["bash", "-ec", snippet], cwd=tmp_path, env=environment, check=True, timeout=120)

    stats = json.loads((tmp_path / "images" / "00000_stats.json").read_bytes())
    assert (stats["count"], stats["successes"], stats["status_dict"]["hash mismatch"]) == (5, 3, 1)
    assert stats["status_dict"]["Use of image disallowed by X-Robots-Tag directive"] == 1
    with tarfile.open(tmp_path / "images" / "00000.tar") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert sorted(body for name, body in contents.items() if name.endswith(".jpg")) == images[:3]
    records = [json.loads(body) for name, body in contents.items() if name.endswith(".json")]
    assert {record["uid"]: record["sha256"] for record in records} == dict(
        zip(maps["uid"].to_pylist()[:3], columns["sha256"][:3], strict=True)
    )
    assert all("my-project" in agent for agent in agents)


def test_embeddings_lie_in_the_file_as_float16(folder: Path) -> None:
    """Two bytes a component, plain and without a dictionary, in lists of a fixed length for those who read Arrow."""
    file = pq.ParquetFile(folder / "part_8" / f"{shard_key('2')}.parquet")
    group = file.metadata.row_group(0)
    for name in ("l14_img", "l14_txt"):
        assert file.schema_arrow.field(name).type == pa.list_(pa.float16(), 768)
        column = next(c for c in range(group.num_columns) if group.column(c).path_in_schema.startswith(f"{name}."))
        physical = file.metadata.schema.column(column)
        assert (physical.physical_type, physical.length) == ("FIXED_LEN_BYTE_ARRAY", 2)
        assert str(physical.logical_type) == "Float16"
        assert set(group.column(column).encodings) == {"PLAIN", "RLE"}
        assert group.column(column).total_uncompressed_size < 1.01 * group.num_rows * 768 * 2 + 768 * group.num_rows


def test_mappools_own_loop_over_the_list(folder: Path, rows: pa.Table) -> None:
    file_list = json.loads((folder / "file_list.json").read_bytes())
    paths = [f"{folder}/{part}/{file}.parquet" for part, files in file_list.items() for file in files]
    assert sum(len(pd.read_parquet(path, columns=["uid"])) for path in paths) == rows.num_rows
