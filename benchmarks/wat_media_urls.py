"""How fast the media URLs of pages come out of WAT files, and all files' URLs are merged in little memory.

    python benchmarks/wat_media_urls.py [--pages 2000] [--files 8] [--rows 500000] [--memory 128MB] [--repeats 3]

1. A WAT of made pages to their images, sounds and films, by kind, canonical URL and page. The rival is a loop like that
   of cc2dataset's ``main.py``: pysimdjson, ``urljoin`` for what is relative, endings looked for in the URL, an MD5 of
   alt and URL. It takes one kind a run; here it is also given all three in one run, and the claim is against that.
   Every method has a process of its own and is measured in CPU seconds.
2. The same to the table of the file: grouped, in the order of buckets, as parquet.
3. The merge of several files' tables, whose rows are several times the memory that it may use.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pyarrow as pa
from harness.crawl_pages import made_pages
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

from mappool_assets.demo.crawl import MadePage, write_wat
from mappool_assets.lib.crawl.crawl_files import list_crawl
from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.media_urls.file_media_url_task import TABLE, FileUrlSettings, media_url_file_tasks
from mappool_assets.lib.media_urls.file_media_urls import LEAST_GROUP_ROWS, SCHEMA, find_media_urls
from mappool_assets.lib.media_urls.media_url_task import MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.media_urls import merge_part
from mappool_assets.lib.media_urls.page_media import Tally, WatSettings, wat_media
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import LocalFile

WAT = "made.warc.wat.gz"
OURS, RIVAL, THREE_RUNS = "WAT → media URLs", "cc2dataset-like, all kinds at once", "cc2dataset-like, a run a kind"
TABLE_STEP = "WAT → table of its URLs"
KINDS = ("image_only", "video", "audio")
ENDINGS = {
    "video": (".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v"),
    "audio": (".ogg", ".wav", ".mp3", ".flac", ".m4a"),
}
LEAST_SPEEDUP = 2.0
LEAST_MERGED = 200_000  # rows a CPU second
MOST_BYTES = 500e6  # of a worker
CRAWL_PAGES, CRAWL_FILES = 2.5e9, 90_000


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as name:
        folder = Path(name)
        pages = (MadePage(url, body, (("Content-Type", kind),)) for url, body, kind in made_pages(arguments.pages, 1))
        write_wat(folder / "wat" / WAT, pages)
        write_wat(folder / "warm" / WAT, [MadePage("https://warm.example/", b"<img src=1.png>")])
        methods: dict[str, tuple[Callable[..., Callable[[], int]], *tuple[Any, ...]]] = {
            OURS: (prepare_wat_media,),
            RIVAL: (prepare_rival, (KINDS,)),
            THREE_RUNS: (prepare_rival, tuple((kind,) for kind in KINDS)),
            TABLE_STEP: (prepare_table,),
        }
        runs: dict[str, list[Measured]] = {method: [] for method in methods}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute of the machine hits all
            for method, (prepare, *others) in methods.items():
                runs[method].append(measure(prepare, folder, *others))
        medians = {method: _median(measured) for method, measured in runs.items()}
        speedup = print_wat(arguments.pages, (folder / "wat" / WAT).stat().st_size, medians)
        measure(prepare_files, folder, arguments.files, arguments.rows)  # in a process that gives its memory back
        merged = _median([measure(prepare_merge, folder, arguments.memory) for _ in range(arguments.repeats)])
        rate = print_merge(arguments, folder, merged)
    conclude(
        Claim("media_urls_merge_memory", MOST_BYTES / merged.peak_bytes, 1.0),
        Claim("media_urls_table_memory", MOST_BYTES / medians[TABLE_STEP].peak_bytes, 1.0),
        Claim("media_urls_merge", rate / LEAST_MERGED, 1.0),
        Claim("wat_media_urls", speedup, LEAST_SPEEDUP),
    )


# -- WAT ------------------------------------------------------------------------------------------------------------


def prepare_wat_media(folder: Path) -> Callable[[], int]:
    """The reading of this project; returns how many media there are."""

    def work(path: Path) -> int:
        tally = Tally()
        with LocalFile(str(path)) as file:
            return sum(batch.num_rows for batch in wat_media(file, WatSettings(), tally))

    work(folder / "warm" / WAT)  # which imports what is imported late
    return lambda: work(folder / "wat" / WAT)


def prepare_table(folder: Path) -> Callable[[], int]:
    """The whole step, from the file to the table."""
    tasks = []
    for name in ("warm", "wat"):
        lake = Lake(str(folder / f"{name}-lake"))
        listing = list_crawl(str(folder / name), Storage(), kind="wat")
        write_crawl_files(lake, listing)
        keys = [file.crawl_file for file in listing.files]
        tasks += media_url_file_tasks(lake, keys, FileUrlSettings(folder / "scratch"), Storage())
    find_media_urls(tasks[0])
    return lambda: find_media_urls(tasks[1]).rows_kept


def prepare_rival(folder: Path, runs: tuple[tuple[str, ...], ...]) -> Callable[[], int]:
    """A loop like cc2dataset's, once for each tuple of kinds."""

    def work(path: Path) -> int:
        return sum(len(_extracted(path, kinds)) for kinds in runs)

    work(folder / "warm" / WAT)
    return lambda: work(folder / "wat" / WAT)


def _extracted(path: Path, kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    import simdjson
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    found: list[tuple[str, ...]] = []
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.metadata, parse_http=False):
            data = simdjson.load(record.reader)
            payload = data["Envelope"]["Payload-Metadata"]
            if "HTTP-Response-Metadata" not in payload:
                continue
            html = payload["HTTP-Response-Metadata"].get("HTML-Metadata", {})
            if "Links" not in html:
                continue
            page_url = base = data["Envelope"]["WARC-Header-Metadata"]["WARC-Target-URI"]
            if "Base" in html.get("Head", {}):
                base = urljoin(base, html["Head"]["Base"])
            for kind in kinds:
                for url, alt in _chosen(html["Links"], kind):
                    absolute = url if url.startswith(("http://", "https://")) else urljoin(base, url)
                    if absolute.startswith(("http://", "https://")):
                        uid = hashlib.md5((alt + absolute).encode()).hexdigest()
                        found.append((uid, absolute, alt, data["Container"]["Filename"], page_url))
    return found


def _chosen(links: Any, kind: str) -> Iterator[tuple[str, str]]:
    if kind == "image_only":
        return ((link["url"], link.get("alt", "")) for link in links if link.get("path", "") == "IMG@/src")
    endings = ENDINGS[kind]
    return (
        (link["url"], link.get("text", ""))
        for link in links
        if any(link.get("url", "").endswith(ending) for ending in endings)
    )


def print_wat(pages: int, file_bytes: int, medians: Mapping[str, Measured]) -> float:
    """Print the table; return how many times as fast as the rival the reading is."""
    seconds = {method: run.cpu_seconds for method, run in medians.items()}
    rows = [
        [
            method,
            f"{run.cpu_seconds:.2f}",
            f"{pages / run.cpu_seconds:,.0f}",
            f"{run.result:,}",
            f"{run.peak_bytes / 1e6:,.0f}",
            f"{seconds[OURS] / run.cpu_seconds:.2f}",
        ]
        for method, run in medians.items()
    ]
    title = f"{pages:,} pages, {file_bytes / pages / 1e3:.1f} kB a page in the WAT, one core"
    print_table(title, ["", "CPU s", "pages/CPU s", "media", "peak MB", "of our speed"], rows)
    hours = CRAWL_PAGES / (pages / seconds[TABLE_STEP]) / 3600
    print(f"one crawl, {CRAWL_PAGES:.1e} pages, to {CRAWL_FILES:,} tables: {hours:,.0f} core-hours")
    return seconds[RIVAL] / seconds[OURS]


# -- merge ----------------------------------------------------------------------------------------------------------


def prepare_files(folder: Path, files: int, rows: int) -> Callable[[], None]:
    """Write tables of media URLs, of which some are seen in many files and most in one."""

    def work() -> None:
        lake = Lake(str(folder / "lake"))
        for file in range(files):
            table = _drawn_urls(np.random.default_rng([1, file]), rows, files)
            text_bytes = sum(table[name].nbytes for name in ("url", "domain"))
            made = Provenance({"file": file}, len(table), len(table), {}, {"text_bytes": text_bytes})
            with lake.table_writer(TABLE, SCHEMA, f"file-{file}") as writer:
                for start in range(0, len(table), LEAST_GROUP_ROWS):
                    writer.write(table.slice(start, LEAST_GROUP_ROWS))
                writer.provenance = made

    return work


def _drawn_urls(random: np.random.Generator, rows: int, files: int) -> pa.Table:
    numbers = (random.random(rows) ** 2 * rows * files).astype(int)
    urls = [
        f"https://cdn{n % 9973}.example/wp-content/uploads/2024/05/some-picture-of-a-map-{n:09}.jpg" for n in numbers
    ]
    table = pa.table(
        [
            [hashlib.md5(url.encode()).digest()[0] for url in urls],
            ["image"] * rows,
            urls,
            [f"site-{n}.example" for n in random.integers(0, 20_000, rows)],
            np.ones(rows, dtype=np.int64),
        ],
        schema=SCHEMA,
    )
    return table.sort_by([(name, "ascending") for name in SCHEMA.names])


def prepare_merge(folder: Path, memory: str) -> Callable[[], tuple[int, int]]:
    """The merge into one part; returns rows in and URLs kept."""
    settings = MergeSettings(folder / "scratch", memory, threads=1, part_bytes=1 << 40)
    (task,) = media_url_tasks(Lake(str(folder / "lake")), settings)

    def work() -> tuple[int, int]:
        report = merge_part(task)
        return report.rows_in, report.rows_kept

    return work


def print_merge(arguments: argparse.Namespace, folder: Path, merged: Measured) -> float:
    """Print the table; return rows a CPU second."""
    rows_in, urls = merged.result
    stored = sum(path.stat().st_size for path in (folder / "lake" / TABLE).iterdir())
    row = [
        f"{rows_in:,}",
        f"{urls:,}",
        f"{stored / 1e6:,.0f}",
        f"{merged.cpu_seconds:.1f}",
        f"{merged.seconds:.1f}",
        f"{rows_in / merged.cpu_seconds:,.0f}",
        f"{merged.peak_bytes / 1e6:,.0f}",
    ]
    title = f"{arguments.files} files merged with {arguments.memory}, one thread"
    print_table(title, ["rows", "URLs", "stored MB", "CPU s", "s", "rows/CPU s", "peak MB"], [row])
    return rows_in / merged.cpu_seconds


def _median(runs: list[Measured]) -> Measured:
    return sorted(runs, key=lambda run: run.cpu_seconds)[len(runs) // 2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=2_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--memory", default="128MB")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
