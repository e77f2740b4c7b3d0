"""Make the documents of crawl files in a process of its own, which can be measured and killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from mappool_assets.demo.crawl import MadePage
from mappool_assets.lib.crawl.crawl_files import list_crawl
from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web_documents.document_task import DocumentsReport, DocumentsTask, document_tasks
from mappool_assets.lib.web_documents.documents import make_documents
from mappool_assets.lib.web_documents.page_documents import DocumentSettings
from mappool_assets.lib.web_documents.page_messages import PageBudget
from mappool_assets.lib.workers import Outcome

MARK = "MAPPOOL_TEST_RUN"  # an environment variable, handed down to every descendant
QUICK = PageBudget(cpu_seconds=0.8)
SENTENCES = (
    "The old map of the valley shows a road that follows the river to the sea.",
    "Die alte Karte des Tales zeigt eine Straße, die dem Fluss bis zum Meer folgt.",
    "La vieille carte de la vallée montre une route qui suit la rivière jusqu'à la mer.",
    "На старой карте долины показана дорога, которая идёт вдоль реки до самого моря.",
)


def good_page(number: int, paragraphs: int = 6) -> MadePage:
    """A page that is a document, with an image after each paragraph."""
    sentence = SENTENCES[number % len(SENTENCES)]
    parts = [
        f'<p>{number}.{part} {sentence} {sentence}</p><img src="/{number}/{part}.jpg" alt="Map {part}" width="640">'
        for part in range(paragraphs)
    ]
    page = f"<!DOCTYPE html><html><head><title>Page {number}</title></head><body>{''.join(parts)}</body></html>"
    return MadePage(f"https://maps.example/{number}.html", page.encode())


def tasks_of(lake: Lake, source: Path | str, settings: DocumentSettings, storage: Storage) -> list[DocumentsTask]:
    """List a folder or an address of crawl files into the lake, and return their tasks."""
    listing = list_crawl(str(source), storage)
    write_crawl_files(lake, listing)
    return document_tasks(lake, [file.crawl_file for file in listing.files], settings, storage)


def run(
    lake: Lake,
    source: Path | str,
    *,
    force: bool = False,
    storage: Storage | None = None,
    **settings: Any,
) -> list[Outcome[DocumentsTask, DocumentsReport]]:
    """Make the documents of all crawl files of a folder, in this process and its children."""
    tasks = tasks_of(lake, source, DocumentSettings(**{"budget": QUICK, **settings}), storage or Storage())
    return list(make_documents(tasks, workers=1, force=force))


def made(outcomes: list[Outcome[DocumentsTask, DocumentsReport]]) -> DocumentsReport:
    """Return the report of the only outcome, or raise its error."""
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    assert outcome.result is not None
    return outcome.result


class DocumentRun:
    """A process that makes the documents of a folder of crawl files.

    Parameters
    ----------
    killed_before : str, optional
        It is killed when it is about to give a file a name that ends so.
    """

    def __init__(self, lake: Lake, folder: Path, *, killed_before: str | None = None) -> None:
        self._mark = uuid.uuid4().hex
        order = {"lake": lake.root, "folder": str(folder), "killed_before": killed_before}
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(order)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, MARK: self._mark},
        )

    def finish(self) -> dict[str, Any]:
        """Wait for the end; return the report's fields, and the peak memory of the process and of its largest child."""
        printed, _ = self.process.communicate(timeout=180)
        assert self.process.returncode == 0
        return json.loads(printed.splitlines()[-1])

    def living(self) -> list[str]:
        """Return the command lines of the run's living processes, its own included."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # no process, or not ours, or gone
        return found


def kill_before(name_end: str) -> None:
    """Have this process killed, as Python's audit events report it, before a file gets a name that ends so."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith(name_end):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def main() -> None:
    order = json.loads(sys.argv[1])
    if order["killed_before"]:
        kill_before(order["killed_before"])
    watched = [0]
    threading.Thread(target=watch_children, args=(watched,), daemon=True).start()
    report = made(run(Lake(order["lake"]), order["folder"]))
    peaks = {"own_megabytes": peak_megabytes("self"), "child_megabytes": max(watched)}
    print(json.dumps({**dataclasses.asdict(report), **peaks}))


def peak_megabytes(process: str) -> int:
    """Return the most memory a process ever held, 0 where it is gone.

    Not ru_maxrss: exec passes on the figure of the process that forked.
    """
    try:
        found = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[0]) // 1024 if found else 0


def watch_children(peaks: list[int]) -> None:
    """Note the peak memory of this process's children, until it ends."""
    while True:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                peaks.extend(peak_megabytes(child) for child in (task / "children").read_text().split())
        time.sleep(0.02)


if __name__ == "__main__":
    main()
