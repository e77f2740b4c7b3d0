"""Image and text deduplication between the two balancing passes: each pair of an image and a text once.

A row of ``curation/unique_pairs`` is a pair that ``curation/balanced_pool`` has in some shard: ``shard`` and ``uid``,
by which the table is sorted, the image that it shows (``image_shard``, ``image_uid``), ``url``, ``text``, ``sha256``,
``entries``, ``first_p``, and ``is_image_text``: whether it is the text of its image, one of all that the image has
here, picked at random, for who wants one text an image.

Which pairs do not stay, the first reason that holds:

==================  ================================================================================================
``repeated_uid``    A row before it in its shard has its uid.
``no_image``        Its image was not fetched (where images are told apart by what was fetched).
``duplicate_pair``  Another pair shows the same image and has the same text. The one stays whose own image is kept,
                    else the least by uid.
``repeated_text``   Enough pairs of other images have the same text. Which of them stay is random.
==================  ================================================================================================

What is random is an MD5 of the seed and the pair's uid (``sql/steps/unique_pairs.sql``): where no uid is in two shards,
it does not matter to which shards pairs are dealt. Texts are the same where all their characters are.

Shards may have been drawn with different t, seeds or counts: each pair has its own chance, and weights of 1 / first_p
stay right; ``first_passes`` in the measures tells such a mix. Shards of different entries are refused, as are pairs of
maps that were filtered again since, images that were asked for by an earlier draw (``images_of`` of ``map_images``),
and ``unique_images`` that has not seen all images and maps of today.

Copies, be it of an image and text or of a text that more images have than may keep it, are drawn one by one, so that
one of them is there with more chance than the ``first_p`` of the one that stays. Sums of 1 / first_p are therefore too
high as estimates of what a comparison of the whole pool would leave, by the more the more copies there are: two copies
at first_p = 0.5 count 1.5 on average, not 1, and very many count 1 / first_p. At the end, too, such a text is there
with up to 1 / first_p times the chance of one that was there once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.balanced_pool import TABLE as PAIRS
from mappool_assets.lib.curation.pair_rows import in_groups, pair_batches
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.curation.unique_sources import UniqueSources
from mappool_assets.lib.duplicates.unique_table import TABLE as IMAGES
from mappool_assets.lib.errors import BadSetting, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.lake_sql import SQL_MEMORY, SqlLimits
from mappool_assets.lib.scratch_folder import scratch_folder

TABLE = "curation/unique_pairs"
CODE_VERSION = "2"  # raised when the same inputs would give other rows
FETCHED, LISTED = "fetched", "listed"
BATCH_ROWS = 65_536  # of SQL: 10 MB of names
GROUP_ROWS = 20_000  # 5 MB of pairs with captions
TAKEN_ROWS = 256  # wide rows that are put in order at a time: of 1 MB each they fit into one array

SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), False),
        pa.field("uid", pa.string(), False),
        pa.field("image_shard", pa.string(), False),
        pa.field("image_uid", pa.string(), False),
        pa.field("url", pa.string()),
        pa.field("text", pa.string(), False),
        pa.field("sha256", pa.string()),
        pa.field("entries", pa.list_(pa.int32()), False),
        pa.field("first_p", pa.float64(), False),
        pa.field("is_image_text", pa.bool_(), False),
    ]
)
READ = ["row", "uid", "url", "text", "sha256", "entries", "first_p"]


@dataclass(frozen=True)
class PairSettings:
    """Which pairs are the same.

    Attributes
    ----------
    images : str
        How images are told apart. ``fetched``: by ``mappool/unique_images``, which compares what was fetched; pairs
        without a fetched image do not stay. ``listed``: by the sha256 that the pool lists; a pair without one has an
        image of its own.
    text_copies : int
        Pairs of different images that may have the same text; 0 sets no limit. Our choice: one, for most texts that
        many images have are names of sites and of file types.
    seed : int
        Of what is random.
    """

    images: str = FETCHED
    text_copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images not in (FETCHED, LISTED):
            raise _bad_setting("How images are told apart", f"{FETCHED} or {LISTED}", self.images)
        if self.text_copies < 0:
            raise _bad_setting("The number of copies of a text", "0 (no limit) or more", self.text_copies)


DEFAULT_SETTINGS = PairSettings()


def find_unique_pairs(
    lake: Lake,
    scratch: Path,
    settings: PairSettings = DEFAULT_SETTINGS,
    *,
    memory: str = SQL_MEMORY,
    threads: int | None = None,
    force: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Provenance:
    """Write ``curation/unique_pairs``, unless it was made from the same.

    Parameters
    ----------
    lake : Lake
        Has ``curation/balanced_pool``, all of whose shards are taken, and what ``settings.images`` asks for.
    scratch : Path
        A folder on a local disk; takes some 150 bytes a pair, and SQL's spill, while this runs.
    settings : PairSettings
    memory, threads
        Of SQL (:class:`~mappool_assets.lib.lake_sql.SqlLimits`). Beside it, memory holds of one shard the pairs that
        stay.
    force : bool
        Whether to make the table anew in any case.
    tell : callable
        Told how many of how many shards are written.

    Returns
    -------
    Provenance
        The table's. Rows in are the pairs of all shards. ``measures`` holds the number of ``shards`` and of ``images``,
        and ``first_passes``.

    Raises
    ------
    MissingInput, SourceChanged
        As :meth:`~mappool_assets.lib.curation.unique_sources.UniqueSources.read`, or a shard was balanced anew
        meanwhile; nothing is written.
    BadSetting
        Memory and scratch space do not suffice; nothing is written.
    """
    sources = UniqueSources.read(lake, are_fetched=settings.images == FETCHED)
    inputs = {**sources.inputs, **asdict(settings), "code_version": CODE_VERSION}
    made = lake.provenance(TABLE)
    if not force and made is not None and made.fingerprint == fingerprint(inputs):
        return made
    with scratch_folder(scratch, lake, "unique_pairs") as folder:
        limits = SqlLimits(memory, threads, folder)
        shown = folder / "shown.parquet"
        _find_images(lake, sources, settings, limits, shown)
        bound = {"file": str(shown), "seed": settings.seed, "text_copies": settings.text_copies}
        statement = sql_files.statement("steps/unique_pairs")
        with (
            lake.query_batches(statement, bound, limits=limits, batch_rows=BATCH_ROWS) as decided,
            lake.table_writer(TABLE, SCHEMA) as writer,
        ):
            pairs = _DecidedPairs(lake, sources, _Ahead(decided))
            for rows in in_groups(pairs.tables(tell), GROUP_ROWS):
                writer.write(rows)
            measures = {"shards": len(sources.shards), "images": pairs.images, "first_passes": sources.first_passes}
            writer.provenance = made = Provenance(inputs, pairs.rows_in, writer.rows_written, pairs.dropped, measures)
    return made


def _find_images(lake: Lake, sources: UniqueSources, settings: PairSettings, limits: SqlLimits, shown: Path) -> None:
    """Write a row a pair with the image that it shows."""
    bound: dict[str, Any] = {"pairs": sources.files}
    if settings.images == FETCHED:
        bound["images"] = Lake.sql_file(IMAGES)
    statement = sql_files.statement(f"steps/pairs_of_{settings.images}_images")
    with (
        lake.query_batches(statement, bound, limits=limits, batch_rows=BATCH_ROWS) as rows,
        pq.ParquetWriter(shown, rows.schema, compression="zstd") as writer,
    ):
        for batch in rows:
            writer.write_batch(batch)


class _Ahead:
    """Rows of a reader, as many at a time as are asked for."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches, self._waiting = iter(batches), batches.schema.empty_table()

    def take(self, rows: int) -> pa.Table:
        """Return the next rows; fewer where there are no more."""
        parts = [self._waiting]
        while sum(map(len, parts)) < rows and (batch := next(self._batches, None)) is not None:
            parts.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(parts)
        self._waiting = table.slice(rows)
        return table.slice(0, rows)


class _DecidedPairs:
    """The pairs of all shards, of which it is decided what becomes of them."""

    def __init__(self, lake: Lake, sources: UniqueSources, decided: _Ahead) -> None:
        self._lake, self._sources, self._decided = lake, sources, decided
        self._dropped = Counter[str]()
        self.rows_in = self.images = 0

    def tables(self, tell: Callable[[int, int], None]) -> Iterator[pa.Table]:
        """Yield those that stay, by shard and uid."""
        for number, (shard, made) in enumerate(self._sources.shards.items()):
            with self._lake.open_table(PAIRS, shard) as pairs:
                found = recorded(pairs)
                if found is None or found.fingerprint != made.fingerprint:
                    raise _changed(shard, made.fingerprint, found.fingerprint if found else "pairs without provenance")
                parts = [self._decide(shard, batch) for batch in pair_batches(pairs, READ)]
            yield from _in_order(parts)
            tell(number + 1, len(self._sources.shards))

    def _decide(self, shard: str, batch: pa.RecordBatch) -> pa.Table:
        """Return the pairs of a batch that stay, with what is decided of them."""
        decided = self._decided.take(len(batch))
        if not decided["row"].combine_chunks().equals(batch["row"]) or decided["shard"].unique().to_pylist() != [shard]:
            raise _changed(shard, "the pairs that SQL has read", "others")
        self.rows_in += len(batch)
        for reason in pc.value_counts(decided["dropped"].drop_null()).to_pylist():
            self._dropped[reason["values"]] += reason["counts"]
        is_kept = pc.is_null(decided["dropped"])
        rows = pa.Table.from_batches([batch]).filter(is_kept)
        of_rows = decided.filter(is_kept)
        self.images += pc.sum(of_rows["is_image_text"]).as_py() or 0
        for name in ("shard", "image_shard", "image_uid", "is_image_text"):
            rows = rows.append_column(name, of_rows[name])
        return rows.select(SCHEMA.names).cast(LARGE)

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs that do not stay, by reason."""
        return dict(sorted(self._dropped.items()))


# All texts of a shard may be more than an array of strings holds.
LARGE = pa.schema([field.with_type(pa.large_string()) if field.type == pa.string() else field for field in SCHEMA])


def _in_order(parts: list[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of a shard by uid."""
    if not parts:
        return
    rows = pa.concat_tables(parts).combine_chunks()
    order = pc.sort_indices(rows["uid"])
    for start in range(0, len(order), TAKEN_ROWS):
        yield rows.take(order.slice(start, TAKEN_ROWS)).cast(SCHEMA)


def _changed(shard: str, rule: str, got: str) -> SourceChanged:
    return SourceChanged(
        "A shard was balanced anew while its pairs were compared",
        where=f"{PAIRS}: {shard}",
        rule=rule,
        got=got,
        action="Materialise unique_pairs again.",
    )


def _bad_setting(what: str, rule: str, got: object) -> BadSetting:
    return BadSetting(
        f"{what} cannot be used",
        where="the settings of unique_pairs",
        rule=rule,
        got=repr(got),
        action="Correct the setting.",
    )
