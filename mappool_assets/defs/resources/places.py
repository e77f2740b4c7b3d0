"""What a geo subset is made of."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.geo_subset.place_labels import read_labels
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.place_queries import PlaceQuerySettings
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings

MOST_UNSAFE = 0.5  # clip-retrieval's


class PlacesResource(dg.ConfigurableResource):
    """Which places are asked for, and in what words."""

    sources: list[str]
    templates: list[str]
    name_kinds: list[str]
    bbox: list[float]
    countries: list[str]
    feature_classes: list[str]
    min_population: int | None = None
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def settings(self) -> PlaceQuerySettings:
        """Return them as the library takes them."""
        return PlaceQuerySettings(
            sources=tuple(self.sources),
            place_filter=PlaceFilter(
                bbox=_bbox(self.bbox),
                countries=tuple(self.countries),
                feature_classes=tuple(self.feature_classes),
                min_population=self.min_population,
            ),
            templates=tuple(self.templates),
            name_kinds=tuple(self.name_kinds),
        )

    def storage(self) -> Storage:
        """Return how remote files are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None)


class GeoSubsetResource(dg.ConfigurableResource):
    """Which images count as those of a place."""

    neighbours: int = 1000
    row_filter: str = ""
    min_similarity: float | None = None
    most_a_domain: int | None = None
    safety_head: str = ""
    labels: str = ""

    def neighbour_settings(self) -> NeighbourSettings:
        """Return which images are found."""
        return NeighbourSettings(self.neighbours, self.min_similarity, self.row_filter or None)

    def image_settings(self) -> GeoSettings:
        """Return which of them are returned; with a safety head, those that it calls unsafe are not."""
        most_unsafe = MOST_UNSAFE if self.safety_head else None
        return GeoSettings(max_unsafe_score=most_unsafe, most_a_domain=self.most_a_domain)

    def safety_head_file(self) -> Path | None:
        """Return the safety head, if there is one."""
        return Path(self.safety_head) if self.safety_head else None

    def read_labels(self) -> dict[str, bool] | None:
        """Return by uid whether an image shows its place, if somebody looked."""
        if not self.labels:
            return None
        try:
            return read_labels(Path(self.labels).read_bytes(), self.labels)
        except OSError as error:
            raise BadSetting(
                "The labels of images cannot be read",
                where="MAPPOOL_GEO_LABELS",
                rule="the path of a CSV file",
                got=f"{self.labels}: {error.strerror}",
                action="Correct it, or leave it empty.",
            ) from error


def _bbox(edges: Sequence[float]) -> tuple[float, float, float, float] | None:
    if not edges:
        return None
    if len(edges) != 4:
        raise BadSetting(
            "The box of places has not four edges",
            where="MAPPOOL_PLACE_BBOX",
            rule="west,south,east,north in degrees",
            got=", ".join(map(str, edges)),
            action="Correct it, or leave it empty.",
        )
    west, south, east, north = edges
    return west, south, east, north


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
    """Return what a geo subset is made of."""
    s3_endpoint, hub_endpoint = read.text("MAPPOOL_S3_ENDPOINT"), read.text("MAPPOOL_HUB_ENDPOINT")
    return {
        "places": PlacesResource(
            sources=read.listed("MAPPOOL_PLACES"),
            templates=read.listed("MAPPOOL_PLACE_PROMPTS", ";"),
            name_kinds=read.listed("MAPPOOL_PLACE_NAMES"),
            bbox=read.numbers("MAPPOOL_PLACE_BBOX", float),
            countries=read.listed("MAPPOOL_PLACE_COUNTRIES"),
            feature_classes=read.listed("MAPPOOL_PLACE_FEATURES"),
            min_population=read.optional("MAPPOOL_PLACE_MIN_POPULATION", int),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
        ),
        "geo_subset": GeoSubsetResource(
            neighbours=read.number("MAPPOOL_NEIGHBOURS", int),
            row_filter=read.text("MAPPOOL_GEO_FILTER"),
            min_similarity=read.optional("MAPPOOL_GEO_MIN_SIMILARITY", float),
            most_a_domain=read.optional("MAPPOOL_GEO_MOST_A_DOMAIN", int),
            safety_head=read.text("MAPPOOL_GEO_SAFETY_HEAD"),
            labels=read.text("MAPPOOL_GEO_LABELS"),
        ),
    }
