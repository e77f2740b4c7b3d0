"""Which places are wanted."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.country_names import COUNTRY_NAMES

Mask = NDArray[np.bool_]

RULE_OF_BBOX = "west, south, east, north in degrees; -180 to 180, -90 to 90, south up to north"


@dataclass(frozen=True)
class PlaceFilter:
    """Which places are wanted; by default all.

    Attributes
    ----------
    bbox : (float, float, float, float), optional
        West, south, east, north in degrees, as GeoJSON has them, edges included. Where west is greater than east, the
        box crosses the antimeridian.
    countries : tuple of str
        ISO 3166-1 alpha-2 codes or names, whatever their case. A code also finds the country's English name.
    feature_classes, feature_codes : tuple of str
        In the source's words, whatever their case: ``P`` and ``PPLC`` of GeoNames, ``museum`` of Overture.
    min_population : int, optional
        Least number of people. GeoNames writes 0 where it does not know.

    Raises
    ------
    BadSetting
        A box outside the earth or upside down, or a negative population.
    """

    bbox: tuple[float, float, float, float] | None = None
    countries: tuple[str, ...] = ()
    feature_classes: tuple[str, ...] = ()
    feature_codes: tuple[str, ...] = ()
    min_population: int | None = None

    def __post_init__(self) -> None:
        if self.bbox is not None and not _is_box(self.bbox):
            raise _bad("bbox", RULE_OF_BBOX, f"{self.bbox}")
        if self.min_population is not None and self.min_population < 0:
            raise _bad("min_population", "0 or more", f"{self.min_population}")

    @functools.cached_property
    def _wanted_countries(self) -> list[str]:
        names = [COUNTRY_NAMES.get(country.upper(), country) for country in self.countries]
        return sorted({text.strip().lower() for text in (*self.countries, *names)})

    def is_in_box(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> Mask:
        """Tell which points (degrees, NaN where there is none) lie in the box."""
        assert self.bbox is not None
        west, south, east, north = self.bbox
        is_east_of_west, is_west_of_east = longitude >= west, longitude <= east
        is_between = is_east_of_west & is_west_of_east if west <= east else is_east_of_west | is_west_of_east
        return is_between & (latitude >= south) & (latitude <= north)

    def refusals(
        self, texts: Mapping[str, pa.Array], numbers: Mapping[str, NDArray[np.float64]]
    ) -> Iterator[tuple[str, Mask]]:
        """Yield reasons, each with the rows it holds for; a row may have several.

        Parameters
        ----------
        texts : mapping of str to string array
            ``country``, ``country_name``, ``feature_class``, ``feature_code``.
        numbers : mapping of str to float64 array
            ``latitude``, ``longitude``, ``population``; NaN where there is none.
        """
        latitude, longitude, population = (numbers[name] for name in ("latitude", "longitude", "population"))
        if self.bbox is not None:
            yield "no_coordinates", np.isnan(latitude)
            yield "outside_bbox", ~self.is_in_box(latitude, longitude)
        if self.countries:
            wanted = self._wanted_countries
            yield "other_country", ~(_is_in(texts["country"], wanted) | _is_in(texts["country_name"], wanted))
        for name, values in (("feature_class", self.feature_classes), ("feature_code", self.feature_codes)):
            if values:
                yield f"other_{name}", ~_is_in(texts[name], [value.strip().lower() for value in values])
        if self.min_population is not None:
            yield "no_population", np.isnan(population)
            yield "below_min_population", population < self.min_population


def _is_in(texts: pa.Array, wanted: list[str]) -> Mask:
    compared = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    return pc.is_in(compared, value_set=pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)


def _is_box(bbox: tuple[float, ...]) -> bool:
    if len(bbox) != 4:
        return False
    west, south, east, north = bbox
    return abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90  # false where one is NaN


def _bad(where: str, rule: str, got: str) -> BadSetting:
    action = "Correct the filter of places."
    return BadSetting("The filter of places cannot be used", where=where, rule=rule, got=got, action=action)
