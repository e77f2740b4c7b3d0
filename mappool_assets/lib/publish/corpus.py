"""What the lake says the published dataset should hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import groupby

import pyarrow as pa

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.evaluation import Evaluation
from mappool_assets.lib.lake import Lake, Provenance

MISSING_TABLE = "mappool/missing_shards"
MISSING_SCHEMA = pa.schema([("shard", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class CorpusShard:
    """A scored shard of the pool: one file of the corpus.

    Attributes
    ----------
    shard, part : str
        Its key and the folder it is published in.
    rows_in, rows_kept : int
        Pairs in the pool's shard and maps among them.
    fingerprint : str
        Of what made it in the lake.
    source, revision, classifier_id : str
        Where the pool lies, the commit it was listed at (None where the shard was filtered from files that have
        changed since), the classifier.
    threshold : float
        Maps score over it.
    """

    shard: str
    part: str
    rows_in: int
    rows_kept: int
    fingerprint: str
    source: str
    revision: str | None
    classifier_id: str
    threshold: float


@dataclass(frozen=True)
class Corpus:
    """Everything the card and the lists are made from.

    Attributes
    ----------
    shards : tuple of CorpusShard
        Sorted by part and key.
    missing : dict of str to str
        Why known shards are not in it, by key.
    rows_dropped : dict of str to int
        Rows of the pool that were not kept, by reason.
    evaluations : tuple of Evaluation
        The accuracy table of the lake's classifiers, one a method; empty where none was recorded.
    """

    shards: tuple[CorpusShard, ...]
    missing: dict[str, str]
    rows_dropped: dict[str, int]
    evaluations: tuple[Evaluation, ...]

    @property
    def rows_in(self) -> int:
        """Pairs of the pool that were looked at."""
        return sum(shard.rows_in for shard in self.shards)

    @property
    def row_count(self) -> int:
        """Maps in the corpus."""
        return sum(shard.rows_kept for shard in self.shards)

    @property
    def known_shard_count(self) -> int:
        """Shards of the pool, scored or missing."""
        return len(self.shards) + len(self.missing)

    def by_part(self) -> Iterator[tuple[str, list[CorpusShard]]]:
        """Yield each part with its shards."""
        for part, shards in groupby(self.shards, key=lambda shard: shard.part):
            yield part, list(shards)


def read_corpus(lake: Lake) -> Corpus:
    """Ask the lake which shards are scored, which are missing and why; :class:`MissingInput` where none is scored."""
    rows = sql_files.run(lake, "reports/corpus").to_pylist()
    dropped: dict[str, int] = {}
    for row in rows:
        for reason, count in row.pop("rows_dropped"):
            dropped[reason] = dropped.get(reason, 0) + count
    if not rows:
        raise MissingInput(
            "There is nothing to publish",
            where=lake.root,
            rule="at least one shard of the pool's list that has been scored",
            got="scored shards, but none of this pool",
            action="Materialise shards of mappool/shard_maps first.",
        )
    backlog = sql_files.run(lake, "reports/backlog").to_pylist()
    return Corpus(
        shards=tuple(CorpusShard(**row) for row in rows),
        missing={row["shard"]: row["reason"] for row in backlog},
        rows_dropped=dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        evaluations=_evaluations(lake),
    )


def write_missing_shards(lake: Lake, corpus: Corpus) -> None:
    """Write ``mappool/missing_shards``: one row is a known shard that the corpus lacks, and why."""
    table = pa.table([list(corpus.missing), list(corpus.missing.values())], schema=MISSING_SCHEMA)
    scored = len(corpus.shards)
    inputs = {"missing": corpus.missing, "scored": scored}
    provenance = Provenance(inputs, corpus.known_shard_count, table.num_rows, {"scored": scored})
    if not lake.is_made_from(inputs, MISSING_TABLE):
        lake.write_table(MISSING_TABLE, table, provenance)


def _evaluations(lake: Lake) -> tuple[Evaluation, ...]:
    # A corpus can be filtered with a classifier that was trained elsewhere, of which the lake holds no table.
    if not lake.partitions("mappool/classifier_evaluation"):
        return ()
    names = [field.name for field in fields(Evaluation)]
    rows = sql_files.run(lake, "reports/classifier_evaluation").select(names).to_pylist()
    return tuple(Evaluation(**row) for row in rows)
