"""Publishing killed at every step: readers are never misled, and running it again ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import FolderTarget
from mappool_assets_tests.published_lists import assert_lists_name_only_what_is_there
from mappool_assets_tests.small_lake import (
    A2,
    A,
    C,
    D,
    folder_bytes,
    write_flat_pool,
    write_maps,
    write_pool,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_flat_pool(lake)
    return lake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


def publish(lake: Lake, folder: Path) -> None:
    publisher.publish(lake, FolderTarget(folder), CardSettings())


def assert_whole(folder: Path) -> None:
    """What every reader relies on at every moment."""
    assert_lists_name_only_what_is_there(folder_bytes(folder))
    for file in folder.glob("part_*/*.parquet"):
        pq.read_table(file)


class Killed(BaseException):
    """Stands for a signal."""


class Killer:
    """Stops the process's code at the n-th rename or removal inside a folder, as Python's audit events report them."""

    def __init__(self) -> None:
        self.folder, self.left = "", 0
        self.kill = self._raise
        sys.addaudithook(self._hear)

    @staticmethod
    def _raise() -> None:
        raise Killed

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.left or event not in ("os.rename", "os.remove") or not str(arguments[0]).startswith(self.folder):
            return
        if event == "os.rename" or not str(arguments[0]).endswith(".tmp"):  # a temporary file is no step for readers
            self.left -= 1
            if self.left == 0:
                self.kill()


KILLER: list[Killer] = []  # an audit hook cannot be taken off: one for all tests, idle unless armed


@pytest.fixture
def killer() -> Iterator[Killer]:
    if not KILLER:
        KILLER.append(Killer())
    yield KILLER[0]
    KILLER[0].left = 0


def change_everything(lake: Lake) -> None:
    """A new shard in an old part, one in a new part, a changed one, a lost one, and a part that vanishes."""
    write_pool(lake, dict.fromkeys((A, A2, C, D), ""))
    write_maps(lake, A, 4, threshold=0.6, seed=1)
    write_maps(lake, C)
    write_maps(lake, D)


@pytest.mark.parametrize("is_first", [True, False], ids=["first publish", "everything changes"])
def test_killed_at_any_step_then_run_again(
    lake: Lake, folder: Path, tmp_path: Path, killer: Killer, is_first: bool
) -> None:
    if not is_first:
        publish(lake, tmp_path / "before")
        change_everything(lake)
    publish(lake, tmp_path / "undisturbed")
    wanted = folder_bytes(tmp_path / "undisturbed")

    step = 0
    while True:
        step += 1
        shutil.rmtree(folder, ignore_errors=True)
        if not is_first:
            shutil.copytree(tmp_path / "before", folder)
        killer.folder, killer.left = str(folder), step
        try:
            publish(lake, folder)
        except Killed:
            assert_whole(folder)
            publish(lake, folder)
            assert folder_bytes(folder) == wanted, f"killed at step {step}"
        else:
            break
    assert step > 10
    assert folder_bytes(folder) == wanted


KILLED_PROCESS = """
import os, sys
from mappool_assets_tests.lib.test_publish_killed import Killer, Lake, Path, publish
killer = Killer()
killer.kill = lambda: os._exit(9)
killer.folder, killer.left = sys.argv[2], int(sys.argv[3])
publish(Lake(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("step", [2, 7])
def test_a_process_killed_outright_leaves_nothing_half_written(
    lake: Lake, folder: Path, tmp_path: Path, step: int
) -> None:
    publish(lake, folder)
    change_everything(lake)
    publish(lake, tmp_path / "undisturbed")

    command = [sys.executable, "-c", KILLED_PROCESS, lake.root, str(folder), str(step)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == 9

    assert list(folder.rglob(".*.tmp"))
    assert_whole(folder)
    publish(lake, folder)
    assert folder_bytes(folder) == folder_bytes(tmp_path / "undisturbed")
    assert not list(folder.rglob(".*.tmp"))


def test_what_a_killed_publish_sent_is_not_sent_again(lake: Lake, folder: Path, killer: Killer) -> None:
    killer.folder, killer.left = str(folder), 2  # when the second file is about to appear
    with pytest.raises(Killed):
        publish(lake, folder)
    sent = folder / "part_a" / f"{A}.parquet"
    time_sent = sent.stat().st_mtime_ns
    publish(lake, folder)
    assert sent.stat().st_mtime_ns == time_sent
