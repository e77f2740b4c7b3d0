"""What every request and answer passes through."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class PlainPaths:
    """Let ``//knn-service`` and ``/knn-service/`` mean ``/knn-service``: clip-retrieval's page joins addresses so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            scope = {**scope, "path": "/" + "/".join(part for part in scope["path"].split("/") if part)}
        await self._app(scope, receive, send)


class SentInParts:
    """Hand answers to the server part by part, so that an answer that is not read is not held by the server's buffer.

    The server takes the next part when the client has read most of those before, and what waits for the last one, an
    empty one, knows that the answer is read but for some 64 kB.
    """

    _PART_BYTES = 65_536  # the most that a transport of asyncio holds by default before it asks to wait

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back in parts."""

        async def send_in_parts(message: Message) -> None:
            body = message.get("body", b"")
            if message["type"] == "http.response.body" and len(body) > self._PART_BYTES:
                for start in range(0, len(body), self._PART_BYTES):
                    part = body[start : start + self._PART_BYTES]
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                message = {**message, "body": b""}
            await send(message)

        await self._app(scope, receive, send_in_parts)


class SafeHeaders:
    """Tell browsers to believe content types, to send no addresses on, and to keep pages apart."""

    _ALWAYS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
    )
    _POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = list(message.get("headers", []))
                names = {name for name, _ in found}
                found += self._ALWAYS
                if self._POLICY[0] not in names:
                    found.append(self._POLICY)
                message["headers"] = found
            await send(message)

        await self._app(scope, receive, send_with_headers)
