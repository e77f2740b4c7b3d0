"""Pages worked on in a child process: none can take down the others, whatever it does to the process."""

import contextlib
import signal
import time
from pathlib import Path

import pytest

from mappool_assets.demo.crawl import MadePage, write_warc
from mappool_assets.lib.crawl.warc_pages import WarcLimits
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web_documents.page_messages import MOST_RESULT_BYTES, PageBudget, PageOrder
from mappool_assets.lib.web_documents.page_process import MOST_KILLS, PageProcess
from mappool_assets.lib.workers import WorkerKilled
from mappool_assets_tests import page_makers

BUDGET = PageBudget(cpu_seconds=0.3, memory_bytes=48 << 20)


@pytest.fixture
def crawl(tmp_path):
    """Write a crawl file whose pages have some bodies; returns it and where the pages lie."""

    def write(*bodies):
        path = tmp_path / "pages.warc.gz"
        return path, write_warc(path, [MadePage(address(n), body.encode()) for n, body in enumerate(bodies)])

    return write


def address(number):
    return f"https://example.org/{number}"


def process(path, budget=BUDGET, **changes):
    order = {"limits": WarcLimits(), "prepare": page_makers.prepare, "budget": budget, **changes}
    return PageProcess(PageOrder(str(path), Storage(), **order))


def results(path, **changes):
    return list(process(path, **changes).results())


def test_results_come_in_the_order_of_the_file(crawl):
    path, _ = crawl(*["fine"] * 5)
    pages = process(path)
    assert list(pages.results()) == [("fine", address(n)) for n in range(5)]
    assert pages.file_bytes == pages.bytes_read == path.stat().st_size
    assert pages.file_version.startswith(f"{path.stat().st_size}-")


DEADLY = {
    "spin": ("over_budget", "more than 0.3 s of processor time"),
    "allocate 100": ("over_memory", "more than 48 MiB"),
    "fail_without_memory": ("over_memory", "more than 48 MiB"),
    f"signal {signal.SIGSEGV:d}": ("parser_crashed", "SIGSEGV"),
    f"signal {signal.SIGABRT:d}": ("parser_crashed", "SIGABRT"),
    "fail": ("parser_failed", "ValueError: quoted: pppp"),
    "refuse": ("refused", "as asked"),
    f"large {MOST_RESULT_BYTES >> 20}": ("result_too_large", "bytes of"),
}


def test_what_a_page_does_is_its_own_loss(crawl):
    path, places = crawl("fine", *(body for deadly in DEADLY for body in (deadly, "fine")))
    found = results(path)
    assert found[::2] == [("fine", address(number)) for number in range(0, len(places), 2)]
    for number, record, (reason, detail) in zip(range(1, 99, 2), found[1::2], DEADLY.values(), strict=False):
        assert (record.url, record.offset, record.length) == (address(number), *places[number])
        assert record.reason == reason
        assert detail in record.detail
        assert len(record.detail) <= 200


def test_two_deadly_pages_in_a_row(crawl):
    path, _ = crawl("spin", f"signal {signal.SIGSEGV:d}")
    assert [record.reason for record in results(path)] == ["over_budget", "parser_crashed"]


def test_waiting_is_not_working(crawl):
    path, _ = crawl("sleep 0.8", "fine")
    assert [value[0] for value in results(path)] == ["sleep", "fine"]


def test_a_page_that_crashes_only_after_others_is_tried_again(crawl):
    crash = f"signal_unless_fresh {signal.SIGSEGV:d}"
    path, _ = crawl("fine", "keep 1", crash, "fine")
    assert [value[0] for value in results(path)] == ["fine", "keep", crash.split()[0], "fine"]


def test_memory_that_earlier_pages_kept_is_not_held_against_a_page(crawl):
    path, _ = crawl("keep 20", "keep 20", "keep 20", "fine")
    assert [value[0] for value in results(path)] == ["keep"] * 3 + ["fine"]


def test_a_page_whose_process_was_killed_from_outside_is_not_lost(crawl, tmp_path):
    path, _ = crawl("fine", f"kill_once {tmp_path}/marker", "fine")
    assert [value[0] for value in results(path)] == ["fine", "kill_once", "fine"]


@pytest.mark.parametrize(("body", "how"), [(f"signal {signal.SIGKILL:d}", "SIGKILL"), ("exit 7", "status 7")])
def test_processes_killed_again_and_again_fail_the_file(crawl, body, how):
    path, places = crawl("fine", body, "fine")
    found = process(path).results()
    assert next(found) == ("fine", address(0))
    with pytest.raises(WorkerKilled, match=f"{MOST_KILLS} processes .* by {how}") as error:
        next(found)
    assert error.value.where == f"{path}, byte {sum(places[0])}"


def test_a_record_that_takes_too_long_to_read_is_lost(crawl, tmp_path):
    path, places = crawl("fine", "large 0", "fine")
    whole = path.read_bytes()
    bomb = tmp_path / "bomb.warc.gz"
    write_warc(bomb, [MadePage(address(1), bytes(250 << 20))])
    end = sum(places[0])
    path.write_bytes(whole[:end] + bomb.read_bytes() + whole[places[2][0] :])
    found = results(path, budget=PageBudget(read_cpu_seconds=0.1))
    assert found[0] == ("fine", address(0))
    assert found[-1] == ("fine", address(2))
    assert {record.reason for record in found[1:-1]} == {"over_budget"}
    assert found[1].offset == end


def test_a_process_ends_when_its_results_are_no_longer_wanted(crawl):
    path, _ = crawl("fine", "sleep 60")
    before, began = children(), time.perf_counter()
    with contextlib.closing(process(path).results()) as found:
        next(found)
        assert len(children() - before) == 1
    assert children() == before
    assert time.perf_counter() - began < 10


def test_a_file_that_changes_between_two_processes_fails(crawl):
    path, _ = crawl("fine", f"signal {signal.SIGSEGV:d}", "fine")
    found = process(path).results()
    next(found)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SourceChanged):
        list(found)


def test_a_file_that_is_not_there_fails(tmp_path):
    with pytest.raises(MissingInput):
        results(tmp_path / "nothing.warc.gz")


@pytest.mark.parametrize("setting", [{"cpu_seconds": 0}, {"read_cpu_seconds": -1}, {"memory_bytes": 1000}])
def test_budgets_out_of_range_are_refused(setting):
    with pytest.raises(BadSetting):
        PageBudget(**setting)


def children():
    """Return the processes that this one has started and that still run."""
    return set(" ".join(task.joinpath("children").read_text() for task in Path("/proc/self/task").iterdir()).split())
