"""The sources of the metadata list, each read to the candidates that it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.curation.corpus import CORPUS_FILE
from mappool_assets.lib.curation.corpus import RULE as CORPUS_RULE
from mappool_assets.lib.curation.entry_list import (
    TERMS_FILE,
    Candidates,
    cartographic_terms,
    given_entries,
    text_batches,
)
from mappool_assets.lib.curation.entry_settings import (
    BIGRAM,
    CARTOGRAPHY,
    GIVEN,
    NUMBER,
    PLACE,
    TITLE,
    UNIGRAM,
    WORDNET,
    EntrySettings,
)
from mappool_assets.lib.curation.ngrams import bigrams, count_ngrams, unigrams
from mappool_assets.lib.curation.page_views import RULE as VIEWS_RULE
from mappool_assets.lib.curation.page_views import VIEWS_FILE, ReadViews, read_views, titles
from mappool_assets.lib.curation.place_names import place_names, read_place_names
from mappool_assets.lib.curation.source_stream import files_of, unusable, version_of
from mappool_assets.lib.curation.wordnet import synset_names, wordnet_files
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.places.place import RowCounts
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.places.sources import PlaceSource
from mappool_assets.lib.ranged_file.base import Storage

NUMBERS = 100  # "0" to "99"
TOO_RARE, BELOW_PMI, FEW_VIEWS = "too_rare", "below_pmi", "few_views"

Tell = Callable[[str], None]


def source_versions(settings: EntrySettings, storage: Storage) -> dict[str, str]:
    """Return what changes when a file of the sources does, by its address, without reading any.

    Raises
    ------
    BadSetting, MissingInput, SourceUnavailable
        A file that is not there or cannot be opened.
    """
    files = [
        *([settings.given] if settings.given else []),
        *(wordnet_files(settings.wordnet) if settings.wordnet else []),
        *_corpora(settings),
        *_page_views(settings),
        *(PlaceSource.parse(source).path for source in settings.places),
    ]
    versions = {without_query(file): version_of(file, storage, "a file") for file in files}
    return {**versions, **({TERMS_FILE.name: _terms_version()} if settings.has_cartography else {})}


def _terms_version() -> str:
    return f"sha256:{hashlib.sha256(TERMS_FILE.read_bytes()).hexdigest()}"


def _corpora(settings: EntrySettings) -> list[str]:
    return [file for address in settings.corpora for file in files_of(address, CORPUS_FILE, CORPUS_RULE)]


def _page_views(settings: EntrySettings) -> list[str]:
    return [file for address in settings.page_views for file in files_of(address, VIEWS_FILE, VIEWS_RULE)]


@dataclass
class EntrySources:
    """Reads the sources.

    Attributes
    ----------
    lake : Lake
        Runs the sums and sorts.
    settings : EntrySettings
    storage : Storage
    scratch : Path
        A folder of one's own.
    workers : int
        Files of a corpus or of page views that are read at once.
    tell : callable
        Told what a source gave.
    candidates : Candidates
        Gets the entries.
    versions : dict of str to list of str
        By source the versions of its files, once it is read.
    measures : dict
        Texts, words, lines and rows that were read, by what they are.
    """

    lake: Lake
    settings: EntrySettings
    storage: Storage
    scratch: Path
    workers: int
    tell: Tell
    candidates: Candidates = field(init=False)
    versions: dict[str, list[str]] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.scratch)

    def read(self) -> None:
        """Read all sources that are named, in their order; raises as each one's reader does."""
        settings = self.settings
        if settings.given:
            self._add(GIVEN, given_entries(settings.given, self.storage, self._versions(GIVEN)))
        if settings.has_numbers:
            self._add(NUMBER, text_batches(map(str, range(NUMBERS))))
        if settings.wordnet:
            self._wordnet(settings.wordnet)
        if settings.corpora:
            self._corpora()
        if settings.page_views:
            self._titles()
        if settings.places:
            self._places()
        if settings.has_cartography:
            self._versions(CARTOGRAPHY).append(_terms_version())
            self._add(CARTOGRAPHY, text_batches(cartographic_terms()))

    def _versions(self, source: str) -> list[str]:
        return self.versions.setdefault(source, [])

    def _add(self, source: str, batches: Iterator[pa.Array]) -> None:
        self.candidates.add(source, batches)
        self.tell(f"{source}: {self.candidates.number[source]:,} candidates")

    def _wordnet(self, address: str) -> None:
        self._add(WORDNET, text_batches(synset_names(address, self.storage, self._versions(WORDNET))))

    def _corpora(self) -> None:
        rule, limits, lake = self.settings.ngrams, self.settings.limits, self.lake
        counts = count_ngrams(
            lake, _corpora(self.settings), self.storage, rule, limits, self.scratch, self.workers, self.tell
        )
        self._versions(UNIGRAM).extend(counts.versions)
        self._add(UNIGRAM, unigrams(lake, counts, rule, limits))
        self.candidates.drop(UNIGRAM, TOO_RARE, counts.unigrams - self.candidates.number[UNIGRAM])
        if rule.min_bigram_pmi is not None:
            self._versions(BIGRAM).extend(counts.versions)
            self._add(BIGRAM, bigrams(lake, counts, rule, limits))
            left_out = counts.bigrams - counts.rare_bigrams - self.candidates.number[BIGRAM]
            self.candidates.drop(BIGRAM, TOO_RARE, counts.rare_bigrams)
            self.candidates.drop(BIGRAM, BELOW_PMI, left_out)
        self.measures["texts"] = _read(counts.texts)
        self.measures["words"] = {
            "words": counts.words,
            "too_long": counts.too_long,
            "most_pmi": round(counts.most_pmi, 3),
        }

    def _titles(self) -> None:
        read = read_views(
            _page_views(self.settings), self.storage, self.settings.titles, self.scratch, self.workers, self.tell
        )
        self._versions(TITLE).extend(read.versions)
        self.measures["views"] = _read(read.lines)
        self._add(TITLE, self._viewed(read))
        if not self.candidates.number[TITLE]:
            rule = f"views of the domain {self.settings.titles.domain!r}"
            raise unusable(self.settings.page_views[0], rule, f"no title, {read.lines}")

    def _viewed(self, read: ReadViews) -> Iterator[pa.Array]:
        """Yield the titles that are viewed often enough; count the others."""
        for batch in titles(self.lake, read, self.settings.limits):
            is_viewed = pc.greater_equal(batch["views"], self.settings.titles.min_views)
            yield batch["title"].filter(is_viewed)
            self.candidates.drop(TITLE, FEW_VIEWS, len(batch) - (pc.sum(is_viewed).as_py() or 0))

    def _places(self) -> None:
        read = read_place_names(self.settings.places, self.settings.place_filter, self.storage, self.scratch)
        self._versions(PLACE).extend(read.versions)
        self.measures["places"] = _read(read.rows)
        self._add(PLACE, place_names(self.lake, read, self.settings.limits))


def _read(counts: RowCounts) -> dict[str, Any]:
    """Return what a reader counted, as provenance records it."""
    examples = {reason: counts.examples[reason] for reason in sorted(counts.dropped)}
    return {"read": counts.rows_in, "left_out": dict(sorted(counts.dropped.items())), "examples": examples}
