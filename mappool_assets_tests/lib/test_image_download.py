"""What became of each request, with the real img2dataset and a server on loopback."""

import hashlib
import json
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mappool_assets.lib.errors import BadSetting, BadShard
from mappool_assets.lib.image_download import downloads
from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.image_download.engine import DownloadBroken
from mappool_assets.lib.image_download.guarded_opener import SMALL_BYTES
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.loopback_server import answer, running

MAX_BYTES = SMALL_BYTES + 1000
RULES = FetchRules(max_bytes=MAX_BYTES, deadline_seconds=2.0, allow_private_addresses=True)


@pytest.fixture
def server():
    with running() as served:
        yield served


@pytest.fixture
def rows_a_sub_shard(monkeypatch):
    return lambda rows: monkeypatch.setattr(downloads, "ROWS_A_SUB_SHARD", rows)


def requests_of(urls, sha256=None):
    """A request for each address; its key is its number."""
    keys = [f"key {index}" for index in range(len(urls))]
    hashes = sha256 or [None] * len(urls)
    return pa.table({"key": keys, "url": pa.array(urls, pa.string()), "sha256": pa.array(hashes, pa.string())})


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def test_each_request_becomes_its_file_or_the_reason_why_not(server, tmp_path):
    image, changed, large = b"as served \x00\xff", b"another", bytes(SMALL_BYTES + 1)
    good, other = server.serve("/good.jpg", image), server.serve("/other.jpg", changed)
    odd = server.serve("/odd%20$(touch%20x);'%22%7C&..%2F..%2Fa%0A%E2%82%AC", image)
    server.routes["/to-good"] = lambda handler: answer(handler, 302, Location="/good.jpg")
    server.routes["/to-file"] = lambda handler: answer(handler, 302, Location="file:///etc/passwd")
    server.routes["/loop"] = lambda handler: answer(handler, 302, Location="/loop")
    server.routes["/hanging"] = lambda handler: time.sleep(0.1) or handler.server.shutdown_request(handler.connection)
    expected = [
        (good, sha256_of(image), "ok", image),
        (good, sha256_of(image).upper(), "ok", image),  # the same address twice, and a hash in capitals
        (good, None, "ok", image),
        (odd, sha256_of(image), "ok", image),
        (server.serve("/raw%20%E2%82%AC", image).replace("%20%E2%82%AC", " €"), None, "ok", image),
        (server.serve("/empty", b""), None, "ok", b""),
        (server.serve("/large", large), sha256_of(large), "ok", large),
        (server.serve("/too-large", bytes(MAX_BYTES + 1)), None, "too_large", None),
        (other, sha256_of(image), "hash_changed", None),
        (server.url + "/to-good", sha256_of(image), "ok", image),
        (server.url + "/to-file", None, "bad_scheme", None),
        (server.url + "/loop", None, "too_many_redirects", None),
        (server.url + "/missing", None, "http_404", None),
        (server.url + "/hanging", None, "connection", None),
        (None, None, "bad_url", None),
        ("", None, "bad_scheme", None),
        ("a.jpg", None, "bad_scheme", None),
        ("file:///etc/passwd", None, "bad_scheme", None),
        ("data:image/png;base64,AAAA", None, "bad_scheme", None),
        ("http://[::1", None, "bad_url", None),
        ("http://exa mple.org\x00/\n", None, "bad_url", None),
        (f"{server.url}/{'long' * 5000}", None, None, None),
    ]
    urls, hashes, reasons, files = zip(*expected, strict=True)
    work = tmp_path / "~ a #{name} with%20much$ 'in\" it, €"
    found = list(download_images(requests_of(urls, hashes), work, RULES, threads=8))
    assert [one.key for one in found] == [f"key {index}" for index in range(len(urls))]
    assert [one.reason for one in found[:-1]] == list(reasons[:-1])
    assert [one.data for one in found] == list(files)
    assert all(bool(one.detail) == (one.reason != "ok") for one in found)
    assert sha256_of(changed) in found[8].detail
    assert sorted(path.name for path in work.iterdir()) == ["images_by_1000", "log.txt", "requests.parquet"]
    assert list(tmp_path.iterdir()) == [work]


def test_only_public_addresses_are_asked_unless_private_ones_are_allowed(server, tmp_path):
    urls = [server.serve("/a", b"secret"), server.url.replace("127.0.0.1", "localhost") + "/a", "http://[::1]/"]
    found = list(download_images(requests_of(urls), tmp_path, FetchRules(deadline_seconds=2.0)))
    assert [one.reason for one in found] == ["blocked_address"] * 3
    assert server.requests == []


def test_sub_shards_come_in_order_and_as_soon_as_they_are_whole(server, tmp_path, rows_a_sub_shard):
    rows_a_sub_shard(3)
    gate = threading.Event()

    def late(handler):
        gate.wait(60)
        answer(handler, 200, b"late")

    urls = [server.serve(f"/{index}", str(index).encode()) for index in range(7)]
    server.routes["/4"] = late  # of the second sub-shard
    found = download_images(requests_of(urls), tmp_path, FetchRules(allow_private_addresses=True), processes=2)
    assert [next(found).data for _ in range(3)] == [b"0", b"1", b"2"]
    assert not gate.is_set()
    gate.set()
    assert [one.data for one in found] == [b"3", b"late", b"5", b"6"]


def cut_tar(images: Path) -> None:
    tar = images / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:3000])


def cut_parquet(images: Path) -> None:
    (images / "00002.parquet").write_bytes(b"PAR1")


def empty_stats(images: Path) -> None:
    (images / "00004_stats.json").write_bytes(b"")


def count_too_few(images: Path) -> None:
    (images / "00005_stats.json").write_text(json.dumps({"count": 1}))


def remove_stats(images: Path) -> None:
    (images / "00006_stats.json").unlink()


def remove_tar(images: Path) -> None:
    (images / "00008.tar").unlink()


def lose_a_row(images: Path) -> None:
    table = pq.read_table(images / "00001.parquet")
    kept = [key != "000011" for key in table["key"].to_pylist()]  # the last of the two
    assert kept.count(False) == 1
    pq.write_table(table.filter(pa.array(kept)), images / "00001.parquet")


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """A finished download of 20 files in ten sub-shards, its server still there."""
    with running() as server:
        work = tmp_path_factory.mktemp("finished")
        requests = requests_of([server.serve(f"/{index}", b"%d" % index * 2000) for index in range(20)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(downloads, "ROWS_A_SUB_SHARD", 2)
            found = list(download_images(requests, work, RULES))
        assert [one.reason for one in found] == ["ok"] * 20
        assert sorted(server.requests) == sorted(f"/{index}" for index in range(20))
        yield server, work, requests, found


@pytest.fixture
def finished(finished_once, rows_a_sub_shard):
    rows_a_sub_shard(2)
    return finished_once


def test_what_is_finished_is_not_asked_for_again(finished):
    server, work, requests, found = finished
    server.requests.clear()
    assert list(download_images(requests, work, RULES)) == found
    assert server.requests == []


def test_sub_shards_that_are_not_whole_are_made_again_alone(finished):
    server, work, requests, found = finished
    server.requests.clear()
    for damage in (cut_tar, cut_parquet, empty_stats, count_too_few, remove_stats, remove_tar):
        damage(work / "images_by_2")
    assert list(download_images(requests, work, RULES)) == found
    assert sorted(server.requests) == sorted(f"/{2 * index + row}" for index in (1, 2, 4, 5, 6, 8) for row in (0, 1))


def test_a_row_that_img2dataset_lost_is_told(finished):
    _, work, requests, found = finished
    lose_a_row(work / "images_by_2")
    again = list(download_images(requests, work, RULES))
    assert [one.reason for one in again] == ["ok"] * 3 + ["download_failed"] + ["ok"] * 16
    assert again[3].data is None
    assert "lost" in again[3].detail
    assert again[:3] + again[4:] == found[:3] + found[4:]


def test_a_folder_serves_one_list_of_requests(finished):
    _, work, requests, _ = finished
    with pytest.raises(BadSetting, match="other requests"):
        download_images(requests.slice(1), work, RULES)


def test_no_request_needs_no_process(tmp_path):
    assert list(download_images(requests_of([]), tmp_path / "new" / "folder", RULES)) == []
    assert not (tmp_path / "new" / "folder" / "log.txt").exists()


@pytest.mark.parametrize(("keys", "told"), [(["a", "b", "a"], "'a' 2 times"), (["a", None, "b"], "None 1 times")])
def test_keys_must_be_there_and_unique(tmp_path, keys, told):
    requests = requests_of(["http://example.org/"] * 3).set_column(0, "key", pa.array(keys))
    with pytest.raises(BadShard, match=told):
        download_images(requests, tmp_path, RULES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a*b", "a?", "[a]", "a::b"])
def test_names_that_mean_more_to_img2dataset_are_refused(tmp_path, name):
    with pytest.raises(BadSetting, match="name cannot be used"):
        download_images(requests_of([]), tmp_path / name, RULES)


def test_a_failure_of_img2dataset_is_told_with_what_it_printed(server, tmp_path):
    (tmp_path / "images_by_1000").write_text("no folder")
    with pytest.raises(DownloadBroken) as caught:
        list(download_images(requests_of([server.serve("/a", b"a")]), tmp_path, RULES))
    assert "sub-shards 00000" in caught.value.where
    assert "Traceback" in caught.value.got
    assert not caught.value.is_transient
    assert server.requests == []
