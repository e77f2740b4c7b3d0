"""Labelled images."""

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.metadata import data_version, image, log_progress, table_metadata
from mappool_assets.defs.resources import LakeResource, TrainingImagesResource, WebResource
from mappool_assets.lib.training_samples import sample_sheet
from mappool_assets.lib.training_set import TRAINING_SET, write_training_set

KEY = dg.AssetKey(["mappool", "training_set"])


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "image"},
    owners=["team:mappool"],
    code_version="1",
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
)
def training_set(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    training_images: TrainingImagesResource,
    web: WebResource,
) -> dg.MaterializeResult:
    """One row is one labelled image, from a folder per class, a table of paths or URLs, or a Hub dataset.

    Unreadable, too small and duplicate images are dropped and counted by reason. Each image goes to the training or
    the evaluation split by the hash of its bytes alone, 60 to 40 as in the paper, so none ever moves.
    """
    with as_failures():
        counts = write_training_set(
            lake.open(),
            training_images.source,
            training_images.settings(),
            fetch_rules=web.rules(),
            progress=log_progress(context, "images"),
        )
    return dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TRAINING_SET),
            "source": training_images.source,
            "images_by_class_and_split": dg.MetadataValue.json(counts.images),
            "samples": image(sample_sheet(lake.open()), "samples of each class"),
        },
        data_version=data_version(counts.provenance),
        check_results=list(sql_check_results(KEY, lake.open(), table=TRAINING_SET)),
    )
