"""Words and pairs of words of a corpus that is larger than memory: the frequent ones, and the telling ones.

A pair tells by its pointwise mutual information, as MetaCLIP takes it from NLTK's collocations
(``BigramAssocMeasures.pmi``; Manning and Schütze, section 5.4), in bits:

    PMI(a, b) = log2(n(a, b) · N / (n(a) · n(b))),    N the number of all words

It is at most log2(N), for words that occur once, together: MetaCLIP's 30 asks for more than 2^30 (1.07 billion) words,
which the English Wikipedia has; of 4 billion words it keeps pairs that occur three times at most, and never apart. For
a smaller corpus, or for pairs that people use, take less and some ``min_bigram_count``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.corpus import CorpusFile
from mappool_assets.lib.curation.entry_settings import NgramSettings
from mappool_assets.lib.curation.words import COUNTS, WordCounter
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.workers import run_tasks

HELD = 24 << 20  # words and characters in memory, some 4 million words of a language with spaces: 250 MB
BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class CorpusTask:
    """What a worker needs to count a file of a corpus.

    Attributes
    ----------
    address : str
    storage : Storage
    settings : NgramSettings
    target : Path
        Where the counts go, as parquet.
    """

    address: str
    storage: Storage
    settings: NgramSettings
    target: Path

    def __str__(self) -> str:
        return f"words of {without_query(self.address)}"


@dataclass(frozen=True, slots=True)
class CountedFile:
    """What a file of a corpus held.

    Attributes
    ----------
    version : str
        As :attr:`CorpusFile.version`.
    texts : RowCounts
        Its texts, and those that were left out.
    too_long : int
        How many words were too long to be any.
    """

    version: str
    texts: RowCounts
    too_long: int


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """The counts of a whole corpus.

    Attributes
    ----------
    file : Path
        Parquet of :data:`~.words.COUNTS`: each word, and each pair, once; ``second`` of a word is empty.
    versions : list of str
        Of the files, sorted.
    texts : RowCounts
    words : int
        N, how many words there are.
    too_long : int
        How many more were too long.
    unigrams, bigrams : int
        How many different words and pairs.
    rare_bigrams : int
        How many of the pairs occur less often than is asked for.
    """

    file: Path
    versions: list[str]
    texts: RowCounts
    words: int
    too_long: int
    unigrams: int
    bigrams: int
    rare_bigrams: int

    @property
    def most_pmi(self) -> float:
        """The highest PMI that a pair of this corpus can have, in bits."""
        return math.log2(self.words) if self.words else 0.0


def count_ngrams(
    lake: Lake,
    addresses: Sequence[str],
    storage: Storage,
    settings: NgramSettings,
    limits: SqlLimits,
    scratch: Path,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> NgramCounts:
    """Count the words and pairs of a corpus, in memory that does not grow with it.

    Parameters
    ----------
    addresses : sequence of str
        Its files; each is counted by one worker. Their order has no effect.
    scratch : Path
        A folder on a local disk: counts take a quarter of the text's size, and sums spill what memory does not hold.

    Raises
    ------
    BadSetting, MissingInput, SourceChanged, SourceUnavailable
        The first file that cannot be read, see :func:`~.source_stream.open_source`; or memory and disk do not suffice.
    """
    tasks = [
        CorpusTask(address, storage, settings, scratch / f"corpus-{number}.parquet")
        for number, address in enumerate(addresses)
    ]
    texts, versions, too_long = RowCounts(), [], 0
    for outcome in run_tasks(count_file, tasks, workers):
        if outcome.result is None:
            assert outcome.error is not None
            raise outcome.error
        texts.add(outcome.result.texts)
        versions.append(outcome.result.version)
        too_long += outcome.result.too_long
        tell(f"{outcome.task}: {outcome.result.texts.rows_in:,} texts, {len(versions)} of {len(tasks)} files")
    target = scratch / "ngrams.parquet"
    added = _add_up(lake, [str(task.target) for task in tasks], limits, target, settings.min_bigram_count)
    for task in tasks:
        task.target.unlink()
    return NgramCounts(target, sorted(versions), texts, added.words, too_long, *added[1:])


def count_file(task: CorpusTask) -> CountedFile:
    """Count the words and pairs of one file; a word may have several rows. Raises as :func:`count_ngrams` does."""
    file = CorpusFile(task.address, task.storage, task.settings.text_column)
    counter, too_long = WordCounter(task.settings.min_bigram_pmi is not None), 0
    with pq.ParquetWriter(task.target, COUNTS, compression="zstd") as writer:

        def write() -> int:
            counts, too_long = counter.take()
            writer.write_table(counts)
            return too_long

        for text, is_last in file.pieces():
            counter.add(text, is_last=is_last)
            if counter.held >= HELD:
                too_long += write()
        too_long += write()
    return CountedFile(file.version, file.counts, too_long)


class _Added(NamedTuple):
    words: int = 0
    unigrams: int = 0
    bigrams: int = 0
    rare_bigrams: int = 0


def _add_up(lake: Lake, files: list[str], limits: SqlLimits, target: Path, min_bigram_count: int) -> _Added:
    """Write the sum of counts; return how many words there are, and how many different words and pairs."""
    added = _Added()
    with (
        lake.query_batches(
            sql_files.statement("steps/ngram_counts"), {"files": files}, limits=limits, batch_rows=BATCH_ROWS
        ) as rows,
        pq.ParquetWriter(target, COUNTS, compression="zstd") as writer,
    ):
        for batch in rows:
            writer.write_batch(batch.cast(COUNTS))
            is_word = pc.equal(batch["second"], "")
            of_words, of_pairs = batch["n"].filter(is_word), batch["n"].filter(pc.invert(is_word))
            rare = pc.sum(pc.less(of_pairs, min_bigram_count)).as_py() or 0
            words = pc.sum(of_words).as_py() or 0
            one = _Added(words, len(of_words), len(of_pairs), rare)
            added = _Added(*(sum(pair) for pair in zip(added, one, strict=True)))
    return added


def unigrams(lake: Lake, counts: NgramCounts, settings: NgramSettings, limits: SqlLimits) -> Iterator[pa.Array]:
    """Yield the words that are frequent enough, most frequent first, then by code points."""
    bound = {"files": [str(counts.file)], "least": settings.min_unigram_count}
    yield from _entries(lake, "unigrams", bound, limits)


def bigrams(lake: Lake, counts: NgramCounts, settings: NgramSettings, limits: SqlLimits) -> Iterator[pa.Array]:
    """Yield the pairs that tell enough, as two words with a space, those of the highest PMI first."""
    if settings.min_bigram_pmi is None or settings.min_bigram_pmi > counts.most_pmi:
        return
    bound = {
        "files": [str(counts.file)],
        "least": settings.min_bigram_count,
        "words": float(counts.words),
        "least_lift": 2.0**settings.min_bigram_pmi,
    }
    yield from _entries(lake, "bigrams", bound, limits)


def _entries(lake: Lake, step: str, bound: dict[str, object], limits: SqlLimits) -> Iterator[pa.Array]:
    statement = sql_files.statement(f"steps/{step}")
    with lake.query_batches(statement, bound, limits=limits, batch_rows=BATCH_ROWS) as rows:
        for batch in rows:
            yield batch["entry"]
