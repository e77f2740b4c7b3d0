"""The proof that training set and pool live in the same space."""

import dagster as dg

from mappool_assets.defs.failures import as_failures
from mappool_assets.defs.mappool.pool_shards import pool_shards
from mappool_assets.defs.mappool.training_embeddings import training_embeddings
from mappool_assets.defs.resources import EncoderResource, LakeResource, PoolResource, WebResource
from mappool_assets.lib.encoder_parity import measure_parity
from mappool_assets.lib.pool_sample import sample_pool
from mappool_assets.lib.web.web_fetch import WebFetcher


@dg.asset_check(asset=training_embeddings, additional_deps=[pool_shards], blocking=True)
def encoder_parity(
    context: dg.AssetCheckExecutionContext,
    lake: LakeResource,
    pool: PoolResource,
    encoder: EncoderResource,
    web: WebResource,
) -> dg.AssetCheckResult:
    """Do images of the pool, fetched and embedded here, agree with the pool's own embeddings?

    Some images are fetched, their sha256 verified, embedded with our encoder and compared with `l14_img`: cosine of at
    least 0.99. Other weights, activation (OpenAI's want QuickGELU), preprocessing or colour conversion would show.
    Where too few images could be had, this is a warning: nothing was proved.
    """
    with as_failures(), WebFetcher(web.rules()) as fetcher:
        rows = sample_pool(lake.open(), pool.storage(), tell=context.log.warning)
        report = measure_parity(encoder.load(), rows, fetcher)
    return dg.AssetCheckResult(
        passed=report.verdict == "agrees",
        severity=dg.AssetCheckSeverity.WARN if report.verdict == "undecided" else dg.AssetCheckSeverity.ERROR,
        metadata={
            "verdict": report.verdict,
            "images_tried": report.tried,
            "images_verified": report.verified,
            "refused": dg.MetadataValue.json(dict(report.refused)),
            **({"cosine_min": min(report.cosines), "cosine_max": max(report.cosines)} if report.cosines else {}),
        },
    )
