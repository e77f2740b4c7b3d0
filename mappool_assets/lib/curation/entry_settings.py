"""From which sources the metadata list is built, and from what threshold on a word, a pair or a title is in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake_sql import SQL_MEMORY, SqlLimits
from mappool_assets.lib.places.place_filter import PlaceFilter

GIVEN, NUMBER, WORDNET, UNIGRAM, BIGRAM, TITLE, PLACE, CARTOGRAPHY = SOURCES = (
    "given", "number", "wordnet", "unigram", "bigram", "title", "place", "cartography",
)  # fmt: skip
"""The sources in the order in which they come into the list: MetaCLIP's, then what it does not have."""


@dataclass(frozen=True, slots=True)
class NgramSettings:
    """Which words and pairs of words of a corpus are in the list.

    Attributes
    ----------
    text_column : str
        Of parquet files; Wikimedia's on the Hub call it ``text``.
    min_unigram_count : int
        Least number of times that a word occurs: 100, CLIP's (Radford et al. 2021, section 2.2) and MetaCLIP's.
    min_bigram_pmi : float, optional
        Least pointwise mutual information of a pair, in bits: 30, MetaCLIP's (``metaclip/build_metadata.py``). No pair
        of a corpus of less than 2^30 words can reach it, see :mod:`~.ngrams`. None counts no pairs.
    min_bigram_count : int
        Least number of times that a pair occurs: 1, as MetaCLIP asks for none. PMI overrates rare pairs: with a
        ``min_bigram_pmi`` of less than 30, ask for some.
    """

    text_column: str = "text"
    min_unigram_count: int = 100
    min_bigram_pmi: float | None = 30.0
    min_bigram_count: int = 1

    def __post_init__(self) -> None:
        _check("min_unigram_count", self.min_unigram_count, 1)
        _check("min_bigram_count", self.min_bigram_count, 1)
        if self.min_bigram_pmi is not None and not -64 <= self.min_bigram_pmi <= 64:
            raise _bad("min_bigram_pmi", "-64 to 64 bits, or None for no pairs", f"{self.min_bigram_pmi}")


@dataclass(frozen=True, slots=True)
class TitleSettings:
    """Which titles are in the list; all defaults are MetaCLIP's (``metaclip/build_metadata.py``).

    Attributes
    ----------
    domain : str
        As page-view files abbreviate it: ``en`` is the English Wikipedia without its mobile site, ``en.m``.
    min_hour_views : int
        An hour with fewer views of a title does not count.
    min_views : int
        Least number of views in all hours that count. Of clickstreams, in all months.
    """

    domain: str = "en"
    min_hour_views: int = 50
    min_views: int = 70

    def __post_init__(self) -> None:
        _check("min_hour_views", self.min_hour_views, 1)
        _check("min_views", self.min_views, 1)


@dataclass(frozen=True, slots=True)
class EntrySettings:
    """Where the metadata list comes from; a source that is not named is left out.

    Addresses are paths, ``http(s)://``, ``s3://`` or ``hf://``; a local folder stands for its files of the kind.

    Attributes
    ----------
    scratch : Path
        A folder on a local disk for what does not fit into memory, see :func:`~.ngrams.count_ngrams`.
    given : str, optional
        A list that exists: ``.json`` is a JSON array of strings, as MetaCLIP's ``metadata.json``; else a line an entry.
        Its entries come first, in its order.
    has_numbers : bool
        "0" to "99", as MetaCLIP has them.
    wordnet : str, optional
        WordNet's own folder (``data.noun`` …), or a ``.zip`` of it, as NLTK's downloads are.
    corpora : tuple of str
        Files of text whose words and pairs of words are counted, see :data:`~.corpus.RULE`.
    page_views : tuple of str
        Wikimedia's hourly ``pageviews-…`` files, or its monthly ``clickstream-….tsv`` files.
    places : tuple of str
        Gazetteers, each as :mod:`mappool_assets.lib.places.sources` has it: ``geonames:allCountries.txt``.
    has_cartography : bool
        The terms of ``cartographic_terms.txt``.
    ngrams : NgramSettings
    titles : TitleSettings
    place_filter : PlaceFilter
        Which places; all by default, of which ``allCountries.txt`` has 13 million.
    memory : str
        For sums and sorts, see :class:`~mappool_assets.lib.lake_sql.SqlLimits`.

    Raises
    ------
    BadSetting
        No source at all, or a threshold out of range.
    """

    scratch: Path
    given: str | None = None
    has_numbers: bool = False
    wordnet: str | None = None
    corpora: tuple[str, ...] = ()
    page_views: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    has_cartography: bool = False
    ngrams: NgramSettings = field(default_factory=NgramSettings)
    titles: TitleSettings = field(default_factory=TitleSettings)
    place_filter: PlaceFilter = field(default_factory=PlaceFilter)
    memory: str = SQL_MEMORY

    def __post_init__(self) -> None:
        if not self.rules():
            raise _bad("EntrySettings", f"one of the sources {', '.join(SOURCES)}", "none")

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return the sources that are named, in their order, each with the settings that decide what it gives."""
        ngrams, titles = self.ngrams, self.titles
        named: dict[str, tuple[object, dict[str, Any]]] = {
            GIVEN: (self.given, {}),
            NUMBER: (self.has_numbers, {}),
            WORDNET: (self.wordnet, {}),
            UNIGRAM: (self.corpora, {"min_count": ngrams.min_unigram_count}),
            BIGRAM: (
                self.corpora and ngrams.min_bigram_pmi is not None,
                {"min_pmi": ngrams.min_bigram_pmi, "min_count": ngrams.min_bigram_count},
            ),
            TITLE: (self.page_views, asdict(titles)),
            PLACE: (self.places, asdict(self.place_filter)),
            CARTOGRAPHY: (self.has_cartography, {}),
        }
        return {source: rule for source, (is_named, rule) in named.items() if is_named}

    @property
    def limits(self) -> SqlLimits:
        """What sums and sorts may use."""
        return SqlLimits(self.memory, spill=self.scratch)


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise _bad(name, f"{least} or more", f"{value}")


def _bad(where: str, rule: str, got: str) -> BadSetting:
    action = "Correct the setting of the metadata list."
    return BadSetting("The metadata list cannot be built so", where=where, rule=rule, got=got, action=action)
