"""Embeddings of the labelled images, and the proof that they live in the pool's space."""

import dagster as dg

from mappool_assets.defs.checks import sql_check_results, sql_check_specs
from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.mappool.training_set import training_set
from mappool_assets.defs.metadata import data_version, log_progress, table_metadata
from mappool_assets.defs.resources import EncoderResource, LakeResource
from mappool_assets.lib.training_embeddings import TRAINING_EMBEDDINGS, write_training_embeddings

KEY = dg.AssetKey(["mappool", "training_embeddings"])


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"parquet", "pytorch"},
    owners=["team:mappool"],
    code_version="1",
    deps=[training_set],
    check_specs=sql_check_specs(KEY),
    retry_policy=RETRY_TRANSIENT,
)
def training_embeddings(
    context: dg.AssetExecutionContext, lake: LakeResource, encoder: EncoderResource
) -> dg.MaterializeResult:
    """One row is one labelled image as a unit vector of CLIP (ViT-L/14 by OpenAI), float16 as in the pool.

    Resumable by image hash: what an earlier, even a killed run embedded with the same encoder is not embedded again.
    """
    with as_failures():
        clip = encoder.load()
        made = write_training_embeddings(lake.open(), clip, progress=log_progress(context, "images"))
    return dg.MaterializeResult(
        metadata={
            **table_metadata(lake.open(), TRAINING_EMBEDDINGS),
            "encoder_id": clip.encoder_id,
        },
        data_version=data_version(made),
        check_results=list(sql_check_results(KEY, lake.open(), table=TRAINING_EMBEDDINGS)),
    )
