import boto3
import pytest

from mappool_assets.lib.errors import BadSetting, SourceUnavailable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import has_changed, known_shards, pool_name, pool_origin, write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.ranged_file.stores import open_ranged
from mappool_assets_tests.range_server import serve, status
from mappool_assets_tests.s3_server import serve_s3

A, B, C = ("a" * 32, "b" * 32, "c" * 32)
FLAT = {f"{A}.parquet": b"1", f"{A}.npz": b"22", f"{B}.parquet": b"1", f"{B}.npz": b"22", "README.md": b"x"}
PARTS = {f"part_0/{A}.parquet": b"1", f"part_0/{A}.npz": b"22", f"part_1/{B}.parquet": b"1", f"part_1/{B}.npz": b"22"}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def described(listing):
    return [(s.shard, s.part, s.parquet_bytes, s.npz_bytes) for s in listing.shards]


@pytest.mark.parametrize(("files", "parts"), [(FLAT, ("", "")), (PARTS, ("part_0", "part_1"))])
def test_folder_http_and_s3_list_the_same(tmp_path, files, parts):
    write(tmp_path, files)
    expected = [(A, parts[0], 1, 2), (B, parts[1], 1, 2)]
    assert described(list_pool(str(tmp_path), Storage())) == expected
    with serve(tmp_path) as server:
        listing = list_pool(server.url, Storage())
        assert described(listing) == expected
        assert listing.shards[0].npz_url.startswith(server.url)
    with serve_s3("bucket") as endpoint:
        storage, client = Storage(s3_endpoint=endpoint), boto3.client("s3", endpoint_url=endpoint)
        for name, content in files.items():
            client.put_object(Bucket="bucket", Key=f"the/pool/{name}", Body=content)
        listing = list_pool("s3://bucket/the/pool", storage)
        assert described(listing) == expected
        assert listing.shards[0].parquet_url.startswith("s3://bucket/the/pool/")
        with pytest.raises(BadSetting, match="no pool"):
            list_pool("s3://absent/pool", storage)


def test_files_without_partner_are_counted(tmp_path):
    write(tmp_path, {**FLAT, f"{C}.npz": b"", "d.parquet": b"", f"part_0/{A}.parquet": b"1", f"part_0/{A}.npz": b"2"})
    listing = list_pool(str(tmp_path), Storage())
    assert [shard.shard for shard in listing.shards] == [A, B]
    assert listing.dropped == {"key_seen_before": 1, "without_npz": 1, "without_parquet": 1}


def test_no_pool_and_no_answer_are_different_failures(tmp_path):
    with pytest.raises(BadSetting, match="no such folder"):
        list_pool(str(tmp_path / "absent"), Storage())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSetting, match="0 shard files"):
        list_pool(str(tmp_path / "empty"), Storage())
    with serve(tmp_path) as server:
        server.faults = [status(503)]
        with pytest.raises(SourceUnavailable, match="503"):
            list_pool(server.url, Storage())


def test_a_version_changes_with_the_file(tmp_path):
    write(tmp_path, FLAT)
    before = list_pool(str(tmp_path), Storage()).shards
    write(tmp_path, {f"{A}.npz": b"333"})
    after = list_pool(str(tmp_path), Storage()).shards
    assert before[0].npz_version != after[0].npz_version
    assert before[0].parquet_version == after[0].parquet_version
    assert before[1] == after[1]


def test_a_shard_that_vanishes_stays_known(tmp_path):
    lake, pool = Lake(str(tmp_path / "lake")), tmp_path / "pool"
    write(pool, FLAT)
    write_pool_shards(lake, list_pool(str(pool), Storage()))
    (pool / f"{B}.npz").unlink()
    assert has_changed(lake, list_pool(str(pool), Storage()))
    made = write_pool_shards(lake, list_pool(f"{pool}/", Storage()))
    assert not has_changed(lake, list_pool(str(pool), Storage()))
    assert list(known_shards(lake)) == [A, B]
    assert list(known_shards(lake, only_listed=True)) == [A]
    assert (made.rows_in, made.rows_kept, made.rows_dropped) == (3, 2, {"without_npz": 1})
    listed = {row["shard"]: row["is_listed"] for row in lake.read_table("mappool/pool_shards").to_pylist()}
    assert listed == {A: True, B: False}
    assert pool_origin(lake) == {"source": f"{pool}/", "revision": ""}


def test_another_pool_replaces_the_first(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    write(tmp_path / "one", FLAT)
    write(tmp_path / "two", {f"{C}.parquet": b"", f"{C}.npz": b""})
    for name in ("one", "two"):
        write_pool_shards(lake, list_pool(str(tmp_path / name), Storage()))
    assert list(known_shards(lake)) == [C]


def test_a_pools_name_is_its_address_without_revision():
    assert pool_name("hf://datasets/owner/name@0123abc") == pool_name("hf://datasets/owner/name/")
    assert pool_name("/data/pool@home/") == "/data/pool@home"


def test_an_unreachable_hub_and_missing_credentials_are_told_apart(monkeypatch, tmp_path):
    with serve(tmp_path) as server:
        pass  # its port is closed now
    with pytest.raises(SourceUnavailable) as caught:
        list_pool("hf://datasets/owner/name", Storage(hub_endpoint=server.url))
    assert caught.value.is_transient
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # remembers credentials of earlier tests
    for refused in (
        lambda: list_pool("s3://bucket/pool", Storage(s3_endpoint=server.url)),
        lambda: open_ranged("s3://bucket/pool/file", Storage(s3_endpoint=server.url)),
    ):
        with pytest.raises(BadSetting, match="credentials"):
            refused()
