"""What the Hub double answers with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass
class Answer:
    """A status, a body and headers; the length is added when it is sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def as_json(found: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(found).encode(), {"Content-Type": "application/json", **headers})


class HubError(Exception):
    """An answer of the Hub that is an error; ``code`` goes to ``X-Error-Code``."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers

    def answer(self) -> Answer:
        """Return what is sent: the message is in the body and, for HEAD, in a header."""
        code = {"X-Error-Code": self.code} if self.code else {}
        return as_json(
            {"error": self.message}, self.status, **{"X-Error-Message": self.message}, **code, **self.headers
        )
