"""A file of a text corpus as pieces of texts: a wiki's XML dump, a parquet column, or plain text.

A text is an article, a row or a whole plain file: words of different texts do not follow each other.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.curation.source_stream import SourceStream, open_source, understood
from mappool_assets.lib.curation.wikipedia_dump import RULE as DUMP_RULE
from mappool_assets.lib.curation.wikipedia_dump import article_texts
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged

# Wikimedia's parts of a dump are called …articles1.xml-p1p41242.bz2.
CORPUS_FILE = re.compile(r".+?(?:(?P<dump>\.xml(?:-p\d+p\d+)?)|\.txt)(?:\.bz2|\.gz)?|.+(?P<parquet>\.parquet)")
RULE = "a wiki's dump (.xml, .xml.bz2, .xml.gz), text (.txt, .txt.gz, .txt.bz2) or a column of texts (.parquet)"
TEXT_RULE = "a file of text, UTF-8"
READ_BYTES = PIECE_CHARACTERS = 1 << 20
BATCH_ROWS = 256  # of Wikipedia's articles, 1 MB
PARQUET_BUFFER_BYTES = 1 << 20


class Piece(NamedTuple):
    """A piece of a text, cut anywhere.

    Attributes
    ----------
    text : str
    is_last : bool
        Whether the text ends with it.
    """

    text: str
    is_last: bool


@dataclass
class CorpusFile:
    """A file of a corpus, to be read once.

    Attributes
    ----------
    address : str
        Ends as :data:`RULE` says.
    storage : Storage
    text_column : str
        Of parquet files; Wikimedia's on the Hub call it ``text``.
    counts : RowCounts
        Gets the texts, and those that are left out.
    version : str
        Once it is read: ``sha256:…`` of the file, or a remote parquet's version.
    """

    address: str
    storage: Storage
    text_column: str = "text"
    counts: RowCounts = field(default_factory=RowCounts)
    version: str = ""

    def pieces(self) -> Iterator[Piece]:
        """Yield the texts, a piece at a time; raises as :func:`~.source_stream.open_source` does."""
        named = CORPUS_FILE.fullmatch(without_query(self.address).rpartition("/")[2])
        assert named is not None, "a file of another name"
        if named["parquet"]:
            yield from self._rows()
            return
        with open_source(self.address, self.storage, DUMP_RULE if named["dump"] else TEXT_RULE) as raw:
            if named["dump"]:
                for text in article_texts(raw, self.counts):
                    yield from _cut(text)
            else:
                yield from self._plain(raw)
            self.version = _finished(raw)

    def _plain(self, stream: SourceStream) -> Iterator[Piece]:
        self.counts.rows_in += 1
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")  # at what is none, words end
        while data := stream.read(READ_BYTES):
            yield Piece(decoder.decode(data), False)
        yield Piece(decoder.decode(b"", True), True)

    def _rows(self) -> Iterator[Piece]:
        rule = f"a parquet file with a column {self.text_column!r} of texts"
        with understood(self.address, rule), open_ranged(self.address, self.storage) as file:
            is_local = "://" not in self.address
            self.version = _sha256(file.as_stream(READ_BYTES)) if is_local else file.version
            # Not pre-buffered: a row group may be larger than memory.
            with pq.ParquetFile(
                file.as_stream(READ_BYTES), buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False
            ) as parquet:
                kind = parquet.schema_arrow.field(self.text_column).type if self._has_column(parquet) else None
                if kind not in (pa.string(), pa.large_string()):
                    raise ValueError(f"columns {parquet.schema_arrow.names[:50]}, {self.text_column} of type {kind}")
                for batch in parquet.iter_batches(BATCH_ROWS, columns=[self.text_column]):
                    yield from self._texts(batch.column(0))
            file.check_unchanged()

    def _has_column(self, parquet: pq.ParquetFile) -> bool:
        return self.text_column in parquet.schema_arrow.names

    def _texts(self, column: pa.Array) -> Iterator[Piece]:
        self.counts.rows_in += len(column)
        if column.null_count:
            self.counts.drop("no_text", [], column.null_count)
        for text in column.drop_null():
            yield from _cut(text.as_py())


def _cut(text: str) -> Iterator[Piece]:
    """Yield a text in pieces: of words, each takes ten times its size."""
    for start in range(0, len(text) or 1, PIECE_CHARACTERS):
        end = start + PIECE_CHARACTERS
        yield Piece(text[start:end], end >= len(text))


def _finished(stream: SourceStream) -> str:
    while stream.read(READ_BYTES):
        pass  # white space behind a document's end
    return stream.version


def _sha256(stream: BinaryIO) -> str:
    return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"  # type: ignore[arg-type]
