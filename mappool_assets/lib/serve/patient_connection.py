"""Connections that end when their clients do not get on: of itself uvicorn bounds only the time between requests."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# By h11 and not by httptools, which uvicorn prefers: that one takes headers of any length and, of a client that sends
# requests without waiting for answers, all of them (measured: 1.9 GB for 37 MB sent on one connection).
MOST_HEAD_BYTES = 65_536


def connections_ended_after(seconds: float) -> type[H11Protocol]:
    """Return a protocol for uvicorn whose connections end when no request is answered for so long.

    The time runs from the connection's begin, and from each answer, to the next answer's end: a head that comes byte by
    byte, a client that sends nothing at all, and an answer that is not read are all over then. What has not been read
    is dropped.
    """

    class PatientConnection(H11Protocol):
        _end: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin_to_wait()

        def on_response_complete(self) -> None:
            self._begin_to_wait()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._end is not None:
                self._end.cancel()
            super().connection_lost(exc)

        def _begin_to_wait(self) -> None:
            if self._end is not None:
                self._end.cancel()
            self._end = self.loop.call_later(seconds, self.transport.abort)

    return PatientConnection
