"""MetaCLIP's own definitions, slow and obvious, and small lists of entries in a lake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from mappool_assets.lib.curation.compiled import load_kernels
from mappool_assets.lib.curation.entries import ENTRIES, LIST_HASH
from mappool_assets.lib.curation.entry_list import ENTRIES_SCHEMA, entries_sha256
from mappool_assets.lib.curation.matcher import Matches
from mappool_assets.lib.lake import Lake, Provenance

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
