"""Make documents and media links of a WARC file, page bytes in and parquet out, on one core: against two others.

Ours is ``make_documents`` and ``make_media_links``: records read and checked, pages parsed in a child process under a
budget each, boilerplate left out, language told, items with absolute addresses, windows of 256 words, four tables.
The rivals:

* the route of OBELICS, re-implemented as published (``harness/obelics_route.py``, which says what differs): Beautiful
  Soup, a tree simplified step by step, texts and images in order. The claim is against it.
* resiliparse's plain text of the main content, with fastwarc: no media, no addresses, no windows. A yardstick.

All run from the page cache on pages that are made from a seed (``harness/crawl_pages.py``: 83 kB, 24 media each), in
processes of their own that are held to one core; imports come before the clock, but the start of our child processes
does not. Compared is the processor time of all processes of a run, which other programs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness.crawl_pages import made_pages
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

from mappool_assets.demo.crawl import MadePage, write_warc

LEAST_SPEEDUP = 8.0
MOST_MEGABYTES = 500.0
MOST_GROWTH = 1.1  # of memory, for four times the pages

CRAWL_PAGES = 2.5e9  # a crawl of Common Crawl's
WATCH_SECONDS = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=4000)
    parser.add_argument("--rival-pages", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        root = Path(folder)
        stored_bytes = make_warc(root / "all", arguments.pages)
        make_warc(root / "quarter", arguments.pages // 4)
        work: dict[str, tuple[Callable[..., Callable[[], dict]], tuple]] = {
            "ours": (prepare_ours, (root / "all", root / "lake")),
            "ours, a quarter of the pages": (prepare_ours, (root / "quarter", root / "small_lake")),
            "OBELICS' route": (prepare_obelics, (root / "all", root, arguments.rival_pages)),
            "resiliparse, text of the main content": (prepare_resiliparse, (root / "all", root)),
        }
        runs: dict[str, list[Measured]] = {name: [] for name in work}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute of the machine hits all
            for name, (prepare, given) in work.items():
                runs[name].append(measure(prepare, *given))
    medians = {name: median_by_processor_time(measured) for name, measured in runs.items()}
    ours, _, obelics, _ = medians.values()
    # Their own medians: from run to run a peak moves by a tenth, whatever the processor time was.
    peaks = [statistics.median(run.result["peak"] for run in runs[name]) for name in list(runs)[:2]]
    print_runs(medians, arguments.repeats)
    print_what_a_crawl_takes(ours, stored_bytes / arguments.pages)
    conclude(
        Claim("web_documents_memory_growth", MOST_GROWTH * peaks[1] / peaks[0], 1.0),
        Claim("web_documents_memory", MOST_MEGABYTES * 1e6 / ours.result["peak"], 1.0),
        Claim("web_documents", pages_a_second(ours) / pages_a_second(obelics), LEAST_SPEEDUP),
    )


def make_warc(folder: Path, pages: int) -> int:
    """Write a WARC of made pages; return its bytes."""
    path = folder / "made.warc.gz"
    made = (MadePage(url, body, (("Content-Type", kind),)) for url, body, kind in made_pages(pages, seed=0))
    write_warc(path, made)
    path.read_bytes()  # into the page cache
    return path.stat().st_size


def prepare_ours(folder: Path, lake_folder: Path) -> Callable[[], dict]:
    """List the file; the work is its documents and their media links."""
    from mappool_assets.lib.crawl.crawl_files import list_crawl
    from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
    from mappool_assets.lib.lake import Lake
    from mappool_assets.lib.ranged_file.base import Storage
    from mappool_assets.lib.web_documents.document_task import DocumentSettings, document_tasks
    from mappool_assets.lib.web_documents.documents import make_documents
    from mappool_assets.lib.web_documents.media_links import LinkSettings, make_media_links, media_link_tasks

    lake = Lake(str(lake_folder))
    write_crawl_files(lake, list_crawl(str(folder), Storage()))

    def work() -> dict:
        (documents,) = make_documents(document_tasks(lake, ["made"], DocumentSettings(), Storage()), 1, force=True)
        (links,) = make_media_links(media_link_tasks(lake, ["made"], LinkSettings()), 1, force=True)
        for outcome in (documents, links):
            if outcome.error is not None:
                raise outcome.error
        tables = ("documents", "dropped_pages", "media_links")
        return {
            "pages": documents.result.rows_in,
            "bytes": {name: lake.size_bytes(f"web_documents/{name}/made.parquet") for name in tables},
        }

    return on_one_core(work)


def prepare_obelics(folder: Path, target: Path, most_pages: int) -> Callable[[], dict]:
    """Import what OBELICS uses; the work is a file's first pages."""
    import sys

    import bs4  # noqa: F401
    import selectolax.lexbor  # noqa: F401
    import warcio.archiveiterator  # noqa: F401
    from harness import obelics_route

    sys.setrecursionlimit(10_000)  # as its code does

    def work() -> dict:
        written = target / "obelics.parquet"
        pages = obelics_route.documents(folder / "made.warc.gz", most_pages, written)
        return {"pages": pages, "bytes": {"documents": written.stat().st_size}}

    return on_one_core(work)


def prepare_resiliparse(folder: Path, target: Path) -> Callable[[], dict]:
    """Import resiliparse; the work is the text of the main content of all pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    def work() -> dict:
        urls, texts = [], []
        with (folder / "made.warc.gz").open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                body = record.reader.read()
                html = bytes_to_str(body, record.http_charset or detect_encoding(body))
                urls.append(record.headers["WARC-Target-URI"])
                texts.append(extract_plain_text(html, main_content=True))
        written = target / "resiliparse.parquet"
        pq.write_table(pa.table({"url": urls, "text": texts}), written, compression="zstd")
        return {"pages": len(texts), "bytes": {"documents": written.stat().st_size}}

    return on_one_core(work)


def on_one_core(work: Callable[[], dict]) -> Callable[[], dict]:
    """Return the work held to one core with all that it starts, with its processor time and its most memory."""

    def held() -> dict:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        children: dict[str, int] = {}
        threading.Thread(target=watch_children, args=(children,), daemon=True).start()
        before = processor_seconds()
        result = work()
        seconds = processor_seconds() - before
        child = max(children.values(), default=0)
        return {**result, "seconds": seconds, "peak": peak_bytes("self") + child, "child": child}

    return held


def processor_seconds() -> float:
    """Return what this process and its children that have ended used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def watch_children(peaks: dict[str, int]) -> None:
    """Note the most memory that each child of this process ever held, until the process ends."""
    while True:
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                peaks[child] = max(peaks.get(child, 0), peak_bytes(child))
        time.sleep(WATCH_SECONDS)


def peak_bytes(process: str) -> int:
    """Return the most memory that a process ever held, 0 where it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def median_by_processor_time(runs: list[Measured]) -> Measured:
    return sorted(runs, key=lambda run: run.result["seconds"])[len(runs) // 2]


def pages_a_second(run: Measured) -> float:
    return run.result["pages"] / run.result["seconds"]


def print_runs(medians: dict[str, Measured], repeats: int) -> None:
    ours = next(iter(medians.values()))
    print_table(
        f"WARC to parquet on one core, median of {repeats} by processor time",
        ["", "pages", "pages/s", "ours is × as fast", "memory MB", "of it the child", "bytes a page"],
        [
            [
                name,
                f"{run.result['pages']:,}",
                f"{pages_a_second(run):,.0f}",
                f"{pages_a_second(ours) / pages_a_second(run):.1f}",
                f"{run.result['peak'] / 1e6:.0f}",
                f"{run.result['child'] / 1e6:.0f}",
                f"{sum(run.result['bytes'].values()) / run.result['pages']:,.0f}",
            ]
            for name, run in medians.items()
        ],
    )


def print_what_a_crawl_takes(ours: Measured, stored_bytes_a_page: float) -> None:
    """Print core-hours and bytes for a crawl whose pages are as these: so large, all HTML, nearly all documents."""
    pages = ours.result["pages"]
    tables = {name: size / pages * CRAWL_PAGES / 1e12 for name, size in ours.result["bytes"].items()}
    print(
        f"\na crawl of {CRAWL_PAGES:.1e} pages such as these, on such cores: "
        f"{CRAWL_PAGES / pages_a_second(ours) / 3600:,.0f} core-hours, "
        f"{stored_bytes_a_page * CRAWL_PAGES / 1e12:.0f} TB of WARC read, written "
        + ", ".join(f"{terabytes:.1f} TB of {name}" for name, terabytes in tables.items())
    )


if __name__ == "__main__":
    main()
