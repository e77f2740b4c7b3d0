"""MetaCLIP's own definitions, slow and obvious, and small lists of entries in a lake."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mappool_assets.lib.curation.balanced_pool import SCHEMA as BALANCED_SCHEMA
from mappool_assets.lib.curation.balanced_pool import TABLE as BALANCED
from mappool_assets.lib.curation.balanced_pool import (
    BalanceReport,
    BalanceSettings,
    balance_shards,
    balanced_pool_tasks,
)
from mappool_assets.lib.curation.compiled import load_kernels
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.entry_counts import count_entries
from mappool_assets.lib.curation.entry_list import ENTRIES_SCHEMA, entries_sha256
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.curation.matches import MatchSettings, match_shards, match_tasks
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets_tests.small_lake import write_maps

UNSPACED = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\U0002ceb0-\U0002ebef\uf900-\ufaff\u2e80-\u2eff\u2f00-\u2fdf\u2ff0-\u2fff\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f"
    "\u1780-\u17ff\u0f00-\u0fff"
    r"""!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~"""
    "，。、；：？！“”‘’（）【】《》〈〉「」『』～—]"
)


def spacing(text: str) -> str:
    """MetaCLIP's, character by character."""
    spaced = [" "]
    for character in text:
        if character in ",.;:?!`":
            spaced += [" ", character, " "]
        else:
            spaced.append(" " if character in "\t\n\r" else character)
    return "".join([*spaced, " "])


def found(text: str | None, entries: Sequence[str]) -> list[int]:
    """MetaCLIP's loop over all entries."""
    spaced = None if text is None else spacing(text)
    return [] if spaced is None else [number for number, entry in enumerate(entries) if f" {entry} " in spaced]


def found_unspaced(text: str | None, entries: Sequence[str]) -> list[int]:
    """MetaCLIP 2's loop: no padding where an entry begins or ends with a character of a script without spaces."""
    if text is None:
        return []
    spaced = spacing(text)
    patterns = [
        ("" if UNSPACED.match(entry[:1]) else " ") + entry + ("" if UNSPACED.match(entry[-1:]) else " ")
        for entry in entries
    ]
    return [number for number, pattern in enumerate(patterns) if pattern in spaced]


def lists(matches: Matches) -> list[list[int]]:
    """Return the entries of each text."""
    return [matches.of(text).tolist() for text in range(len(matches))]


def compiled_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a folder for compiled code, the same for all tests of a run: compiling takes ten seconds."""
    return factory.getbasetemp().parent / "compiled"


def use_compiled(factory: pytest.TempPathFactory) -> Path:
    """Load the compiled loops."""
    load_kernels(compiled_folder(factory))
    return compiled_folder(factory)


def write_entries(lake: Lake, entries: Iterable[str]) -> None:
    """Write a list as it is given."""
    listed = list(entries)
    columns = [range(len(listed)), listed, ["given"] * len(listed), [["given"]] * len(listed)]
    rows = pa.table([pa.array(*of) for of in zip(columns, ENTRIES_SCHEMA.types, strict=True)], schema=ENTRIES_SCHEMA)
    digest = entries_sha256(listed)
    provenance = Provenance({"list": digest}, len(listed), len(listed), measures={LIST_HASH: digest})
    lake.write_table(ENTRIES, rows, provenance)


def write_pairs(lake: Lake, shard: str, pairs: Sequence[Mapping[str, str | None]]) -> None:
    """Write the maps of a shard, columns that the pairs do not have made up; other pairs have another fingerprint."""
    columns = {name: [pair[name] for pair in pairs] for name in (pairs[0] if pairs else ())}
    write_maps(lake, shard, len(pairs), columns=columns, seed=zlib.crc32(repr(columns).encode()))


def match_and_count(lake: Lake, shards: Sequence[str], matching: MatchSettings) -> None:
    """Match shards and bring the counts up to date."""
    for outcome in match_shards(match_tasks(lake, shards, matching), 1):
        if outcome.error is not None:
            raise outcome.error
    count_entries(lake, matching)


def balance(
    lake: Lake, shards: Sequence[str], matching: MatchSettings, workers: int = 1, force: bool = False, **settings: Any
) -> list[BalanceReport]:
    """Draw the pairs of shards; raise what went wrong."""
    reports = []
    tasks = balanced_pool_tasks(lake, shards, matching, BalanceSettings(**settings))
    for outcome in balance_shards(tasks, workers, force):
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        reports.append(outcome.result)
    return reports


def write_balanced(
    lake: Lake,
    shard: str,
    pairs: Sequence[Mapping[str, Any]],
    *,
    inputs: Mapping[str, Any] | None = None,
    rows_a_group: int = 4096,
) -> None:
    """Write what the first pass kept of a shard; columns that the pairs do not have are made up."""
    rows = [
        {
            "uid": f"{number:032x}",
            "row": number,
            "url": f"https://maps.example/{shard}/{number}.png",
            "text": f"map {number}",
            "sha256": None,
            "text_id": number,
            "entries": [number % 3, 7],
            "first_p": 1 / (1 + number % 4),
            **pair,
        }
        for number, pair in enumerate(pairs)
    ]
    maps = lake.provenance("mappool/shard_maps", shard)
    made_from = {
        "shard": shard,
        "texts": {"shard_maps": maps.fingerprint if maps else ""},
        "rule": {LIST_HASH: "list", "matched": "maps", "is_unspaced": False, "code_version": "1"},
        "matches": f"{zlib.crc32(repr(rows).encode()):08x}",
        "entry_counts": "counts",
        "t": 170_000.0,
        "seed": 0,
        "code_version": "1",
        **(inputs or {}),
    }
    table = pa.Table.from_pylist(rows, schema=BALANCED_SCHEMA)
    with lake.table_writer(BALANCED, BALANCED_SCHEMA, shard) as writer:
        for start in range(0, len(rows), rows_a_group):
            writer.write(table.slice(start, rows_a_group))
        writer.provenance = Provenance(made_from, len(rows) + 2, len(rows), {"not_drawn": 2}, {"drawn": len(rows)})
