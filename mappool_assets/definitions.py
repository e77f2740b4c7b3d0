"""Assembles what Dagster loads; nothing else happens here."""

import warnings

import dagster as dg

# What we use of it is pinned in constraints.txt; without this each process prints a page of it.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from mappool_assets.defs import curation, geo_subset, mappool, web_documents
from mappool_assets.defs.automation import JOBS, SCHEDULES, SENSORS
from mappool_assets.defs.mappool.map_images import after_the_first_draw
from mappool_assets.defs.resources import ImagesResource, resources_from_environment

GROUPS = (mappool, geo_subset, web_documents, curation)


def build_defs(**overrides: dg.ConfigurableResource) -> dg.Definitions:
    """Return the platform's definitions.

    Parameters
    ----------
    **overrides
        Resources by name, in place of those that the environment sets.
    """
    resources = {**resources_from_environment(), **overrides}
    assets = [asset for group in GROUPS for asset in dg.load_assets_from_package_module(group)]
    images = resources["images"]
    if isinstance(images, ImagesResource) and images.are_of_the_first_draw:
        assets = [
            asset.map_asset_specs(after_the_first_draw) if isinstance(asset, dg.AssetsDefinition) else asset
            for asset in assets
        ]
    return dg.Definitions(
        assets=dg.with_source_code_references(assets),
        asset_checks=dg.load_asset_checks_from_package_module(mappool),
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources=resources,
        executor=dg.in_process_executor,
    )


defs = build_defs()
