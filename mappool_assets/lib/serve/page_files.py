"""The search page's files: plain HTML, CSS and JavaScript modules, as they lie in the package."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

# Images come from wherever the pool found them, or are shown before they are sent (blob:); all else is our own.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http: https: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

MIMES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class PageFile(NamedTuple):
    """A file, its media type and its ETag."""

    content: bytes
    mime: str
    tag: str


def read_page() -> dict[str, PageFile]:
    """Return the files of the page by path; the page itself is ``/``."""
    found = {}
    for entry in resources.files("mappool_assets.lib.serve").joinpath("page").iterdir():
        kind = entry.name.rpartition(".")[2]
        if kind in MIMES:
            content = entry.read_bytes()
            path = "/" if entry.name == "index.html" else f"/page/{entry.name}"
            found[path] = PageFile(content, MIMES[kind], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found
