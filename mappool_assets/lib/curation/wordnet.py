"""The names of WordNet's synsets: of its own database, or of a lexicon in LMF.

A synset is called by its first word, as NLTK calls it and MetaCLIP takes it (``metaclip/build_metadata.py``): in lower
case, without the marker of an adjective's place, up to the first full stop, with spaces for underscores.

- The database is a folder with ``data.adj``, ``data.adv``, ``data.noun`` and ``data.verb``
  (https://wordnet.princeton.edu/documentation/wndb5wn), read in this order, which is NLTK's.
- LMF is the Global WordNet Association's XML (https://globalwordnet.github.io/schemas/), as the Open English WordNet is
  published: lexical entries with their senses, then synsets, whose attribute ``members`` says which word is the first.
  Where there is none it is the first entry's that has such a sense.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from mappool_assets.lib.curation.source_stream import open_source, version_of
from mappool_assets.lib.curation.xml_events import START, ByteStream, xml_events
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage

DATA_FILES = ("data.adj", "data.adv", "data.noun", "data.verb")
LMF_FILE = re.compile(r".+\.xml(?:\.gz|\.bz2)?")
DATABASE_RULE = "WordNet's lines: offset, file number, kind, number of words, words"
LMF_RULE = "a lexicon in WN-LMF: LexicalResource, Lexicon, LexicalEntry with Lemma and Sense, Synset"
LONGEST_LINE = 1 << 20  # WordNet's has 13,000 bytes
MAX_LEXICAL_ENTRIES = 5_000_000  # held in memory; the Open English WordNet has 160,000

_SYNSET_LINE = re.compile(rb"\d{8} \d\d [nvasr] [0-9a-f]{2} (\S+) [0-9a-f] ")
_MARKER = re.compile(r"\([^()]*\)$")  # (p), (a), (ip): before or after the noun


def synset_names(address: str, storage: Storage, counts: RowCounts, versions: list[str]) -> Iterator[str]:
    """Yield the name of each synset; different ones may have the same.

    Parameters
    ----------
    address : str
        A folder with WordNet's database, or a file in LMF (``.xml``, ``.xml.gz``, ``.xml.bz2``).
    storage : Storage
    counts : RowCounts
        Gets the synsets, and those that are left out: ``malformed_line``, ``no_word``.
    versions : list of str
        Gets each file's ``sha256:…`` once it is read.

    Raises
    ------
    BadSetting, MissingInput, SourceChanged, SourceUnavailable
        See :func:`~.source_stream.open_source`.
    """
    if LMF_FILE.fullmatch(without_query(address).rpartition("/")[2]):
        with open_source(address, storage, LMF_RULE) as stream:
            yield from _lmf_names(stream, counts)
            versions.append(stream.version)
        return
    for file in wordnet_files(address):
        of_file = RowCounts()
        with open_source(file, storage, DATABASE_RULE) as stream:
            yield from _database_names(io.BufferedReader(stream), of_file, file)
            if of_file.rows_in == of_file.dropped.total():
                raise ValueError(f"no such line among {of_file}")
            versions.append(stream.version)
        counts.add(of_file)


def wordnet_files(address: str) -> list[str]:
    """Return the files that an address stands for."""
    if LMF_FILE.fullmatch(without_query(address).rpartition("/")[2]):
        return [address]
    return [f"{address.rstrip('/')}/{name}" for name in DATA_FILES]


def synset_name(word: str) -> str:
    """Return how a synset is called whose first word this is.

    Examples
    --------
    >>> [synset_name(word) for word in ("New_York", "galore(ip)", "St._Louis")]
    ['new york', 'galore', 'st']
    """
    return _MARKER.sub("", word).lower().partition(".")[0].replace("_", " ")


def _database_names(stream: BinaryIO, counts: RowCounts, file: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if line.startswith(b" "):
            continue  # the licence, before the first synset
        counts.rows_in += 1
        found = _SYNSET_LINE.match(line)
        if found is None:
            counts.drop("malformed_line", [f"{without_query(file)}, line {number}"])
            continue
        yield synset_name(found[1].decode("utf-8"))


def _lmf_names(stream: ByteStream, counts: RowCounts) -> Iterator[str]:
    lemmas: dict[str, str] = {}  # by the id of an entry or a sense, and by that of the synset it is the first of
    first_of: dict[str, str] = {}
    entry = ""
    for event in xml_events(stream):
        if event.kind != START:
            continue
        attributes = event.attributes
        match event.value:
            case "LexicalEntry":
                entry = attributes.get("id", "")
            case "Lemma":
                lemmas[entry] = attributes.get("writtenForm", "")
            case "Sense":
                lemmas[attributes.get("id", "")] = lemmas.get(entry, "")
                first_of.setdefault(attributes.get("synset", ""), lemmas.get(entry, ""))
            case "Synset":
                counts.rows_in += 1
                synset = attributes.get("id", "")
                member = next(iter(attributes.get("members", "").split()), "")
                name = synset_name(lemmas.get(member) or first_of.get(synset, ""))
                if name:
                    yield name
                else:
                    counts.drop("no_word", [synset[:80]])
        if len(lemmas) > 2 * MAX_LEXICAL_ENTRIES:
            raise ValueError(f"more than {MAX_LEXICAL_ENTRIES:,} lexical entries")
    if not counts.rows_in:
        raise ValueError("no Synset")


def wordnet_versions(address: str, storage: Storage) -> dict[str, str]:
    """Return what changes when WordNet's files do, by address, without reading them."""
    return {without_query(file): version_of(file, storage, DATABASE_RULE) for file in wordnet_files(address)}
