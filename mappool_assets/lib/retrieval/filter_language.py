"""The language of metadata filters: its grammar, and a filter's text as a tree of known columns and typed values.

===========================================  ================================================================
``width >= 1024``                            ``=  !=  <  <=  >  >=`` with a number, or a text in single quotes
``domain in ('a.example', 'b.example')``     one of up to 200 values; also ``not in``
``text like '%100\\% map_'``                  ``%`` any characters, ``_`` any one; ``\\`` takes their meaning away
``text contains 'Karte'``                    anywhere in it; also ``not contains``, ``not like``
``text icontains 'karte'``, ``ilike``        the same without regard to upper and lower case
``language is null``, ``is not null``
``not (… or …) and …``                       ``not`` binds most, then ``and``, then ``or``
===========================================  ================================================================

Words of the language and names of columns may be in any case. A quote within a text is doubled.
"""

from __future__ import annotations

import functools
import math
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from mappool_assets.lib.errors import BadFilter
from mappool_assets.lib.retrieval.filter_tree import Comparison, IsNull, Junction, Membership, Node, Not, Pattern, Value

MOST_CHARACTERS = 2_000
MOST_VALUES = 200  # of one ``in``
MOST_DEPTH = 32  # of ``not``, ``and`` and ``or`` within each other

TEXT, WHOLE_NUMBER, NUMBER = "a text", "a whole number", "a number"
COLUMNS = {
    "url": TEXT,
    "text": TEXT,
    "domain": TEXT,
    "language": TEXT,
    "original_width": WHOLE_NUMBER,
    "original_height": WHOLE_NUMBER,
    "clip_l14_similarity_score": NUMBER,
    "map_score": NUMBER,
}
ALIASES = {"width": "original_width", "height": "original_height"}

_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1
_GOT_CHARACTERS = 40  # of a filter that are repeated in an error

_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: negation (_AND negation)*
?negation: _NOT negation -> negated
         | "(" either ")"
         | predicate
?predicate: NAME COMPARATOR _value -> comparison
          | NAME _IN "(" _value ("," _value)* ")" -> membership
          | NAME _NOT _IN "(" _value ("," _value)* ")" -> no_membership
          | NAME MATCHER TEXT -> pattern
          | NAME _NOT MATCHER TEXT -> no_pattern
          | NAME _IS _NULL -> null
          | NAME _IS _NOT _NULL -> no_null
_value: TEXT | NUMBER

COMPARATOR: "<=" | ">=" | "!=" | "=" | "<" | ">"
MATCHER.2: /(ilike|like|icontains|contains)\b/i
_OR.2: /or\b/i
_AND.2: /and\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_IS.2: /is\b/i
_NULL.2: /null\b/i
NAME: /[A-Za-z_][A-Za-z0-9_]*/
NUMBER: /[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?/
TEXT: /'(?:[^']|'')*'/
%ignore /[ \t\r\n]+/
"""

_IN_WORDS = {
    "NAME": "(a column)",
    "COMPARATOR": "= != < <= > >=",
    "MATCHER": "like ilike contains icontains",
    "NUMBER": "(a number)",
    "TEXT": "(a text in single quotes)",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "(the filter's end)",
}


def parse(text: str) -> Node:
    """Return a filter's tree.

    Raises
    ------
    BadFilter
        With the position, what could stand there and what does: a text that is none of the language's, an unknown
        column, a value of another type than the column, more characters, values or depth than allowed.
    """
    if len(text) > MOST_CHARACTERS:
        raise _bad("The filter is too long", 0, f"at most {MOST_CHARACTERS:,} characters", f"{len(text):,}")
    _check_characters(text)
    try:
        return cast(Node, _parser().parse(text))  # what _Builder makes of it
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None


def _check_characters(text: str) -> None:
    """Refuse what is no text: halves of surrogate pairs, which JSON can bring, and NUL."""
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise _bad("The filter holds what is no character", position, "Unicode text", f"U+{ord(character):04X}")


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder())


class _Builder(Transformer):
    """Builds nodes while the parser goes along, so that nothing recurses before the depth is known."""

    def comparison(self, children: list[Token]) -> Node:
        column, operator, value = children
        return Comparison(_column(column), str(operator), _value(column, value))

    def membership(self, children: list[Token]) -> Node:
        column, *values = children
        if len(values) > MOST_VALUES:
            where = _start(values[MOST_VALUES])
            raise _bad("The list is too long", where, f"at most {MOST_VALUES} values", f"{len(values)}")
        return Membership(_column(column), tuple(_value(column, value) for value in values))

    def no_membership(self, children: list[Token]) -> Node:
        return Not(self.membership(children))

    def pattern(self, children: list[Token]) -> Node:
        column, matcher, text = children
        word, value = matcher.lower(), _value(column, text)
        if word.endswith("like"):
            _check_escapes(text)
        return Pattern(_column(column), word, str(value))

    def no_pattern(self, children: list[Token]) -> Node:
        return Not(self.pattern(children))

    def null(self, children: list[Token]) -> Node:
        return IsNull(_column(children[0]))

    def no_null(self, children: list[Token]) -> Node:
        return Not(self.null(children))

    def negated(self, children: list[Node]) -> Node:
        return _not_too_deep(Not(*children))

    def both(self, children: list[Node]) -> Node:
        return _not_too_deep(Junction("and", tuple(children)))

    def either(self, children: list[Node]) -> Node:
        return _not_too_deep(Junction("or", tuple(children)))


def _column(name: Token) -> str:
    column = ALIASES.get(name.lower(), name.lower())
    if column not in COLUMNS:
        known = ", ".join(sorted({*COLUMNS, *ALIASES}))
        raise _bad("The filter names an unknown column", _start(name), f"one of {known}", _excerpt(name))
    return column


def _value(column: Token, value: Token) -> Value:
    """Return a literal as the column's type."""
    kind, is_text = COLUMNS[_column(column)], value.type == "TEXT"
    if is_text and kind == TEXT:
        return value[1:-1].replace("''", "'")
    if not is_text and kind == NUMBER and math.isfinite(number := float(value)):
        return number
    if not is_text and kind == WHOLE_NUMBER and value.lstrip("+-").isdecimal():
        if _LEAST_INTEGER <= int(value) <= _MOST_INTEGER:
            return int(value)
        kind = f"{kind} of 64 bits"
    raise _bad("The value is not of the column's type", _start(value), f"{kind} for {column}", _excerpt(value))


def _check_escapes(text: Token) -> None:
    rest = text[1:-1].replace("\\\\", "").replace("\\%", "").replace("\\_", "")
    if "\\" in rest:
        what = "The pattern has a backslash that means nothing"
        raise _bad(what, _start(text), "\\ only before %, _ or another \\", _excerpt(text))


def _not_too_deep(node: Node) -> Node:
    if node.depth > MOST_DEPTH:
        raise _bad("The filter is nested too deeply", 0, f"at most {MOST_DEPTH} levels", f"{node.depth}")
    return node


def _unexpected(text: str, error: UnexpectedInput) -> BadFilter:
    expected: set[str] = set()
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
    is_at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    position = len(text) if is_at_end else error.pos_in_stream or 0
    rule = "one of: " + "  ".join(sorted(_IN_WORDS.get(name, name.strip("_").lower()) for name in expected))
    return _bad(
        "The filter cannot be understood", position, rule, "its end" if is_at_end else _excerpt(text[position:])
    )


def _start(token: Token) -> int:
    return token.start_pos or 0


def _excerpt(text: str) -> str:
    return repr(str(text[:_GOT_CHARACTERS])) + ("…" if len(text) > _GOT_CHARACTERS else "")


def _bad(what: str, position: int, rule: str, got: str) -> BadFilter:
    return BadFilter(
        what,
        where=f"filter, character {position + 1}",
        rule=rule,
        got=got,
        action="Correct the filter; for example: width >= 1024 and text like '%map%'.",
    )
