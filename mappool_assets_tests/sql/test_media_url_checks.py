"""The checks of media_urls, on lakes that keep their rules and on such that break them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.media_urls.media_url_task import TABLE, MergeSettings, media_url_tasks
from mappool_assets.lib.media_urls.media_urls import SCHEMA, make_media_urls
from mappool_assets_tests.media_url_files import Page, bucket_of, write_file_urls

URL = "https://cdn.example/{}.jpg"
LOW, HIGH = (
    next(URL.format(i) for i in range(100) if (bucket_of(URL.format(i)) < 128) == is_low) for is_low in (True, False)
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two files, whose three images and film are merged in two parts."""
    lake = Lake(str(tmp_path / "lake"))
    write_file_urls(lake, "one", [Page("https://a.example/1", [("image", LOW), ("video", HIGH)])])
    write_file_urls(lake, "two", [Page("https://b.example/2", [("image", LOW), ("image", HIGH)])])
    for outcome in make_media_urls(media_url_tasks(lake, MergeSettings(tmp_path / "scratch", part_bytes=300)), 1):
        assert outcome.error is None
    assert lake.partitions(TABLE) == ["00-7f", "80-ff"]
    return lake


def offenders(lake: Lake, check: str) -> list[dict]:
    return sql_files.run(lake, f"checks/{check}").to_pylist()


def change(lake: Lake, part: str, rows: list[tuple]) -> None:
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)
    lake.write_table(TABLE, table, Provenance({}, len(rows), len(rows)), part)


def test_what_was_merged_keeps_the_rules(lake: Lake) -> None:
    assert offenders(lake, "media_urls_seen_complete") == []
    assert offenders(lake, "media_urls_unique") == []
    assert offenders(lake, "rows_accounted") == []


def test_each_kind_was_seen_as_often_as_the_files_say(lake: Lake) -> None:
    change(lake, "00-7f", [("audio", LOW, 1, 1), ("image", LOW, 3, 2)])
    assert offenders(lake, "media_urls_seen_complete") == [
        {"kind": "audio", "seen_in_files": 0, "seen_in_parts": 1},
        {"kind": "image", "seen_in_files": 3, "seen_in_parts": 4},
    ]
    lake.delete(lake.table_path(TABLE, "80-ff"))
    assert offenders(lake, "media_urls_seen_complete")[-1] == {"kind": "video", "seen_in_files": 1, "seen_in_parts": 0}


def test_each_url_is_there_once_in_its_own_part(lake: Lake) -> None:
    change(lake, "00-7f", [("image", LOW, 1, 1), ("image", LOW, 1, 1), ("video", LOW, 1, 1)])
    assert offenders(lake, "media_urls_unique") == [{"kind": "image", "url": LOW, "copies": 2, "parts": ["00-7f"]}]
    change(lake, "00-7f", [("image", LOW, 2, 2), ("video", HIGH, 1, 1), ("audio", HIGH, 1, 1)])
    assert offenders(lake, "media_urls_unique") == [
        {"kind": "audio", "url": HIGH, "copies": 1, "parts": ["00-7f"]},
        {"kind": "video", "url": HIGH, "copies": 2, "parts": ["00-7f", "80-ff"]},
    ]
