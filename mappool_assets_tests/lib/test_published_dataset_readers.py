"""What people read the published dataset with gives back the lake's rows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import FolderTarget
from mappool_assets.lib.publish.publisher import publish
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
    """As printed, with the folder in the place of the Hub; the last one is MapPool's way to download."""
    import huggingface_hub

    def from_folder(repository: str, path: str, *, repo_type: str, local_dir: str) -> str:
        assert (repository, repo_type) == (REPOSITORY, "dataset")
        target = Path(local_dir) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(folder / path, target))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with_datasets, with_pandas, download = snippets(folder, "python")

    names: dict = {}
    exec(with_datasets.replace(REPOSITORY, str(folder)), names)
    assert sum(1 for _ in names["maps"]) == rows.num_rows
    exec(with_pandas.replace(f"hf://datasets/{REPOSITORY}", str(folder)), names)
    assert list(names["maps"].columns) == rows.column_names
    exec(download, names)
    fetched = {file.relative_to(tmp_path / "maps").as_posix() for file in (tmp_path / "maps").rglob("*.parquet")}
    assert fetched == {f"{part}/{key}.parquet" for key, (part, _) in SHARDS.items()}


def test_mappools_own_loop_over_the_list(folder: Path, rows: pa.Table) -> None:
    file_list = json.loads((folder / "file_list.json").read_bytes())
    paths = [f"{folder}/{part}/{file}.parquet" for part, files in file_list.items() for file in files]
    assert sum(len(pd.read_parquet(path, columns=["uid"])) for path in paths) == rows.num_rows
