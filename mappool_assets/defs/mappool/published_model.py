"""The model that people classify their own images with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mappool_assets.defs.failures import RETRY_TRANSIENT, as_failures
from mappool_assets.defs.mappool.classifier import classifier
from mappool_assets.defs.resources import EncoderResource, LakeResource, PublishResource
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.publish.model_card import ModelCardSettings
from mappool_assets.lib.publish.model_files import model_files
from mappool_assets.lib.publish.model_publisher import ModelPublishReport, publish_model
from mappool_assets.lib.published_model import CARD_NAME, PublishedModel, read_model

KEY = dg.AssetKey(["mappool", "published_model"])
PARITY_CHECK = "scores_as_in_the_lake"


@dg.asset(
    key=KEY,
    group_name="mappool",
    kinds={"safetensors", "huggingface"},
    owners=["team:mappool"],
    code_version="1",
    deps=[classifier],
    check_specs=[
        dg.AssetCheckSpec(
            PARITY_CHECK,
            asset=KEY,
            description="Read back from the files, does the model give the scores that the lake's classifier gives?",
        )
    ],
    retry_policy=RETRY_TRANSIENT,
    pool="published_model",
)
def published_model(
    lake: LakeResource, encoder: EncoderResource, publishing: PublishResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """The classifier as files for others: `model.safetensors`, `config.json`, a model card, checksums, a parity file.

    Only what differs is written. `mappool classify IMAGE --model` takes the folder or the Hub repository, and refuses
    it where it does not score as here. Nothing is published that a reader would refuse.
    """
    address = publishing.model_address()
    with as_failures():
        target = publishing.open_model_target()
        shown = address.rstrip("/") if "://" in address else Path(address).name
        files = model_files(lake.open(), encoder.load(), ModelCardSettings(address=shown))
    try:
        proved = read_model(files, where="the files to be published")
    except BadModel as error:
        yield dg.AssetCheckResult(check_name=PARITY_CHECK, asset_key=KEY, passed=False, description=str(error))
        raise dg.Failure(f"Not published: {error}", allow_retries=False) from error
    yield dg.AssetCheckResult(
        check_name=PARITY_CHECK,
        asset_key=KEY,
        passed=True,
        metadata={"largest_difference": proved.parity_difference},
    )
    with as_failures():
        report = publish_model(files, target)
    yield dg.MaterializeResult(
        metadata=_metadata(files, proved, report, address), data_version=dg.DataVersion(report.version)
    )


def _metadata(
    files: Mapping[str, bytes], proved: PublishedModel, report: ModelPublishReport, address: str
) -> dict[str, Any]:
    classifier = proved.record.classifier
    sizes = [dg.TableRecord({"file": name, "bytes": len(content)}) for name, content in files.items()]
    return {
        "published_to": address if "://" in address else dg.MetadataValue.path(str(Path(address).absolute())),
        "card": dg.MetadataValue.md(files[CARD_NAME].decode().split("\n---\n", 1)[-1]),
        "files": dg.MetadataValue.table(sizes),
        "bytes": report.bytes_total,
        "files_written": ", ".join(report.files_written) or "none",
        "files_removed": ", ".join(report.files_removed) or "none",
        "bytes_written": report.bytes_written,
        "classifier_id": classifier.classifier_id,
        "encoder_id": classifier.encoder_id,
        "threshold": classifier.threshold,
    }
