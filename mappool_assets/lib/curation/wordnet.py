"""The names of WordNet's synsets, out of its own database, which NLTK reads.

A synset is called by its first word, as NLTK calls it and MetaCLIP takes it (``metaclip/build_metadata.py``): in lower
case, without the marker of an adjective's place, up to the first full stop, with spaces for underscores. Adjectives
come first, then adverbs, nouns and verbs, as NLTK has them.

The database is a folder with ``data.noun`` and the like (https://wordnet.princeton.edu/documentation/wndb5wn), or such
a folder zipped, as NLTK's own downloads are. Nothing is downloaded here.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO

from mappool_assets.lib.curation.source_stream import open_source, understood
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage

KINDS = ("adj", "adv", "noun", "verb")
FILES = (
    *(f"data.{kind}" for kind in KINDS),
    *(f"index.{kind}" for kind in KINDS),
    *(f"{k}.exc" for k in KINDS),
    "lexnames",
)
RULE = f"WordNet's database, a folder or a .zip of {', '.join(FILES)}"
MAX_BYTES = 128 << 20  # of all files, unpacked: WordNet 3.0 has 28 MB, and NLTK takes thirty times as much memory

_ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # the last: encrypted


def synset_names(address: str, storage: Storage, versions: list[str]) -> list[str]:
    """Return the name of each synset; different ones may have the same.

    WordNet's 117,000 take NLTK six seconds and 0.6 GB of memory.

    Parameters
    ----------
    address : str
        A folder with WordNet's database, or a ``.zip`` that has each of its files once.
    storage : Storage
    versions : list of str
        Gets each file's ``sha256:…`` once it is read.

    Raises
    ------
    BadSetting, MissingInput, SourceChanged, SourceUnavailable
        See :func:`~.source_stream.open_source`.
    """
    from mappool_assets.lib.curation.wordnet_reader import names_of  # NLTK takes two seconds to load

    contents: dict[str, bytes] = {}
    for file in wordnet_files(address):
        with open_source(file, storage, RULE) as stream:
            content = _read(io.BufferedReader(stream), contents)
            versions.append(stream.version)
            if _is_zip(file):
                _unpack(content, contents)
            else:
                contents[file.rpartition("/")[2]] = content
    with understood(address, RULE):
        return names_of(contents)


def wordnet_files(address: str) -> list[str]:
    """Return the files that an address stands for."""
    return [address] if _is_zip(address) else [f"{address.rstrip('/')}/{name}" for name in FILES]


def _is_zip(address: str) -> bool:
    return without_query(address).lower().endswith(".zip")


def _read(stream: IO[bytes], before: dict[str, bytes]) -> bytes:
    """Return the next file's bytes; ValueError where they are too many."""
    left = MAX_BYTES - sum(map(len, before.values()))
    content = stream.read(left + 1)
    if len(content) > left:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    return content


def _unpack(packed: bytes, contents: dict[str, bytes]) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for name in FILES:
                members = [member for member in archive.infolist() if PurePosixPath(member.filename).name == name]
                if len(members) != 1:
                    raise ValueError(f"{len(members)} files {name}")
                with archive.open(members[0]) as stream:
                    contents[name] = _read(stream, contents)
    except _ZIP_FAULTS as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
