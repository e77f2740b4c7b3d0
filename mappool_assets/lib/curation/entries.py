"""The metadata list as a table: ``curation/entries``, and beside it the entries that can never match."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from mappool_assets.lib.curation.entry_list import ENTRIES_SCHEMA, ListHash
from mappool_assets.lib.curation.entry_settings import EntrySettings
from mappool_assets.lib.curation.entry_sources import EntrySources, source_versions
from mappool_assets.lib.curation.lint import lint
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake, Provenance, TableWriter
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.scratch_folder import scratch_folder

ENTRIES = "curation/entries"
LINT = "curation/entry_lint"
CODE_VERSION = "1"  # raised when the same files would give another list
LIST_HASH = "entries_sha256"
CAN_MATCH = "can_match"
LINT_SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.int32(), False),
        pa.field("entry", pa.string(), False),
        pa.field("reason", pa.string(), False),
    ]
)


def make_entries(
    lake: Lake,
    settings: EntrySettings,
    storage: Storage,
    *,
    workers: int = 1,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Provenance:
    """Write ``curation/entries`` and ``curation/entry_lint``.

    A row of ``entries`` is an entry: ``entry_id`` (its row), ``entry`` (as the source has it), ``source`` (the first
    that has it) and ``sources`` (all). A row of ``entry_lint`` is an entry that no text can match, and why.

    The list depends on what the files hold and on the thresholds, not on where the files lie, their order among those
    of a kind, workers or memory. It is left as it is where settings are the same and no file has changed (by its size
    and time, or its ETag).

    Parameters
    ----------
    lake : Lake
    settings : EntrySettings
    storage : Storage
        How remote files are reached.
    workers : int
        Files of a corpus or of page views that are read at once.
    force : bool
        Whether to make a list anew that is current.
    tell : callable
        Told how far it is, a line at a time.

    Returns
    -------
    Provenance
        Rows in are candidates of all sources; dropped are those that are ``empty``, ``single_punctuation``,
        ``too_rare`` (words and pairs), ``below_pmi``, ``few_views`` or ``duplicate``. Measures hold ``entries_sha256``
        (see :func:`~.entry_list.entries_sha256`), ``entries_by_source`` (by the first one), ``candidates_by_source``,
        ``never_matching`` by reason, and what was read of texts, words, lines and places.

    Raises
    ------
    BadSetting
        A source cannot be read or holds nothing, or no entry is left.
    MissingInput, SourceChanged, SourceUnavailable
        A source is not there, changed while it was read, or did not answer.
    """
    origin = source_versions(settings, storage)
    made = lake.provenance(ENTRIES)
    if not force and made is not None and _is_current(lake, made, settings, origin):
        return made
    with scratch_folder(settings.scratch, lake, "entries") as scratch:
        sources = EntrySources(lake, settings, storage, scratch, workers, tell)
        sources.read()
        made = _write(lake, settings, sources, origin)
    tell(f"{made.rows_kept:,} entries, {made.measures['entries_sha256'][:16]}")
    return made


def _is_current(lake: Lake, made: Provenance, settings: EntrySettings, origin: Mapping[str, str]) -> bool:
    is_same = made.inputs.get("rules") == _rules(settings) and made.inputs.get("code_version") == CODE_VERSION
    return is_same and made.origin == origin and lake.is_made_from(_lint_inputs(made.measures[LIST_HASH]), LINT)


def _rules(settings: EntrySettings) -> Any:
    return json.loads(json.dumps(settings.rules()))  # as provenance gives it back


def _lint_inputs(list_hash: str) -> dict[str, Any]:
    return {LIST_HASH: list_hash, "code_version": CODE_VERSION}


def _write(lake: Lake, settings: EntrySettings, sources: EntrySources, origin: Mapping[str, str]) -> Provenance:
    candidates, list_hash = sources.candidates, ListHash()
    by_source, never = Counter[str](), Counter[str]()
    with (
        candidates.entries(lake, settings.limits) as tables,
        lake.table_writer(ENTRIES, ENTRIES_SCHEMA) as entries,
        lake.table_writer(LINT, LINT_SCHEMA) as faults,
    ):
        for rows in tables:
            entries.write(rows)
            list_hash.add(rows["entry"].to_pylist())
            by_source.update(rows["source"].to_pylist())
            never.update(_write_faults(faults, rows))
        if not entries.rows_written:
            raise _no_entry(settings, candidates.dropped)
        inputs = {"rules": _rules(settings), "files": _sorted(sources.versions), "code_version": CODE_VERSION}
        entries.provenance = Provenance(
            inputs,
            candidates.number.total(),
            entries.rows_written,
            _sorted(candidates.dropped),
            {
                LIST_HASH: list_hash.hexdigest,
                "entries_by_source": _sorted(by_source),
                "candidates_by_source": _sorted(candidates.number),
                "never_matching": _sorted(never),
                **sources.measures,
            },
            dict(origin),
        )
        can_match = entries.rows_written - faults.rows_written
        faults.provenance = Provenance(
            _lint_inputs(list_hash.hexdigest),
            entries.rows_written,
            faults.rows_written,
            {CAN_MATCH: can_match} if can_match else {},
        )
    return entries.provenance


def _write_faults(writer: TableWriter, rows: pa.Table) -> Counter[str]:
    """Write the entries that no text can match; return their reasons."""
    found = list(lint(rows["entry"].to_pylist()))
    at = pa.array([row for row, _ in found], pa.int64())
    reasons = pa.array([reason for _, reason in found], pa.string())
    chosen = rows.select(["entry_id", "entry"]).take(at)
    writer.write(pa.table([*chosen.columns, reasons], schema=LINT_SCHEMA))
    return Counter(reasons.to_pylist())


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


def _no_entry(settings: EntrySettings, dropped: Mapping[str, int]) -> BadSetting:
    return BadSetting(
        "The metadata list would be empty",
        where=", ".join(settings.rules()),
        rule="at least one entry",
        got=f"none; candidates dropped: {_sorted(dropped)}",
        action="Name other sources, or lower the thresholds.",
    )
