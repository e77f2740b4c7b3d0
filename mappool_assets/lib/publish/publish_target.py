"""Where a published dataset goes: a tree of files that knows its own checksums.

The target's tree is the only state of publishing: what should be there is computed, what is there is asked, the
difference is sent. A publish that was killed is therefore repeated, not repaired.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mappool_assets.lib.lake import replacing

FILES_PER_COMMIT = 100  # files a commit: the Hub advises 50 to 100

GIT_BLOB_DIGITS = 40  # of a SHA-1 in hex; a sha256 has 64

ANY_PATH = re.compile(r".*")

HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # as ``replacing`` names what it writes to

Stamped = tuple[int, int, str]  # size in bytes, modification time in nanoseconds, sha256


@dataclass(frozen=True)
class NewFile:
    """A file to be put.

    Attributes
    ----------
    content : Path or bytes
        A local file that stays until it is put, or the bytes themselves.
    sha256 : str
        Of its bytes, 64 hex digits.
    size_bytes : int
        Its size.
    """

    content: Path | bytes
    sha256: str
    size_bytes: int

    @classmethod
    def of_bytes(cls, content: bytes) -> NewFile:
        """Return a file with this content."""
        return cls(content, hashlib.sha256(content).hexdigest(), len(content))

    def has_checksum(self, checksum: str | None) -> bool:
        """Tell whether its bytes have a checksum of a :meth:`PublishTarget.tree`; False for None."""
        if checksum is None:
            return False
        return checksum == (self._git_blob() if len(checksum) == GIT_BLOB_DIGITS else self.sha256)

    def _git_blob(self) -> str:
        """Return the name that Git gives a file with this content."""
        digest = hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False)
        if isinstance(self.content, bytes):
            digest.update(self.content)
        else:
            with self.content.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


class PublishTarget(Protocol):
    """A place that readers read from while it is written to.

    Ask for the tree first: what is put and removed is a change to that tree.
    """

    def tree(self, owned: re.Pattern[str] = ANY_PATH) -> dict[str, str]:
        """Return the checksum (hex) of each file there, by its path with ``/``.

        A checksum is the file's sha256 or, for small files of a Git repository, the SHA-1 of its Git blob.

        Parameters
        ----------
        owned : pattern
            Matches the whole of every path that is published: where another writer changes one of these before all
            is put and removed, a target that notices refuses to go on (:class:`TargetChanged`).
        """

    def read(self, path: str) -> bytes:
        """Return a file of :meth:`tree`."""

    def put(self, files: Mapping[str, NewFile]) -> None:
        """Add or replace a group of files: all at once where the target can, else each whole and in this order."""

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files of :meth:`tree`: in large groups where the target can, else each, in this order."""

    def finish(self, version: str) -> None:
        """Make what was put and removed last, ``version`` being its name: a folder is synced, a repository tagged."""


class DryRun:
    """A target of which nothing is changed: it tells what is there, and forgets what is put and removed.

    Parameters
    ----------
    target : PublishTarget
        Only asked and read.
    """

    def __init__(self, target: PublishTarget) -> None:
        self._target = target

    def tree(self, owned: re.Pattern[str] = ANY_PATH) -> dict[str, str]:
        """Return the target's tree."""
        return self._target.tree(owned)

    def read(self, path: str) -> bytes:
        """Return a file of the target."""
        return self._target.read(path)

    def put(self, files: Mapping[str, NewFile]) -> None:
        """Put nothing."""

    def remove(self, paths: Iterable[str]) -> None:
        """Remove nothing."""

    def finish(self, version: str) -> None:
        """Nothing is to be made last."""


class FolderTarget:
    """A folder as a publish target, for one writer at a time.

    Checksums are remembered beside size and modification time (in ``.checksums.json``, which is no part of the tree),
    so that asking for the tree reads only files that changed since. Any other change to a file, also a foreign one,
    shows in its time or size.

    Parameters
    ----------
    folder : path
        Created when absent. Files at its root and in its sub-folders are the tree; names that start with a dot are
        not.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index_file = self.folder / ".checksums.json"

    def tree(self, owned: re.Pattern[str] = ANY_PATH) -> dict[str, str]:
        """Return the sha256 (hex) of each file in the folder, by its path with ``/``."""
        remembered = self._load_index()
        index: dict[str, Stamped] = {}
        for file in sorted([*self.folder.glob("*"), *self.folder.glob("*/*")]):
            path = file.relative_to(self.folder)
            if file.is_file() and not any(name.startswith(".") for name in path.parts):
                known = remembered.get(path.as_posix())
                stamp = _stamp(file)
                index[path.as_posix()] = known if known and known[:2] == stamp else (*stamp, sha256_of(file))
        if index != remembered:
            self._save_index(index)
        return {path: sha256 for path, (_, _, sha256) in index.items()}

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        return (self.folder / path).read_bytes()

    def put(self, files: Mapping[str, NewFile]) -> None:
        """Add or replace files in this order; each appears whole."""
        index = self._load_index()
        for path, file in files.items():
            with replacing(self.folder / path) as temporary:
                if isinstance(file.content, bytes):
                    temporary.write_bytes(file.content)
                else:
                    shutil.copyfile(file.content, temporary)
            index[path] = (*_stamp(self.folder / path), file.sha256)
        self._save_index(index)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files in this order, and folders that are empty then."""
        for path in paths:
            file = self.folder / path
            file.unlink(missing_ok=True)
            if file.parent != self.folder and not any(file.parent.iterdir()):
                file.parent.rmdir()

    def finish(self, version: str) -> None:
        """Sync the folders, so that it all survives a power cut, and clear what a killed publish left half-written."""
        for folder in (self.folder, *(f for f in self.folder.iterdir() if f.is_dir())):
            for file in folder.iterdir():
                if HALF_WRITTEN.fullmatch(file.name):
                    file.unlink()
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _load_index(self) -> dict[str, Stamped]:
        if not self._index_file.exists():
            return {}
        return {path: tuple(entry) for path, entry in json.loads(self._index_file.read_bytes()).items()}

    def _save_index(self, index: Mapping[str, Stamped]) -> None:
        with replacing(self._index_file) as temporary:
            temporary.write_text(json.dumps(index, indent=0, sort_keys=True), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a local file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
