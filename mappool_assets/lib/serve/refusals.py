"""Why a request is not answered, as JSON that a person can act on."""

from __future__ import annotations

import reprlib
from typing import Any

from mappool_assets.lib.errors import BadSetting, MappoolError, SourceUnavailable

GOT_CHARACTERS = 80  # of what was sent that are repeated in an error

# A few entries of a list, and a few levels of it: all of it takes a third of a second at 10 MB, and of a list that is
# nested as deeply as JSON's parser just bears, there is no repr at all.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = 200


class RequestRefused(MappoolError):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        HTTP's: 400 cannot be understood or done, 404 not there, 413 too large, 503 not now.
    retry_after_seconds : int or None
        When to come back, where that helps.
    """

    def __init__(self, what: str, *, status: int = 400, retry_after_seconds: int | None = None, **fields: str) -> None:
        super().__init__(what, **fields)
        self.status, self.retry_after_seconds = status, retry_after_seconds


def refused(
    what: str,
    where: str,
    rule: str,
    got: Any,
    action: str,
    *,
    status: int = 400,
    retry_after_seconds: int | None = None,
) -> RequestRefused:
    """Return the error; ``got`` is shown as it is where it is text, else by its repr, and shortened."""
    text = got if isinstance(got, str) else brief(got)
    shown = text if len(text) <= GOT_CHARACTERS else f"{text[:GOT_CHARACTERS]}… ({len(text):,} characters)"
    return RequestRefused(
        what, where=where, rule=rule, got=shown, action=action, status=status, retry_after_seconds=retry_after_seconds
    )


def brief(value: Any) -> str:
    """Return the repr of anything that came as JSON, shortened.

    >>> brief([1] * 1_000_000), brief([[[[[[[[]]]]]]]])
    ('[1, 1, 1, 1, 1, 1, ...]', '[[[[[[[...]]]]]]]')
    """
    return _BRIEF.repr(value)


def unreadable(where: str, error: OSError) -> MappoolError:
    """Return the error of a lake whose storage does not answer, or not as it should."""
    return SourceUnavailable(
        "The lake cannot be read",
        where=where,
        rule="its files, as the index names them",
        got=type(error).__name__,
        action="Look at the lake's storage and at the service's log.",
    )


def status_of(error: MappoolError) -> int:
    """Return HTTP's status of an error: the asker's fault, or that of the lake's state (503: it can be mended)."""
    if isinstance(error, RequestRefused):
        return error.status
    return 400 if isinstance(error, BadSetting) else 503


def as_document(error: MappoolError) -> dict[str, str]:
    """Return what is sent: ``error``, ``where``, ``rule``, ``got`` and ``action``; all of it can be UTF-8.

    >>> as_document(refused("No", "mode", "ann", "\\ud800", "Correct it."))["got"]
    '\\\\ud800'
    """
    fields = {name: text.encode(errors="backslashreplace").decode() for name, text in error.fields().items()}
    return {"error": fields.pop("what"), **fields}
