"""The images of a shard as they lie in the lake: webdataset tars, or files.

``mappool/images/<shard>/NNNNN.tar`` holds for each image ``<uid>.<extension>``, ``<uid>.txt`` (the caption) and
``<uid>.json``; with the format ``files`` the same members lie in the folder ``NNNNN/``. The number makes that nothing
is ever overwritten that a ledger names. The bytes depend on what is put in, and in which order, alone. Captions and
scores in them are those of the day; the tables hold today's.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow.fs as pafs

from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_ledger import TABLE

IMAGES = "mappool/images"

WEBDATASET, FILES = "webdataset", "files"
FORMATS = (WEBDATASET, FILES)

IMAGES_A_TAR = 10_000  # img2dataset's habit; also files of three members a folder, which file systems bear
BYTES_A_TAR = 3_000_000_000  # the default of webdataset's own ShardWriter, for shards of large images

READ_BUFFER_BYTES = 4 * 2**20  # headers are 60 kB apart: one request of a bucket brings 60 of them
READ_ROWS = 4096

# A uid names members and files: no separators, and no dot, at which webdataset would cut it. The pool's are 32 digits.
UID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class StoredImage(NamedTuple):
    """An image as it was fetched.

    Attributes
    ----------
    uid : str
        Of its row.
    data : bytes
        The file.
    """

    uid: str
    data: bytes


def archive_number(file: str) -> int:
    """Return the number of the archive that a ledger's ``file`` lies in.

    >>> archive_number("00012.tar"), archive_number("00003/0a1b.jpg")
    (12, 3)
    """
    return int(re.split(r"[./]", file, maxsplit=1)[0])


def is_of_format(file: str, archive_format: str) -> bool:
    """Tell whether a ledger's ``file`` was written with this format."""
    return file.endswith(".tar") == (archive_format == WEBDATASET)


class ArchiveWriter:
    """Images put one after another into numbered tars, or folders, of a shard; a context manager.

    A tar is in the lake whole or not at all, and is there once the next one is begun or the context is left. On an
    exception the one being written vanishes; earlier ones stay until they are swept.
    """

    def __init__(self, lake: Lake, shard: str, archive_format: str, first_number: int) -> None:
        if archive_format not in FORMATS:
            raise BadSetting(
                "Images cannot be stored in this format",
                where="MAPPOOL_IMAGE_FORMAT",
                rule=" or ".join(FORMATS),
                got=repr(archive_format),
                action="Correct the setting.",
            )
        self._lake, self._folder, self._format = lake, f"{IMAGES}/{shard}", archive_format
        self._number, self._images, self._bytes = first_number, 0, 0
        self._open = contextlib.ExitStack()
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)

    def add(self, uid: str, extension: str, data: bytes, caption: str, record: Mapping[str, Any]) -> str:
        """Put an image in; return the ``file`` in which it lies, a path inside the shard's folder of images.

        Parameters
        ----------
        uid : str
            As :data:`UID` allows (else ``ValueError``), and not given before.
        extension : str
            Without a dot.
        record : mapping
            Becomes ``<uid>.json``, keys sorted.
        """
        if not UID.fullmatch(uid):
            raise ValueError(f"{uid!r} cannot name a file")
        if self._images == IMAGES_A_TAR or (self._images and self._bytes + len(data) > BYTES_A_TAR):
            self._open.close()
            self._tar, self._number, self._images, self._bytes = None, self._number + 1, 0, 0
        self._images, self._bytes = self._images + 1, self._bytes + len(data)
        members = {
            f"{uid}.{extension}": data,
            f"{uid}.json": json.dumps(dict(record), sort_keys=True, ensure_ascii=False).encode(),
            f"{uid}.txt": caption.encode(),
        }
        return self._add_to_tar(members) if self._format == WEBDATASET else self._add_files(members)

    def _add_to_tar(self, members: Mapping[str, bytes]) -> str:
        file = f"{self._number:05d}.tar"
        if self._tar is None:
            temporary = self._open.enter_context(self._lake.writing(f"{self._folder}/{file}"))
            self._tar = self._open.enter_context(tarfile.TarFile(temporary, "w", format=tarfile.USTAR_FORMAT))
        for name, content in members.items():
            member = tarfile.TarInfo(name)  # owner 0, modification time 0
            member.size, member.mode = len(content), 0o644
            self._tar.addfile(member, io.BytesIO(content))
        return file

    def _add_files(self, members: Mapping[str, bytes]) -> str:
        for name, content in members.items():
            with self._lake.writing(f"{self._folder}/{self._number:05d}/{name}") as temporary:
                temporary.write_bytes(content)
        return f"{self._number:05d}/{next(iter(members))}"


# -- reading --------------------------------------------------------------------------------------------------


def read_image(lake: Lake, shard: str, file: str, uid: str) -> bytes:
    """Return one image; ``shard``, ``file`` and ``uid`` as in its row of ``mappool/map_images``.

    In a tar the headers are read until it is found: for many images of a shard take :func:`read_images`.

    Raises
    ------
    MissingInput
        It is not there.
    """
    for image in read_archive(lake, shard, file, (uid,)):
        return image.data
    raise _missing(lake, shard, file, uid)


def read_images(lake: Lake, shard: str, uids: Collection[str] | None = None) -> Iterator[StoredImage]:
    """Yield the images of a shard, or those of some uids that it has, one in memory at a time.

    They come as they lie there: each archive that holds one is read once, from its beginning to the last one wanted.

    Raises
    ------
    MissingInput
        The shard has no ledger, or an image that it names is not there.
    tarfile.ReadError
        A tar is damaged.
    """
    wanted = None if uids is None else set(uids)
    by_file: dict[str, set[str]] = {}
    with lake.open_table(TABLE, shard) as table:
        for batch in table.iter_batches(READ_ROWS, columns=["uid", "file"]):
            for uid, file in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if file is not None and (wanted is None or uid in wanted):
                    by_file.setdefault(file, set()).add(uid)
    for file, of_file in by_file.items():
        found = 0
        for image in read_archive(lake, shard, file, of_file):
            found += 1
            yield image
        if found < len(of_file):
            raise _missing(lake, shard, file, f"{len(of_file)} of its images")


def read_archive(lake: Lake, shard: str, file: str, uids: Collection[str]) -> Iterator[StoredImage]:
    """Yield those of the images wanted that lie in one ``file`` of a shard, in its order, one in memory at a time.

    Raises
    ------
    MissingInput
        There is no such file.
    tarfile.ReadError
        It is no whole tar.
    """
    try:
        raw = lake.filesystem.open_input_file(f"{IMAGES}/{shard}/{file}")
    except FileNotFoundError:
        raise _missing(lake, shard, file, ", ".join(sorted(uids)[:3])) from None
    with raw:
        if not file.endswith(".tar"):
            yield StoredImage(_uid_of(file), raw.read())
            return
        left = set(uids)
        with io.BufferedReader(raw, READ_BUFFER_BYTES) as buffered, tarfile.TarFile(fileobj=buffered) as tar:
            while left and (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else every header read stays in memory
                uid = _uid_of(member.name)
                if uid in left and not member.name.endswith((".json", ".txt")):
                    content = tar.extractfile(member)
                    assert content is not None
                    left.discard(uid)
                    yield StoredImage(uid, content.read())


def _uid_of(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _missing(lake: Lake, shard: str, file: str, what: str) -> MissingInput:
    return MissingInput(
        "An image is not where the ledger says",
        where=lake.url(f"{IMAGES}/{shard}/{file}"),
        rule=what,
        got="not there",
        action="Materialise mappool/map_images for this shard again, with force.",
    )


# -- what lies there ------------------------------------------------------------------------------------------


def stored_files(lake: Lake, shard: str) -> list[str]:
    """Return the files of a shard's images, paths inside its folder, sorted; those of killed writers too."""
    folder = f"{IMAGES}/{shard}"
    found = lake.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=True))
    return sorted(info.path.removeprefix(f"{folder}/") for info in found if info.type == pafs.FileType.File)


def members_of(files: Iterable[str]) -> set[str]:
    """Return the stored files that belong to a ledger's ``file`` entries: beside an image its caption and record."""
    members = set()
    for file in files:
        members.add(file)
        if not file.endswith(".tar"):
            stem = file.rpartition(".")[0]
            members |= {f"{stem}.json", f"{stem}.txt"}
    return members


def sweep(lake: Lake, shard: str, named: Iterable[str]) -> None:
    """Remove the files of a shard's images that belong to none of a ledger's ``file`` entries."""
    kept = members_of(named)
    kept_folders = {file.partition("/")[0] for file in kept}
    there = stored_files(lake, shard)
    for folder in sorted({file.partition("/")[0] for file in there if "/" in file} - kept_folders):
        lake.filesystem.delete_dir(f"{IMAGES}/{shard}/{folder}")
    for file in there:
        if file not in kept and ("/" not in file or file.partition("/")[0] in kept_folders):
            lake.delete(f"{IMAGES}/{shard}/{file}")
