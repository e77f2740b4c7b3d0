"""One run, many partitions: each is recorded the moment it is done, those that fail are named at the end.

A step that returned one result for all its partitions would record none where one fails, and a kill would lose what
was done. So the asset logs a materialisation of its own for each partition, and fails at the end if any did; Dagster
then counts as failed exactly those that were planned and not materialised.
"""

import contextlib
from collections import ChainMap
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

DATA_VERSION = "dagster/data_version"


@dataclass(frozen=True)
class PartitionResult:
    """What came of one partition.

    Attributes
    ----------
    partition : str
        Its key.
    data_version : str
        Changes when what made the partition does.
    metadata : mapping
        As the UI shows it.
    progress : str
        A line for the log.
    error : Exception, optional
        Why there is no result.
    """

    partition: str
    data_version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    progress: str = ""
    error: Exception | None = None


def materialise_each(
    context: dg.AssetExecutionContext,
    results: Generator[PartitionResult],
    *,
    parents: Sequence[dg.AssetKey] = (),
    partitioned_parents: Sequence[dg.AssetKey] = (),
) -> list[PartitionResult]:
    """Record each partition as its result comes; return the failed ones.

    Parameters
    ----------
    parents, partitioned_parents : sequence of AssetKey
        Upstream assets without partitions, and with the same: their current versions are recorded with each
        partition, without which Dagster would show all of them as out of date.
    """
    tags = {"dagster/code_version": context.assets_def.code_versions_by_key[context.asset_key] or ""}
    for parent in parents:
        tags.update(_parent_tags(context.instance, parent))
    with contextlib.closing(results):  # a run that is stopped ends its workers here, not when it is collected
        return list(_recorded(context, results, tags, partitioned_parents))


def _recorded(
    context: dg.AssetExecutionContext,
    results: Iterator[PartitionResult],
    tags: Mapping[str, str],
    partitioned_parents: Sequence[dg.AssetKey],
) -> Iterator[PartitionResult]:
    """Record those that are done, yield those that failed."""
    for result in results:
        if result.error is not None:
            context.log.error(f"{result.partition}: {result.error}")
            yield result
            continue
        of_partition = [_parent_tags(context.instance, parent, result.partition) for parent in partitioned_parents]
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=result.partition,
                metadata=dict(result.metadata),
                tags={
                    **tags,
                    **ChainMap(*of_partition),
                    DATA_VERSION: result.data_version,
                    "dagster/data_version_is_user_provided": "true",
                },
            )
        )
        context.log.info(result.progress)


def fail_with(failed: Sequence[PartitionResult], planned: int) -> dg.Failure:
    """Return the failure that ends a step some of whose partitions failed: it names each with its reason."""
    return dg.Failure(
        description=f"{len(failed)} of {planned} partitions failed, the others are done: "
        + "; ".join(f"{result.partition}: {result.error}" for result in failed),
        metadata={result.partition: str(result.error) for result in failed},
        allow_retries=False,  # a retry of the step would go through the whole range; the run's retry does not
    )


def _parent_tags(instance: dg.DagsterInstance, parent: dg.AssetKey, partition: str | None = None) -> dict[str, str]:
    wanted = dg.AssetRecordsFilter(parent, asset_partitions=[partition] if partition else None)
    records = instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return {}
    materialization = records[0].asset_materialization
    version = (materialization.tags or {}).get(DATA_VERSION, "") if materialization else ""
    name = parent.to_user_string()
    return {
        f"dagster/input_data_version/{name}": version,
        f"dagster/input_event_pointer/{name}": str(records[0].storage_id),
    }
