"""A whole shard against the faults of its stores: right rows or a clear failure, no half file, a re-run completes."""

import dataclasses
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest

from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib import shard_filter
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, MapClassifier
from mappool_assets.lib.errors import BadSetting, BadShard, MissingInput, SourceChanged, SourceUnavailable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import filter_shard
from mappool_assets_tests.expiring_hub import NAME, serve_hub
from mappool_assets_tests.lib.test_shard_filter import linear_classifier
from mappool_assets_tests.range_server import (
    LONGEST_DRIP_SECONDS,
    From,
    break_at,
    changed,
    drip,
    fine,
    reset_after,
    reset_at,
    serve,
    silence,
    status,
    whole_file,
)
from mappool_assets_tests.s3_server import serve_s3

ROWS = 600
KEY, DEFLATED = shard_key("faults"), shard_key("faults", "deflated")
INPUTS = {"made": "by a test"}
TABLE = "mappool/shard_maps"
PLACES = ["parquet", "l14_img", "l14_txt"]
ALL_PLACES = [*PLACES, "l14_img deflated", "l14_txt deflated"]
QUICK = Storage(attempts=4, first_wait_seconds=0.01)
COMMIT, LATER_COMMIT = "c" * 40, "d" * 40
TOKEN = "hf_secret"


@pytest.fixture(scope="module")
def rows():
    return synthetic_rows(ROWS, seed=1, map_share=0.1)


@pytest.fixture(scope="module")
def linear(rows):
    return linear_classifier(rows)


@pytest.fixture(scope="module")
def pool(rows, tmp_path_factory):
    """The same rows twice: as CommonPool stores them, and deflated. Not to be changed."""
    folder = tmp_path_factory.mktemp("faults")
    write_shard(folder, KEY, rows)
    _, npz = write_shard(folder, DEFLATED, rows)
    np.savez_compressed(npz, **rows.members)
    return folder


@pytest.fixture(scope="module")
def expected(pool, linear, tmp_path_factory):
    """The bytes that either shard becomes where nothing goes wrong."""
    return filtered_undisturbed(pool, linear, tmp_path_factory.mktemp("undisturbed"))


def filtered_undisturbed(pool, linear, folder):
    lake, shard = Lake(str(folder)), list_pool(str(pool), Storage()).shards[0]
    report = filter_shard(shard, linear, lake, Storage(), INPUTS)
    assert 20 < report.rows_kept < ROWS / 2
    assert report.rows_dropped == {"not_a_map": ROWS - report.rows_kept}
    return written(lake, shard.shard)


@pytest.fixture(scope="module")
def running(pool):
    with serve(pool) as server:
        yield server, {shard.shard: shard for shard in list_pool(server.url, QUICK).shards}


@pytest.fixture
def server(running):
    heal(running[0])
    return running[0]


@pytest.fixture
def shards(running):
    return running[1]


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def heal(server):
    server.faults, server.always, server.salt = [], fine, ""


def files_in(lake):
    """Every file of a lake, temporary ones too."""
    return [path for path in Path(lake.root).rglob("*") if path.is_file()]


def written(lake, key):
    """The bytes of a shard's maps, which are all that a lake holds."""
    (path,) = files_in(lake)
    assert path == Path(lake.root) / TABLE / f"{key}.parquet"
    return path.read_bytes()


@pytest.fixture
def in_the_middle(pool, rows):
    """A function from a place to its shard's key, the file and a byte that lies in the middle of what is read there."""

    def find(place):
        if place == "parquet":
            file = f"{KEY}.parquet"
            urls = pq.ParquetFile(pool / file).metadata.row_group(0).column(1)
            assert urls.path_in_schema == "url"
            return KEY, file, urls.data_page_offset + urls.total_compressed_size // 2
        member, _, is_deflated = place.partition(" ")
        key = DEFLATED if is_deflated else KEY
        with zipfile.ZipFile(pool / f"{key}.npz") as archive:
            info = archive.getinfo(f"{member}.npy")
        if is_deflated:
            return key, f"{key}.npz", info.header_offset + info.compress_size // 2
        maps = np.flatnonzero(rows.is_map)
        row = maps[np.abs(maps - ROWS // 2).argmin()]  # l14_txt is read for these only
        content = (pool / f"{key}.npz").read_bytes()
        return key, f"{key}.npz", content.index(rows.members[member][row].tobytes(), info.header_offset) + 100

    return find


def refused_for(seconds, **headers):
    """Answer 429 to all requests until so many seconds after the first."""
    until = []

    def fault(handler):
        until.append(time.monotonic() + seconds)
        return time.monotonic() < until[0] and status(429, **headers)(handler)

    return fault


def wrong_range(handler):
    """Answer with other bytes than those asked for, and say so."""
    first, last = handler.asked
    content = handler.file.read_bytes()
    headers = {"ETag": handler.etag, "Content-Range": f"bytes {first + 1}-{last + 1}/{len(content)}"}
    handler.answer(206, content[first + 1 : last + 2], headers)
    return True


def too_many(seconds, **headers):
    return lambda byte: refused_for(seconds, **headers)


def overloaded(byte):
    return status(503)


@pytest.mark.parametrize(
    ("place", "fault", "is_lasting"),
    [
        pytest.param(place, fault, is_lasting, id=f"{name} in {place}")
        for places, name, fault, is_lasting in (
            (ALL_PLACES, "break", break_at, False),
            (PLACES, "reset", reset_at, False),
            (PLACES, "503", overloaded, False),
            (["l14_img"], "429 with Retry-After", too_many(0.9, Retry_After="1"), True),
            (["l14_txt"], "429 with RateLimit", too_many(0.9, RateLimit='"resolvers";r=0;t=1'), True),
        )
        for place in places
    ],
)
def test_a_passing_fault_in_the_middle_changes_no_byte(
    server, shards, linear, lake, expected, in_the_middle, place, fault, is_lasting
):
    key, file, byte = in_the_middle(place)
    server.always = trouble = From(file, byte, fault(byte), lasting=is_lasting)
    filter_shard(shards[key], linear, lake, QUICK, INPUTS)
    assert trouble.has_begun
    assert written(lake, key) == expected


@pytest.mark.parametrize("place", ["l14_img", "l14_txt"])
def test_a_slow_drip_in_the_middle_is_cut_and_resumed(server, shards, linear, lake, expected, in_the_middle, place):
    key, file, byte = in_the_middle(place)
    server.always = trouble = From(file, byte, drip(0.2))
    began = time.monotonic()
    filter_shard(shards[key], linear, lake, dataclasses.replace(QUICK, read_deadline_seconds=0.4), INPUTS)
    assert trouble.has_begun
    assert time.monotonic() - began < LONGEST_DRIP_SECONDS
    assert written(lake, key) == expected


def late_end(handler):
    """Send the last byte long after the others."""
    handler.answer_range(cut=-1)
    time.sleep(0.6)
    handler.wfile.write(handler.file.read_bytes()[handler.asked[1] :][:1])
    return True


def test_an_answer_that_is_whole_only_after_the_deadline_is_taken(
    server, shards, linear, lake, expected, in_the_middle
):
    key, file, byte = in_the_middle("l14_img")
    server.always = trouble = From(file, byte, late_end)
    filter_shard(shards[key], linear, lake, dataclasses.replace(QUICK, read_deadline_seconds=0.4), INPUTS)
    assert trouble.has_begun
    assert written(lake, key) == expected


@pytest.mark.parametrize("fault", [drip(0.2), silence], ids=["drip", "silence"])
def test_a_server_that_never_does_more_than_drip_fails_clearly(
    server, shards, linear, lake, expected, in_the_middle, fault
):
    key, file, byte = in_the_middle("l14_img")
    server.always = From(file, byte, fault, lasting=True)
    with pytest.raises(SourceUnavailable):
        filter_shard(shards[key], linear, lake, dataclasses.replace(QUICK, read_deadline_seconds=0.4), INPUTS)
    assert files_in(lake) == []
    heal(server)
    filter_shard(shards[key], linear, lake, QUICK, INPUTS)
    assert written(lake, key) == expected


@pytest.mark.parametrize(
    ("place", "fault", "is_lasting", "error"),
    [
        pytest.param(place, fault, is_lasting, error, id=f"{name} in {place}")
        for places, name, fault, is_lasting, error in (
            ([*PLACES, "l14_img deflated"], "503", status(503), True, SourceUnavailable),
            (["l14_img"], "429", status(429, Retry_After="0"), True, SourceUnavailable),
            (["l14_img"], "break", reset_after(0), True, SourceUnavailable),
            (PLACES, "one 200", whole_file, False, BadSetting),
            (["l14_img"], "200", whole_file, True, BadSetting),
            (["l14_img"], "wrong range", wrong_range, False, SourceChanged),
            ([*PLACES, "l14_img deflated"], "other ETag", changed, False, SourceChanged),
            (["l14_txt"], "403", status(403), True, BadSetting),
            (["l14_txt"], "404", status(404), True, MissingInput),
        )
        for place in places
    ],
)
def test_a_lasting_fault_in_the_middle_fails_clearly_and_a_second_run_completes(
    server, shards, linear, lake, expected, in_the_middle, place, fault, is_lasting, error
):
    key, file, byte = in_the_middle(place)
    server.always = From(file, byte, fault, lasting=is_lasting)
    with pytest.raises(error) as caught:
        filter_shard(shards[key], linear, lake, QUICK, INPUTS)
    assert caught.value.where == f"{server.url}/{file}"
    assert files_in(lake) == []
    heal(server)
    filter_shard(shards[key], linear, lake, QUICK, INPUTS)
    assert written(lake, key) == expected


def test_a_server_without_ranges_is_refused_before_anything_is_read(server, shards, linear, lake):
    server.always = lambda handler: handler.file.is_file() and whole_file(handler)
    with pytest.raises(BadSetting, match="does not answer byte ranges"):
        list_pool(server.url, QUICK)
    with pytest.raises(BadSetting, match="does not answer byte ranges"):
        filter_shard(shards[KEY], linear, lake, QUICK, INPUTS)
    assert files_in(lake) == []


def test_over_http_with_breaks_the_same_rows_for_fewer_bytes(linear, lake, tmp_path):
    (tmp_path / "pool").mkdir()
    rows = synthetic_rows(3_000, seed=3, map_share=0.01)
    _, npz = write_shard(tmp_path / "pool", KEY, rows)
    (shard,) = list_pool(str(tmp_path / "pool"), Storage()).shards
    assert 0 < filter_shard(shard, linear, lake, Storage(), INPUTS).rows_kept < 200
    expected = written(lake, KEY)
    start = npz.read_bytes().index(rows.members["l14_img"].tobytes())
    with serve(tmp_path / "pool") as server:
        (shard,) = list_pool(server.url, QUICK).shards
        server.bytes_sent = 0
        breaks = [start + (i + 1) * 400_000 for i in range(8)]  # twice the attempts, each with progress
        troubles = [From(npz.name, byte, break_at(byte)) for byte in breaks]
        server.always = lambda handler: any(trouble(handler) for trouble in troubles)
        remote = filter_shard(shard, linear, lake, QUICK, INPUTS)
        assert all(trouble.has_begun for trouble in troubles)
        assert written(lake, KEY) == expected
        assert remote.bytes_read < 0.6 * remote.bytes_listed  # l14_txt of so few rows is read nearly whole
        assert server.bytes_sent < 1.02 * remote.bytes_read  # resumed where it broke, not begun again


@pytest.fixture
def own_pool(pool, tmp_path):
    """The shard as CommonPool stores it, in a folder that a test may change."""
    (tmp_path / "pool").mkdir()
    for file in pool.glob(f"{KEY}.*"):
        shutil.copy(file, tmp_path / "pool")
    return tmp_path / "pool"


@pytest.fixture
def replacement(tmp_path):
    """Another shard of the same size under the same key."""
    (tmp_path / "replacement").mkdir()
    write_shard(tmp_path / "replacement", KEY, synthetic_rows(ROWS, seed=2, map_share=0.1))
    return tmp_path / "replacement"


def overwrite(own_pool, replacement):
    for file in replacement.iterdir():
        (own_pool / file.name).write_bytes(file.read_bytes())


def upload(endpoint, folder):
    for file in folder.iterdir():
        boto3.client("s3", endpoint_url=endpoint).upload_file(str(file), "bucket", f"pool/{file.name}")


def test_a_shard_on_s3_gives_the_same_bytes(pool, linear, lake, expected):
    with serve_s3("bucket") as endpoint:
        upload(endpoint, pool)
        storage = Storage(s3_endpoint=endpoint)
        for shard in list_pool("s3://bucket/pool", storage).shards:
            filter_shard(shard, linear, lake, storage, INPUTS)
            assert written(lake, shard.shard) == expected
            lake.delete(f"{TABLE}/{shard.shard}.parquet")


@pytest.mark.parametrize("store", ["http", "s3", "folder"])
def test_content_replaced_in_mid_shard_is_never_mixed(own_pool, replacement, linear, lake, tmp_path, store):
    """The images are read from one file; before the texts are, another lies at its address, of the same size."""
    with serve(own_pool) as server, serve_s3("bucket") as endpoint:
        upload(endpoint, own_pool)
        storage = Storage(s3_endpoint=endpoint, first_wait_seconds=0.01)
        source = {"http": server.url, "s3": "s3://bucket/pool", "folder": str(own_pool)}[store]
        (shard,) = list_pool(source, storage).shards

        def replace(done, total):
            assert done == total  # one block: only l14_txt is still to be read
            if store == "s3":
                upload(endpoint, replacement)
            else:
                overwrite(own_pool, replacement)

        with pytest.raises(SourceChanged):
            filter_shard(shard, linear, lake, storage, INPUTS, progress=replace)
        assert files_in(lake) == []
        with pytest.raises(SourceChanged):  # what was listed is no more
            filter_shard(shard, linear, lake, storage, INPUTS)
        assert files_in(lake) == []
        (shard,) = list_pool(source, storage).shards
        filter_shard(shard, linear, lake, storage, INPUTS)
        assert written(lake, KEY) == filtered_undisturbed(replacement, linear, tmp_path / "undisturbed")


@pytest.fixture
def hub(own_pool, replacement, tmp_path, monkeypatch):
    """A Hub whose dataset is the pool at the commit that ``main`` is, and another one at a later commit."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commits = tmp_path / "commits"
    commits.mkdir()
    own_pool.rename(commits / COMMIT)
    replacement.rename(commits / LATER_COMMIT)
    with serve_hub(commits, COMMIT, TOKEN) as hub:
        yield hub


def on_hub(hub, **settings):
    storage = dataclasses.replace(QUICK, hub_endpoint=hub.resolver.url, **settings)
    (shard,) = list_pool(f"hf://datasets/{NAME}", storage).shards
    assert shard.npz_url == f"hf://datasets/{NAME}@{COMMIT}/{KEY}.npz"
    return shard, storage


def assert_only_the_hub_saw_the_token(hub):
    assert hub.store_headers
    for headers in hub.store_headers:
        assert "authorization" not in headers
        assert TOKEN not in str(headers)
    assert all(TOKEN not in request for request in hub.store.requests)


@pytest.mark.parametrize("redirect_status", [302, 307])
@pytest.mark.parametrize("place", PLACES)
def test_a_signed_address_that_expires_in_mid_shard_is_resolved_anew(
    hub, linear, lake, expected, in_the_middle, place, redirect_status
):
    def expire(handler):
        hub.head = LATER_COMMIT  # somebody pushes meanwhile
        hub.expire()
        return False

    shard, storage = on_hub(hub)
    _, file, byte = in_the_middle(place)
    hub.redirect_status = redirect_status
    hub.before_signature = expiry = From(file, byte, expire)
    filter_shard(shard, linear, lake, storage, INPUTS)
    assert expiry.has_begun
    assert written(lake, KEY) == expected
    assert {path.split("/")[-2] for path in hub.resolved} == {COMMIT}
    # Once at first, once when it had expired; two requests under way at the same time may both ask anew.
    assert 2 <= hub.resolved.count(f"/datasets/{NAME}/resolve/{COMMIT}/{file}") <= 3
    assert_only_the_hub_saw_the_token(hub)


def test_signed_addresses_that_expire_again_and_again(hub, linear, lake, expected, in_the_middle):
    """The connection breaks more often than there are attempts, and each time the signature has expired by then."""
    shard, storage = on_hub(hub)
    _, file, byte = in_the_middle("l14_img")
    breaks = [byte + n * 10_000 for n in range(storage.attempts + 2)]

    def break_and_expire(handler):
        if not (breaks and hub.is_valid(handler) and handler.asks_for(file, breaks[0])):
            return False
        hub.expire()
        return break_at(breaks.pop(0))(handler)

    hub.before_signature = break_and_expire
    filter_shard(shard, linear, lake, storage, INPUTS)
    assert breaks == []
    assert written(lake, KEY) == expected
    assert_only_the_hub_saw_the_token(hub)


def test_a_signed_address_that_expires_under_many_requests_at_once(hub, linear, lake, expected, in_the_middle):
    def expire(handler):
        hub.expire()
        return False

    def refuse_slowly(handler):
        """Let requests for several texts be refused before the first learns of it."""
        expiry(handler)
        if not hub.is_valid(handler):
            time.sleep(0.1)
        return False

    shard, storage = on_hub(hub, request_cost_bytes=0)  # each text a request of its own
    _, file, byte = in_the_middle("l14_txt")
    expiry = From(file, byte, expire)
    hub.before_signature = refuse_slowly
    filter_shard(shard, linear, lake, storage, INPUTS)
    assert expiry.has_begun
    assert written(lake, KEY) == expected
    assert_only_the_hub_saw_the_token(hub)


def refuse_signatures(hub):
    hub.before_signature = status(403)
    hub.expire()


def slow_down(hub):
    hub.resolver.faults = [status(503)] * 9
    hub.expire()


def withdraw_access(hub):
    hub.token = "hf_another"
    hub.expire()


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(refuse_signatures, SourceUnavailable), (slow_down, SourceUnavailable), (withdraw_access, BadSetting)],
)
def test_a_hub_that_refuses_in_mid_shard_fails_clearly_and_a_second_run_completes(
    hub, linear, lake, expected, in_the_middle, trouble, error
):
    shard, storage = on_hub(hub)
    _, file, byte = in_the_middle("l14_img")
    hub.before_signature = From(file, byte, lambda handler: trouble(hub))
    with pytest.raises(error) as caught:
        filter_shard(shard, linear, lake, storage, INPUTS)
    assert caught.value.where == shard.npz_url
    assert TOKEN not in str(caught.value)
    assert files_in(lake) == []
    hub.before_signature, hub.resolver.faults, hub.token = fine, [], TOKEN
    filter_shard(shard, linear, lake, storage, INPUTS)
    assert written(lake, KEY) == expected
    assert_only_the_hub_saw_the_token(hub)


def test_a_hub_that_asks_for_a_pause_in_mid_shard_gets_it(hub, linear, lake, expected, in_the_middle):
    def expire(handler):
        hub.expire()
        hub.resolver.always = lambda handler: pause(handler) or hub.answer_hub(handler)
        return False

    shard, storage = on_hub(hub)
    pause = refused_for(0.9, RateLimit='"resolvers";r=0;t=1')
    hub.before_signature = From(*in_the_middle("l14_img")[1:], expire)
    filter_shard(shard, linear, lake, storage, INPUTS)
    assert written(lake, KEY) == expected


@pytest.mark.parametrize("key", [KEY, DEFLATED], ids=["stored", "deflated"])
def test_a_checksum_that_fails_at_the_end_takes_back_what_was_written_before(
    pool, linear, lake, expected, tmp_path, monkeypatch, key
):
    monkeypatch.setattr(shard_filter, "BLOCK_ROWS", 100)
    monkeypatch.setattr(shard_filter, "KEPT_ROWS_A_WRITE", 10)
    (tmp_path / "pool").mkdir()
    shutil.copy(pool / f"{key}.parquet", tmp_path / "pool")
    npz = Path(shutil.copy(pool / f"{key}.npz", tmp_path / "pool"))
    sound = npz.read_bytes()
    with zipfile.ZipFile(npz) as archive:
        crc = archive.getinfo("l14_img.npy").CRC
    npz.write_bytes(sound.replace(struct.pack("<I", crc), struct.pack("<I", crc ^ 1)))
    (shard,) = list_pool(str(tmp_path / "pool"), Storage()).shards
    half_written = []
    with pytest.raises(BadShard, match="CRC-32"):
        filter_shard(shard, linear, lake, Storage(), INPUTS, progress=lambda *_: half_written.extend(files_in(lake)))
    assert half_written or key == DEFLATED
    assert all(path.name.startswith(".") for path in half_written)  # no reader takes it for a table
    assert files_in(lake) == []
    npz.write_bytes(sound)
    (shard,) = list_pool(str(tmp_path / "pool"), Storage()).shards
    filter_shard(shard, linear, lake, Storage(), INPUTS)
    assert written(lake, key)


def test_a_full_disk_leaves_nothing_half_written(pool, tmp_path, lake):
    """A file size limit of the process stands for the full disk: writes past it fail with an error of the system."""
    code = f"""
import resource
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_filter import filter_shard
from mappool_assets_tests.lib.test_shard_faults import everything

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for shard in list_pool({str(pool)!r}, Storage()).shards:
    try:
        filter_shard(shard, everything(), Lake({lake.root!r}), Storage(), {{}})
    except Exception as error:
        print("failed:", error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.count("File too large") == 2
    assert files_in(lake) == []
    for shard in list_pool(str(pool), Storage()).shards:
        assert filter_shard(shard, everything(), lake, Storage(), {}).rows_kept == ROWS


def everything():
    """A classifier that keeps every row."""
    arrays = {"coefficients": np.zeros(768), "intercept": np.ones(1)}
    return MapClassifier(LOGISTIC_REGRESSION, arrays, encoder_id="test", training_set_id="test")


def test_a_disk_that_takes_nothing_fails_each_shard_by_itself_with_a_clear_word(tmp_path):
    """Not even the record of the failure fits: the other shards are tried all the same."""
    code = f"""
import resource
from pathlib import Path
from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import known_shards, write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets.lib.shard_runs import failure_fields
from mappool_assets.lib.train_classifier import train
from mappool_assets_tests.runs.conftest import store_labelled_embeddings

folder = Path({str(tmp_path)!r})
(folder / "pool").mkdir()
lake = Lake(str(folder / "lake"))
store_labelled_embeddings(lake)
train(lake, "logistic_regression")
for seed in range(2):
    write_shard(folder / "pool", shard_key("full", seed), synthetic_rows(300, seed=seed, map_share=0.1))
write_pool_shards(lake, list_pool(str(folder / "pool"), Storage()))
tasks = filter_tasks(lake, list(known_shards(lake)), Storage())
for room in (20_000, 500):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    for outcome in filter_shards(tasks, workers=1):
        print(room, failure_fields(outcome.error)["action"], *getattr(outcome.error, "__notes__", ()))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == ["20000", "20000", "500", "500"]
    assert all("Make room" in line for line in lines)
    assert ["not in mappool/shard_failures" in line for line in lines] == [False, False, True, True]
