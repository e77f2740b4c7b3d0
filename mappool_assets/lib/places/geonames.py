"""GeoNames: ``allCountries``, a country's file or ``cities500`` … ``cities15000``, as ``.txt`` or zipped as downloaded.

Tab-separated, UTF-8, no header, no quoting, 19 columns (https://download.geonames.org/export/dump/readme.txt, CC BY
4.0). Files of the same folder are joined where they are there (:mod:`mappool_assets.lib.places.geonames_folder`):
``admin1CodesASCII.txt``, ``admin2Codes.txt``, ``countryInfo.txt`` and, for further names, ``alternateNamesV2``. Without
the latter, further names are those of the main file's own column, whose languages are not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.places.delimited import read_rows
from mappool_assets.lib.places.geonames_folder import GeoNamesFolder, Names, named
from mappool_assets.lib.places.place import ALTERNATE, RawPlaces, RowCounts, listed_names
from mappool_assets.lib.places.source_files import unusable

COLUMNS = (
    "geonameid", "name", "asciiname", "alternatenames", "latitude", "longitude", "feature class", "feature code",
    "country code", "cc2", "admin1 code", "admin2 code", "admin3 code", "admin4 code", "population", "elevation",
    "dem", "timezone", "modification date",
)  # fmt: skip
READ = ("geonameid", "name", "latitude", "longitude", "feature class", "feature code", "country code", "admin1 code",
        "admin2 code", "population")  # fmt: skip
FURTHER_NAMES = "alternatenames"

RULE = "GeoNames' 19 columns, tab-separated UTF-8 without header and quoting"
PREFIX = "geonames:"


@dataclass(frozen=True)
class GeoNames:
    """A file of GeoNames.

    Attributes
    ----------
    folder : GeoNamesFolder
        Where it lies, and what lies beside it.
    wants_alternates : bool
        Whether further names are read: ``alternateNamesV2`` has 18 million rows.
    languages : tuple of str
        ISO 639 codes of further names; all where empty.
    """

    folder: GeoNamesFolder
    wants_alternates: bool = False
    languages: tuple[str, ...] = ()

    def batches(self, counts: RowCounts) -> Iterator[RawPlaces]:
        """Yield the rows, with the names of admin levels and country where they are known.

        Raises
        ------
        BadSetting
            Not such a file, or languages are asked for and nothing says a name's language.
        """
        own_names = self.wants_alternates and self.folder.names_address is None
        if own_names and self.languages:
            rule = "alternateNamesV2 beside it, which says each name's language"
            raise unusable(self.folder.address, rule, "none, and languages are asked for")
        admin1, admin2 = (self.folder.admin_names(file) for file in ("admin1CodesASCII.txt", "admin2Codes.txt"))
        countries = self.folder.country_names()
        wanted = {name: name for name in (*READ, *((FURTHER_NAMES,) if own_names else ()))}
        with self.folder.files.text(self.folder.address, RULE, (".txt",)) as (stream, file):
            for raw in read_rows(stream, COLUMNS, wanted, counts, where=file, delimiter="\t"):
                yield _places(raw, admin1, admin2, countries)

    def add_alternates(self, kept: pa.Table) -> pa.Table:
        """Return places (``PLACE_SCHEMA``) with their names from ``alternateNamesV2``, where that is there."""
        if not self.wants_alternates or self.folder.names_address is None:
            return kept
        ids = pc.utf8_slice_codeunits(kept["place_id"].combine_chunks(), len(PREFIX))
        column = self.folder.further_names(ids, self.languages)
        return kept.set_column(kept.schema.get_field_index("alternates"), kept.schema.field("alternates"), column)


def _places(raw: RawPlaces, admin1: Names | None, admin2: Names | None, countries: Names | None) -> dict[str, pa.Array]:
    country, level1, level2 = raw["country code"], raw["admin1 code"], raw["admin2 code"]
    is_identified = pc.not_equal(raw["geonameid"], "")
    places = {
        "place_id": pc.if_else(is_identified, pc.binary_join_element_wise(PREFIX, raw["geonameid"], ""), None),
        "name": raw["name"],
        "admin1": named(admin1, pc.binary_join_element_wise(country, level1, ".")),
        "admin2": named(admin2, pc.binary_join_element_wise(country, level1, level2, ".")),
        "country": country,
        "country_name": named(countries, country),
        "feature_class": raw["feature class"],
        "feature_code": raw["feature code"],
        "latitude": raw["latitude"],
        "longitude": raw["longitude"],
        "population": raw["population"],
    }
    if FURTHER_NAMES in raw:
        places["alternates"] = listed_names(raw[FURTHER_NAMES], ",", ALTERNATE)
    return places
