"""How fast the pages of a WARC file become texts and media in document order: against trafilatura's fast mode.

    python benchmarks/warc_items.py [--pages 500] [--repeats 5]

Ours is ``read_pages`` and ``parse_page``: records checked, encodings told, pages parsed, boilerplate left out, images,
sounds and films with absolute addresses, title, canonical address, wishes to robots. The rivals read the records with
fastwarc, which checks less, and give each page as bytes to ``trafilatura.extract(fast=True)``, which decodes it:

* text and images, its fast mode as it stands: the claim ``warc_items``;
* text, images and metadata, by which alone it tells title and address as we do. It also tells author, site and date,
  the search for which takes most of the time by which this is slower, and leaves out sounds, films and candidates of
  srcset: the claim ``warc_items_with_metadata``;
* text alone, for comparison.

Beside them stand our own steps alone: what of ours is reading, and what is decoding and parsing before the walk. Each
has a process of its own, on one core, and reads from the page cache; imports come before the clock. Compared is the
least processor time of several runs, as what other programs on the machine add to it is never negative. The pages are
made from a seed (``harness/crawl_pages.py``).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.crawl_pages import made_pages
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table

LEAST_SPEEDUP = 10.0
OURS, READING, PARSING = "ours", "of it: reading", "of it: reading, decoding and parsing"
RIVAL, RIVAL_WITH_METADATA = "trafilatura fast, text and images", "trafilatura fast, text, images and metadata"
RIVALS: dict[str, dict[str, Any]] = {
    RIVAL: {"include_images": True},
    RIVAL_WITH_METADATA: {"include_images": True, "with_metadata": True},
    "trafilatura fast, text": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        warc = Path(folder) / "made.warc.gz"
        page_bytes = make_warc(warc, arguments.pages)
        methods: dict[str, tuple[Callable[..., Callable[[], dict]], tuple[Any, ...]]] = {
            OURS: (prepare_ours, (warc,)),
            READING: (prepare_reading, (warc,)),
            PARSING: (prepare_parsing, (warc,)),
            **{name: (prepare_rival, (warc, options)) for name, options in RIVALS.items()},
        }
        runs: dict[str, list[Measured]] = {name: [] for name in methods}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute of the machine hits all
            for name, (prepare, given) in methods.items():
                runs[name].append(measure(prepare, *given))
    best = {name: max(measured, key=pages_a_second) for name, measured in runs.items()}
    ours = best[OURS]
    print_table(
        f"pages of {page_bytes / 1000:.0f} kB to items, on one core, best of {arguments.repeats} by processor time",
        ["", "pages", "pages/s", "ours is × as fast", "media a page", "kB of text a page", "memory MB"],
        [
            [
                name,
                f"{run.result['pages']:,}",
                f"{pages_a_second(run):,.0f}",
                f"{pages_a_second(ours) / pages_a_second(run):.1f}",
                f"{run.result['media'] / run.result['pages']:.1f}" if "media" in run.result else "",
                f"{run.result['text_bytes'] / run.result['pages'] / 1000:.1f}" if "text_bytes" in run.result else "",
                f"{run.peak_bytes / 1e6:.0f}",
            ]
            for name, run in best.items()
        ],
    )
    conclude(
        *(
            Claim(name, pages_a_second(ours) / pages_a_second(best[rival]), LEAST_SPEEDUP)
            for name, rival in (("warc_items_with_metadata", RIVAL_WITH_METADATA), ("warc_items", RIVAL))
        ),
    )


def make_warc(path: Path, pages: int) -> float:
    """Write a WARC of made pages and return their mean size."""
    from mappool_assets.demo.crawl import MadePage, write_warc  # here, as it imports NumPy: see hold_one_core

    sizes: list[int] = []

    def made() -> Iterator[MadePage]:
        for url, body, content_type in made_pages(pages, seed=2):
            sizes.append(len(body))
            yield MadePage(url, body, (("Content-Type", content_type),))

    write_warc(path, made())
    path.read_bytes()  # into the page cache
    return sum(sizes) / len(sizes)


def prepare_ours(warc: Path) -> Callable[[], dict]:
    hold_one_core()
    our_pages = page_reader(warc)
    from mappool_assets.lib.web_documents.page_items import PageSettings, parse_page

    settings = PageSettings()

    def work() -> dict:
        counts = {"pages": 0, "media": 0, "text_bytes": 0}
        for page in our_pages():
            parsed = parse_page(page.body, page.url, page.content_type, page.x_robots_tag, settings)
            texts = [item.text for item in parsed.items if item.text is not None]
            counts["pages"] += 1
            counts["media"] += len(parsed.items) - len(texts)
            counts["text_bytes"] += len("".join(texts).encode())
        return counts

    return work


def prepare_reading(warc: Path) -> Callable[[], dict]:
    hold_one_core()
    our_pages = page_reader(warc)
    return lambda: {"pages": sum(1 for _ in our_pages())}


def prepare_parsing(warc: Path) -> Callable[[], dict]:
    hold_one_core()
    our_pages = page_reader(warc)
    from selectolax.lexbor import LexborHTMLParser

    from mappool_assets.lib.web_documents.charset import decoded
    from mappool_assets.lib.web_documents.noscript_media import WITHOUT_EVENTS

    def work() -> dict:
        pages = 0
        for page in our_pages():
            source = decoded(page.body, page.content_type)
            pages += LexborHTMLParser(source.utf8, options=WITHOUT_EVENTS, scripting=True).root is not None
        return {"pages": pages}

    return work


def prepare_rival(warc: Path, options: dict[str, Any]) -> Callable[[], dict]:
    hold_one_core()
    import trafilatura
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    def work() -> dict:
        counts = {"pages": 0, "text_bytes": 0}
        with warc.open("rb") as stream:
            records = ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True)
            for record in records:
                url = record.headers.get("WARC-Target-URI")
                text = trafilatura.extract(record.reader.read(), url=url, fast=True, **options)
                counts["pages"] += 1
                counts["text_bytes"] += len((text or "").encode())
        return counts

    return work


def page_reader(warc: Path) -> Callable[[], Iterator[Any]]:
    """Import what reads pages, and return it."""
    from mappool_assets.lib.crawl.warc_pages import CrawlPage, WarcLimits, read_pages
    from mappool_assets.lib.ranged_file.stores import LocalFile

    def pages() -> Iterator[Any]:
        with LocalFile(str(warc)) as file:
            for page in read_pages(file, WarcLimits()):
                assert isinstance(page, CrawlPage), page
                yield page

    return pages


def hold_one_core() -> None:
    """Stay on one core; before imports, as NumPy's BLAS else starts a thread a core, which spins for some 50 ms."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def pages_a_second(run: Measured) -> float:
    return run.result["pages"] / run.cpu_seconds


if __name__ == "__main__":
    main()
