"""What the lake says the published dataset should hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import groupby

import pyarrow as pa

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.evaluation import Evaluation
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown, find_taken_down
from mappool_assets.lib.screen_audit import ScreenAudit

TAKEN_DOWN = "taken_down"  # the reason of rows that are maps in the lake and not published
MISSING_TABLE = "mappool/missing_shards"
MOST_FILES_A_PART = 9_999  # the Hub takes fewer than 10,000 entries a folder
MISSING_SCHEMA = pa.schema([("shard", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class CorpusShard:
    """A scored shard of the pool: one file of the corpus.

    Attributes
    ----------
    shard, part : str
        Its key and the folder it is published in.
    rows_in, rows_kept : int
        Pairs in the pool's shard and maps among them, in the lake.
    fingerprint : str
        Of what made it in the lake.
    source, revision, classifier_id : str
        Where the pool lies, the commit it was listed at (None where the shard was filtered from files that have
        changed since), the classifier.
    threshold : float
        Maps score over it.
    screen_id : str or None
        The screen that kept rows from the classifier; None where every row was scored.
    screen_refused, screen_sampled, screen_missed : int
        What it refused, how many of these were scored all the same, and maps among them (:class:`ScreenAudit`).
    taken_down : tuple of str
        The uids of maps that are not published, sorted.
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
    screen_id: str | None = None
    screen_refused: int = 0
    screen_sampled: int = 0
    screen_missed: int = 0
    taken_down: tuple[str, ...] = ()

    @property
    def rows_published(self) -> int:
        """Maps in its published file."""
        return self.rows_kept - len(self.taken_down)


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
        Rows of the pool that are not published, by reason: ``rows_in == row_count + sum(rows_dropped.values())``.
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
        return sum(shard.rows_published for shard in self.shards)

    @property
    def taken_down_count(self) -> int:
        """Maps that a take-down list keeps out."""
        return self.rows_dropped.get(TAKEN_DOWN, 0)

    @property
    def known_shard_count(self) -> int:
        """Shards of the pool, scored or missing."""
        return len(self.shards) + len(self.missing)

    def by_part(self) -> Iterator[tuple[str, list[CorpusShard]]]:
        """Yield each part with its shards."""
        for part, shards in groupby(self.shards, key=lambda shard: shard.part):
            yield part, list(shards)

    def by_screen(self) -> dict[str | None, tuple[int, ScreenAudit]]:
        """Return, by screen, its number of shards and the sum of their audits."""
        audits: dict[str | None, tuple[int, ScreenAudit]] = {}
        for shard in self.shards:
            shards, audit = audits.get(shard.screen_id, (0, ScreenAudit()))
            audit.refused += shard.screen_refused
            audit.sampled += shard.screen_sampled
            audit.missed += shard.screen_missed
            audits[shard.screen_id] = shards + 1, audit
        return audits


def read_corpus(lake: Lake, take_down: TakeDown = NO_TAKE_DOWN) -> Corpus:
    """Ask the lake which shards are scored, which are missing and why, and which maps must not be published.

    Raises
    ------
    MissingInput
        None is scored.
    BadSetting
        A part would hold more than :data:`MOST_FILES_A_PART` files.
    """
    rows = sql_files.run(lake, "reports/corpus").to_pylist()
    if not rows:
        raise MissingInput(
            "There is nothing to publish",
            where=lake.root,
            rule="at least one shard of the pool's list that has been scored",
            got="scored shards, but none of this pool",
            action="Materialise shards of mappool/shard_maps first.",
        )
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped.update(dict(row.pop("rows_dropped")))
    # After the fingerprints, not before: maps that come between are then found changed, and are not published.
    taken_down = find_taken_down(lake, take_down)
    shards = tuple(CorpusShard(**row, taken_down=taken_down.get(row["shard"], ())) for row in rows)
    if hits := sum(len(shard.taken_down) for shard in shards):
        dropped[TAKEN_DOWN] = hits
    _check_parts(shards, lake.root)
    backlog = sql_files.run(lake, "reports/backlog").to_pylist()
    return Corpus(
        shards=shards,
        missing={row["shard"]: row["reason"] for row in backlog},
        rows_dropped=dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        evaluations=_evaluations(lake),
    )


def _check_parts(shards: tuple[CorpusShard, ...], where: str) -> None:
    part, files = Counter(shard.part for shard in shards).most_common(1)[0]
    if files > MOST_FILES_A_PART:
        raise BadSetting(
            "A part would hold too many files",
            where=where,
            rule=f"at most {MOST_FILES_A_PART:,} files a part, as the Hub takes no more a folder",
            got=f"{files:,} files in {part}",
            action="Lay out the pool in more folders, which become the parts, and list it anew.",
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
