"""Asking the web for images: the requests, the folder in which they are under way, and what to think of each answer.

Nothing here knows where images are stored, nor whose they are: maps' and web pages' are asked for alike.
"""

from __future__ import annotations

import contextlib
import glob
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mappool_assets.lib.image_download.downloads import Download
from mappool_assets.lib.images import ImageRefused
from mappool_assets.lib.lake import fingerprint
from mappool_assets.lib.map_images.image_facts import inspect_image
from mappool_assets.lib.map_images.image_ledger import OK, TAKEN_DOWN, LedgerRow
from mappool_assets.lib.map_images.image_plan import is_taken_down
from mappool_assets.lib.map_images.image_task import ImageEngine, ImageSettings
from mappool_assets.lib.publish.take_down import TakeDown

DETAIL_CHARACTERS = 300  # a reason for people; servers can make it as long as they like


def requests_for(rows: Iterable[LedgerRow]) -> pa.Table:
    """Return the engine's requests for some images."""
    asked = list(rows)
    columns = [[r.uid for r in asked], [r.url for r in asked], [r.expected_sha256 or None for r in asked]]
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in ("key", "url", "sha256")]))


@contextlib.contextmanager
def downloads(
    engine: ImageEngine, requests: pa.Table, work: Path, settings: ImageSettings
) -> Iterator[Iterator[Download]]:
    """Start the engine, where anything is asked for; end it however this ends."""
    if requests.num_rows == 0:
        yield iter(())
        return
    answers = engine(requests, work, settings.rules, threads=settings.threads)
    try:
        yield answers
    finally:
        if isinstance(answers, Generator):
            answers.close()


def judged(row: LedgerRow, download: Download, take_down: TakeDown) -> LedgerRow:
    """Return what became of an image that was asked for; where its status is ok, ``download.data`` is to be stored."""
    if download.key != row.uid:
        raise AssertionError(f"the engine answered {download.key} where {row.uid} was asked for")
    row = row._replace(attempts=row.attempts + 1)
    if download.reason != OK:
        return _failed(row, download.reason, download.detail)
    assert download.data is not None
    try:
        facts = inspect_image(download.data)
    except ImageRefused as refusal:
        return _failed(row, refusal.reason, refusal.detail)
    if row.expected_sha256 and row.expected_sha256.lower() != facts.sha256:
        return _failed(row, "hash_changed", f"the file's sha256 is {facts.sha256}")
    if is_taken_down(take_down, row.uid, row.url, facts.sha256):
        return _failed(row, TAKEN_DOWN, "")
    return row._replace(status=OK, **facts._asdict())


def _failed(row: LedgerRow, status: str, detail: str) -> LedgerRow:
    text = detail[:DETAIL_CHARACTERS].encode(errors="replace").decode()  # no half surrogates: they cannot be stored
    return row._replace(status=status, detail=text)


def work_folder(scratch: Path, key: str, of_run: Mapping[str, Any]) -> Path:
    """Return the folder of a run: a killed one's, where that was the same run; those of others are removed.

    Parameters
    ----------
    scratch : Path
        Of all runs of one kind on one lake.
    key : str
        The shard's.
    of_run : mapping
        What makes two runs the same: they ask for the same, after the same, under the same rules. JSON.
    """
    folder = scratch / f"{key}.{fingerprint(of_run)}"
    clear_scratch(scratch, key, but=folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear_scratch(scratch: Path, key: str, but: Path | None = None) -> None:
    """Remove what runs of a shard left in the scratch folder."""
    for folder in scratch.glob(f"{glob.escape(key)}.*"):
        if folder != but:
            shutil.rmtree(folder)
