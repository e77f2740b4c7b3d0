"""A metadata filter as a tree of known columns and typed values; its ``str`` is the filter in one fixed form."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | int | float


class Node:
    """A part of a filter."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns it names."""
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """How many ``not``, ``and`` and ``or`` are within each other."""
        return 0


@dataclass(frozen=True)
class _OfColumn(Node):
    column: str

    @property
    def columns(self) -> frozenset[str]:
        """The one column."""
        return frozenset({self.column})


@dataclass(frozen=True)
class Comparison(_OfColumn):
    """``column operator value``; the value has the column's type."""

    operator: str
    value: Value

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {_literal(self.value)}"


@dataclass(frozen=True)
class Membership(_OfColumn):
    """``column in (values)``."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.column} in ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True)
class Pattern(_OfColumn):
    """``column matcher 'text'``, the matcher in lower case."""

    matcher: str
    text: str

    def __str__(self) -> str:
        return f"{self.column} {self.matcher} {_literal(self.text)}"


@dataclass(frozen=True)
class IsNull(_OfColumn):
    """``column is null``."""

    def __str__(self) -> str:
        return f"{self.column} is null"


@dataclass(frozen=True)
class Not(Node):
    """The opposite, where there is one: not known stays not known."""

    part: Node

    @property
    def columns(self) -> frozenset[str]:
        """Those of the part."""
        return self.part.columns

    @property
    def depth(self) -> int:
        """One more than the part's."""
        return 1 + self.part.depth

    def __str__(self) -> str:
        return f"not ({self.part})"


@dataclass(frozen=True)
class Junction(Node):
    """Parts joined by ``and``, or by ``or``."""

    word: str
    parts: tuple[Node, ...]

    @property
    def columns(self) -> frozenset[str]:
        """Those of all parts."""
        return frozenset().union(*(part.columns for part in self.parts))

    @property
    def depth(self) -> int:
        """One more than the deepest part's."""
        return 1 + max(part.depth for part in self.parts)

    def __str__(self) -> str:
        return f" {self.word} ".join(f"({part})" if isinstance(part, Junction) else str(part) for part in self.parts)


def _literal(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
