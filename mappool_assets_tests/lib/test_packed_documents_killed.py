"""Packing killed at every step: nothing half-done counts, and a second run ends as an undisturbed one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mappool_assets.lib.map_images.image_ledger import OK
from mappool_assets.lib.packed_documents.packs import PARQUET, TAR
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets_tests.image_web import image
from mappool_assets_tests.killer import Killed, Killer, KillingLake, a_killer
from mappool_assets_tests.page_web import PageWeb, page_web
from mappool_assets_tests.small_lake import folder_bytes

Run = Callable[[PageWeb, str], None]
SETTINGS = {"documents_a_pack": 2}


@pytest.fixture
def killer() -> Iterator[Killer]:
    with a_killer() as killer:
        yield killer


@pytest.fixture
def web(tmp_path: Path) -> Iterator[PageWeb]:
    with page_web(tmp_path) as web:
        yield web


def first_run(web: PageWeb, form: str) -> None:
    web.busy.add(1)
    web.write_pages([0, 1], [2], ["a", 3], [1], [0, 4])
    web.pack(form=form, **SETTINGS)


def later_run(web: PageWeb, form: str) -> None:
    """The server that was busy gives its image; another is taken down."""
    web.busy.clear()
    taken_down = TakeDown(sha256s=frozenset({hashlib.sha256(image(3)).hexdigest()}))
    web.pack(form=form, take_down=taken_down, **SETTINGS)


def changed_pages(web: PageWeb, form: str) -> None:
    """One page has gone, one is new, one has another image; a server is busy again."""
    web.busy.add(6)
    web.write_pages([0, 1], [3, "b"], [5, 0], [6], [0, 4])
    web.pack(form=form, **SETTINGS)


def changed_form(web: PageWeb, form: str) -> None:
    web.pack(form=PARQUET if form == TAR else TAR, **SETTINGS)


def written_folders(web: PageWeb) -> tuple[str, ...]:
    return f"{web.lake.root}/web_documents/packed_documents", str(web.scratch)


def assert_the_ledger_holds(web: PageWeb) -> None:
    """What every reader relies on at every moment."""
    if web.lake.partitions("web_documents/packed_documents"):
        wanted = [row for row in web.ledger() if row["status"] == OK]
        for row, document in zip(wanted, web.packed(), strict=True):
            assert row["document_id"] == document.document_id
            fetched = [listed["sha256"] for listed in row["images"] if listed["outcome"] == OK]
            assert [hashlib.sha256(found.data).hexdigest() for found in document.images] == fetched


@pytest.mark.parametrize(
    ("run", "form"),
    [(first_run, TAR), (later_run, TAR), (changed_pages, TAR), (changed_form, TAR), (later_run, PARQUET)],
)
def test_killed_at_any_step_then_run_again(web: PageWeb, tmp_path: Path, killer: Killer, run: Run, form: str) -> None:
    before, undisturbed, disturbed = (tmp_path / name for name in ("before", "undisturbed", "disturbed"))
    (before / "lake").mkdir(parents=True)
    if run is not first_run:
        first_run(web.elsewhere(before), form)
    shutil.copytree(before, undisturbed)
    run(web.elsewhere(undisturbed), form)
    wanted = folder_bytes(undisturbed)
    assert not [name for name in wanted if not name.startswith("lake/")], "nothing is left in the scratch folder"

    step = 0
    while True:
        step += 1
        shutil.rmtree(disturbed, ignore_errors=True)
        shutil.copytree(before, disturbed)
        here = web.elsewhere(disturbed, KillingLake)
        killer.folders, killer.left = written_folders(here), step
        try:
            run(here, form)
        except Killed:
            assert_the_ledger_holds(here)
            run(here, form)
            assert folder_bytes(disturbed) == wanted, f"killed at step {step}"
            assert not list(disturbed.rglob(".*"))
        else:
            break
    assert step > 10
    killer.left = 0
    assert folder_bytes(disturbed) == wanted


def test_what_a_killed_run_fetched_is_not_asked_for_again(web: PageWeb, killer: Killer) -> None:
    web.write_pages([0, 1], [2], [0])
    # The ledger's temporary file is the first that is opened after all images are there.
    killer.folders, killer.left = (f"{web.lake.root}/web_documents/packed_documents/.",), 1
    with pytest.raises(Killed):
        web.pack()
    assert web.asked() == [0, 1, 2]
    web.pack()
    assert web.asked() == []
    assert len(web.packed()) == 3


KILLED_PROCESS = """
import os, sys
from mappool_assets_tests.killer import KILLER
from mappool_assets_tests.loopback_server import LoopbackServer
from mappool_assets_tests.lib.test_packed_documents_killed import *
killer = Killer()
KILLER.append(killer)
folder = Path(sys.argv[1])
web = PageWeb(LoopbackServer(sys.argv[2]), KillingLake(str(folder / "lake")), folder / "scratch")
killer.kill = lambda: os._exit(9)
killer.folders, killer.left = written_folders(web), int(sys.argv[3])
later_run(web, TAR)
"""


@pytest.mark.parametrize("step", [9, 16])
def test_a_process_killed_outright_leaves_nothing_that_counts(web: PageWeb, tmp_path: Path, step: int) -> None:
    before, undisturbed = tmp_path / "before", tmp_path / "undisturbed"
    first_run(web.elsewhere(before), TAR)
    shutil.copytree(before, undisturbed)
    later_run(web.elsewhere(undisturbed), TAR)

    command = [sys.executable, "-c", KILLED_PROCESS, str(before), web.server.url, str(step)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == 9

    here = web.elsewhere(before)
    assert_the_ledger_holds(here)
    assert list(here.scratch.glob("*/*/*"))
    later_run(here, TAR)
    assert folder_bytes(before) == folder_bytes(undisturbed)
    assert not list(before.rglob("*.tmp"))
