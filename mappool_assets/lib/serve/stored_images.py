"""Images that ``map_images`` fetched, by their row: found without reading through an archive twice."""

from __future__ import annotations

import io
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_archive import IMAGES, READ_BUFFER_BYTES, read_image
from mappool_assets.lib.map_images.image_facts import TYPES
from mappool_assets.lib.map_images.image_ledger import TABLE

MIMES = frozenset(mime for _, mime in TYPES.values())  # found by content when it was fetched; raster images all
LEDGERS, ARCHIVES = 32, 32  # remembered; about a megabyte each
LOCAL_READ_BYTES = 4096  # a header is 512; a bucket is read in larger steps

T = TypeVar("T")


class StoredImage(NamedTuple):
    """A file and its media type."""

    data: bytes
    mime: str


class StoredImages:
    """The images of a lake; safe to share between threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._ledgers: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._members: OrderedDict[Hashable, dict[str, tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_any(self) -> bool:
        """Whether images of any shard were fetched."""
        return bool(self._lake.partitions(TABLE))

    def image(self, shard: str, uid: str) -> StoredImage | None:
        """Return an image, or None where none was fetched.

        Raises
        ------
        MissingInput
            It is not where the ledger says.
        """
        if not self._lake.exists(self._lake.table_path(TABLE, shard)):
            return None
        ledger = self._remember(self._ledgers, LEDGERS, (shard, self._version(shard)), lambda: self._ledger(shard))
        place = pc.index(ledger["uid"], uid).as_py()
        if place < 0:
            return None
        file, mime = ledger["file"][place].as_py(), ledger["mime"][place].as_py()
        if mime not in MIMES:
            return None
        return StoredImage(self._read(shard, file, uid), mime)

    def _version(self, shard: str) -> Any:
        return self._lake.filesystem.get_file_info(self._lake.table_path(TABLE, shard)).mtime_ns

    def _ledger(self, shard: str) -> pa.Table:
        table = self._lake.read_table(TABLE, shard, ["uid", "file", "mime"])
        return table.filter(pc.is_valid(table["file"])).combine_chunks()

    def _read(self, shard: str, file: str, uid: str) -> bytes:
        path = f"{IMAGES}/{shard}/{file}"
        if not file.endswith(".tar") or not self._lake.exists(path):
            return read_image(self._lake, shard, file, uid)  # which says what is wrong
        version = self._lake.filesystem.get_file_info(path).mtime_ns
        members = self._remember(self._members, ARCHIVES, (path, version), lambda: self._offsets(path))
        if uid not in members:
            return read_image(self._lake, shard, file, uid)
        offset, size = members[uid]
        with self._lake.filesystem.open_input_file(path) as source:
            return source.read_at(size, offset)

    def _offsets(self, path: str) -> dict[str, tuple[int, int]]:
        found = {}
        step = LOCAL_READ_BYTES if self._lake.is_local else READ_BUFFER_BYTES
        with (
            self._lake.filesystem.open_input_file(path) as raw,
            io.BufferedReader(raw, step) as buffered,
            tarfile.TarFile(fileobj=buffered) as tar,
        ):
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else every header read stays in memory
                if not member.name.endswith((".json", ".txt")):
                    found[member.name.rpartition("/")[2].partition(".")[0]] = member.offset_data, member.size
        return found

    def _remember(self, store: OrderedDict[Hashable, T], most: int, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key in store:
                store.move_to_end(key)
                return store[key]
            store[key] = made = make()
            while len(store) > most:
                store.popitem(last=False)
            return made
