"""One frozen resource a concern. The environment is read here and nowhere else in Python."""

import os
from collections.abc import Mapping

import dagster as dg

from mappool_assets.defs.resources import curation, model, pages, places, pool, publishing
from mappool_assets.defs.resources.curation import CurationResource
from mappool_assets.defs.resources.model import ClassifierResource, EncoderResource, TrainingImagesResource
from mappool_assets.defs.resources.pages import CrawlResource, PagesResource
from mappool_assets.defs.resources.places import GeoSubsetResource, PlacesResource
from mappool_assets.defs.resources.pool import (
    FilterResource,
    ImagesResource,
    LakeResource,
    PoolResource,
    ScratchResource,
    WebResource,
)
from mappool_assets.defs.resources.publishing import PublishResource, TakeDownResource
from mappool_assets.defs.settings import SettingsReader

__all__ = [
    "ClassifierResource",
    "CrawlResource",
    "CurationResource",
    "EncoderResource",
    "FilterResource",
    "GeoSubsetResource",
    "ImagesResource",
    "LakeResource",
    "PagesResource",
    "PlacesResource",
    "PoolResource",
    "PublishResource",
    "ScratchResource",
    "TakeDownResource",
    "TrainingImagesResource",
    "WebResource",
    "resources_from",
    "resources_from_environment",
]

PARTS = (pool, model, places, pages, curation, publishing)


def resources_from(environment: Mapping[str, str]) -> dict[str, dg.ConfigurableResource]:
    """Return every resource as the settings say; what is not set has its default."""
    read = SettingsReader(environment)
    return {name: resource for part in PARTS for name, resource in part.resources(read).items()}


def resources_from_environment() -> dict[str, dg.ConfigurableResource]:
    """Return every resource as the process's environment (and a ``.env`` file, which Dagster loads) sets it."""
    return resources_from(os.environ)
