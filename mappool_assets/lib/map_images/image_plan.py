"""Which of a shard's images are asked for in this run, which stay as they are, and which lie where they cannot stay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.map_images.image_archive import UID, archive_number, is_of_format
from mappool_assets.lib.map_images.image_ledger import (
    BAD_UID,
    NOT_BALANCED,
    OK,
    TAKEN_DOWN,
    Ledger,
    LedgerRow,
    may_come_later,
)
from mappool_assets.lib.publish.take_down import TakeDown

BATCH_ROWS = 1024


class PlannedRow(NamedTuple):
    """A row before the run.

    Attributes
    ----------
    row : LedgerRow
        What is known; final where it is not asked for.
    is_asked : bool
        Whether this run asks for its image.
    """

    row: LedgerRow
    is_asked: bool


def may_ask_for(uid: str, wanted: Collection[str] | None) -> bool:
    """Tell whether an image may be asked for; ``wanted`` as for :func:`plan_rows`."""
    return wanted is None or uid in wanted


def map_rows(maps: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries, few of them in memory at a time."""
    for batch in maps.to_batches(max_chunksize=BATCH_ROWS):
        yield from batch.to_pylist()


def plan_rows(
    maps: pa.Table,
    earlier: Mapping[str, LedgerRow],
    files: Collection[str],
    take_down: TakeDown,
    *,
    max_attempts: int,
    is_fresh_start: bool,
    wanted: Collection[str] | None = None,
) -> list[PlannedRow]:
    """Decide on each map of a shard.

    A row that an earlier ledger has with the same uid, url and expected sha256 keeps its image, or the reason why
    there is none, unless it may come later and fewer than ``max_attempts`` runs asked for it.

    Parameters
    ----------
    maps : pyarrow.Table
        Columns uid, url, sha256.
    earlier : mapping of str to LedgerRow
        The shard's ledger by uid; empty where there is none.
    files : collection of str
        What lies in the shard's folder of images: what the ledger names and is not there is asked for again.
    is_fresh_start : bool
        Whether failed rows are asked for as though for the first time, even those given up.
    wanted : collection of str, optional
        The uids whose images may be asked for; None is all. Other maps keep an image that is there, and the reason why
        there is none where asking again were in vain; else they are ``not_balanced``.

    Raises
    ------
    BadShard
        A uid is there twice.
    """
    rules = {"max_attempts": max_attempts, "is_fresh_start": is_fresh_start}
    plan = [
        _planned(row, earlier.get(row["uid"]), files, take_down, is_wanted=may_ask_for(row["uid"], wanted), **rules)
        for row in map_rows(maps.select(["uid", "url", "sha256"]))
    ]
    if len({planned.row.uid for planned in plan}) < len(plan):
        raise BadShard(
            "A uid is twice among a shard's maps",
            where="mappool/shard_maps",
            rule="each uid once",
            got=f"{len(plan)} rows, {len({planned.row.uid for planned in plan})} uids",
            action="Filter the shard again.",
        )
    return plan


def _planned(
    map_row: Mapping[str, Any],
    before: LedgerRow | None,
    files: Collection[str],
    take_down: TakeDown,
    **rules: Any,
) -> PlannedRow:
    new = LedgerRow(map_row["uid"], map_row["url"], map_row["sha256"])
    if not UID.fullmatch(new.uid):
        return PlannedRow(new._replace(status=BAD_UID, detail="the uid cannot name a file"), False)
    return plan_row(new, before, files, take_down, **rules)


def plan_row(
    new: LedgerRow,
    before: LedgerRow | None,
    files: Collection[str],
    take_down: TakeDown,
    *,
    max_attempts: int,
    is_fresh_start: bool,
    is_wanted: bool = True,
) -> PlannedRow:
    """Decide on one image: ``new`` is its row if nothing were known, ``before`` the earlier ledger's.

    The others as for :func:`plan_rows`; ``is_wanted`` tells whether its image may be asked for.
    """
    if before is None or before[:3] != new[:3]:
        before = new  # its status is empty
    if is_taken_down(take_down, new.uid, new.url, new.expected_sha256, before.sha256):
        return PlannedRow(new._replace(status=TAKEN_DOWN, attempts=before.attempts), False)
    if before.status == OK and before.file in files:
        return PlannedRow(before, False)
    if not is_wanted:
        return _unwanted(new, before, is_fresh_start=is_fresh_start)
    if before.status == OK or is_fresh_start:
        return PlannedRow(new, True)
    is_untried = before.status in ("", TAKEN_DOWN, NOT_BALANCED)
    if is_untried or (may_come_later(before.status) and before.attempts < max_attempts):
        return PlannedRow(new._replace(attempts=before.attempts), True)
    return PlannedRow(before, False)


def _unwanted(new: LedgerRow, before: LedgerRow, *, is_fresh_start: bool) -> PlannedRow:
    if before.status == OK or is_fresh_start:
        return PlannedRow(new._replace(status=NOT_BALANCED), False)
    if before.status in ("", TAKEN_DOWN, NOT_BALANCED) or may_come_later(before.status):
        return PlannedRow(new._replace(status=NOT_BALANCED, attempts=before.attempts), False)
    return PlannedRow(before, False)


def is_taken_down(take_down: TakeDown, uid: str, url: str, *sha256s: str | None) -> bool:
    """Tell whether a list names an image, by the comparisons of ``sql/reports/taken_down.sql``."""
    return (
        uid.lower() in take_down.uids
        or url in take_down.urls
        or any(sha256 is not None and sha256.lower() in take_down.sha256s for sha256 in sha256s)
    )


def files_to_rewrite(
    plan: Sequence[PlannedRow], stored: Ledger | None, archive_format: str, damaged: Collection[str] = ()
) -> dict[str, set[str]]:
    """Return the files that cannot stay, by number, each with the uids of the images in it that do.

    A tar stays, with its bytes, as long as all its images do; so that one may go, the others are put into a new tar.
    Files of another format than is wanted now are rewritten too.
    """
    kept: dict[str, set[str]] = {}
    for row, is_asked in plan:
        if row.file is not None and not is_asked:
            kept.setdefault(row.file, set()).add(row.uid)
    counts = stored.files if stored else {}
    moved = (f for f in kept if f in damaged or len(kept[f]) < counts[f] or not is_of_format(f, archive_format))
    return {file: kept[file] for file in sorted(moved, key=archive_number)}
