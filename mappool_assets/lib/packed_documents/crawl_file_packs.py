"""The documents of one crawl file: their images fetched, each once, then packed beside a ledger that names every page.

What is there stays: a later run asks only for images that may come later, and writes anew only the packs of documents
whose images have changed. The ledger's atomic write is the commit. Packs that it does not name are swept after it, and
before the next run's work: a killed run leaves nothing that counts, and repeating it ends as if nothing had happened.
Images are in memory one document at a time, and decoded one at a time; those of this run lie twice in the scratch
folder, as the engine wrote them and each in a file of its own, until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mappool_assets.lib.images import contact_sheet
from mappool_assets.lib.lake import Provenance
from mappool_assets.lib.map_images.asking import clear_scratch, downloads, judged, requests_for, work_folder
from mappool_assets.lib.map_images.image_ledger import OK, LedgerRow
from mappool_assets.lib.map_images.image_task import rows_to_retry
from mappool_assets.lib.map_images.outage import Answers
from mappool_assets.lib.map_images.shard_lock import one_run_a_shard
from mappool_assets.lib.packed_documents.earlier_packs import EarlierPacks
from mappool_assets.lib.packed_documents.pack_ledger import SCHEMA, TABLE, PackLedger, PackLedgerWriter, read_ledger
from mappool_assets.lib.packed_documents.pack_pages import pack_pages
from mappool_assets.lib.packed_documents.pack_plan import PageTables, open_pages, plan_images, with_canonical_urls
from mappool_assets.lib.packed_documents.pack_task import PackReport, PackTask, report_of
from mappool_assets.lib.packed_documents.packs import PACKS, PackReader, PackWriter, next_number, stored_packs, sweep


def pack_crawl_file(task: PackTask, *, force: bool = False) -> PackReport:
    """Ask for the images of a crawl file's pages that are not there and may come, pack the pages, write the ledger.

    Parameters
    ----------
    force : bool
        Whether images that were given up are asked for again, and packs are held against their ledger: what is
        damaged is asked for again too. Sound images stay.

    Raises
    ------
    MissingInput
        The documents or their interleaved form are not there, or do not belong together.
    SourceChanged
        They are not those that the task is for.
    SourceUnavailable
        Nobody on the web answers: the fault is on our side, and no attempt is counted.
    BadShard
        A pack from which an image is to be taken is damaged; nothing is changed.
    """
    with one_run_a_shard(task, PACKS):
        stored = read_ledger(task.lake, task.key)
        sweep(task.lake, task.key, stored.packs if stored else ())
        with open_pages(task) as tables, PackReader(task.lake, task.key) as reader:
            report = _pack_alone(task, tables, stored, reader, force)
        _clean_up(task)
        return report


def reused_report(task: PackTask) -> PackReport | None:
    """Return the report of a crawl file with which there is nothing to do; None where there is."""
    made = task.lake.provenance(TABLE, task.key)
    settings = task.settings.images
    if made is None or _asked(made) != task.inputs or made.measures["take_down"] != settings.take_down_id:
        return None
    if (task.scratch / made.measures["work_folder"]).exists():
        # Killed after the commit: to finish that run is not a later one, in which images would be asked for again.
        _clean_up(task)
    elif rows_to_retry(made, settings.max_attempts):
        return None
    elif len(stored_packs(task.lake, task.key)) != made.measures["stored_packs"]:
        return None  # some have gone
    return report_of(task, made, is_reused=True)


def _clean_up(task: PackTask) -> None:
    """Remove what the ledger does not name; last of all the work folder, without which a run is over."""
    ledger = read_ledger(task.lake, task.key)
    assert ledger is not None
    sweep(task.lake, task.key, ledger.packs)
    clear_scratch(task.scratch, task.key)


def _asked(made: Provenance) -> dict[str, Any]:
    """Return a ledger's inputs without what the web answered."""
    return {name: value for name, value in made.inputs.items() if name != "rows_sha256"}


def _pack_alone(
    task: PackTask, tables: PageTables, stored: PackLedger | None, reader: PackReader, force: bool
) -> PackReport:
    before = stored.provenance.inputs if stored else {}
    is_usable = before.get("code_version") == task.inputs["code_version"]
    earlier = EarlierPacks(task, stored if is_usable else None, reader, is_checked=force)
    pages = tables.pages(task)
    is_fresh_start = force or before.get("rules") != task.inputs["rules"]
    plan = plan_images(task, pages, earlier.images, is_fresh_start=is_fresh_start)
    asked = [planned.row for planned in plan if planned.is_asked]
    work = _work_folder(task, asked, stored)
    fetched = _fetch(task, asked, work, Answers(earlier.images.values()))
    images = {planned.row.url: fetched.get(planned.row.url, planned.row) for planned in plan}

    def read(image: LedgerRow) -> bytes:
        return Path(image.file or "").read_bytes() if image.url in fetched else earlier.read(image)

    number = next_number(stored.packs) if stored else 0
    staying = earlier.rows_that_stay(pages, images)
    with task.lake.table_writer(TABLE, SCHEMA, task.key, is_ledger=True) as table:
        ledger = PackLedgerWriter(table)
        with PackWriter(task.lake, task.key, task.settings.form, task.settings.documents_a_pack, number) as packs:
            sample = pack_pages(tables, pages, images, staying, read, packs, ledger)
        measures = {
            "take_down": task.settings.images.take_down_id,
            "stored_packs": len(ledger.packs),
            "work_folder": work.name,
        }
        made = ledger.close(task.inputs, images.values(), measures, task.origin)
    return report_of(task, made, images_tried=len(asked), contact_sheet=contact_sheet(sample) if sample else None)


def _fetch(task: PackTask, asked: Sequence[LedgerRow], work: Path, answers: Answers) -> dict[str, LedgerRow]:
    """Return what became of the images asked for, by address; the ``file`` of one that is ok is a path to it."""
    folder = work / "images"
    folder.mkdir(exist_ok=True)
    take_down = with_canonical_urls(task.settings.images.take_down)
    fetched = {}
    with downloads(task.engine, requests_for(asked), work / "download", task.settings.images) as coming:
        for number, row in enumerate(asked):
            download = next(coming)
            row = judged(row, download, take_down)
            answers.count(row)
            if row.status == OK:
                assert download.data is not None
                file = folder / f"{number:08d}"
                file.write_bytes(download.data)
                row = row._replace(file=str(file))
            fetched[row.url] = row
    if answers.is_outage:
        clear_scratch(task.scratch, task.key)  # these answers are not to be found again
        raise answers.outage(str(task))
    return fetched


def _work_folder(task: PackTask, asked: Iterable[LedgerRow], stored: PackLedger | None) -> Path:
    """Return the folder of this run: a killed one's, where it asked for the same after the same; others are removed."""
    of_run = {
        "requests": requests_for(asked).to_pydict(),
        "rules": task.inputs["rules"],
        "after": stored.provenance.fingerprint if stored else None,
    }
    return work_folder(task.scratch, task.key, of_run)
