"""A Hub on loopback to read from, byte range by byte range: it redirects to another host whose addresses expire."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mappool_assets_tests.range_server import Fault, Handler, RangeServer, fine, serve

NAME = "owner/pool"


@dataclass
class ExpiringHub:
    """The dataset ``owner/pool``, whose commits are folders; faults are those of the hosts' own ``faults``.

    Attributes
    ----------
    resolver, store : RangeServer
        The Hub itself, which wants the token, and the host of the files, which wants a valid signature.
    head : str
        The commit that ``main`` is.
    token : str
        Whoever has it may read.
    redirect_status : int
        302 or 307.
    before_signature : Fault
        Asked at each request to the store, before its signature is looked at.
    resolved : list of str
        Addresses that were redirected to the store, in order.
    store_headers : list of dict
        What each request to the store carried.
    """

    resolver: RangeServer
    store: RangeServer
    head: str
    token: str
    redirect_status: int = 302
    before_signature: Fault = fine
    resolved: list[str] = field(default_factory=list)
    store_headers: list[dict[str, str]] = field(default_factory=list)
    _valid: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def expire(self) -> None:
        """Refuse every signature given so far."""
        self._valid.clear()

    def answer_hub(self, handler: Handler) -> bool:
        """Answer as the Hub."""
        path = urlsplit(handler.path).path
        if handler.headers.get("Authorization") != f"Bearer {self.token}":
            handler.answer(401, b"", {})
        elif path.startswith("/api/"):
            self._answer_api(handler, path.removeprefix(f"/api/datasets/{NAME}").strip("/").split("/"))
        else:
            revision, _, name = path.removeprefix(f"/datasets/{NAME}/resolve/").partition("/")
            self.resolved.append(path)
            signature = str(next(self._numbers))
            self._valid.add(signature)
            signed = f"{self.store.url}/{self._commit(revision)}/{name}?X-Signature={signature}"
            handler.answer(self.redirect_status, b"", {"Location": signed})
        return True

    def _answer_api(self, handler: Handler, parts: list[str]) -> None:
        if parts[0] == "tree":
            files = sorted((self.resolver.root / self._commit(parts[1])).iterdir())
            found = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": f"{file.stat().st_mtime_ns:x}"}
                for file in files
            ]
        else:  # "" or revision/NAME
            found = {"id": NAME, "sha": self._commit(parts[-1] or "main")}
        handler.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _commit(self, revision: str) -> str:
        return self.head if revision == "main" else revision

    def answer_store(self, handler: Handler) -> bool:
        """Answer as the host of the files: 403 without a valid signature."""
        self.store_headers.append({name.lower(): value for name, value in handler.headers.items()})
        if self.before_signature(handler):
            return True
        if self.is_valid(handler):
            return False
        handler.answer(403, b"", {})
        return True

    def is_valid(self, handler: Handler) -> bool:
        """Tell whether a request to the store is signed and the signature has not expired."""
        return parse_qs(urlsplit(handler.path).query).get("X-Signature", [""])[0] in self._valid


@contextlib.contextmanager
def serve_hub(folder: Path, head: str, token: str) -> Iterator[ExpiringHub]:
    """Serve the folders of ``folder``, each named after a commit."""
    with serve(folder) as resolver, serve(folder) as store:
        hub = ExpiringHub(resolver, store, head, token)
        resolver.always, store.always = hub.answer_hub, hub.answer_store
        yield hub
