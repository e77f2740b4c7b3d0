"""Values of a JSON document from anybody, as the types that are wanted or as a refusal that names the field.

Numbers may come as text, as clip-retrieval's page sends them; ``null`` and ``""`` mean that a field is not given.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from mappool_assets.lib.serve.refusals import refused

Document = Mapping[str, Any]

# Twenty times the longest list of a request. They decide what a body costs: 10 MB of empty objects take 220 MB.
MOST_COMMAS = 200_000

_TRUTH: dict[Any, bool] = {True: True, False: False, "true": True, "false": False}  # 1 and 0 too, being equal
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DIGITS_SHOWN = 18


def parse_document(body: bytes) -> Document:
    """Return a body's JSON object, whatever its Content-Type says."""
    if (commas := body.count(b",")) > MOST_COMMAS:
        rule, got = f"at most {MOST_COMMAS:,} commas", f"{commas:,}"
        raise refused("The body holds too many values", "body", rule, got, "Send less.", status=413)
    try:
        document = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        kind = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise refused(
            "The body is not JSON", "body", "a JSON object in UTF-8", kind, "Correct the request's body."
        ) from None
    if not isinstance(document, dict):
        raise refused("The body is no JSON object", "body", "a JSON object", document, "Send the fields in one object.")
    return document


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def is_given(document: Document, name: str) -> bool:
    """Tell whether a field is there and neither null nor empty text."""
    value = document.get(name)
    return value is not None and value != ""


def text_of(document: Document, name: str) -> str | None:
    """Return a text, or None where it is not given."""
    if not is_given(document, name):
        return None
    value = document[name]
    if not isinstance(value, str):
        raise _wrong(name, "a text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(name, "Unicode text, without halves of surrogate pairs", "a half of one") from None
    return value


def whole_of(document: Document, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    if not is_given(document, name):
        return default
    number = _whole(document[name])
    if number is None or not least <= number <= most:
        raise _wrong(name, f"a whole number from {least:,} to {most:,}", document[name])
    return number


def number_of(document: Document, name: str, default: float, least: float, most: float) -> float:
    """Return a number within bounds."""
    if not is_given(document, name):
        return default
    number = finite(document[name])
    if number is None or not least <= number <= most:
        raise _wrong(name, f"a number from {least:g} to {most:g}", document[name])
    return number


def truth_of(document: Document, name: str, default: bool = False) -> bool:
    """Return true or false."""
    if not is_given(document, name):
        return default
    value = document[name]
    if not isinstance(value, bool | int | str) or value not in _TRUTH:
        raise _wrong(name, "true or false", value)
    return _TRUTH[value]


def choice_of(document: Document, name: str, choices: tuple[str, ...]) -> str:
    """Return one of some words; the first where none is given."""
    if not is_given(document, name):
        return choices[0]
    if document[name] not in choices:
        raise _wrong(name, " or ".join(choices), document[name])
    return document[name]


def list_of(document: Document, name: str, most: int) -> list[Any] | None:
    """Return a list that is not empty, or None where it is not given."""
    if not is_given(document, name):
        return None
    value = document[name]
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        got = f"a list of {len(value):,}" if isinstance(value, list) else value
        raise _wrong(name, f"a list of 1 to {most:,}", got)
    return value


def id_of(value: Any, name: str) -> int:
    """Return an image's id."""
    number = _whole(value)
    if number is None or number < 0:
        raise _wrong(name, "an id of an image, as a search returns it", value)
    return number


def finite(value: Any) -> float | None:
    """Return a number that is one, or is the text of one; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
        return None
    return int(value) if abs(value) < 10**_DIGITS_SHOWN else None


def _wrong(name: str, rule: str, got: Any) -> Exception:
    shown = "a number of very many digits" if isinstance(got, int) and abs(got) >= 10**_DIGITS_SHOWN else got
    return refused("A field cannot be used", name, rule, shown, f"Correct {name}.")
