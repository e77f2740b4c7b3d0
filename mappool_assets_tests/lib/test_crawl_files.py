"""A crawl's files are found by name, by list, in a folder and in a bucket; what a list says beyond that is counted."""

import gzip
import zlib
from collections import Counter
from itertools import pairwise

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.crawl.crawl_files import MAX_LIST_BYTES, CrawlFile, CrawlListing, list_crawl
from mappool_assets.lib.crawl.crawl_files_table import SCHEMA, has_changed, known_crawl_files, write_crawl_files
from mappool_assets.lib.errors import BadSetting, MissingInput, SourceUnavailable
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets_tests.crawl_bytes import REAL, deadline, member, needs_real_files
from mappool_assets_tests.range_server import reset_after, serve, status, whole_file
from mappool_assets_tests.s3_server import serve_s3

CRAWL = "CC-MAIN-2024-22"
FOLDER = f"crawl-data/{CRAWL}"
KEYS = [f"CC-MAIN-20240517233122-20240518023122-{number:05}" for number in range(40)]
WARC_PATHS = [f"{FOLDER}/segments/1715971057216.39/warc/{key}.warc.gz" for key in KEYS]
WAT_PATHS = [f"{FOLDER}/segments/1715971057216.39/wat/{key}.warc.wat.gz" for key in KEYS]
QUICK = Storage(attempts=3, first_wait_seconds=0.01, read_deadline_seconds=0.5)


def listed(root, key, kind="warc"):
    path = dict(zip(KEYS, WARC_PATHS if kind == "warc" else WAT_PATHS, strict=True))[key]
    return CrawlFile(key, kind, CRAWL, path, f"{root}/{path}")


@pytest.fixture
def store(tmp_path):
    """A folder with a crawl's lists as Common Crawl's server has them."""
    root = tmp_path / "store"
    (root / FOLDER).mkdir(parents=True)
    for kind, paths in (("warc", WARC_PATHS), ("wat", WAT_PATHS)):
        text = "".join(f"{path}\n" for path in paths)
        (root / FOLDER / f"{kind}.paths.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        (root / FOLDER / f"{kind}.paths").write_text(text)
    return root


def list_of(tmp_path, lines, **how) -> CrawlListing:
    (tmp_path / "list.paths").write_text("".join(f"{line}\n" for line in lines))
    return list_crawl(str(tmp_path / "list.paths"), QUICK, **how)


# -- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["warc", "wat"])
def test_a_crawl_is_listed_by_its_name_and_by_the_address_of_its_list(store, kind):
    with serve(store) as server:
        expected = [listed(server.url, key, kind) for key in KEYS]
        by_name = list_crawl(CRAWL, QUICK, kind=kind, root=server.url)
        assert by_name == CrawlListing(CRAWL, expected, {})
        for name in (f"{kind}.paths.gz", f"{kind}.paths"):
            assert list_crawl(f"{server.url}/{FOLDER}/{name}", QUICK, kind=kind).files == expected
            local = list_crawl(str(store / FOLDER / name), QUICK, kind=kind)
            assert local.files == [listed(store, key, kind) for key in KEYS]
            assert list_crawl(str(store / FOLDER / name), QUICK, kind=kind, root=server.url).files == expected


def test_a_crawl_in_a_bucket_is_listed_by_list_and_by_prefix(store):
    with serve_s3("crawl") as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.upload_file(str(store / FOLDER / "warc.paths.gz"), "crawl", f"{FOLDER}/warc.paths.gz")
        for path in WARC_PATHS[:3]:
            client.put_object(Bucket="crawl", Key=path, Body=b"")
        storage = Storage(s3_endpoint=endpoint)
        by_list = list_crawl(f"s3://crawl/{FOLDER}/warc.paths.gz", storage)
        assert by_list.files == [listed("s3://crawl", key) for key in KEYS]
        assert list_crawl(CRAWL, storage, root="s3://crawl/").files == by_list.files
        by_prefix = list_crawl("s3://crawl", storage)
        assert by_prefix == CrawlListing("s3://crawl", by_list.files[:3], {"no_crawl_file": 1})
        below = list_crawl(f"s3://crawl/{FOLDER}/segments/", storage)
        assert [file.url for file in below.files] == [file.url for file in by_list.files[:3]]
        with pytest.raises(BadSetting, match="no crawl at this address"):
            list_crawl("s3://elsewhere/prefix", storage)
        with pytest.raises(BadSetting, match="no warc file"):
            list_crawl("s3://crawl/empty", storage)
        with pytest.raises(BadSetting, match="no crawl at this address"):
            list_crawl("s3://crawl/none.paths.gz", storage)


def test_a_folder_is_listed_at_any_depth(tmp_path):
    for path in (*WARC_PATHS[:2], "own.warc", "own.warc.wat.gz", "notes.txt", "page.warc.wet.gz", ".hidden.warc.gz"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = list_crawl(str(tmp_path), QUICK)
    own = CrawlFile("own", "warc", "", "own.warc", f"{tmp_path}/own.warc")
    assert found.files == [*(listed(tmp_path, key) for key in KEYS[:2]), own]
    assert found.dropped == {"no_crawl_file": 2, "odd_path": 1, "other_kind": 1}
    (wat,) = list_crawl(str(tmp_path), QUICK, kind="wat").files
    assert (wat.crawl_file, wat.kind, wat.url) == ("own", "wat", f"{tmp_path}/own.warc.wat.gz")


@needs_real_files
def test_the_real_list_of_an_index_holds_no_file_of_the_crawl():
    with pytest.raises(BadSetting, match=r"no warc file, \{'no_crawl_file': 300\}"):
        list_crawl(str(REAL / "CC-MAIN-2024-22.warc.paths.gz"), QUICK)
    assert [file.crawl_file for file in list_crawl(str(REAL), QUICK).files] == ["whirlwind"]


# -- what a list says -----------------------------------------------------------------------------------------------


def test_every_line_is_a_file_or_is_counted(tmp_path):
    lines = {
        "no_crawl_file": ["part-00000.c000.gz.parquet", "a.warc.wet.gz", "cc.gz", "a.warc.zst", "a..b.warc.gz"],
        "other_kind": ["x/a.warc.wat.gz"],
        "outside_root": ["../up.warc.gz", "x/../../up.warc.gz", "/etc/up.warc.gz", "s3://other/a.warc.gz",
                         "http://169.254.169.254/a.warc.gz", "file:///a.warc.gz", "..\\/../a.warc.gz"],
        "odd_path": ["x//a.warc.gz", "x/./a.warc.gz", "%2e%2e/a.warc.gz", "x?/a.warc.gz", "x/a.warc.gz#b",
                     "é/a.warc.gz", ".warc.gz", ".git/a.warc.gz", "x y/a.warc.gz", "\x00/a.warc.gz", "C:\\a.warc.gz"],
        "listed_twice": ["x/kept.warc.gz"],
        "key_seen_before": ["y/kept.warc.gz"],
    }  # fmt: skip
    found = list_of(tmp_path, ["x/kept.warc.gz", "", "  ", *(line for group in lines.values() for line in group)])
    assert [file.path for file in found.files] == ["x/kept.warc.gz"]
    assert found.dropped == {reason: len(group) for reason, group in lines.items()}


@given(st.lists(st.text(alphabet="ab./%\\: ~\x00é\r-_", max_size=12).map(lambda text: f"{text}.warc.gz"), max_size=20))
def test_no_line_names_a_file_outside_the_root(tmp_path_factory, lines):
    root = tmp_path_factory.getbasetemp() / "root"
    root.mkdir(exist_ok=True)
    found = list_of(root, ["sound.warc.gz", *lines])
    assert len(found.files) + sum(found.dropped.values()) == 1 + len(lines)
    for file in found.files:
        assert file.url == f"{root}/{file.path}"
        assert ".." not in file.path
        assert file.crawl_file.isascii()


def test_a_sample_holds_every_smaller_one_and_hardly_changes_with_the_list(tmp_path):
    def keys(sample, seed=0, paths=WARC_PATHS):
        found = list_of(tmp_path, paths, sample=sample, seed=seed)
        assert found.dropped == ({"not_sampled": len(paths) - sample} if sample < len(paths) else {})
        assert found.files == sorted(found.files, key=lambda file: file.crawl_file)
        return [file.crawl_file for file in found.files]

    samples = [set(keys(n)) for n in range(1, len(KEYS) + 1)]
    assert [len(sample) for sample in samples] == list(range(1, len(KEYS) + 1))
    assert all(small < large for small, large in pairwise(samples))
    assert set(keys(10, seed=1)) != samples[9]
    assert keys(10, paths=WARC_PATHS[::-1]) == sorted(samples[9])
    assert len(set(keys(10, paths=WARC_PATHS[1:])) ^ samples[9]) <= 2
    assert list_of(tmp_path, WARC_PATHS, sample=1_000).files == list_of(tmp_path, WARC_PATHS).files
    chosen = Counter(key for seed in range(200) for key in keys(10, seed))
    assert min(chosen.values()) > 20, "each file has a chance of a quarter"


@pytest.mark.parametrize("how", [{"kind": "wet"}, {"sample": 0}, {"sample": -1}])
def test_settings_that_mean_nothing_are_refused(tmp_path, how):
    with pytest.raises(BadSetting, match=r"Correct the setting"):
        list_of(tmp_path, WARC_PATHS, **how)


# -- lists that are not as they should be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no warc file"),
        (gzip.compress(b"", mtime=0), "no warc file"),
        (b"<html>Not found</html>", "no warc file"),
        (b"\xff\xfe\x00" * 99, "no warc file"),
        (gzip.compress("\n".join(WARC_PATHS).encode())[:-9], "damaged"),
        (b"\x1f\x8b\x08 no gzip", "damaged"),
        (gzip.compress(b"x" * (MAX_LIST_BYTES + 1), 1), f"more than {MAX_LIST_BYTES}"),
    ],
    ids=["empty", "empty gzip", "a page", "no text", "cut short", "no gzip", "a bomb"],
)
def test_a_list_that_is_no_list_is_an_error_that_says_so(tmp_path, content, message):
    (tmp_path / "warc.paths.gz").write_bytes(content)
    with deadline(5), pytest.raises(BadSetting, match=message):
        list_crawl(str(tmp_path / "warc.paths.gz"), QUICK)


def test_a_list_may_be_of_several_gzip_members(tmp_path):
    (tmp_path / "warc.paths.gz").write_bytes(b"".join(member(f"{path}\n".encode()) for path in WARC_PATHS[:3]))
    assert [file.path for file in list_crawl(str(tmp_path / "warc.paths.gz"), QUICK).files] == WARC_PATHS[:3]


def test_a_list_that_inflates_without_end_is_not_followed(tmp_path):
    deflate = zlib.compressobj(9, wbits=31)
    unit = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    unit_again = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "warc.paths.gz").write_bytes(unit + unit_again * 4_000)
    with deadline(5), pytest.raises(BadSetting, match="more than"):
        list_crawl(str(tmp_path / "warc.paths.gz"), QUICK)


@pytest.mark.parametrize("source", ["", " ", "http://[", "\0"])
def test_an_address_that_is_none_is_a_setting(source, tmp_path, monkeypatch):
    (tmp_path / "a.warc.gz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSetting, match="There is no crawl"):
        list_crawl(source, QUICK)


def test_what_is_not_there_or_not_to_be_had_is_a_setting_and_what_is_down_is_not(store):
    with serve(store) as server:
        address = f"{server.url}/{FOLDER}/warc.paths.gz"
        for source in (f"{server.url}/none.paths.gz", str(store / "none"), "hf://datasets/a/b", "CC-MAIN-"):
            with pytest.raises(BadSetting, match="There is no crawl"):
                list_crawl(source, QUICK)
        with pytest.raises(BadSetting, match="There is no crawl"):
            list_crawl("CC-MAIN-1999-01", QUICK, root=server.url)
        for fault, found in ((status(403), "403"), (status(404), "not there"), (whole_file, "byte ranges")):
            server.faults += [fault]
            with pytest.raises(BadSetting, match=found):
                list_crawl(address, QUICK)
        server.always = status(503)
        with pytest.raises(SourceUnavailable, match="503"):
            list_crawl(address, QUICK)
        server.always = lambda handler: False
        server.faults += [status(429, Retry_After="0"), reset_after(0)]
        assert len(list_crawl(address, QUICK).files) == len(KEYS)


# -- the table ------------------------------------------------------------------------------------------------------


def test_the_table_keeps_what_is_listed_no_more(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(MissingInput):
        known_crawl_files(lake)
    first = list_of(tmp_path, [*WARC_PATHS[:3], "index.parquet"])
    assert has_changed(lake, first)
    made = write_crawl_files(lake, first)
    assert (made.rows_in, made.rows_kept, made.rows_dropped) == (4, 3, {"no_crawl_file": 1})
    assert made.origin == {"source": str(tmp_path / "list.paths")}
    assert not has_changed(lake, first)
    assert known_crawl_files(lake) == {file.crawl_file: file for file in first.files}

    second = list_of(tmp_path, WARC_PATHS[2:4], root="https://elsewhere.example")
    assert has_changed(lake, second)
    made = write_crawl_files(lake, second)
    assert made.rows_in == made.rows_kept == 4
    assert known_crawl_files(lake, only_listed=True) == {file.crawl_file: file for file in second.files}
    known = known_crawl_files(lake)
    assert sorted(known) == KEYS[:4]
    assert known[KEYS[0]] == first.files[0]
    assert known[KEYS[2]].url.startswith("https://elsewhere.example/")
    table = lake.read_table("web_documents/crawl_files")
    assert table.schema.equals(SCHEMA)
    assert table.column("is_listed").to_pylist() == [False, False, True, True]


def test_the_same_listing_gives_the_same_bytes(tmp_path):
    contents = set()
    for name in ("a", "b"):
        lake = Lake(str(tmp_path / name))
        write_crawl_files(lake, list_of(tmp_path, WARC_PATHS[:: 1 if name == "a" else -1]))
        contents.add(lake.read_bytes("web_documents/crawl_files/all.parquet"))
    assert len(contents) == 1
