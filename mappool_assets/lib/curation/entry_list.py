"""The metadata list out of its sources: each entry once, in a frozen order, with all the sources that have it.

Sources come in the order of :data:`~.entry_settings.SOURCES`, entries of a source in its own: a given list as it is
given, "0" to "99" as numbers, synsets as WordNet has them, words by frequency, pairs by PMI, titles by views, places by
population, terms as they are listed. (MetaCLIP's own list has the order of a Python set, another one at each run.)
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.entry_settings import SOURCES
from mappool_assets.lib.curation.source_stream import SourceStream, open_source
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage

TERMS_FILE = Path(__file__).with_name("cartographic_terms.txt")
JSON_RULE = "a JSON array of strings, as MetaCLIP's metadata.json"
LINES_RULE = "an entry a line, UTF-8"
MAX_LIST_BYTES = 1 << 30  # MetaCLIP's of 500,000 entries has 8 MB
LONGEST_LINE = 1 << 20  # characters; texts have none as long
BATCH_ROWS = 1 << 16
EMPTY, PUNCTUATION, DUPLICATE = "empty", "single_punctuation", "duplicate"

_CANDIDATES = pa.schema([("source", pa.uint8()), ("place", pa.int64()), ("entry", pa.string())])
ENTRIES_SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.int32(), False),
        pa.field("entry", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("sources", pa.list_(pa.string()), False),
    ]
)
_SOURCES_OF_BITS = [[name for bit, name in enumerate(SOURCES) if bits >> bit & 1] for bits in range(1 << len(SOURCES))]


class Candidates:
    """What the sources have, on its way to the list.

    Parameters
    ----------
    scratch : Path
        A folder on a local disk.

    Attributes
    ----------
    number : Counter of str
        Candidates by source, also those that were dropped.
    dropped : Counter of str
        Candidates that are in no list, by reason.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.number, self.dropped = Counter[str](), Counter[str]()

    def add(self, source: str, batches: Iterable[pa.Array]) -> None:
        """Take a source's entries (string arrays), in their order; each source once."""
        assert source in SOURCES
        assert not self._file(source).exists()
        with pq.ParquetWriter(self._file(source), _CANDIDATES, compression="zstd") as writer:
            for entries in batches:
                kept = self._kept(entries)
                places = pa.array(range(self.number[source], self.number[source] + len(kept)), pa.int64())
                number = pa.repeat(pa.scalar(SOURCES.index(source), pa.uint8()), len(kept))
                writer.write_table(pa.table([number, places, kept], schema=_CANDIDATES))
                self.number[source] += len(entries)

    def drop(self, source: str, reason: str, number: int) -> None:
        """Count candidates of a source that did not come so far."""
        self.number[source] += number
        if number:
            self.dropped[reason] += number

    def _kept(self, entries: pa.Array) -> pa.Array:
        """Return all but those that MetaCLIP leaves out: empty ones, and single ASCII punctuation."""
        is_empty = pc.equal(entries, "")
        is_mark = pc.is_in(entries, value_set=pa.array(list(string.punctuation)))
        for reason, is_dropped in ((EMPTY, is_empty), (PUNCTUATION, is_mark)):
            if number := pc.sum(is_dropped).as_py():
                self.dropped[reason] += number
        return entries.filter(pc.invert(pc.or_(is_empty, is_mark)))

    def _file(self, source: str) -> Path:
        return self._scratch / f"{source}.parquet"

    @contextlib.contextmanager
    def entries(self, lake: Lake, limits: SqlLimits) -> Iterator[Iterator[pa.Table]]:
        """Yield the list, some entries at a time: ``entry_id``, ``entry``, ``source`` (the first), ``sources`` (all).

        The duplicates are counted as it is gone through.
        """
        files = [str(self._file(source)) for source in SOURCES if self._file(source).exists()]
        statement = sql_files.statement("steps/entries")
        with lake.query_batches(statement, {"files": files}, limits=limits, batch_rows=BATCH_ROWS) as rows:
            yield self._numbered(rows)

    def _numbered(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        lists = pa.array(_SOURCES_OF_BITS, pa.list_(pa.string()))
        firsts = pa.array([names[0] if names else None for names in _SOURCES_OF_BITS])
        start = 0
        for batch in rows:
            if duplicates := pc.sum(batch["candidates"]).as_py() - len(batch):
                self.dropped[DUPLICATE] += duplicates
            ids = pa.array(range(start, start + len(batch)), pa.int32())
            bits = batch["sources"]
            yield pa.table([ids, batch["entry"], firsts.take(bits), lists.take(bits)], schema=ENTRIES_SCHEMA)
            start += len(batch)


class ListHash:
    """The hash of a list that comes in parts: of each entry as JSON, and a line end."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, entries: Iterable[str]) -> None:
        """Take the next entries."""
        for entry in entries:
            self._sha256.update(json.dumps(entry, ensure_ascii=False).encode())
            self._sha256.update(b"\n")

    @property
    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._sha256.hexdigest()


def entries_sha256(entries: Iterable[str]) -> str:
    """Return the hash of a list of entries, in their order: what ``entries_sha256`` of the table's measures is."""
    of_list = ListHash()
    of_list.add(entries)
    return of_list.hexdigest


def given_entries(address: str, storage: Storage, versions: list[str]) -> Iterator[pa.Array]:
    """Yield the entries of a list that exists, as they are given.

    Parameters
    ----------
    address : str
        ``.json`` (also packed: ``.json.gz``) is a JSON array of strings, of at most 1 GiB; any other an entry a line,
        at whose end line feed, or carriage return and line feed, is no part of it.
    versions : list of str
        Gets ``sha256:…`` once it is read.

    Raises
    ------
    BadSetting
        No such list, not UTF-8, or text that is no Unicode (lone surrogates).
    MissingInput, SourceChanged, SourceUnavailable
        See :func:`~.source_stream.open_source`.
    """
    is_json = ".json" in Path(without_query(address)).suffixes[-2:]
    with open_source(address, storage, JSON_RULE if is_json else LINES_RULE) as stream:
        yield from text_batches(_json_entries(stream) if is_json else _lines(stream))
        versions.append(stream.version)


def cartographic_terms() -> Iterator[str]:
    """Yield the terms that ship with this package: each as it is, as a sentence begins with it, and as a title.

    Examples
    --------
    >>> list(cartographic_terms())[:3]
    ['map', 'Map', 'maps']
    """
    seen = set()
    for line in TERMS_FILE.read_text(encoding="utf-8").splitlines():
        term = line.strip()
        if not term or term.startswith("#"):
            continue
        title = " ".join(word if word in ("of", "and", "the") else word[0].upper() + word[1:] for word in term.split())
        for form in (term, term[0].upper() + term[1:], title):
            if form not in seen:
                seen.add(form)
                yield form


def text_batches(texts: Iterable[str]) -> Iterator[pa.Array]:
    """Yield texts as string arrays of some thousand."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH_ROWS:
            yield pa.array(batch, pa.string())
            batch = []
    yield pa.array(batch, pa.string())


def _json_entries(stream: SourceStream) -> list[str]:
    content = bytearray()
    while piece := stream.read(BATCH_ROWS):
        content += piece
        if len(content) > MAX_LIST_BYTES:
            raise ValueError(f"more than {MAX_LIST_BYTES:,} bytes")
    try:
        entries = json.loads(content)
    except RecursionError:
        raise ValueError("lists in lists without end") from None
    if not isinstance(entries, list):
        raise ValueError(f"a JSON {type(entries).__name__}, not an array")
    for number, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise ValueError(f"item {number} is a {type(entry).__name__}, not a string")
    return entries


def _lines(stream: SourceStream) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    while data := stream.read(BATCH_ROWS):
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE:,} characters")
        yield from (line.removesuffix("\r") for line in lines)
    rest += decoder.decode(b"", True)
    if rest:
        yield rest.removesuffix("\r")
