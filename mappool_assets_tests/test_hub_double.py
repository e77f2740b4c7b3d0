"""The double of the Hub is held against what its own client makes of its answers."""

import hashlib
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    RepoFile,
    RepoFolder,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from mappool_assets_tests.hub_answers import HubError
from mappool_assets_tests.hub_double import (
    READ,
    WRITE,
    Fault,
    HubDouble,
    deleted,
    other_writer,
    rate_limited,
    without_xet,
)

NAME, REPO = "owner/maps", "datasets/owner/maps"
PARQUET = b"PAR1" + bytes(range(256)) * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    without_xet(monkeypatch)
    with HubDouble(tmp_path) as double:
        yield double


@pytest.fixture
def api(hub):
    """The owner's client, of a Hub that has one empty dataset."""
    api = HfApi(endpoint=hub.url, token=WRITE)
    api.create_repo(NAME, repo_type="dataset", private=True)
    hub.requests.clear()
    return api


def send(api, files, repo_type="dataset", title="Change", **options):
    """Commit files; None deletes one, and a folder where the path ends in ``/``."""
    operations = [
        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        for path, content in files.items()
    ]
    return api.create_commit(NAME, operations, commit_message=title, repo_type=repo_type, **options)


def listed(api, **options):
    return {entry.path: entry for entry in api.list_repo_tree(NAME, repo_type="dataset", recursive=True, **options)}


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.mark.parametrize("repo_type", ["dataset", "model"])
def test_a_repository_is_created_once(hub, repo_type):
    api = HfApi(endpoint=hub.url, token=WRITE)
    url = api.create_repo(NAME, repo_type=repo_type, private=True)
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_repo(NAME, repo_type=repo_type)
    assert raised.value.response.status_code == 409
    assert api.create_repo(NAME, repo_type=repo_type, exist_ok=True) == url
    assert (url.repo_id, url.repo_type) == (NAME, repo_type)
    info = api.repo_info(NAME, repo_type=repo_type)
    assert (info.private, info.sha, info.author) == (True, next(iter(hub.repos.values())).head.oid, "owner")
    assert [file.rfilename for file in info.siblings] == [".gitattributes"]
    assert api.whoami()["name"] == "owner"
    api.delete_repo(NAME, repo_type=repo_type)
    assert not api.repo_exists(NAME, repo_type=repo_type)


@pytest.mark.parametrize("repo_type", ["dataset", "model"])
def test_files_go_where_the_hub_sends_them(hub, repo_type, tmp_path):
    api = HfApi(endpoint=hub.url, token=WRITE)
    api.create_repo(NAME, repo_type=repo_type)
    (tmp_path / "svm.bin").write_bytes(PARQUET * 2)
    files = {"svm.safetensors": PARQUET, "uids.npy": b"1", "list.json": b"{}", "empty.bin": b"", "blob": b"a\0b"}
    commit = send(api, {**files, "deep/svm.bin": tmp_path / "svm.bin"}, repo_type)
    files["deep/svm.bin"] = PARQUET * 2
    repo = commit.commit_url.removeprefix(f"{hub.url}/").partition("/commit/")[0]
    found = {
        f.path: f for f in api.list_repo_tree(NAME, repo_type=repo_type, recursive=True) if isinstance(f, RepoFile)
    }
    large = {path: files[path] for path in ("svm.safetensors", "uids.npy", "blob", "deep/svm.bin")}
    assert {path: file.lfs.sha256 for path, file in found.items() if file.lfs} == {
        path: hashlib.sha256(content).hexdigest() for path, content in large.items()
    }
    assert {path: found[path].size for path in files} == {path: len(content) for path, content in files.items()}
    assert (found["list.json"].blob_id, found["empty.bin"].blob_id) == (git_blob(b"{}"), git_blob(b""))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(PARQUET * 2).hexdigest()}\n"
    pointer += f"size {2 * len(PARQUET)}\n"
    assert found["deep/svm.bin"].blob_id == git_blob(pointer.encode())
    assert found["deep/svm.bin"].lfs.pointer_size == len(pointer)
    kept = hub.files(repo)
    assert {path: kept[path] for path in files} == files
    assert sum(r.bytes_in for r in hub.requests if r.method == "PUT") == sum(map(len, large.values()))
    assert hub.repos[repo].head.changed == tuple(sorted(files))


def test_an_object_is_sent_once(hub, api):
    send(api, {"a.parquet": PARQUET})
    hub.requests.clear()
    send(api, {"b.parquet": PARQUET})
    assert (hub.count("POST", "/objects/batch$"), hub.count("PUT"), hub.count("POST", "/commit/")) == (1, 0, 1)
    assert hub.tree(REPO)["b.parquet"] == hashlib.sha256(PARQUET).hexdigest()


def test_a_killed_upload_leaves_objects_but_no_commit(hub, api):
    api.preupload_lfs_files(NAME, [CommitOperationAdd("a.parquet", PARQUET)], repo_type="dataset")
    assert (hub.count("PUT"), list(hub.tree(REPO))) == (1, [".gitattributes"])
    send(api, {"a.parquet": PARQUET})
    assert hub.count("PUT") == 1


def test_nothing_new_is_no_commit(hub, api):
    first = send(api, {"a.parquet": PARQUET, "list.json": b"[]"})
    assert send(api, {"a.parquet": PARQUET, "list.json": b"[]"}).oid == first.oid
    assert hub.count("POST", "/commit/") == 1
    # A client that does not look first: the Hub itself sees that nothing changes.
    body = b'{"key": "header", "value": {"summary": "Again", "description": ""}}\n'
    body += b'{"key": "file", "value": {"path": "list.json", "encoding": "base64", "content": "W10="}}\n'
    url = f"{hub.url}/api/datasets/{NAME}/commit/main"
    answer = httpx2.post(url, content=body, headers={"Authorization": f"Bearer {WRITE}"})
    assert answer.json()["commitOid"] == first.oid
    assert len(hub.repos[REPO].commits) == 2


def test_deleting(hub, api):
    send(api, {"a/1.parquet": PARQUET, "a/2.parquet": PARQUET, "ab.json": b"1", "b.json": b"2"})
    send(api, {"a/": None, "b.json": None})
    assert set(hub.tree(REPO)) == {".gitattributes", "ab.json"}
    with pytest.raises(RemoteEntryNotFoundError, match="doesn't exist"):
        send(api, {"new.json": b"3", "gone.json": None})
    assert "new.json" not in hub.tree(REPO)  # all or none


def test_an_object_that_never_came_is_refused(hub, api):
    body = b'{"key": "header", "value": {"summary": "x", "description": ""}}\n'
    body += b'{"key": "lfsFile", "value": {"path": "a.parquet", "algo": "sha256", "size": 1, "oid": "%s"}}\n' % (
        b"0" * 64
    )
    url = f"{hub.url}/api/datasets/{NAME}/commit/main"
    answer = httpx2.post(url, content=body, headers={"Authorization": f"Bearer {WRITE}"})
    assert (answer.status_code, len(hub.repos[REPO].commits)) == (400, 1)


def test_a_stale_parent_is_refused(hub, api):
    first = send(api, {"list.json": b"1"})
    second = send(api, {"list.json": b"2"}, parent_commit=first.oid)
    with pytest.raises(HfHubHTTPError) as raised:
        send(api, {"list.json": b"3"}, parent_commit=first.oid)
    assert raised.value.response.status_code == 412
    assert (hub.repos[REPO].head.oid, hub.files(REPO)["list.json"]) == (second.oid, b"2")


def test_a_tree_of_many_files_comes_in_pages(hub, api):
    files = {f"part_{n % 3}/sub/{n:04}.json": b"%d" % (n % 7) for n in range(1500)}
    hub.commit(REPO, files)
    found = listed(api)
    assert {path: f.blob_id for path, f in found.items() if isinstance(f, RepoFile) and path in files} == {
        path: git_blob(content) for path, content in files.items()
    }
    folders = {path for path, entry in found.items() if isinstance(entry, RepoFolder)}
    assert folders == {f"part_{n}{sub}" for n in range(3) for sub in ("", "/sub")}
    assert hub.count("GET", "/tree/") == 2  # 1,507 entries
    assert [entry.path for entry in api.list_repo_tree(NAME, repo_type="dataset")] == [
        ".gitattributes", "part_0", "part_1", "part_2",
    ]  # fmt: skip
    below = api.list_repo_tree(NAME, "part_1/sub", repo_type="dataset", expand=True)
    assert [entry.path for entry in below] == sorted(path for path in files if path.startswith("part_1/"))
    assert hub.count("GET", "/tree/main/part_1/sub") == 10
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(NAME, "part_9", repo_type="dataset"))


def test_what_expanding_adds(hub, api):
    first = send(api, {"a/1.json": b"1", "a/2.json": b"2"}, title="First")
    second = send(api, {"a/2.json": b"3"}, title="Second")
    last = {path: entry.last_commit.oid for path, entry in listed(api, expand=True).items()}
    assert (last["a"], last["a/1.json"], last["a/2.json"]) == (second.oid, first.oid, second.oid)
    asked = api.get_paths_info(NAME, ["a/1.json", "a", "gone"], expand=True, repo_type="dataset")
    assert {entry.path: entry.last_commit.title for entry in asked} == {"a/1.json": "First", "a": "Second"}
    assert api.get_paths_info(NAME, "a/1.json", repo_type="dataset")[0].blob_id == git_blob(b"1")
    sizes = {f.rfilename: f.size for f in api.dataset_info(NAME, files_metadata=True).siblings}
    assert sizes["a/1.json"] == 1


def test_branches_tags_and_history(hub, api):
    first = send(api, {"list.json": b"1"}, title="First")
    api.create_tag(NAME, tag="2024/v1", repo_type="dataset")
    api.create_branch(NAME, branch="draft", repo_type="dataset")
    second = send(api, {"list.json": b"2"}, title="Second", revision="draft")
    refs = api.list_repo_refs(NAME, repo_type="dataset")
    assert {ref.ref: ref.target_commit for ref in [*refs.branches, *refs.tags]} == {
        "refs/heads/main": first.oid, "refs/heads/draft": second.oid, "refs/tags/2024/v1": first.oid,
    }  # fmt: skip
    for make in (
        lambda: api.create_tag(NAME, tag="2024/v1", repo_type="dataset"),
        lambda: api.create_branch(NAME, branch="draft", repo_type="dataset"),
    ):
        with pytest.raises(HfHubHTTPError) as raised:
            make()
        assert raised.value.response.status_code == 409
    api.create_tag(NAME, tag="2024/v1", repo_type="dataset", exist_ok=True)
    history = api.list_repo_commits(NAME, revision="draft", repo_type="dataset")
    assert [commit.title for commit in history] == ["Second", "First", "initial commit"]
    assert api.dataset_info(NAME, revision="2024/v1").sha == first.oid
    api.delete_tag(NAME, tag="2024/v1", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(NAME, revision="2024/v1")
    with pytest.raises(RevisionNotFoundError):
        send(api, {"list.json": b"3"}, revision="gone")


def test_a_long_history_comes_in_pages(hub, api):
    for n in range(120):
        hub.commit(REPO, {"list.json": b"%d" % n}, f"Change {n}")
    titles = [commit.title for commit in api.list_repo_commits(NAME, repo_type="dataset")]
    assert titles == [*(f"Change {n}" for n in reversed(range(120))), "initial commit"]


def test_downloads_are_pinned_and_the_token_stays_at_the_hub(hub, api, tmp_path):
    first = send(api, {"a/1.parquet": PARQUET, "list.json": b"1"})
    api.create_tag(NAME, tag="v1", repo_type="dataset")
    send(api, {"a/1.parquet": b"new", "list.json": b"2"})
    where = {"repo_type": "dataset", "endpoint": hub.url, "token": READ, "cache_dir": tmp_path / "cache"}
    for revision, maps, text in ((first.oid, PARQUET, b"1"), ("v1", PARQUET, b"1"), (None, b"new", b"2")):
        assert Path(hf_hub_download(NAME, "a/1.parquet", revision=revision, **where)).read_bytes() == maps
        assert Path(hf_hub_download(NAME, "list.json", revision=revision, **where)).read_bytes() == text
    folder = Path(snapshot_download(NAME, revision="v1", **where))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"a/1.parquet", "list.json", ".gitattributes"}
    assert all(r.has_token == (not r.path.startswith("/lfs-storage")) for r in hub.requests)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(NAME, "gone.json", **where)


def test_ranges(hub, api):
    text = b"0123456789" * 9
    send(api, {"a.parquet": PARQUET, "a b.json": text})
    files = HfFileSystem(endpoint=hub.url, token=READ, skip_instance_cache=True)
    with files.open(f"{REPO}/a.parquet", cache_type="none") as file:
        file.seek(1000)
        hub.requests.clear()
        assert file.read(10) == PARQUET[1000:1010]
    assert [r.status for r in hub.requests] == [302, 206]
    assert sum(r.bytes_out for r in hub.requests) == 10
    url = f"{hub.url}/{REPO}/resolve/main/a%20b.json"
    cases = {
        "": (200, text),
        "bytes=3-5": (206, text[3:6]),
        "bytes=85-": (206, text[85:]),
        "bytes=-4": (206, text[-4:]),
        "bytes=80-200": (206, text[80:]),
        "bytes=90-": (416, b""),
        "bytes=5-3": (416, b""),
    }
    for asked, expected in cases.items():
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {READ}", "Range": asked})
        assert (answer.status_code, answer.content) == expected, asked


def test_who_may_what(hub, api):
    send(api, {"list.json": b"1"})
    hub.create("datasets/owner/open")
    hub.create("datasets/stranger/open")
    hub.create("datasets/stranger/closed", is_private=True)
    nobody, stranger, reader = (HfApi(endpoint=hub.url, token=token) for token in (False, "unknown", READ))

    def refusal(call):
        with pytest.raises(HfHubHTTPError) as raised:
            call()
        return type(raised.value), raised.value.response.status_code

    assert reader.dataset_info(NAME).sha == hub.repos[REPO].head.oid
    assert nobody.dataset_info("owner/open").id == "owner/open"
    for name in (NAME, "owner/missing"):
        assert refusal(lambda name=name: nobody.dataset_info(name)) == (RepositoryNotFoundError, 401)
    for name in ("owner/missing", "stranger/closed"):
        assert refusal(lambda name=name: reader.dataset_info(name)) == (RepositoryNotFoundError, 404)
    assert refusal(lambda: stranger.dataset_info("owner/open")) == (HfHubHTTPError, 401)
    assert refusal(stranger.whoami) == (HfHubHTTPError, 401)
    assert refusal(lambda: send(nobody, {"list.json": b"2"})) == (RepositoryNotFoundError, 401)
    assert refusal(lambda: send(reader, {"list.json": b"2"})) == (HfHubHTTPError, 403)
    assert refusal(lambda: reader.create_tag(NAME, tag="v1", repo_type="dataset")) == (HfHubHTTPError, 403)
    assert refusal(lambda: reader.create_repo("owner/new", repo_type="dataset")) == (HfHubHTTPError, 403)
    assert refusal(lambda: nobody.create_repo("owner/new", repo_type="dataset")) == (HfHubHTTPError, 401)
    assert refusal(lambda: api.create_repo("stranger/new", repo_type="dataset")) == (HfHubHTTPError, 403)
    assert refusal(lambda: api.create_branch("stranger/open", branch="b", repo_type="dataset")) == (HfHubHTTPError, 403)
    assert refusal(lambda: nobody.delete_repo("owner/open", repo_type="dataset")) == (HfHubHTTPError, 401)
    assert hub.files(REPO)["list.json"] == b"1"
    assert "datasets/owner/open" in hub.repos


def test_objects_need_a_signed_address_and_their_own_content(hub, api):
    send(api, {"a.parquet": PARQUET})
    sha256 = hashlib.sha256(PARQUET).hexdigest()
    signed = hub.signed(REPO, sha256)
    assert httpx2.get(signed).content == PARQUET
    assert httpx2.get(signed[:-1] + "x").status_code == 403
    assert httpx2.get(signed, headers={"Authorization": f"Bearer {WRITE}"}).status_code == 400
    assert httpx2.put(signed, content=b"another content").status_code == 400
    assert httpx2.put(signed, content=iter([PARQUET[:9], PARQUET[9:]])).status_code == 200  # in chunks


def test_cards_are_looked_at_before_anything_is_sent(hub, api):
    for card in (b"---\nlicense: cc-by-5\n---\n", b"---\nlicense: [\n---\n"):
        with pytest.raises(ValueError, match="Invalid metadata"):
            send(api, {"README.md": card, "a.parquet": PARQUET})
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        send(api, {"README.md": b"# Maps"})
    send(api, {"README.md": b"---\nlicense: cc-by-4.0\n---\n# Maps"})
    assert (hub.count("PUT"), hub.count("POST", "validate-yaml")) == (0, 4)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/commit/main$", status=503),
        Fault("POST", "/commit/", status=500),
        Fault("POST", "/commit/", status=429, headers={"Retry-After": "7"}),
        rate_limited("POST", "/commit/", seconds=3),
    ],
    ids=lambda fault: f"{fault.status}{fault.headers}",
)
def test_a_commit_that_is_refused(hub, api, fault):
    hub.faults.append(fault)
    with pytest.raises(HfHubHTTPError) as raised:
        send(api, {"list.json": b"1"})
    answer = raised.value.response
    assert answer.status_code == fault.status
    assert {name: answer.headers.get(name) for name in fault.headers} == fault.headers
    assert "list.json" not in hub.tree(REPO)
    send(api, {"list.json": b"1"})  # a fault happens once
    assert "list.json" in hub.tree(REPO)


def test_quota_is_told_on_each_answer(hub, api):
    answer = httpx2.get(f"{hub.url}/api/datasets/{NAME}", headers={"Authorization": f"Bearer {WRITE}"})
    assert parse_ratelimit_headers(answer.headers).remaining > 0
    hub.faults.append(rate_limited("GET", "/api/datasets/", seconds=3))
    quota = parse_ratelimit_headers(httpx2.get(answer.url).headers)
    assert (quota.remaining, quota.reset_in_seconds) == (0, 3)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_commit_that_may_have_happened(hub, api, is_done):
    hub.faults += [
        Fault("POST", "/commit/", status=503, is_done=is_done),
        Fault("POST", "/commit/", is_cut=True, is_done=is_done),
    ]
    with pytest.raises(HfHubHTTPError):
        send(api, {"1.json": b"1"})
    with pytest.raises(httpx2.RemoteProtocolError):
        send(api, {"2.json": b"2"})
    assert {"1.json", "2.json"} <= set(hub.tree(REPO)) if is_done else set(hub.tree(REPO)) == {".gitattributes"}
    assert [r.status for r in hub.requests if "/commit/" in r.path] == [503, 0]
    assert not hub.faults


def test_another_writer_commits_first(hub, api):
    head = hub.repos[REPO].head.oid
    hub.faults.append(other_writer(REPO, {"theirs.json": b"1", ".gitattributes": None}))
    with pytest.raises(HfHubHTTPError) as raised:
        send(api, {"ours.json": b"1"}, parent_commit=head)
    assert raised.value.response.status_code == 412
    assert set(hub.tree(REPO)) == {"theirs.json"}
    send(api, {"ours.json": b"1"}, parent_commit=hub.repos[REPO].head.oid)
    assert set(hub.tree(REPO)) == {"theirs.json", "ours.json"}


def test_the_repository_is_deleted_between(hub, api):
    hub.faults.append(deleted(REPO, "POST", "/commit/"))
    with pytest.raises(RepositoryNotFoundError):
        send(api, {"a.parquet": PARQUET})
    assert hub.repos == {}
    api.create_repo(NAME, repo_type="dataset")
    send(api, {"a.parquet": PARQUET})
    assert hub.count("PUT") == 2  # a new repository has none of the old one's objects


def test_faults_wait_for_their_request(hub, api):
    hub.faults += [Fault("POST", "/commit/", status=500, skip=1), Fault("PUT", "/lfs-storage/", status=403)]
    with pytest.raises(RuntimeError, match=r"a\.parquet"):
        send(api, {"a.parquet": PARQUET})
    send(api, {"a.parquet": PARQUET})
    with pytest.raises(HfHubHTTPError):
        send(api, {"b.parquet": PARQUET})
    assert set(hub.tree(REPO)) == {".gitattributes", "a.parquet"}


def test_what_the_client_repeats_by_itself(hub, api):
    send(api, {"a.parquet": PARQUET})
    hub.requests.clear()
    hub.faults.append(rate_limited("GET", "/tree/"))  # waited for a second, as it is rounded up
    assert "a.parquet" in listed(api)
    assert [r.status for r in hub.requests] == [429, 200]


PUBLISH = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi(endpoint=sys.argv[1], token=sys.argv[2])
for n in range(3):
    api.create_commit("owner/maps", [CommitOperationAdd(f"{n}.json", b"1")], commit_message=f"{n}", repo_type="dataset")
"""


@pytest.mark.parametrize(("hook", "kept"), [("before_commit", {"0.json"}), ("after_commit", {"0.json", "1.json"})])
def test_a_publisher_killed_at_a_commit(hub, api, hook, kept):
    publisher = subprocess.Popen([sys.executable, "-c", PUBLISH, hub.url, WRITE])

    def kill(number):
        if number == 2:
            publisher.kill()
            publisher.wait()
            if hook == "before_commit":
                raise HubError(499, "The client is gone")

    setattr(hub, hook, kill)
    assert publisher.wait(timeout=30) == -signal.SIGKILL
    assert set(hub.tree(REPO)) - {".gitattributes"} == kept


UPLOAD = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi(endpoint=sys.argv[1], token=sys.argv[2])
first = {"1.parquet": b"one", "2.parquet": sys.argv[3], "3.parquet": b"one", "list.json": b"1"}
for files in (first, {"2.parquet": b"2"}):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api.create_commit("owner/maps", operations, commit_message="Through Xet", repo_type="dataset")
"""


@pytest.mark.skipif(find_spec("hf_xet") is None, reason="hf_xet is not installed")
def test_uploads_through_xet(hub, api, tmp_path):
    """In a process of its own, for hf_xet looks at the environment once and writes a log."""
    large = tmp_path / "large"
    large.write_bytes(os.urandom(300_000))
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "0", "HF_HOME": str(tmp_path / "home")}
    environment["HF_XET_LOG_DEST"] = str(tmp_path / "xet.log")
    subprocess.run([sys.executable, "-c", UPLOAD, hub.url, WRITE, large], env=environment, check=True, timeout=60)
    assert (hub.count("PUT"), hub.count("POST", "/objects/batch"), hub.count("GET", "/xet-write-token/")) == (0, 0, 2)
    first = hub.files(REPO, hub.repos[REPO].head.parent)
    assert (first["1.parquet"], first["2.parquet"], first["list.json"]) == (b"one", large.read_bytes(), b"1")
    assert first["3.parquet"] == first["1.parquet"]
    where = {"repo_type": "dataset", "endpoint": hub.url, "token": READ, "cache_dir": tmp_path / "hub"}
    assert Path(hf_hub_download(NAME, "2.parquet", **where)).read_bytes() == b"2"
