"""The files beside a file of GeoNames: names of admin levels and countries, and further names of places.

Each is ``.txt``; ``alternateNamesV2`` may be zipped, as it is downloaded.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.places.delimited import read_rows
from mappool_assets.lib.places.place import ALTERNATE, HISTORIC, RowCounts, alternates_column
from mappool_assets.lib.places.source_files import SourceFiles, sibling
from mappool_assets.lib.ranged_file.stores import open_ranged

ADMIN_COLUMNS = ("code", "name", "asciiname", "geonameid")
NAME_COLUMNS = ("alternateNameId", "geonameid", "isolanguage", "alternate name", "isPreferredName", "isShortName",
                "isColloquial", "isHistoric", "from", "to")  # fmt: skip
COUNTRY_COLUMNS = 19  # the code is the first, the name the fifth

# What the column isolanguage tells apart: addresses, codes and spellings, which are no names.
NOT_A_LANGUAGE = ("link", "wkdt", "post", "iata", "icao", "faac", "tcid", "unlc", "abbr", "phon", "piny")
HISTORIC_LANGUAGE = "fr_1793"  # names of the French Revolution

Names = tuple[pa.Array, pa.Array]  # codes and names, two string arrays of equal length


@dataclass
class GeoNamesFolder:
    """The folder of a file of GeoNames.

    Attributes
    ----------
    files : SourceFiles
    address : str
        Of the file of places.
    counts : dict of str to RowCounts
        Rows of the files beside, by name.
    """

    files: SourceFiles
    address: str
    counts: dict[str, RowCounts] = field(default_factory=dict)

    def admin_names(self, file: str) -> Names | None:
        """Return codes (``US.NY``) and names of a file of admin levels, or None where it is not there."""
        address = sibling(self.address, file)
        if not self._is_there(address):
            return None
        counts = self.counts[file] = RowCounts()
        codes, names = [pa.array([], pa.string())], [pa.array([], pa.string())]
        with self.files.text(address, "four columns: code, name, asciiname, geonameid", (".txt",)) as (stream, name):
            wanted = {"code": "code", "name": "name"}
            for raw in read_rows(stream, ADMIN_COLUMNS, wanted, counts, where=name, delimiter="\t"):
                counts.rows_in += len(raw["code"])
                codes.append(raw["code"])
                names.append(raw["name"])
        return pa.concat_arrays(codes), pa.concat_arrays(names)

    def country_names(self) -> Names | None:
        """Return codes and names of ``countryInfo.txt``, or None where it is not there."""
        address = sibling(self.address, "countryInfo.txt")
        if not self._is_there(address):
            return None
        counts = self.counts["countryInfo.txt"] = RowCounts()
        names: dict[str, str] = {}
        with self.files.text(address, "GeoNames' 19 columns of countries, UTF-8", (".txt",)) as (stream, file):
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8-sig").rstrip("\r\n")
                if not text or text.startswith("#"):
                    continue
                fields = text.split("\t")
                if len(fields) != COUNTRY_COLUMNS:
                    counts.drop_fields(len(fields), f"{file}, line {number}")
                    continue
                counts.rows_in += 1
                names[fields[0]] = fields[4]
        return pa.array(names.keys(), pa.string()), pa.array(names.values(), pa.string())

    @functools.cached_property
    def names_address(self) -> str | None:
        """Where ``alternateNamesV2`` lies, or None where it is not there."""
        addresses = (sibling(self.address, "alternateNamesV2" + suffix) for suffix in (".txt", ".zip"))
        return next((address for address in addresses if self._is_there(address)), None)

    def further_names(self, ids: pa.Array, languages: tuple[str, ...]) -> pa.Array:
        """Return the further names of places from ``alternateNamesV2``, which must be there.

        Parameters
        ----------
        ids : string array of length n
            ``geonameid`` of the places.
        languages : tuple of str
            ISO 639 codes; all languages where empty.

        Returns
        -------
        array of ``ALTERNATES`` of length n
        """
        assert self.names_address is not None
        counts = self.counts["alternateNamesV2"] = RowCounts()
        row_of, names, kinds = [np.empty(0, np.int64)], [pa.array([], pa.string())], [pa.array([], pa.string())]
        wanted = {"id": "geonameid", "language": "isolanguage", "name": "alternate name", "historic": "isHistoric"}
        rule = "GeoNames' ten columns of alternate names, tab-separated UTF-8"
        with self.files.text(self.names_address, rule, (".txt",)) as (stream, file):
            for raw in read_rows(stream, NAME_COLUMNS, wanted, counts, where=file, delimiter="\t"):
                counts.rows_in += len(raw["id"])
                row = pc.index_in(raw["id"], value_set=ids)
                chosen = pc.and_(row.is_valid(), _is_wanted(raw["language"], languages))
                is_historic = pc.or_(pc.equal(raw["historic"], "1"), pc.equal(raw["language"], HISTORIC_LANGUAGE))
                row_of.append(row.filter(chosen).to_numpy().astype(np.int64))
                names.append(raw["name"].filter(chosen))
                kinds.append(pc.if_else(is_historic, HISTORIC, ALTERNATE).filter(chosen))
        return alternates_column(len(ids), np.concatenate(row_of), pa.concat_arrays(names), pa.concat_arrays(kinds))

    def measures(self) -> dict[str, Any]:
        """Return rows and dropped rows of the files beside, as provenance records them."""
        return {
            name: {"rows": counts.rows_in, "dropped": dict(sorted(counts.dropped.items()))}
            for name, counts in sorted(self.counts.items())
        }

    def _is_there(self, address: str) -> bool:
        try:
            open_ranged(address, self.files.storage).close()
        except MissingInput:
            return False
        return True


def named(names: Names | None, codes: pa.Array) -> pa.Array:
    """Return the name of each code, null where it is not known."""
    if names is None:
        return pa.nulls(len(codes), pa.string())
    return names[1].take(pc.index_in(codes, value_set=names[0]))


def _is_wanted(language: pa.Array, languages: tuple[str, ...]) -> pa.Array:
    if languages:
        return pc.is_in(language, value_set=pa.array(languages))
    return pc.invert(pc.is_in(language, value_set=pa.array(NOT_A_LANGUAGE)))
