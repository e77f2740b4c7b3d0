from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import corpus as corpus_module
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.corpus import CorpusShard, read_corpus
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import FolderTarget, NewFile
from mappool_assets.lib.publish.published_files import ROWS_PER_GROUP, write_published_file
from mappool_assets.lib.publish.publisher import PublishReport
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets_tests.small_lake import (
    A2,
    A,
    B,
    C,
    D,
    folder_bytes,
    write_failure,
    write_flat_pool,
    write_maps,
    write_pool,
)

LISTS = {"README.md", "SHA256SUMS", "datacomp_subset.npy", "file_list.json", "missing_shards.json"}
SUBSET_RECORD = "provenance/datacomp_subset.csv"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A flat pool of five shards: three scored, one of them without maps, one failed, one waiting."""
    lake = Lake(str(tmp_path / "lake"))
    write_flat_pool(lake)
    write_failure(lake, C)
    return lake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


def publish(lake: Lake, folder: Path) -> PublishReport:
    return publisher.publish(lake, FolderTarget(folder), CardSettings())


def modified(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_the_first_publish_holds_the_corpus_and_all_that_names_it(lake: Lake, folder: Path) -> None:
    report = publish(lake, folder)

    tree = folder_bytes(folder)
    maps = {f"part_a/{A}.parquet", f"part_a/{A2}.parquet", f"part_b/{B}.parquet"}
    assert tree.keys() == LISTS | maps | {"provenance/part_a.csv", "provenance/part_b.csv", SUBSET_RECORD}
    assert json.loads(tree["file_list.json"]) == {"part_a": [A, A2], "part_b": [B]}
    assert json.loads(tree["missing_shards.json"]) == {C: "BadShard: A member is missing", D: "not scored yet"}
    sums = {line[66:]: line[:64] for line in tree["SHA256SUMS"].decode().splitlines()}
    assert sums == {p: hashlib.sha256(content).hexdigest() for p, content in tree.items() if p != "SHA256SUMS"}
    assert report == PublishReport(
        files_written=3,
        files_unchanged=0,
        files_removed=0,
        bytes_written=sum(map(len, tree.values())),
        bytes_total=sum(len(tree[path]) for path in maps),
        rows=5,
        shards=3,
        missing_shards=2,
        rows_taken_down=0,
        version=f"corpus-{hashlib.sha256(tree['SHA256SUMS']).hexdigest()[:12]}",
        paths_written=(
            *(f"part_a/{A}.parquet", f"part_a/{A2}.parquet", f"part_b/{B}.parquet"),
            *("provenance/part_a.csv", "provenance/part_b.csv", "datacomp_subset.npy", SUBSET_RECORD),
            *("missing_shards.json", "README.md", "file_list.json", "SHA256SUMS"),
        ),
        paths_removed=(),
    )
    assert lake.read_table("mappool/missing_shards").to_pylist() == [
        {"shard": C, "reason": "BadShard: A member is missing"},
        {"shard": D, "reason": "not scored yet"},
    ]
    assert sql_files.run(lake, "checks/pool_shards_scored_or_missing").num_rows == 0
    assert sql_files.run(lake, "checks/rows_accounted").num_rows == 0


def test_a_published_file_is_the_lakes_rows_without_the_lakes_provenance(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    for part, key in (("part_a", A), ("part_a", A2), ("part_b", B)):
        file = pq.ParquetFile(folder / part / f"{key}.parquet")
        assert file.read().equals(lake.read_table("mappool/shard_maps", key))
        assert set(file.metadata.metadata) == {b"ARROW:schema"}


def test_files_are_laid_out_for_the_hub(tmp_path: Path, folder: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, {A: ""})
    write_maps(lake, A, 2 * ROWS_PER_GROUP + 1)
    publish(lake, folder)

    metadata = pq.ParquetFile(folder / "part_a" / f"{A}.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROWS_PER_GROUP] * 2 + [1]
    for column in range(metadata.num_columns):
        chunk = metadata.row_group(0).column(column)
        assert chunk.has_offset_index
        assert chunk.compression == "ZSTD"
        assert not chunk.has_dictionary_page
        is_embedding = chunk.path_in_schema.startswith("l14_")
        assert chunk.is_stats_set is not is_embedding
        assert chunk.has_column_index is not is_embedding


def test_chunks_are_cut_by_content(tmp_path: Path) -> None:
    """A row more at the start leaves most of a file's bytes as they were, which is what spares the upload."""
    lake = Lake(str(tmp_path / "lake"))
    maps = write_maps(lake, A, 900, dimension=768)
    longer = {name: [maps[name][0].as_py(), *maps[name].to_pylist()] for name in maps.column_names[:6]}
    for name in ("l14_img", "l14_txt", "clip_l14_similarity_score", "map_score"):
        longer[name] = pa.concat_arrays([maps[name].combine_chunks()[:1], maps[name].combine_chunks()])
    write_maps(lake, B, 901, dimension=768, columns=longer)
    contents = []
    for key in (A, B):
        made = lake.provenance("mappool/shard_maps", key)
        assert made is not None
        shard = CorpusShard(key, "part_0", 0, made.rows_kept, made.fingerprint, "", None, "", 0.0)
        write_published_file(lake, shard, tmp_path / key)
        contents.append((tmp_path / key).read_bytes())
    window = 4096
    blocks = [contents[0][start : start + window] for start in range(0, len(contents[0]) - window, window)]
    assert sum(block in contents[1] for block in blocks) / len(blocks) > 0.5


@pytest.mark.parametrize("rows_a_group", [7, 1000])
def test_bytes_depend_on_the_rows_only(tmp_path: Path, rows_a_group: int) -> None:
    published = []
    for name, group in (("one", 4096), ("other", rows_a_group)):
        lake = Lake(str(tmp_path / name))
        write_pool(lake, {A: ""})
        write_maps(lake, A, 1200, rows_a_group=group)
        publish(lake, tmp_path / f"published {name}")
        published.append(folder_bytes(tmp_path / f"published {name}"))
    assert published[0] == published[1]


def test_nothing_new_writes_nothing_and_reads_no_maps(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    before = modified(folder), modified(Path(lake.root))
    # Footers stay readable, row groups do not: whoever reads rows fails.
    for key in (A, A2):
        file = Path(lake.root) / Lake.table_path("mappool/shard_maps", key)
        content = file.read_bytes()
        footer = int.from_bytes(content[-8:-4], "little") + 8
        file.write_bytes(b"\xff" * (len(content) - footer) + content[-footer:])
    before = before[0], modified(Path(lake.root))

    report = publish(lake, folder)

    assert (modified(folder), modified(Path(lake.root))) == before
    assert (report.files_written, report.files_unchanged, report.files_removed, report.bytes_written) == (0, 3, 0, 0)
    assert (report.rows, report.shards, report.missing_shards) == (5, 3, 2)


def test_a_new_shard_costs_its_file_its_record_and_the_lists(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    before = folder_bytes(folder)
    write_maps(lake, D)
    report = publish(lake, folder)
    after = folder_bytes(folder)
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == LISTS | {f"part_d/{D}.parquet", "provenance/part_d.csv", SUBSET_RECORD}
    assert (report.files_written, report.files_unchanged) == (1, 3)
    assert report.bytes_written == sum(len(after[path]) for path in changed)


def test_bit_by_bit_gives_the_same_as_all_at_once(lake: Lake, folder: Path, tmp_path: Path) -> None:
    publish(lake, folder)
    write_maps(lake, C)
    publish(lake, folder)
    write_maps(lake, A, 6, threshold=0.1, seed=1)
    write_maps(lake, D)
    publish(lake, folder)
    publish(lake, tmp_path / "at once")
    assert folder_bytes(folder) == folder_bytes(tmp_path / "at once")


def test_a_changed_threshold_replaces_files(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    for key, rows in ((A, 1), (A2, 5), (B, 2)):
        write_maps(lake, key, rows, threshold=0.7, seed=1)
    report = publish(lake, folder)
    assert (report.files_written, report.files_unchanged, report.rows) == (3, 0, 8)
    assert pq.read_table(folder / "part_b" / f"{B}.parquet").equals(lake.read_table("mappool/shard_maps", B))


def test_a_shard_that_left_the_pool_leaves_with_its_part(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    write_pool(lake, {A: "", C: ""})
    report = publish(lake, folder)
    assert report.files_removed == 2
    assert report.paths_removed == ("provenance/part_b.csv", f"part_a/{A2}.parquet", f"part_b/{B}.parquet")
    found = {path for path in folder_bytes(folder) if "/" in path}
    assert found == {f"part_a/{A}.parquet", "provenance/part_a.csv", SUBSET_RECORD}
    assert not (folder / "part_b").exists()


def test_what_others_put_there_stays(lake: Lake, folder: Path) -> None:
    folder.mkdir()
    others = {
        "LICENSE": b"CC BY 4.0",
        ".gitattributes": b"*.parquet lfs",
        "images/one.png": b"png",
        "part_x/notes.txt": b"",
    }
    for path, content in others.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    publish(lake, folder)
    write_pool(lake, {A: ""})
    publish(lake, folder)
    assert {path: (folder / path).read_bytes() for path in others} == others


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
    ],
    ids=["deleted", "cut", "a bit flipped"],
)
@pytest.mark.parametrize(
    "path", [f"part_a/{A}.parquet", "provenance/part_a.csv", "file_list.json", "README.md", "datacomp_subset.npy"]
)
def test_a_damaged_file_is_mended(lake: Lake, folder: Path, damage: Callable[[Path], object], path: str) -> None:
    publish(lake, folder)
    whole = folder_bytes(folder)
    damage(folder / path)
    publish(lake, folder)
    assert folder_bytes(folder) == whole


def test_a_lost_checksum_index_costs_reading_not_writing(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    (folder / ".checksums.json").unlink()
    assert publish(lake, folder).bytes_written == 0


class Watched(FolderTarget):
    """A folder that notes what is put together."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.groups: list[list[str]] = []

    def put(self, files: Mapping[str, NewFile]) -> None:
        self.groups.append(list(files))
        super().put(files)


def test_parts_share_a_group(lake: Lake, folder: Path) -> None:
    target = Watched(folder)
    publisher.publish(lake, target, CardSettings())
    assert len(target.groups) == 2
    assert target.groups[0][-2:] == ["provenance/part_a.csv", "provenance/part_b.csv"]


@pytest.mark.parametrize("files", [2, 3])
def test_groups_are_no_larger_than_a_commit_and_change_nothing(
    lake: Lake, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    publish(lake, tmp_path / "one group")
    monkeypatch.setattr(publisher, "FILES_PER_COMMIT", files)
    target = Watched(folder)
    publisher.publish(lake, target, CardSettings())
    assert max(map(len, target.groups)) == files
    maps = [f"part_a/{A}.parquet", f"part_a/{A2}.parquet"]
    both = [[*maps, "provenance/part_a.csv"]] if files == 3 else [[m, "provenance/part_a.csv"] for m in maps]
    assert target.groups[: len(both)] == both
    assert target.groups[-1][-2:] == ["file_list.json", "SHA256SUMS"]
    assert len(target.groups[-1]) == files
    assert folder_bytes(folder) == folder_bytes(tmp_path / "one group")


def test_progress_counts_files_that_are_there(lake: Lake, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    publisher.publish(lake, FolderTarget(folder), CardSettings(), lambda done, total: seen.append((done, total)))
    write_maps(lake, D)
    publisher.publish(lake, FolderTarget(folder), CardSettings(), lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (3, 3), (3, 4), (4, 4)]


def test_what_is_taken_down_leaves_the_files_and_stays_out(lake: Lake, folder: Path) -> None:
    publish(lake, folder)
    file = folder / "part_a" / f"{A}.parquet"
    uids = pq.read_table(file)["uid"].to_pylist()
    take_down = TakeDown(urls=frozenset({f"https://maps.example/{A}/0.png"}))

    report = publisher.publish(lake, FolderTarget(folder), CardSettings(), take_down=take_down)

    assert (report.files_written, report.files_unchanged, report.rows, report.rows_taken_down) == (1, 2, 4, 1)
    assert pq.read_table(file)["uid"].to_pylist() == uids[1:]
    assert len(np.load(folder / "datacomp_subset.npy")) == 4
    assert publisher.publish(lake, FolderTarget(folder), CardSettings(), take_down=take_down).bytes_written == 0
    write_maps(lake, A, 3, seed=5)  # filtered again, which finds the same pairs
    publisher.publish(lake, FolderTarget(folder), CardSettings(), take_down=take_down)
    assert pq.read_table(file)["uid"].to_pylist() == uids[1:]


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "changes"])
def test_a_dry_run_reports_what_a_publish_does_and_changes_nothing(
    lake: Lake, folder: Path, tmp_path: Path, is_first: bool
) -> None:
    if not is_first:
        publish(lake, folder)
        write_pool(lake, dict.fromkeys((A, C, D), ""))
        write_maps(lake, A, 1, seed=1)
        write_maps(lake, D)
    before = modified(folder), modified(tmp_path / "lake")
    would = publisher.publish(lake, FolderTarget(folder), CardSettings(), is_dry_run=True)
    assert (modified(folder), modified(tmp_path / "lake")) == before
    assert publish(lake, folder) == would
    assert would.paths_written
    assert bool(would.paths_removed) is not is_first


def test_a_shard_filtered_again_meanwhile_is_not_published_under_its_old_name(lake: Lake, tmp_path: Path) -> None:
    shard = next(shard for shard in read_corpus(lake).shards if shard.shard == A)
    write_maps(lake, A, 3, threshold=0.5)
    with pytest.raises(SourceChanged, match="Publish again"):
        write_published_file(lake, shard, tmp_path / "file.parquet")


def test_a_part_with_too_many_files_is_refused_before_anything_is_sent(
    lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "MOST_FILES_A_PART", 2)
    assert publish(lake, folder).shards == 3  # two of them in one part
    monkeypatch.setattr(corpus_module, "MOST_FILES_A_PART", 1)
    with pytest.raises(BadSetting, match="2 files in part_a"):
        publish(lake, folder / "other")
    assert not (folder / "other").exists()


def test_nothing_to_publish_says_what_to_do(tmp_path: Path, folder: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(MissingInput, match="pool_shards"):
        publish(lake, folder)
    write_pool(lake, {A: ""})
    with pytest.raises(MissingInput, match="shard_maps"):
        publish(lake, folder)
    write_maps(lake, B)
    with pytest.raises(MissingInput, match="none of this pool"):
        publish(lake, folder)
    assert not folder.exists()
