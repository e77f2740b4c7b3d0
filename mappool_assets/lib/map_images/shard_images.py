"""The images of one shard's maps: fetched, judged by what they are, stored beside a ledger that names every map.

What is there stays: a later run asks only for what may come later, and puts it into new files. The ledger's atomic
write is the commit. Files that it does not name are swept after it, and before the next run's work: a killed run leaves
nothing that counts, and repeating it ends as if nothing had happened. Images are in memory one at a time, and decoded
one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.images import contact_sheet
from mappool_assets.lib.lake import Provenance
from mappool_assets.lib.map_images.asking import clear_scratch, downloads, judged, requests_for, work_folder
from mappool_assets.lib.map_images.balanced_maps import balanced_uids
from mappool_assets.lib.map_images.image_archive import (
    IMAGES,
    ArchiveWriter,
    archive_number,
    members_of,
    read_archive,
    read_images,
    stored_files,
    sweep,
)
from mappool_assets.lib.map_images.image_ledger import (
    NOT_BALANCED,
    OK,
    SCHEMA,
    TABLE,
    Ledger,
    LedgerRow,
    LedgerWriter,
    read_ledger,
)
from mappool_assets.lib.map_images.image_plan import PlannedRow, files_to_rewrite, map_rows, may_ask_for, plan_rows
from mappool_assets.lib.map_images.image_task import ImageReport, ImageTask, report_of, rows_to_retry
from mappool_assets.lib.map_images.outage import Answers
from mappool_assets.lib.map_images.shard_lock import one_run_a_shard

MAPS_TABLE = "mappool/shard_maps"
MAP_COLUMNS = ["uid", "url", "sha256", "text", "original_width", "original_height", "map_score"]
SHEET_IMAGES, SHEET_IMAGE_BYTES = 6, 2 * 2**20  # they are in memory together


def fetch_shard_images(task: ImageTask, *, force: bool = False) -> ImageReport:
    """Ask for the images of a shard that are not there and may come, and write the shard's ledger.

    Parameters
    ----------
    force : bool
        Whether what was given up is asked for again. Images that are there stay, also where the rules under which
        they were fetched have changed; failed ones are then asked for anew.

    Raises
    ------
    MissingInput
        The shard's maps are not there, or have not been balanced where they should be.
    SourceChanged
        They are not those that the task is for, or that were balanced.
    SourceUnavailable
        Nobody on the web answers: the fault is on our side, and no attempt is counted.
    BadShard
        A uid is there twice.
    """
    with one_run_a_shard(task, IMAGES):
        return _fetch_alone(task, force)


def _fetch_alone(task: ImageTask, force: bool) -> ImageReport:
    maps, stored = _read_maps(task), read_ledger(task.lake, task.key)
    sweep(task.lake, task.key, stored.files if stored else ())
    wanted = balanced_uids(task)
    plan = _plan(task, maps, stored, force, wanted)
    with task.lake.table_writer(TABLE, SCHEMA, task.key, is_ledger=True) as table:
        ledger = LedgerWriter(table)
        first_number = 1 + max(map(archive_number, stored.files), default=-1) if stored else 0
        with ArchiveWriter(task.lake, task.key, task.settings.archive_format, first_number) as archive:
            damaged = _damaged(task, plan) if force else ()
            plan = _rewritten(task, maps, plan, stored, archive, damaged, wanted)
            work = _work_folder(task, plan, stored)
            sample = _fetch(task, maps, plan, work, archive, ledger, Answers(stored.rows.values() if stored else ()))
        measures = {
            "take_down": task.settings.take_down_id,
            "stored_files": len(members_of(ledger.files)),
            "work_folder": work.name,
        }
        made = ledger.close(task.inputs, measures, task.origin)
    _clean_up(task, ledger.files)
    rows_tried = sum(planned.is_asked for planned in plan)
    return report_of(task, made, rows_tried=rows_tried, contact_sheet=_contact_sheet(task, sample))


def reused_report(task: ImageTask) -> ImageReport | None:
    """Return the report of a shard with which there is nothing to do; None where there is."""
    made = task.lake.provenance(TABLE, task.key)
    if made is None or _asked(made) != task.inputs or made.measures["take_down"] != task.settings.take_down_id:
        return None
    if (task.scratch / made.measures["work_folder"]).exists():
        # Killed after the commit: to finish that run is not a later one, in which images would be asked for again.
        ledger = read_ledger(task.lake, task.key)
        assert ledger is not None
        _clean_up(task, ledger.files)
    elif rows_to_retry(made, task.settings.max_attempts):
        return None
    elif len(stored_files(task.lake, task.key)) != made.measures["stored_files"]:
        return None  # some have gone
    return report_of(task, made, is_reused=True)


def _clean_up(task: ImageTask, files: Iterable[str]) -> None:
    """Remove what the ledger does not name; last of all the work folder, without which a run is over."""
    sweep(task.lake, task.key, files)
    clear_scratch(task.scratch, task.key)


def _asked(made: Provenance) -> dict[str, Any]:
    """Return a ledger's inputs without what the web answered."""
    return {name: value for name, value in made.inputs.items() if name != "rows_sha256"}


def _read_maps(task: ImageTask) -> pa.Table:
    maps = task.lake.read_table(MAPS_TABLE, task.key, MAP_COLUMNS)
    made = task.lake.provenance(MAPS_TABLE, task.key)
    if made is None or made.fingerprint != task.maps_fingerprint:
        raise SourceChanged(
            "A shard was filtered again while its images waited for their turn",
            where=task.key,
            rule=task.maps_fingerprint or "maps",
            got=made.fingerprint if made else "maps that do not say what made them",
            action="Run the shard's images again.",
        )
    return maps


def _plan(
    task: ImageTask, maps: pa.Table, stored: Ledger | None, force: bool, wanted: Collection[str] | None
) -> list[PlannedRow]:
    before = _asked(stored.provenance) if stored else {}
    is_usable = before.get("code_version") == task.inputs["code_version"]
    return plan_rows(
        maps,
        stored.rows if stored and is_usable else {},
        set(stored_files(task.lake, task.key)),
        task.settings.take_down,
        max_attempts=task.settings.max_attempts,
        is_fresh_start=force or before.get("rules") != task.inputs["rules"],
        wanted=wanted,
    )


def _damaged(task: ImageTask, plan: Sequence[PlannedRow]) -> set[str]:
    """Return the files in which not every image is what the ledger says."""
    wanted: dict[str, dict[str, str | None]] = {}
    for row, is_asked in plan:
        if row.file is not None and not is_asked:
            wanted.setdefault(row.file, {})[row.uid] = row.sha256
    for file, left in wanted.items():
        with contextlib.suppress(tarfile.ReadError):
            for uid, data in read_archive(task.lake, task.key, file, tuple(left)):
                if hashlib.sha256(data).hexdigest() == left[uid]:
                    del left[uid]
    return {file for file, left in wanted.items() if left}


def _rewritten(
    task: ImageTask,
    maps: pa.Table,
    plan: list[PlannedRow],
    stored: Ledger | None,
    archive: ArchiveWriter,
    damaged: Collection[str],
    wanted: Collection[str] | None,
) -> list[PlannedRow]:
    """Put images that cannot stay where they lie into new files; ask again for what is damaged, if it is wanted."""
    files = files_to_rewrite(plan, stored, task.settings.archive_format, damaged)
    if not files:
        return plan
    plan, positions = list(plan), {planned.row.uid: position for position, planned in enumerate(plan)}
    for file, uids in files.items():
        rows = {uid: plan[positions[uid]].row for uid in uids}
        for uid, row in rows.items():
            lost = LedgerRow(row.uid, row.url, row.expected_sha256)
            is_asked = may_ask_for(uid, wanted)
            plan[positions[uid]] = PlannedRow(lost if is_asked else lost._replace(status=NOT_BALANCED), is_asked)
        with contextlib.suppress(tarfile.ReadError):
            for uid, data in read_archive(task.lake, task.key, file, uids):
                if hashlib.sha256(data).hexdigest() == rows[uid].sha256:
                    (map_row,) = maps.slice(positions[uid], 1).to_pylist()
                    plan[positions[uid]] = PlannedRow(_stored(rows[uid], map_row, data, archive), False)
    return plan


def _fetch(
    task: ImageTask,
    maps: pa.Table,
    plan: Sequence[PlannedRow],
    work: Path,
    archive: ArchiveWriter,
    ledger: LedgerWriter,
    answers: Answers,
) -> dict[str, str]:
    """Write every row, those asked for as they come; return the captions of the first images by uid."""
    sample: dict[str, str] = {}
    with downloads(task.engine, requests_for(_rows_asked_for(plan)), work, task.settings) as answers_to_come:
        for planned, map_row in zip(plan, map_rows(maps), strict=True):
            row = planned.row
            if planned.is_asked:
                download = next(answers_to_come)
                row = judged(row, download, task.settings.take_down)
                answers.count(row)
                if row.status == OK:
                    assert download.data is not None
                    row = _stored(row, map_row, download.data, archive)
            ledger.add(row)
            if row.status == OK and (row.bytes or 0) <= SHEET_IMAGE_BYTES and len(sample) < SHEET_IMAGES:
                sample[row.uid] = map_row["text"]
    if answers.is_outage:
        clear_scratch(task.scratch, task.key)  # these answers are not to be found again
        raise answers.outage(str(task))
    return sample


def _rows_asked_for(plan: Sequence[PlannedRow]) -> list[LedgerRow]:
    return [planned.row for planned in plan if planned.is_asked]


def _work_folder(task: ImageTask, plan: Sequence[PlannedRow], stored: Ledger | None) -> Path:
    """Return the folder of this run: a killed one's, where it asked for the same after the same; others are removed."""
    of_run = {
        "requests": requests_for(_rows_asked_for(plan)).to_pydict(),
        "rules": task.inputs["rules"],
        "after": stored.provenance.fingerprint if stored else None,
    }
    return work_folder(task.scratch, task.key, of_run)


def _stored(row: LedgerRow, map_row: Mapping[str, Any], data: bytes, archive: ArchiveWriter) -> LedgerRow:
    """Put an image into the archive, with the map's caption and figures as they are today."""
    assert row.extension is not None
    record = {
        **{name: map_row[name] for name in ("uid", "url", "text", "original_width", "original_height", "map_score")},
        **{name: getattr(row, name) for name in ("sha256", "width", "height", "mime")},
    }
    return row._replace(file=archive.add(row.uid, row.extension, data, map_row["text"], record))


def _contact_sheet(task: ImageTask, sample: Mapping[str, str]) -> bytes | None:
    if not sample:
        return None
    images = read_images(task.lake, task.key, sample.keys())
    return contact_sheet([(image.data, sample[image.uid]) for image in images])
