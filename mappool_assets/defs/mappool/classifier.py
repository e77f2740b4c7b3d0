"""The classifier that tells maps from everything else."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.training_embeddings import training_embeddings
from mappool_assets.defs.metadata import file_metadata, image, previous_metadata
from mappool_assets.defs.resources import ClassifierResource, LakeResource
from mappool_assets.lib.classifier_store import MODEL_PATH
from mappool_assets.lib.evaluation import accuracy_markdown
from mappool_assets.lib.plots import accuracy_plot
from mappool_assets.lib.train_classifier import train


@dg.asset(
    key_prefix="mappool",
    group_name="mappool",
    kinds={"scikitlearn", "safetensors"},
    owners=["team:mappool"],
    code_version="1",
    deps=[training_embeddings],
)
def classifier(
    context: dg.AssetExecutionContext, lake: LakeResource, classifier_choice: ClassifierResource
) -> dg.MaterializeResult:
    """A fitted classifier of CLIP embeddings, as safetensors and JSON; beside it the paper's table of four methods.

    Nearest averaged embedding, logistic regression, MLP (3 × 256) and SVM (polynomial kernel of degree 3), each fitted
    on the training split and evaluated on the other. The chosen one filters the pool.
    """
    with as_failures():
        report = train(lake.open(), classifier_choice.method, classifier_choice.threshold)
    chosen = report.classifier
    accuracies = dg.MetadataValue.md(accuracy_markdown(report.evaluations, report.seconds, chosen.kind))
    if report.is_skipped:
        context.log.info(f"{chosen.classifier_id} was trained from the same inputs: kept")
        accuracies = previous_metadata(context.instance, context.asset_key).get("accuracy_table", accuracies)
    return dg.MaterializeResult(
        metadata={
            "accuracy_table": accuracies,
            "accuracy_plot": image(accuracy_plot(report.evaluations, chosen.kind), "accuracy by method"),
            "classifier_id": chosen.classifier_id,
            "threshold": chosen.threshold,
            "encoder_id": chosen.encoder_id,
            "training_set_id": chosen.training_set_id,
            "training_images": report.training_rows,
            "evaluation_images": report.evaluation_rows,
            "is_reused": report.is_skipped,
            "fitted_by": dg.MetadataValue.json(dict(report.fitted_by)),
            **file_metadata(lake.open(), MODEL_PATH),
        },
        data_version=dg.DataVersion(chosen.classifier_id),
    )
