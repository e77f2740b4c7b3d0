"""Making documents killed at every stage: nothing outlives it, and a second run ends as an undisturbed one."""

import os
import signal
import time
from pathlib import Path

import pytest

from mappool_assets.demo.crawl import MadePage, write_warc
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.web_documents.document_task import DROPPED_TABLE, TABLE
from mappool_assets_tests.document_runs import DocumentRun, good_page, made, run
from mappool_assets_tests.small_lake import folder_bytes

KEY = "crawl-00000"
MOST_SECONDS_TO_END = 30.0  # on a busy machine: measured 0.1 on an idle one, and 0.8 within a hostile page
SPIN = MadePage("https://hostile.example/", b"<div>" * 100_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A crawl file of good pages, with a hostile one in their midst."""
    folder = tmp_path_factory.mktemp("killed") / "crawl"
    pages = [good_page(number) for number in range(12)]
    write_warc(folder / f"{KEY}.warc.gz", [*pages[:6], SPIN, *pages[6:]])
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder):
    lake = Lake(str(folder.parent / "undisturbed"))
    made(run(lake, folder))
    return folder_bytes(Path(lake.root))


def until(condition):
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < MOST_SECONDS_TO_END
        time.sleep(0.01)


def child_of(process):
    """Return the process that parses pages for another; None as long as there is none."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def assert_a_second_run_ends_as_an_undisturbed_one(lake, folder, undisturbed):
    made(run(lake, folder))
    assert folder_bytes(Path(lake.root)) == undisturbed


@pytest.mark.parametrize(
    ("killed_before", "partitions"),
    [("dropped_pages/crawl-00000.parquet", []), ("documents/crawl-00000.parquet", [KEY])],
)
def test_killed_before_a_table_is_in_its_place(tmp_path, folder, undisturbed, killed_before, partitions):
    lake = Lake(str(tmp_path / "lake"))
    disturbed = DocumentRun(lake, folder, killed_before=killed_before)
    assert disturbed.process.wait(timeout=180) == -signal.SIGKILL
    until(lambda: not disturbed.living())
    assert lake.partitions(TABLE) == []
    assert lake.partitions(DROPPED_TABLE) == partitions
    assert_a_second_run_ends_as_an_undisturbed_one(lake, folder, undisturbed)


def test_killed_while_a_hostile_page_is_parsed(tmp_path, folder, undisturbed):
    lake = Lake(str(tmp_path / "lake"))
    disturbed = DocumentRun(lake, folder)
    until(lambda: (child := child_of(disturbed.process)) and processor_seconds(child) > 0.7)
    disturbed.process.kill()
    disturbed.process.wait()
    until(lambda: not disturbed.living())
    assert lake.partitions(TABLE) == []
    assert_a_second_run_ends_as_an_undisturbed_one(lake, folder, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parser_ended_from_outside_changes_nothing(tmp_path, folder, undisturbed, number):
    lake = Lake(str(tmp_path / "lake"))
    disturbed = DocumentRun(lake, folder)
    until(lambda: (child := child_of(disturbed.process)) and processor_seconds(child) > 0.7)
    os.kill(child_of(disturbed.process), number)
    assert disturbed.finish()["rows_dropped"] == {"over_budget": 1}
    assert folder_bytes(Path(lake.root)) == undisturbed


def test_a_lake_that_takes_no_more_leaves_nothing_behind(tmp_path, folder, undisturbed):
    lake = Lake(str(tmp_path / "lake"))
    blocked = Path(lake.url(Lake.table_path(TABLE, KEY)))
    blocked.mkdir(parents=True)  # nothing can be put in its place
    (outcome,) = run(lake, folder)
    assert isinstance(outcome.error, OSError)
    assert not list(Path(lake.root).rglob("*.tmp"))
    blocked.rmdir()
    assert_a_second_run_ends_as_an_undisturbed_one(lake, folder, undisturbed)


def processor_seconds(process):
    """Return what a process has used, 0 where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
