"""The take-down list: entries that people asked to have removed, and the rows of the lake that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged

RULE = (
    "one entry a line: a uid (32 hex digits), a sha256 (64 hex digits) or an http(s) address without spaces; "
    "# at the start of a line or after a space begins a comment"
)
MAX_BYTES = 64 * 2**20  # about a million entries; whatever is larger is another file
SHOWN_CHARACTERS = 100

LINE_END = re.compile(r"\r\n?|\n")  # a lone CR too: else a comment would swallow all that follows
COMMENT = re.compile(r"(?:^|\s)#.*")  # not within an address, where # begins a fragment
KINDS = {
    "uids": re.compile(r"[0-9a-f]{32}", re.IGNORECASE),
    "sha256s": re.compile(r"[0-9a-f]{64}", re.IGNORECASE),
    "urls": re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE),
}


@dataclass(frozen=True)
class TakeDown:
    """What must not be published.

    Attributes
    ----------
    uids, sha256s : frozenset of str
        Identifiers of pairs and checksums of images, in lower case.
    urls : frozenset of str
        Addresses of images. They are compared as they are: another spelling of the same address is another one.
    """

    uids: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    sha256s: frozenset[str] = frozenset()

    @property
    def entry_count(self) -> int:
        """Entries, each counted once."""
        return len(self.uids) + len(self.urls) + len(self.sha256s)


NO_TAKE_DOWN = TakeDown()


def read_take_down(source: str, storage: Storage) -> TakeDown:
    """Read a take-down list.

    Parameters
    ----------
    source : str
        Path or address (``http(s)://``, ``s3://``, ``hf://``) of a text file in UTF-8; empty where there is none.
    storage : Storage
        How remote stores are reached.

    Raises
    ------
    MissingInput
        There is no such file.
    BadSetting
        It cannot be read, or holds a line that is no entry. A list that is not understood is never taken for an
        empty one.
    """
    if not source:
        return NO_TAKE_DOWN
    try:
        with open_ranged(source, storage) as file:
            if file.size > MAX_BYTES:
                raise _unreadable(source, f"{file.size:,} bytes, more than {MAX_BYTES:,}")
            text = file.read(0, file.size).decode("utf-8-sig")
    except MissingInput:
        raise MissingInput(
            "The take-down list is not there",
            where=source,
            rule="a text file with " + RULE,
            got="nothing",
            action="Put it there or correct its address; nothing is published without it.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(source, f"{type(error).__name__}: {error}") from error
    return parse_take_down(text, source)


def parse_take_down(text: str, where: str) -> TakeDown:
    """Parse the text of a take-down list; ``where`` names it in errors (:class:`BadSetting`).

    >>> listed = parse_take_down("# asked by mail\\nhttps://maps.example/1.png#top  # the owner\\n" + "AB" * 16, "list")
    >>> sorted(listed.urls), sorted(listed.uids)
    (['https://maps.example/1.png#top'], ['abababababababababababababababab'])
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for number, line in enumerate(LINE_END.split(text), start=1):
        entry = COMMENT.sub("", line).strip()
        if not entry:
            continue
        kind = next((kind for kind, form in KINDS.items() if form.fullmatch(entry)), None)
        if kind is None:
            raise _unreadable(f"{where}, line {number}", repr(entry[:SHOWN_CHARACTERS]))
        found[kind].add(entry if kind == "urls" else entry.lower())
    return TakeDown(**{kind: frozenset(entries) for kind, entries in found.items()})


def find_taken_down(lake: Lake, take_down: TakeDown) -> dict[str, tuple[str, ...]]:
    """Return the uids (sorted) of each shard's maps that a list names; without entries, the lake is not asked."""
    if take_down.entry_count == 0:
        return {}
    rows = sql_files.run(
        lake,
        "reports/taken_down",
        uids=sorted(take_down.uids),
        urls=sorted(take_down.urls),
        checksums=sorted(take_down.sha256s),
    )
    return {row["shard"]: tuple(row["uids"]) for row in rows.to_pylist()}


def _unreadable(where: str, got: str) -> BadSetting:
    return BadSetting(
        "The take-down list cannot be understood",
        where=where,
        rule=RULE,
        got=got,
        action="Correct it; nothing is published before. A pair whose address holds spaces is named by its uid.",
    )
