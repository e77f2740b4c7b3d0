"""Titles of articles, with how often they were viewed: Wikimedia's hourly page views, or its monthly clickstreams.

``pageviews-YYYYMMDD-HHMMSS.gz``: a line is domain, title, views and bytes, with spaces between
(https://wikitech.wikimedia.org/wiki/Data_Platform/Data_Lake/Traffic/Pageviews).
``clickstream-enwiki-YYYY-MM.tsv.gz``: a line is whence, title, kind of link and number, with tabs between
(https://meta.wikimedia.org/wiki/Research:Wikipedia_clickstream); a title has a line for each page it was reached from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.entry_settings import TitleSettings
from mappool_assets.lib.curation.source_stream import open_source, unusable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.lake_sql import SqlLimits
from mappool_assets.lib.places.place import EXAMPLES, RowCounts
from mappool_assets.lib.places.source_files import without_query
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.workers import run_tasks

VIEWS_FILE = re.compile(r"(?:pageviews-\d{8}-\d{6}|(?P<clicks>clickstream-[\w-]+\.tsv))(?:\.gz|\.bz2)?")
RULE = "Wikimedia's pageviews-YYYYMMDD-HHMMSS.gz, or its clickstream-….tsv.gz"
DOMAIN, TITLE, VIEWS = "domain", "title", "views"
PAGE_VIEW_COLUMNS = (DOMAIN, TITLE, VIEWS, "bytes")
CLICK_COLUMNS = ("whence", TITLE, "kind", VIEWS)
BLOCK_BYTES = 4 << 20  # parsed at once; a longer line is refused
LONGEST_TITLE = 765  # bytes: MediaWiki's 255, percent-encoded
BATCH_ROWS = 1 << 16
SCHEMA = pa.schema([(TITLE, pa.string()), (VIEWS, pa.int64())])
NOT_A_NUMBER = "views_not_a_number"
_NUMBER = r"^[0-9]{1,12}$"  # an hour of all of Wikimedia has nine digits

# The 26 dates of MetaCLIP 1, each with 24 hours (metaclip/build_metadata.py).
METACLIP_DATES = (
    "20180419", "20180510", "20180530", "20180914", "20181119", "20190406", "20190928", "20191026", "20191208",
    "20200417", "20200610", "20200813", "20200824", "20201018", "20210112", "20210123", "20210305", "20210920",
    "20211127", "20211211", "20220116", "20220322", "20220430", "20220529", "20220618", "20220829",
)  # fmt: skip


def hourly_files(root: str, dates: Sequence[str] = METACLIP_DATES) -> tuple[str, ...]:
    """Return the addresses of the hours of some dates (YYYYMMDD) below a root that is laid out as Wikimedia's is.

    Examples
    --------
    >>> hourly_files("https://dumps.wikimedia.org/other/pageviews", ["20180419"])[0]
    'https://dumps.wikimedia.org/other/pageviews/2018/2018-04/pageviews-20180419-000000.gz'
    """
    folders = {date: f"{root.rstrip('/')}/{date[:4]}/{date[:4]}-{date[4:6]}" for date in dates}
    return tuple(f"{folders[date]}/pageviews-{date}-{hour:02}0000.gz" for date in dates for hour in range(24))


@dataclass(frozen=True, slots=True)
class ViewsTask:
    """What a worker needs to read a file of views.

    Attributes
    ----------
    address : str
    storage : Storage
    settings : TitleSettings
    target : Path
        Where the titles go, as parquet.
    """

    address: str
    storage: Storage
    settings: TitleSettings
    target: Path

    def __str__(self) -> str:
        return f"views of {without_query(self.address)}"


@dataclass(frozen=True, slots=True)
class ReadViews:
    """What files of views held.

    Attributes
    ----------
    versions : list of str
        Of the files, sorted.
    lines : RowCounts
        Their lines, and those that do not count: ``fields_3`` and the like, ``other_domain``, ``views_not_a_number``,
        ``few_views_an_hour``, ``colon`` (a page of another namespace, or a title that no text can match),
        ``too_long``, ``not_utf8``.
    files : list of str
        Parquet of :data:`SCHEMA`: what is left.
    """

    versions: list[str]
    lines: RowCounts
    files: list[str]


def read_views(
    addresses: Sequence[str],
    storage: Storage,
    settings: TitleSettings,
    scratch: Path,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> ReadViews:
    """Read files of views, each with one worker.

    Raises
    ------
    BadSetting
        Page views and clickstreams together, in which the same views would count twice; or a file that is neither.
    BadSetting, MissingInput, SourceChanged, SourceUnavailable
        The first file that cannot be read, see :func:`~.source_stream.open_source`.
    """
    kinds = {_is_clickstream(address) for address in addresses}
    if len(kinds) > 1:
        raise unusable(addresses[0], "either page views or clickstreams", "both, in which views would count twice")
    tasks = [
        ViewsTask(address, storage, settings, scratch / f"views-{number}.parquet")
        for number, address in enumerate(addresses)
    ]
    read = ReadViews([], RowCounts(), [str(task.target) for task in tasks])
    for outcome in run_tasks(read_file, tasks, workers):
        if outcome.result is None:
            assert outcome.error is not None
            raise outcome.error
        version, lines = outcome.result
        read.versions.append(version)
        read.lines.add(lines)
        tell(f"{outcome.task}: {lines.rows_in:,} lines, {len(read.versions)} of {len(tasks)} files")
    read.versions.sort()
    return read


def titles(lake: Lake, read: ReadViews, limits: SqlLimits) -> Iterator[pa.RecordBatch]:
    """Yield all titles that count (``title``, ``views``), the most viewed first, then by code points."""
    statement = sql_files.statement("steps/title_views")
    with lake.query_batches(statement, {"files": read.files}, limits=limits, batch_rows=BATCH_ROWS) as rows:
        yield from rows


def read_file(task: ViewsTask) -> tuple[str, RowCounts]:
    """Write the titles of a file that count; return its version and counts. Raises as :func:`read_views` does."""
    lines = RowCounts()
    rule = "lines of whence, title, kind, number" if _is_clickstream(task.address) else "lines of domain, title, views"
    with (
        open_source(task.address, task.storage, rule) as stream,
        pq.ParquetWriter(task.target, SCHEMA, compression="zstd") as writer,
    ):
        for batch in _batches(stream, task, lines):
            writer.write_batch(_counting(batch, task, lines))
        if lines.rows_in and _unreadable(lines) == lines.rows_in:
            raise ValueError(f"no such line among {lines}")
        return stream.version, lines


def _unreadable(lines: RowCounts) -> int:
    return sum(n for reason, n in lines.dropped.items() if reason.startswith("fields_") or reason == NOT_A_NUMBER)


def _is_clickstream(address: str) -> bool:
    named = VIEWS_FILE.fullmatch(without_query(address).rpartition("/")[2])
    if named is None:
        raise unusable(address, RULE, "another name")
    return named["clicks"] is not None


def _batches(stream: io.RawIOBase, task: ViewsTask, lines: RowCounts) -> Iterator[pa.RecordBatch]:
    is_clickstream = _is_clickstream(task.address)

    def drop(row: pa.csv.InvalidRow) -> str:
        lines.drop_fields(row.actual_columns, f"{without_query(task.address)}, line {row.number}")
        return "skip"

    names = list(CLICK_COLUMNS if is_clickstream else PAGE_VIEW_COLUMNS)
    try:
        yield from pa.csv.open_csv(
            io.BufferedReader(stream, BLOCK_BYTES),  # Arrow takes a short block for one with a line too long
            read_options=pa.csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa.csv.ParseOptions(
                delimiter="\t" if is_clickstream else " ", quote_char=False, invalid_row_handler=drop
            ),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), check_utf8=False),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):  # an hour without any view, or a month without any link
            raise


def _counting(batch: pa.RecordBatch, task: ViewsTask, lines: RowCounts) -> pa.RecordBatch:
    """Return the titles and views of the rows that count."""
    lines.rows_in += len(batch)
    is_hour = DOMAIN in batch.schema.names
    if is_hour:
        batch = _only(batch, pc.equal(batch[DOMAIN], task.settings.domain.encode()), "other_domain", lines)
    batch = _only(batch, pc.match_substring_regex(batch[VIEWS], _NUMBER), NOT_A_NUMBER, lines)
    views = batch[VIEWS].cast(pa.string()).cast(pa.int64())
    batch = pa.record_batch([batch[TITLE], views], [TITLE, VIEWS])
    if is_hour:
        is_frequent = pc.greater_equal(batch[VIEWS], task.settings.min_hour_views)
        batch = _only(batch, is_frequent, "few_views_an_hour", lines)
    batch = _only(batch, pc.invert(pc.match_substring(batch[TITLE], ":")), "colon", lines)
    batch = _only(batch, pc.less_equal(pc.binary_length(batch[TITLE]), LONGEST_TITLE), "too_long", lines)
    batch = _only(batch, _is_utf8(batch[TITLE]), "not_utf8", lines)
    title = pc.replace_substring(batch[TITLE].cast(pa.string()), "_", " ")
    return pa.record_batch([title, batch[VIEWS]], schema=SCHEMA)


def _only(batch: pa.RecordBatch, is_kept: pa.Array, reason: str, lines: RowCounts) -> pa.RecordBatch:
    kept = batch.filter(is_kept)
    if len(kept) < len(batch):
        examples = batch[TITLE].filter(pc.invert(is_kept)).slice(0, EXAMPLES)
        shown = (title.as_py().decode(errors="replace")[:80] for title in examples)
        lines.drop(reason, shown, len(batch) - len(kept))
    return kept


def _is_utf8(texts: pa.Array) -> pa.Array:
    try:
        texts.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decodes(text) for text in texts.to_pylist()], pa.bool_())
    return pa.repeat(True, len(texts))


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
