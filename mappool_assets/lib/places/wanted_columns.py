"""Which columns of a table are a place's fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class MissingColumn(ValueError):
    """A table lacks a column; says which, and which it has."""

    def __init__(self, column: str, found: Iterable[str]) -> None:
        names = sorted(found)
        shown = ", ".join(names[:20]) or "none"
        super().__init__(f"no column {column!r} among {shown}{' …' if len(names) > 20 else ''}")


@dataclass(frozen=True)
class WantedColumns:
    """Columns by the field they are wanted as.

    Attributes
    ----------
    names : mapping of str to tuple of str
        For each field the names that its column may have; the first that is there is taken.
    required : frozenset of str
        Fields without whose column the table is another one.
    ignores_case : bool
        Whether ``NAME`` also means ``name``.
    """

    names: Mapping[str, tuple[str, ...]]
    required: frozenset[str] = frozenset()
    ignores_case: bool = False

    def among(self, found: Iterable[str]) -> dict[str, str]:
        """Return the columns that are there by field, whether or not all required ones are."""
        known = {name.lower() if self.ignores_case else name: name for name in found}
        chosen = {}
        for field, names in self.names.items():
            keys = (name.lower() if self.ignores_case else name for name in names)
            column = next((known[key] for key in keys if key in known), None)
            if column is not None:
                chosen[field] = column
        return chosen

    def check(self, chosen: Iterable[str], found: Iterable[str]) -> None:
        """Raise :class:`MissingColumn` where a required field is not among those chosen."""
        missing = sorted(self.required.difference(chosen))
        if missing:
            raise MissingColumn(self.names[missing[0]][0], found)
