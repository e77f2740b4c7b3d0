"""Crawl files and documents with known media, and the media URLs that are to be made of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mappool_assets.demo.crawl import MadePage, write_wat
from mappool_assets.lib.crawl.crawl_files import list_crawl
from mappool_assets.lib.crawl.crawl_files_table import write_crawl_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.media_urls.file_media_url_task import (
    FileUrlReport,
    FileUrlSettings,
    FileUrlTask,
    media_url_file_tasks,
)
from mappool_assets.lib.media_urls.file_media_urls import SCHEMA, make_file_media_urls
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.workers import Outcome

TAGS = {"image": '<img src="{}">', "audio": '<audio src="{}"></audio>', "video": '<video src="{}"></video>'}
Media = Sequence[tuple[str, str]]  # kind and URL


class Page(NamedTuple):
    """A page's address and what it shows, as often as it does."""

    url: str
    media: Media

    @property
    def domain(self) -> str:
        """By the slow, obvious way, for the plain addresses of tests."""
        return self.url.split("/")[2].split(":")[0].removeprefix("www.")


def made(page: Page) -> MadePage:
    """The page as HTML."""
    body = "".join(TAGS[kind].format(url) for kind, url in page.media)
    return MadePage(page.url, f"<html><body><p>Maps.</p>{body}</body></html>".encode())


def urls_of(pages: Iterable[Page]) -> dict[tuple[str, str, str], int]:
    """The rows of a file: how many pages of a domain show a URL."""
    return dict(Counter((kind, url, page.domain) for page in pages for kind, url in set(page.media)))


def merged(pages: Iterable[Page]) -> list[tuple[str, str, int, int]]:
    """The rows of all files: kind, URL, pages, domains, in order."""
    domains = defaultdict(set)
    seen = Counter[tuple[str, str]]()
    for page in pages:
        for medium in set(page.media):
            seen[medium] += 1
            domains[medium].add(page.domain)
    return [(*medium, count, len(domains[medium])) for medium, count in sorted(seen.items())]


def bucket_of(url: str) -> int:
    """The first byte of a URL's MD5."""
    return hashlib.md5(url.encode(), usedforsecurity=False).digest()[0]


def write_file_urls(lake: Lake, crawl_file: str, pages: Sequence[Page]) -> None:
    """Write a file's rows as they are to be made, without making them."""
    rows = [(bucket_of(url), kind, url, domain, seen) for (kind, url, domain), seen in urls_of(pages).items()]
    columns = zip(*sorted(rows), strict=True) if rows else ([] for _ in SCHEMA)
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
    measures = {"text_bytes": sum(len(url) + len(domain) for _, _, url, domain, _ in rows)}
    made_from = {"rows": hashlib.sha256(str(rows).encode()).hexdigest()}
    lake.write_table(
        "web_documents/file_media_urls", table, Provenance(made_from, len(rows), len(rows), {}, measures), crawl_file
    )


def write_wats(folder: Path, files: dict[str, Sequence[Page]]) -> None:
    """Write WAT files by key."""
    for key, pages in files.items():
        write_wat(folder / f"{key}.warc.wat.gz", [made(page) for page in pages])


def wat_tasks(lake: Lake, folder: Path, scratch: Path, **settings: object) -> list[FileUrlTask]:
    """List a folder of WAT files into the lake, and return their tasks."""
    listing = list_crawl(str(folder), Storage(), kind="wat")
    write_crawl_files(lake, listing)
    keys = [file.crawl_file for file in listing.files]
    return media_url_file_tasks(lake, keys, FileUrlSettings(scratch, **settings), Storage())


def make(tasks: Sequence[FileUrlTask], **how: bool) -> list[FileUrlReport]:
    """Make the media URLs of crawl files, all of which must succeed."""
    reports = []
    for outcome in make_file_media_urls(tasks, 1, **how):
        if outcome.error:
            raise outcome.error
        reports.append(outcome.result)
    return reports


def failures(outcomes: Iterable[Outcome]) -> list[Exception]:
    """The errors of outcomes."""
    return [outcome.error for outcome in outcomes if outcome.error]
