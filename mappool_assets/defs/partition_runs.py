"""One run, many partitions: each is recorded the moment it is done, those that fail are named at the end.

A step that returned one result for all its partitions would record none where one fails, and a kill would lose what
was done. So the asset logs a materialisation of its own for each partition, and fails at the end if any did; Dagster
then counts as failed exactly those that were planned and not materialised.
"""

import contextlib
from collections import ChainMap
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import dagster as dg
from dagster._core.definitions.data_version import DEFAULT_DATA_VERSION
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from mappool_assets.defs.checks import sql_check_results
from mappool_assets.defs.metadata import file_metadata, previous_metadata, row_counts
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.shard_runs import ShardTask
from mappool_assets.lib.workers import Outcome

DATA_VERSION = "dagster/data_version"
# What is recorded of a parent that was never made, such as the documents of a WAT file: an event before all others.
# With nothing recorded, Dagster takes the dependency for a new one, and what was made of it is out of date for ever;
# with its own "NULL" it does not notice when the parent is made after all.
NEVER_MADE = DEFAULT_DATA_VERSION.value, "-1"
# A step without an output makes Dagster skip the steps after it; an output makes it record all partitions once more,
# without their metadata. With this mark, which Dagster has for observations, it does neither.
WITHOUT_EVENT = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}


class Report(Protocol):
    """What became of the rows of one partition."""

    @property
    def fingerprint(self) -> str:
        """Of what made the partition; its data version."""

    @property
    def rows_in(self) -> int:
        """Rows read."""

    @property
    def rows_kept(self) -> int:
        """Rows passed on."""

    @property
    def rows_dropped(self) -> Mapping[str, int]:
        """Rows refused, by reason."""

    @property
    def is_reused(self) -> bool:
        """Nothing was done: what is there was made from the same inputs."""


AnyTask = TypeVar("AnyTask", bound=ShardTask)
AnyReport = TypeVar("AnyReport", bound=Report)


@dataclass(frozen=True)
class PartitionedTable:
    """A table of the lake with a partition a shard or crawl file, and how the UI tells of one.

    Attributes
    ----------
    lake : Lake
    table : str
        ``group/table``.
    things : str
        What a partition is, in the plural: ``shards``.
    rows : str
        What a row in is, in the plural: ``maps``.
    """

    lake: Lake
    table: str
    things: str
    rows: str


def run_partitions(
    context: dg.AssetExecutionContext,
    target: PartitionedTable,
    outcomes: Generator[Outcome[AnyTask, AnyReport]],
    planned: int,
    describe: Callable[[AnyTask, AnyReport], Mapping[str, Any]],
    measured: Mapping[str, Callable[[AnyReport, float], Any]],
    *,
    parents: Sequence[dg.AssetKey] = (),
    partitioned_parents: Sequence[dg.AssetKey] = (),
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Record each partition as its outcome comes, check those that are done, and fail naming those that are not.

    Where none failed, steps of the same run that depend on this one go on.

    Parameters
    ----------
    planned : int
        Partitions of the run.
    describe : callable
        Returns a partition's metadata beside row counts and file, from its task and report.
    measured : mapping
        Further metadata, by name, from a report and the seconds it took; of a partition that is reused they are those
        of the run that made it.
    parents, partitioned_parents
        See :func:`materialise_each`.
    """
    done: list[str] = []

    def results() -> Generator[PartitionResult]:
        rows_in = rows_kept = 0
        with contextlib.closing(outcomes):
            for number, outcome in enumerate(outcomes, start=1):
                key, report = outcome.task.key, outcome.result
                if report is None:
                    yield PartitionResult(key, error=outcome.error)
                    continue
                done.append(key)
                rows_in, rows_kept = rows_in + report.rows_in, rows_kept + report.rows_kept
                what = "unchanged, skipped" if report.is_reused else f"{outcome.seconds:.1f} s"
                yield PartitionResult(
                    key,
                    report.fingerprint,
                    {
                        **row_counts(report.rows_in, report.rows_kept, report.rows_dropped),
                        **file_metadata(target.lake, target.lake.table_path(target.table, key)),
                        **describe(outcome.task, report),
                        "is_reused": report.is_reused,
                        **_measured(context, key, report, outcome.seconds, measured),
                    },
                    f"{number}/{planned} {target.things}, {rows_kept:,} of {rows_in:,} {target.rows} kept: "
                    f"{key} kept {report.rows_kept:,} of {report.rows_in:,} ({what})",
                )

    failed = materialise_each(context, results(), parents=parents, partitioned_parents=partitioned_parents)
    if done:
        yield from sql_check_results(context.asset_key, target.lake, table=target.table, partitions=sorted(done))
    if failed:
        raise fail_with(failed, planned)
    yield dg.MaterializeResult(metadata=WITHOUT_EVENT)


def _measured(
    context: dg.AssetExecutionContext,
    partition: str,
    report: AnyReport,
    seconds: float,
    measured: Mapping[str, Callable[[AnyReport, float], Any]],
) -> dict[str, Any]:
    """Return what was measured while the partition was made, now or, if it is reused, then."""
    if report.is_reused:
        before = previous_metadata(context.instance, context.asset_key, partition)
        return {name: before[name] for name in measured if name in before}
    return {name: measure(report, seconds) for name, measure in measured.items()}


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
    version, pointer = NEVER_MADE
    if records:
        made = records[0].asset_materialization
        version, pointer = (made.tags or {}).get(DATA_VERSION, "") if made else "", str(records[0].storage_id)
    name = parent.to_user_string()
    return {f"dagster/input_data_version/{name}": version, f"dagster/input_event_pointer/{name}": pointer}
