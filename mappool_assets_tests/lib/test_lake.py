from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import BadSetting, MissingInput
from mappool_assets.lib.lake import Lake, Provenance, fingerprint, replacing
from mappool_assets_tests.small_lake import shard_key, write_maps

ROWS = pa.table({"uid": ["a", "b"], "map_score": pa.array([0.5, 0.75], pa.float32())})
MADE = Provenance({"classifier_id": "svm-1", "threshold": 0.35}, 5, 2, {"not_a_map": 3}, {"histogram": [1, 2]})


@pytest.fixture
def s3_lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket = f"maps-{uuid.uuid4().hex}"  # all of a process's servers share their content
    boto3.client("s3", endpoint_url=endpoint).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield Lake(f"s3://{bucket}/lakes/one", endpoint)
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return request.getfixturevalue("s3_lake") if request.param == "s3" else Lake(str(tmp_path / "lake"))


def test_a_table_comes_back_with_what_made_it(lake: Lake) -> None:
    lake.write_table("mappool/maps", ROWS, MADE, "one")

    assert lake.read_table("mappool/maps", "one").equals(ROWS)
    assert lake.read_table("mappool/maps", "one", ["uid"]).column_names == ["uid"]
    assert lake.provenance("mappool/maps", "one") == MADE
    assert lake.partitions("mappool/maps") == ["one"]
    assert lake.size_bytes("mappool/maps/one.parquet") == len(lake.read_bytes("mappool/maps/one.parquet"))
    lake.delete("mappool/maps/one.parquet")
    assert lake.partitions("mappool/maps") == []
    lake.delete("mappool/maps/one.parquet")


@pytest.mark.parametrize("made_before", [False, True])
def test_an_exception_while_writing_leaves_what_was_there(lake: Lake, made_before: bool) -> None:
    if made_before:
        lake.write_table("mappool/maps", ROWS, MADE)
    with contextlib.suppress(KeyboardInterrupt), lake.table_writer("mappool/maps", ROWS.schema) as writer:
        writer.write(ROWS.slice(0, 1))
        raise KeyboardInterrupt

    assert lake.partitions("mappool/maps") == (["all"] if made_before else [])
    assert lake.provenance("mappool/maps") == (MADE if made_before else None)
    if lake.is_local:
        assert list(Path(lake.root).rglob("*.tmp")) == []


@pytest.mark.parametrize("provenance", [None, Provenance({}, 5, 1, {"not_a_map": 4})], ids=["none", "other count"])
def test_a_table_whose_provenance_does_not_fit_is_not_kept(tmp_path: Path, provenance: Provenance | None) -> None:
    lake = Lake(str(tmp_path))

    def write() -> None:
        with lake.table_writer("mappool/maps", ROWS.schema) as writer:
            writer.write(ROWS)
            writer.provenance = provenance

    with pytest.raises(AssertionError, match="2 rows written"):
        write()
    assert lake.partitions("mappool/maps") == []


def test_a_ledger_holds_all_rows_in(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    made = Provenance({}, 2, 1, {"not_a_map": 1})
    lake.write_table("mappool/maps", ROWS, made, "ledger", is_ledger=True)
    assert lake.provenance("mappool/maps", "ledger") == made
    with pytest.raises(AssertionError, match="2 rows written"):
        lake.write_table("mappool/maps", ROWS, made, "other")
    with pytest.raises(AssertionError, match="1 rows written"):
        lake.write_table("mappool/maps", ROWS.slice(1), made, "other", is_ledger=True)
    assert lake.partitions("mappool/maps") == ["ledger"]


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    one, two = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "two"))
    for lake in (one, two):
        write_maps(lake, shard_key("a"), 500)
    path = Lake.table_path("mappool/shard_maps", shard_key("a"))
    assert one.read_bytes(path) == two.read_bytes(path)


def test_an_unfinished_file_is_no_partition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write_table("mappool/maps", ROWS, MADE)
    with replacing(tmp_path / "mappool/maps/other.parquet") as temporary:
        temporary.write_bytes(b"half")
        assert lake.partitions("mappool/maps") == ["all"]
        assert lake.query("SELECT count(*) AS n FROM read_parquet('lake://mappool/maps/*.parquet')")[
            "n"
        ].to_pylist() == [2]
    assert lake.partitions("mappool/maps") == ["all", "other"]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(inputs=st.dictionaries(st.text(), JSON_VALUES), dropped=st.dictionaries(st.text(), st.integers(0)))
def test_provenance_survives_writing(inputs: dict, dropped: dict[str, int]) -> None:
    made = Provenance(inputs, 7, 3, dropped)
    back = Provenance.from_json(made.to_json())
    assert back == made
    assert back.fingerprint == fingerprint(dict(reversed(inputs.items())))


def test_is_made_from_tells_every_change(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert not lake.is_made_from(MADE.inputs, "mappool/maps")
    lake.write_table("mappool/maps", ROWS, MADE)
    assert lake.is_made_from({"threshold": 0.35, "classifier_id": "svm-1"}, "mappool/maps")
    for other in ({"threshold": 0.35}, {**MADE.inputs, "threshold": 0.3500001}, {**MADE.inputs, "code_version": 1}):
        assert not lake.is_made_from(other, "mappool/maps")


def test_a_foreign_file_was_made_from_nothing_known(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with lake.writing("mappool/maps/all.parquet") as file:
        pq.write_table(ROWS, file, store_schema=False)
    assert lake.provenance("mappool/maps") is None
    assert not lake.is_made_from({}, "mappool/maps")


def test_missing_tables_name_the_asset_to_make(lake: Lake) -> None:
    with pytest.raises(MissingInput, match="mappool/classifier first"):
        lake.read_table("mappool/classifier")
    with pytest.raises(MissingInput, match="shard_maps"):
        lake.query("SELECT * FROM shard_maps")
    with pytest.raises(MissingInput, match=shard_key("b")):
        sql_files.run(lake, "checks/rows_accounted", table="mappool/shard_maps", partitions=[shard_key("b")])
    assert lake.partitions("mappool/shard_maps") == []


def test_sql_reads_the_lake_alike_in_a_folder_and_a_bucket(lake: Lake) -> None:
    keys = [shard_key("a"), shard_key("b")]
    write_maps(lake, keys[0])
    write_maps(lake, keys[1], columns={"map_score": [0.5, 0.1, 0.5]})

    counts = lake.query("SELECT shard, count(*) AS n FROM shard_maps GROUP BY shard ORDER BY shard").to_pylist()
    assert counts == [{"shard": key, "n": 3} for key in keys]
    bad = sql_files.run(lake, "checks/shard_maps_score_over_threshold")
    assert bad["shard"].to_pylist() == [keys[1]]


def test_a_damaged_file_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_maps(lake, shard_key("a"))
    (tmp_path / "mappool/pool_shards").mkdir()
    (tmp_path / "mappool/pool_shards/all.parquet").write_bytes(b"PAR1 cut off")

    assert lake.query("SELECT count(*) AS n FROM shard_maps")["n"].to_pylist() == [3]
    with pytest.raises(MissingInput, match=r"cannot be read.*magic bytes.*pool_shards/all\.parquet"):
        lake.query("SELECT * FROM pool_shards")


def test_a_store_that_does_not_answer_is_not_an_empty_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        lake = Lake("s3://maps", f"http://127.0.0.1:{unused.getsockname()[1]}")
    with pytest.raises(OSError, match=r"(?i)connect"):
        lake.partitions("mappool/shard_maps")


@pytest.mark.parametrize("root", ["gs://bucket/lake", "s3://"])
def test_an_address_that_cannot_be_used_says_so(root: str) -> None:
    with pytest.raises(BadSetting, match="MAPPOOL_LAKE"):
        Lake(root).partitions("mappool/shard_maps")


def test_sql_reads_many_files_right_with_threads(tmp_path: Path) -> None:
    """DuckDB shares file handles between threads: with one position a handle, it got other bytes, 8 of 8 times."""
    lake = Lake(str(tmp_path))
    for shard in range(40):
        write_maps(lake, f"{shard:032x}", rows=300, dimension=768, seed=shard)
    for _ in range(2):
        assert sql_files.run(lake, "checks/shard_maps_score_over_threshold").num_rows == 0
