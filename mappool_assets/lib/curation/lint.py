"""Entries that no text can match, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mappool_assets.lib.curation.spacing import BLANKS, MARKS, padded

TAB_OR_NEWLINE = "tab_or_newline"  # spaced texts have none
PUNCTUATION_UNSPACED = "punctuation_unspaced"  # "D.C.": spaced texts have a space on either side of a mark
PUNCTUATION_SHARES_A_SPACE = "punctuation_shares_a_space"  # ". ,": each mark brings its own, so that there are two

_MARK, _BLANK = re.escape(MARKS), re.escape(BLANKS)
_UNSPACED = re.compile(rf"[{_MARK}][^ ]|[^ ][{_MARK}]")
_SHARED = re.compile(rf"[{_MARK}] (?=[{_MARK}])")
_HARMLESS = re.compile(rf"[^{_MARK}{_BLANK}]*")


def lint(entries: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the number, from 0, of each entry that matches no text whatever, and the reason.

    Every other entry matches at least one: itself, without the spaces beside its marks. It is the same with and without
    padding (:class:`~mappool_assets.lib.curation.matcher_unspaced.UnspacedMatcher`).

    Examples
    --------
    >>> list(lint(["Rome", "Washington, D.C.", "Washington ,  D . C ."]))
    [(1, 'punctuation_unspaced')]
    """
    for number, entry in enumerate(entries):
        if not _HARMLESS.fullmatch(entry) and (reason := _fault(padded(entry))):
            yield number, reason


def _fault(pattern: str) -> str | None:
    if any(blank in pattern for blank in BLANKS):
        return TAB_OR_NEWLINE
    if _UNSPACED.search(pattern):
        return PUNCTUATION_UNSPACED
    return PUNCTUATION_SHARES_A_SPACE if _SHARED.search(pattern) else None
