"""A small engine that really fetches, one address after another, and goes on where a killed run was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from mappool_assets.lib.image_download.downloads import Download
from mappool_assets.lib.web.web_fetch import FetchRefused, FetchRules, WebFetcher


def fetch_in_turn(requests: pa.Table, work: Path, rules: FetchRules, *, threads: int) -> Iterator[Download]:
    work.mkdir(parents=True, exist_ok=True)
    with WebFetcher(rules) as fetcher:
        for position, request in enumerate(requests.to_pylist()):
            answer = work / f"{position:06d}"
            if not answer.exists():
                _fetch(fetcher, request["url"], answer)
            reason, _, rest = answer.read_bytes().partition(b"\n")
            detail, _, data = rest.partition(b"\n")
            yield Download(request["key"], reason.decode(), detail.decode(), data if reason == b"ok" else None)


def _fetch(fetcher: WebFetcher, url: str, answer: Path) -> None:
    try:
        content = b"ok\n\n" + fetcher.get(url)
    except FetchRefused as refusal:
        content = f"{refusal.reason}\n{refusal.detail}\n".encode()
    unfinished = answer.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.rename(answer)
