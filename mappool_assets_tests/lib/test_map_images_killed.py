"""Fetching images killed at every step: nothing half-done counts, and a second run ends as an undisturbed one."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images import image_archive
from mappool_assets.lib.map_images.image_archive import FILES, WEBDATASET, read_images
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets_tests.image_web import ImageWeb, image_web, uid
from mappool_assets_tests.killer import Killed, Killer, KillingLake, a_killer
from mappool_assets_tests.small_lake import A, folder_bytes


@pytest.fixture
def killer() -> Iterator[Killer]:
    with a_killer() as killer:
        yield killer


def first_run(web: ImageWeb, archive_format: str) -> None:
    web.busy.add(1)
    web.write_maps(range(4))
    web.fetch(archive_format=archive_format)


def later_run(web: ImageWeb, archive_format: str) -> None:
    """One map has gone, two are new, one is taken down; of two servers that were or are busy one gives its image."""
    web.busy.clear()
    web.busy.add(5)
    web.write_maps([0, 1, 2, 5, 6])
    web.fetch(archive_format=archive_format, take_down=TakeDown(frozenset({uid(0)})))


def changed_format(web: ImageWeb, archive_format: str) -> None:
    web.busy.clear()
    web.fetch(archive_format=FILES if archive_format == WEBDATASET else WEBDATASET)


def written_folders(web: ImageWeb) -> tuple[str, ...]:
    return (*(f"{web.lake.root}/mappool/{name}" for name in ("images", "map_images")), str(web.scratch))


def in_folder(web: ImageWeb, folder: Path, kind: type[Lake] = Lake) -> ImageWeb:
    return dataclasses.replace(web, lake=kind(str(folder / "lake")), scratch=folder / "scratch")


def assert_the_ledger_holds(web: ImageWeb) -> None:
    """What every reader relies on at every moment."""
    if web.lake.partitions("mappool/map_images"):
        wanted = {row["uid"]: row["sha256"] for row in web.rows() if row["status"] == "ok"}
        assert {i.uid: hashlib.sha256(i.data).hexdigest() for i in read_images(web.lake, A)} == wanted


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageWeb]:
    monkeypatch.setattr(image_archive, "IMAGES_A_TAR", 2)
    with image_web(tmp_path) as web:
        yield web


@pytest.mark.parametrize(
    ("run", "archive_format"),
    [(first_run, WEBDATASET), (later_run, WEBDATASET), (later_run, FILES), (changed_format, FILES)],
)
def test_killed_at_any_step_then_run_again(
    web: ImageWeb, tmp_path: Path, killer: Killer, run: Callable[[ImageWeb, str], None], archive_format: str
) -> None:
    before, undisturbed, disturbed = (tmp_path / name for name in ("before", "undisturbed", "disturbed"))
    (before / "lake").mkdir(parents=True)
    if run is not first_run:
        first_run(in_folder(web, before), archive_format)
    shutil.copytree(before, undisturbed)
    run(in_folder(web, undisturbed), archive_format)
    wanted = folder_bytes(undisturbed)
    assert not [name for name in wanted if not name.startswith("lake/")], "nothing is left in the scratch folder"

    step = 0
    while True:
        step += 1
        shutil.rmtree(disturbed, ignore_errors=True)
        shutil.copytree(before, disturbed)
        here = in_folder(web, disturbed, KillingLake)
        killer.folders, killer.left = written_folders(here), step
        try:
            run(here, archive_format)
        except Killed:
            assert_the_ledger_holds(here)
            run(here, archive_format)
            assert folder_bytes(disturbed) == wanted, f"killed at step {step}"
            assert not list(disturbed.rglob(".*"))
        else:
            break
    assert step > 10
    killer.left = 0
    assert folder_bytes(disturbed) == wanted


def test_what_a_killed_run_fetched_is_not_asked_for_again(web: ImageWeb, killer: Killer) -> None:
    web.write_maps(range(6))
    web.asked()
    # The folders of images and of the shard's are made and the latter is locked, the first tar is opened and renamed,
    # the second is opened.
    killer.folders, killer.left = (f"{web.lake.root}/mappool/images",), 6
    with pytest.raises(Killed):
        web.fetch()
    asked = web.asked()
    assert len(asked) > 2
    web.fetch()
    assert web.asked() == sorted(set(range(6)) - set(asked))


KILLED_PROCESS = """
import os, sys
from mappool_assets.lib.map_images import image_archive
from mappool_assets_tests.killer import KILLER
from mappool_assets_tests.loopback_server import LoopbackServer
from mappool_assets_tests.lib.test_map_images_killed import *
image_archive.IMAGES_A_TAR = 2
killer = Killer()
KILLER.append(killer)
folder = Path(sys.argv[1])
web = ImageWeb(LoopbackServer(sys.argv[2]), KillingLake(str(folder / "lake")), folder / "scratch")
killer.kill = lambda: os._exit(9)
killer.folders, killer.left = written_folders(web), int(sys.argv[3])
later_run(web, "webdataset")
"""


@pytest.mark.parametrize("step", [8, 15, 23])
def test_a_process_killed_outright_leaves_nothing_that_counts(web: ImageWeb, tmp_path: Path, step: int) -> None:
    before, undisturbed = tmp_path / "before", tmp_path / "undisturbed"
    first_run(in_folder(web, before), WEBDATASET)
    shutil.copytree(before, undisturbed)
    later_run(in_folder(web, undisturbed), WEBDATASET)

    command = [sys.executable, "-c", KILLED_PROCESS, str(before), web.server.url, str(step)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == 9

    here = in_folder(web, before)
    assert_the_ledger_holds(here)
    assert list(here.scratch.glob("*/*/*"))
    later_run(here, WEBDATASET)
    assert folder_bytes(before) == folder_bytes(undisturbed)
    assert not list(before.rglob("*.tmp"))
