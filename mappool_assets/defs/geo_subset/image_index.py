"""The index with which single queries find their nearest images at once."""

import math
from collections.abc import Iterator, Sequence

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.metadata import log_progress
from mappool_assets.defs.resources import EncoderResource, LakeResource, ScratchResource
from mappool_assets.lib.retrieval.image_index import IndexReport, build_image_index
from mappool_assets.lib.retrieval.index_checks import (
    IndexFault,
    alignment_faults,
    count_faults,
    list_drift,
    measured_recall,
)
from mappool_assets.lib.retrieval.open_index import check_maps_encoder, open_index
from mappool_assets.lib.retrieval.quantiser_store import read_figures
from mappool_assets.lib.retrieval.search import ImageSearch

KEY = dg.AssetKey(["geo_subset", "image_index"])
SHOWN_FAULTS = 10

CHECKS = {
    "image_index_as_the_maps": "Which shards are missing in the index, superfluous, out of date or of another length?",
    "image_index_aligned": "Which rows of the index are not the rows of the maps at their positions?",
    "image_index_recall": "How many of the truly nearest images does a search find, asked with images and with texts?",
    "image_index_lists": "Have the lists grown so uneven that a new quantiser is due?",
}


class ImageIndexConfig(dg.Config):
    """Run configuration of `image_index`."""

    rebuild: bool = False
    """Train a new quantiser and index all shards again."""


@dg.asset(
    key=KEY,
    group_name="geo_subset",
    kinds={"faiss"},
    owners=["team:mappool"],
    code_version="1",
    deps=[dg.AssetKey(["mappool", "shard_maps"])],
    check_specs=[dg.AssetCheckSpec(name, asset=KEY, description=asked) for name, asked in CHECKS.items()],
    pool="image_index",
)
def image_index(
    context: dg.AssetExecutionContext,
    config: ImageIndexConfig,
    lake: LakeResource,
    encoder: EncoderResource,
    scratch: ScratchResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One file is the index of one shard's maps, over one quantiser for all; `mappool serve` searches it.

    A new or changed shard touches no other's file. Where there are few rows, every search is an exact scan.
    """
    encoder_id, cache = encoder.load().encoder_id, scratch.folder() / "image_index"
    with as_failures():
        check_maps_encoder(lake.open(), encoder_id)
        report = build_image_index(
            lake.open(),
            encoder_id=encoder_id,
            rebuild=config.rebuild,
            cache=cache,
            progress=log_progress(context, "shards"),
        )
        if report.shards:
            yield from _checked(lake, open_index(lake.open(), encoder_id=encoder_id, cache=cache), report)
    if report.failed:
        raise dg.Failure(
            f"{len(report.failed)} shards are not in the index: "
            + "; ".join(f"{shard}: {error}" for shard, error in report.failed.items()),
            allow_retries=False,
        )
    if not report.shards:
        raise dg.Failure("There are no maps to index. Materialise mappool/shard_maps first.", allow_retries=False)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.rows,
            "shards": len(report.shards),
            "shards_indexed_now": len(report.built),
            "shards_removed": len(report.removed),
            "index_bytes": report.index_bytes,
            "rows_bytes": report.rows_bytes,
            "quantiser": report.quantiser_id or "none: so few rows are searched exactly",
            "is_retrained": report.is_retrained,
        }
    )


def _checked(lake: LakeResource, search: ImageSearch, report: IndexReport) -> Iterator[dg.AssetCheckResult]:
    yield _faults("image_index_as_the_maps", count_faults(lake.open()))
    yield _faults("image_index_aligned", alignment_faults(lake.open(), search))
    recalls = measured_recall(lake.open(), search)
    yield dg.AssetCheckResult(
        check_name="image_index_recall",
        passed=all(recall.is_enough for recall in recalls),
        metadata={
            f"recall_at_{recall.k}_of_{kind}": round(share, 4)
            for recall in recalls
            for kind, share in (("images", recall.images), ("texts", recall.texts))
            if not math.isnan(share)
        },
    )
    figures = read_figures(lake.open(), report.quantiser_id) if report.quantiser_id else None
    drift = list_drift(search, figures) if figures else None
    yield dg.AssetCheckResult(
        check_name="image_index_lists",
        passed=drift is None or not drift.is_retraining_due,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={}
        if drift is None
        else {
            "rows": drift.rows,
            "rows_at_training": drift.rows_at_training,
            "imbalance_factor": drift.imbalance_factor,
            "imbalance_factor_at_training": drift.imbalance_factor_at_training,
        },
    )


def _faults(name: str, faults: Sequence[IndexFault]) -> dg.AssetCheckResult:
    records = [dg.TableRecord({"shard": f.shard, "rule": f.rule, "found": f.found}) for f in faults[:SHOWN_FAULTS]]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not faults,
        metadata={"faults": len(faults), **({"first": dg.MetadataValue.table(records)} if records else {})},
    )
