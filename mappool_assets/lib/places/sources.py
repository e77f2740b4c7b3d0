"""Sources of places by their address, ``KIND:PATH`` or ``KIND:PATH?OPTION=VALUE&…``.

===================  ==============================================================================================
``keywords:``        a keyword a line, with its context after tabs
``geonames:``        a file of GeoNames, ``.txt`` or ``.zip``; ``languages=en,fr`` of further names
``natural_earth:``   populated places, ``.csv``, ``.geojson`` or ``.parquet``, also zipped text
``overture:``        Overture's places, ``.parquet``; ``confidence=0.7`` at least, ``languages=…`` of translations
``linked_places:``   ``.tsv`` or ``.csv`` (LP-TSV), ``.json`` or ``.geojson`` (Linked Places Format)
``csv:``             a table of one's own; ``id=…&name=…`` maps fields to its columns, ``delimiter=;`` separates them
``jsonl:``           the same as JSON lines
===================  ==============================================================================================

PATH is a path or an address (``http(s)://``, ``s3://``, ``hf://``). Options begin at its last question mark; an address
that has one of its own ends with another: ``geonames:https://host/GB.zip?version=3?``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pyarrow as pa

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.geonames import RULE as GEONAMES_RULE
from mappool_assets.lib.places.geonames import GeoNames
from mappool_assets.lib.places.geonames_folder import GeoNamesFolder
from mappool_assets.lib.places.keywords import RULE as KEYWORDS_RULE
from mappool_assets.lib.places.keywords import keywords
from mappool_assets.lib.places.linked_places import JSON_RULE, TSV_RULE, linked_places
from mappool_assets.lib.places.mapped_table import DELIMITER, MAPPED_FIELDS, mapped_table
from mappool_assets.lib.places.mapped_table import RULE as MAPPED_RULE
from mappool_assets.lib.places.natural_earth import RULE as NATURAL_EARTH_RULE
from mappool_assets.lib.places.natural_earth import natural_earth
from mappool_assets.lib.places.overture import RULE as OVERTURE_RULE
from mappool_assets.lib.places.overture import overture
from mappool_assets.lib.places.place import RawPlaces, RowCounts
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.source_files import SourceFiles, without_query

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "keywords": (),
    "geonames": ("languages",),
    "natural_earth": (),
    "overture": ("languages", "confidence"),
    "linked_places": (),
    "csv": (*MAPPED_FIELDS, DELIMITER),
    "jsonl": MAPPED_FIELDS,
}
RULES: Mapping[str, str] = {
    "keywords": KEYWORDS_RULE,
    "geonames": GEONAMES_RULE,
    "natural_earth": NATURAL_EARTH_RULE,
    "overture": OVERTURE_RULE,
    "linked_places": f"{TSV_RULE}; or {JSON_RULE}",
    "csv": MAPPED_RULE,
    "jsonl": MAPPED_RULE,
}
RULE = f"KIND:PATH, KIND one of {', '.join(OPTIONS)}"


@dataclass(frozen=True)
class PlaceSource:
    """An address, understood.

    Attributes
    ----------
    kind : str
    path : str
        A path or an address.
    options : mapping of str to str
    """

    kind: str
    path: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        """Return the address without what may be secret: query and password of where the file lies."""
        options = f"?{urlencode(self.options)}" if self.options else ""
        return f"{self.kind}:{without_query(self.path)}{options}"

    @property
    def rule(self) -> str:
        """What its file should be."""
        return RULES[self.kind]

    @classmethod
    def parse(cls, address: str) -> PlaceSource:
        """Return the source that an address names; :class:`BadSetting` where it names none."""
        kind, _, rest = address.partition(":")
        path, mark, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
        if kind not in OPTIONS or not path:
            raise _bad(address, RULE, kind if path else "no path")
        options = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(options.keys() - set(OPTIONS[kind]))
        if unknown or (mark and query and not options):
            allowed = f"options {', '.join(OPTIONS[kind])}" if OPTIONS[kind] else "no options"
            raise _bad(address, f"{allowed} after the last question mark", ", ".join(unknown) or query)
        source = cls(kind, path, options)
        source._check_values(address)
        return source

    def _check_values(self, address: str) -> None:
        delimiter = self.options.get(DELIMITER, ",")
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise _bad(address, "one character as the delimiter (%09 is a tab)", repr(delimiter))
        if not 0 <= self.least_confidence <= 1:
            raise _bad(address, "a confidence from 0 to 1", self.options["confidence"])
        empty = [option for option, value in self.options.items() if not value]
        if empty:
            raise _bad(address, "a value for each option", f"none for {', '.join(empty)}")

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639 codes; empty where all languages are wanted."""
        return tuple(filter(None, (code.strip() for code in self.options.get("languages", "").split(","))))

    @property
    def least_confidence(self) -> float:
        """0 to 1, NaN where the option is no number."""
        try:
            return float(self.options.get("confidence", "0"))
        except ValueError:
            return float("nan")


@dataclass(frozen=True)
class SourceReader:
    """Reads the places of a source.

    Attributes
    ----------
    source : PlaceSource
    files : SourceFiles
        Remembers what was read.
    place_filter : PlaceFilter
        Lets readers leave out what it does not want; they need not.
    wants_alternates : bool
        Whether further names are read.
    """

    source: PlaceSource
    files: SourceFiles
    place_filter: PlaceFilter
    wants_alternates: bool

    @functools.cached_property
    def _geonames(self) -> GeoNames:
        return GeoNames(GeoNamesFolder(self.files, self.source.path), self.wants_alternates, self.source.languages)

    def batches(self, counts: RowCounts) -> Iterator[RawPlaces]:
        """Yield the rows as they are; ``counts`` gets those that are none."""
        path = self.source.path
        match self.source.kind:
            case "keywords":
                return keywords(self.files, path, counts)
            case "geonames":
                return self._geonames.batches(counts)
            case "natural_earth":
                return natural_earth(self.files, path, counts)
            case "linked_places":
                return linked_places(self.files, path, counts)
            case "overture":
                return overture(
                    self.files,
                    path,
                    counts,
                    place_filter=self.place_filter,
                    least_confidence=self.source.least_confidence,
                    wants_alternates=self.wants_alternates,
                    languages=self.source.languages,
                )
            case kind:  # csv, jsonl
                return mapped_table(self.files, path, kind, self.source.options, counts)

    def finished(self, kept: pa.Table) -> pa.Table:
        """Return the places kept (``PLACE_SCHEMA``) with what is only read for those."""
        return self._geonames.add_alternates(kept) if self.source.kind == "geonames" else kept

    @property
    def joined(self) -> dict[str, Any]:
        """Rows and dropped rows of files that were joined, by their name."""
        return self._geonames.folder.measures()


def _bad(where: str, rule: str, got: str) -> BadSetting:
    action = "Correct the source of places."
    return BadSetting("The source of places cannot be understood", where=where, rule=rule, got=got, action=action)
