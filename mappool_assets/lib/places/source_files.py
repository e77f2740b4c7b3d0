"""Files of places, wherever they lie, zipped or not: opened as a stream or as parquet, their checksums remembered.

Every way in which a file can be no such file becomes one error that names it and the rule.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged

MAX_BYTES = 16 * 2**30  # unpacked: ten times GeoNames' allCountries.txt; more is a bomb or another file
BUFFER_BYTES = 4 * 2**20  # asked for at once: of a remote file of 1.7 GB, 430 requests
SHOWN_CHARACTERS = 300

_FAULTS = (pa.ArrowException, OSError, EOFError, UnicodeError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass
class SourceFiles:
    """Opens the files of a source.

    Attributes
    ----------
    storage : Storage
        How remote stores are reached.
    versions : dict of str to str
        By file name what was read: ``sha256:…`` of the unpacked text, or a remote parquet's version.
    """

    storage: Storage
    versions: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def text(self, address: str, rule: str, suffixes: Sequence[str]) -> Iterator[tuple[BinaryIO, str]]:
        """Yield a text file as a stream, and its name; of a ``.zip`` the member with one of the suffixes.

        Raises
        ------
        MissingInput
            There is no such file.
        SourceChanged
            It was written to meanwhile.
        BadSetting
            It cannot be read, also while the stream is in use; ``rule`` says what it should be.
        """
        with _understood(address, rule), open_ranged(address, self.storage) as file:
            packed = file.as_stream(BUFFER_BYTES)
            name = file_name(address)
            if not name.lower().endswith(".zip"):
                with self._hashed(packed, name, address) as stream:
                    yield stream, name
                file.check_unchanged()
                return
            with zipfile.ZipFile(packed) as archive:
                member = _member(archive, name, suffixes, address, rule)
                with _open_member(archive, member) as unpacked, self._hashed(unpacked, member, address) as stream:
                    yield stream, member
            file.check_unchanged()

    @contextlib.contextmanager
    def parquet(self, address: str, rule: str) -> Iterator[pq.ParquetFile]:
        """Yield a parquet file; raises as :meth:`text` does."""
        with _understood(address, rule), open_ranged(address, self.storage) as file:
            is_local = "://" not in address
            self.versions[file_name(address)] = _sha256(file.as_stream(BUFFER_BYTES)) if is_local else file.version
            with pq.ParquetFile(file.as_stream(), pre_buffer=True) as parquet:
                yield parquet
            file.check_unchanged()

    @contextlib.contextmanager
    def _hashed(self, stream: Any, name: str, address: str) -> Iterator[BinaryIO]:
        raw = _HashedStream(stream, address)
        with io.BufferedReader(raw, BUFFER_BYTES) as reader:
            yield reader
            if raw.is_read:
                self.versions[name] = f"sha256:{raw.sha256.hexdigest()}"

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))


class _HashedStream(io.RawIOBase):
    """Bytes passed on and hashed, up to a bound."""

    def __init__(self, stream: Any, address: str) -> None:
        self._stream, self._address = stream, address
        self._bytes = 0
        self.sha256 = hashlib.sha256()
        self.is_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self.is_read = not data
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise unusable(self._address, f"at most {MAX_BYTES:,} bytes, unpacked", "more")
        self.sha256.update(data)
        buffer[: len(data)] = data
        return len(data)


def file_name(address: str) -> str:
    """Return the last part of a path or an address, without a query."""
    return PurePosixPath(without_query(address)).name


def sibling(address: str, name: str) -> str:
    """Return the address of another file in the same folder."""
    folder, slash, _ = (address.split("?", 1)[0] if "://" in address else address).rpartition("/")
    return folder + slash + name


def without_query(address: str) -> str:
    """Return an address without its query and without a password, a path as it is."""
    if "://" not in address:
        return address
    return re.sub(r"(?<=://)[^/@]*@", "", address.split("?", 1)[0])


def unusable(where: str, rule: str, got: str) -> BadSetting:
    """Return the error of a source that is not what its address says."""
    return BadSetting(
        "The places cannot be read",
        where=where,
        rule=rule,
        got=got[:SHOWN_CHARACTERS],
        action="Correct the file or the source's address.",
    )


@contextlib.contextmanager
def _understood(address: str, rule: str) -> Iterator[None]:
    try:
        yield
    except MissingInput:
        raise MissingInput(
            "The places are not there", where=address, rule=rule, got="nothing", action="Correct the source's address."
        ) from None
    except SourceChanged as error:
        action = "Read the places again."
        raise SourceChanged(
            "A file of places changed while it was read", where=address, rule=error.rule, got=error.got, action=action
        ) from error
    except _FAULTS as error:
        got = f"{type(error).__name__}: {error}"
        if "straddling object" in got:  # Arrow's words for a line that is longer than its block
            got = f"a line of more than {BUFFER_BYTES:,} bytes, or a quotation mark that is never closed"
        raise unusable(address, rule, got) from error


def _member(archive: zipfile.ZipFile, name: str, suffixes: Sequence[str], address: str, rule: str) -> str:
    """Return the member that is called like the archive, or the only one with one of the suffixes."""
    members = [m.filename for m in archive.infolist() if m.filename.lower().endswith(tuple(suffixes))]
    stem = PurePosixPath(name).stem
    namesakes = [member for member in members if PurePosixPath(member).stem == stem]
    found = namesakes or members
    if len(found) != 1:
        names = ", ".join(m.filename for m in archive.infolist()[:10]) or "no file"
        raise unusable(address, f"{rule}; zipped, one file {stem} ({', '.join(suffixes)})", names)
    return found[0]


def _open_member(archive: zipfile.ZipFile, member: str) -> Any:
    try:
        return archive.open(member)
    except RuntimeError as error:  # zipfile's way to say that a password is needed
        raise zipfile.BadZipFile(str(error)) from error


def _sha256(stream: Any) -> str:
    return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
