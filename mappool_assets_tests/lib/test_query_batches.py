"""Statements over more than memory: what is handed to them, what they give, how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from mappool_assets.lib.errors import BadSetting, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.lake_sql import BatchStream, SqlLimits

SCHEMA = pa.schema([("number", pa.int64()), ("page", pa.string())])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def batches(count: int, rows: int = 1000) -> Iterator[pa.RecordBatch]:
    for batch in range(count):
        numbers = range(batch * rows, (batch + 1) * rows)
        pages = [f"https://www.{n % 7}.example/{n}/{'x' * 200}" for n in numbers]
        yield pa.record_batch([numbers, pages], schema=SCHEMA)


def test_tables_come_and_results_go_in_batches_and_spill(lake: Lake, tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    with lake.query_batches(
        "SELECT page, sum(number)::BIGINT AS total FROM pages WHERE number >= $least GROUP BY page ORDER BY total DESC",
        {"least": 10},
        {"pages": BatchStream(SCHEMA, batches(150))},
        limits=SqlLimits("48MB", 1, spill),
        batch_rows=500,
    ) as reader:
        sizes, numbers = [], []
        for batch in reader:
            sizes.append(len(batch))
            numbers += batch["total"].to_pylist()
    assert numbers == list(range(149_999, 9, -1))
    assert max(sizes) <= 500
    assert list(spill.iterdir()) == []


def test_macros_are_there_and_files_are_bound(lake: Lake) -> None:
    lake.write_table("group/table", pa.table({"page": ["https://www.a.example/1"]}), Provenance({}, 1, 1), "one")
    statement = "SELECT domain_of(page) AS domain FROM read_parquet($files)"
    with lake.query_batches(statement, {"files": [Lake.sql_file("group/table", "one")]}) as reader:
        assert reader.read_all()["domain"].to_pylist() == ["a.example"]


@pytest.mark.parametrize("after", [0, 3])
def test_an_error_in_making_the_rows_is_raised_as_it_is(lake: Lake, after: int) -> None:
    error = SourceChanged("The file changed", where="file", rule="one", got="another", action="Again.")

    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches(after)
        raise error

    def run() -> None:
        with lake.query_batches(
            "SELECT max(number) FROM pages", tables={"pages": BatchStream(SCHEMA, broken())}
        ) as reader:
            reader.read_all()

    with pytest.raises(SourceChanged) as raised:
        run()
    assert raised.value is error


def test_an_error_of_who_takes_the_rows_is_raised_as_it_is(lake: Lake) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        lake.query_batches("FROM pages", tables={"pages": BatchStream(SCHEMA, batches(3))}),
    ):
        raise ZeroDivisionError


def test_too_little_memory_is_told_with_the_statements_question(lake: Lake, tmp_path: Path) -> None:
    with (
        pytest.raises(BadSetting, match=r"Which pages\?.*1MB of memory, and room to spill in"),
        lake.query_batches(
            "-- Which pages?\nSELECT * FROM pages ORDER BY page",
            tables={"pages": BatchStream(SCHEMA, batches(50))},
            limits=SqlLimits("1MB", 1, tmp_path),
        ) as reader,
    ):
        reader.read_all()
    assert list(tmp_path.iterdir()) == []
