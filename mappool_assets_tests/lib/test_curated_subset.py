"""What a seed drew as a DataComp subset file: DataComp's own recipe of its uids, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.curated_pairs import TABLE, curate_pairs
from mappool_assets.lib.curation.curated_subset import PATH, write_curated_subset
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import datacomp_subset
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets_tests.killer import Killed, a_killer
from mappool_assets_tests.lib.test_datacomp_subset import loaded_by_datacomp, made_by_datacomp
from mappool_assets_tests.small_lake import folder_bytes
from mappool_assets_tests.small_pairs import SmallPool, change_inputs, write_pool

SEEDS = (7, 0)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_pool(lake, SmallPool.make(1500, 30))
    curate_pairs(lake, CurationSettings(10.0, SEEDS))
    return lake


def drawn(lake: Lake, seed: int) -> list[str]:
    return [row["uid"] for row in lake.read_table(TABLE).to_pylist() if seed in row["seeds"]]


@pytest.mark.parametrize("rows_a_batch", [7, 1 << 18])
def test_it_is_datacomps_file_of_the_first_seed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows_a_batch: int
) -> None:
    monkeypatch.setattr(datacomp_subset, "ROWS_A_BATCH", rows_a_batch)
    (tmp_path / "scratch").mkdir()
    written = write_curated_subset(lake, scratch=tmp_path / "scratch")
    file = Path(lake.root) / PATH
    assert file.read_bytes() == made_by_datacomp(drawn(lake, 7))
    assert (written.path, written.seed, written.rows) == (PATH, 7, len(drawn(lake, 7)))
    assert (written.bytes, written.sha256) == (file.stat().st_size, sha256_of(file))
    assert len(loaded_by_datacomp(file)) == written.rows > 100
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_another_seeds_draw_is_another_file(lake: Lake) -> None:
    assert write_curated_subset(lake, 0).seed == 0
    assert (Path(lake.root) / PATH).read_bytes() == made_by_datacomp(drawn(lake, 0))
    with pytest.raises(BadSetting, match=r"one of 7, 0; got 3"):
        write_curated_subset(lake, 3)


def test_no_pairs_are_an_empty_file(lake: Lake) -> None:
    write_pool(lake, SmallPool.make(50, 3), [])
    curate_pairs(lake, CurationSettings())
    assert write_curated_subset(lake).rows == 0
    assert (Path(lake.root) / PATH).read_bytes() == made_by_datacomp([])


@pytest.mark.parametrize("uid", ["", "1" * 31, "g" * 32, "-" + "1" * 31, "1" * 31 + "\n"])
def test_what_is_no_uid_is_refused(lake: Lake, uid: str) -> None:
    rows = SmallPool.make(1500, 30).rows()
    rows[3]["uid"] = uid
    write_pool(lake, SmallPool.make(1500, 30), rows)
    curate_pairs(lake, CurationSettings(1e9))
    with pytest.raises(BadShard, match=r"curation/curated_pairs.*32 hex digits"):
        write_curated_subset(lake)
    assert not lake.exists(PATH)


def test_without_curated_pairs_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="Materialise curation/curated_pairs first"):
        write_curated_subset(Lake(str(tmp_path / "empty")))


class BusyLake(Lake):
    """A lake whose pairs are drawn anew as soon as they were asked for."""

    def query(self, *arguments: Any) -> Any:
        found = super().query(*arguments)
        change_inputs(Lake(self.root), TABLE, changed=True)
        return found


def test_pairs_drawn_anew_meanwhile_are_noticed(lake: Lake) -> None:
    with pytest.raises(SourceChanged, match="Write the file again"):
        write_curated_subset(BusyLake(lake.root))
    assert not lake.exists(PATH)


def test_killed_at_any_step_and_run_again_ends_as_undisturbed(lake: Lake) -> None:
    write_curated_subset(lake, 0)
    before = (Path(lake.root) / PATH).read_bytes()
    with a_killer() as killer:
        steps = 0
        while True:
            killer.folders, killer.left = (lake.root,), steps + 1
            try:
                write_curated_subset(lake)
                break
            except Killed:
                steps += 1
            finally:
                killer.left = 0
            assert (Path(lake.root) / PATH).read_bytes() in (before, made_by_datacomp(drawn(lake, 7)))
    assert steps >= 2
    assert not [path for path in folder_bytes(Path(lake.root)) if path.endswith(".tmp")]
    assert (Path(lake.root) / PATH).read_bytes() == made_by_datacomp(drawn(lake, 7))


def test_its_statement_asks_a_question() -> None:
    assert "exports/curated_subset" in sql_files.names("exports")
    assert sql_files.question("exports/curated_subset").endswith("?")
