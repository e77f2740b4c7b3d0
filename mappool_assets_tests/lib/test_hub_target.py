"""A repository as a publish target, against a double of the Hub that fails where the Hub fails."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import huggingface_hub.constants
import pytest

from mappool_assets.lib.errors import BadSetting, MappoolError, SourceUnavailable, TargetChanged
from mappool_assets.lib.publish import hub_target
from mappool_assets.lib.publish.hub_client import Patience
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets.lib.publish.publish_target import NewFile
from mappool_assets_tests.hub_double import (
    READ,
    WRITE,
    Fault,
    HubDouble,
    deleted,
    other_writer,
    rate_limited,
)

REPO = "owner/corpus"
NAME = f"datasets/{REPO}"
QUICK = Patience(attempts=4, first_wait_seconds=0.01, request_seconds=5.0)
OWNED = re.compile(r"part_.*|list\.json")

MAPS = b"PAR1 maps PAR1"  # *.parquet goes to large file storage
LIST = b"[]"


def new_target(hub: HubDouble, patience: Patience = QUICK, repo: str = REPO, **options: object) -> HubTarget:
    target = HubTarget(repo, endpoint=hub.url, patience=patience, **options)  # type: ignore[arg-type]
    target.tree(OWNED)
    return target


def new_files(files: Mapping[str, bytes]) -> dict[str, NewFile]:
    return {path: NewFile.of_bytes(content) for path, content in files.items()}


def put(target: HubTarget, files: Mapping[str, bytes]) -> None:
    target.put(new_files(files))


GROUP = {"part_a/1.parquet": MAPS, "list.json": LIST}


def contents(hub: HubDouble) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(NAME).items() if path != ".gitattributes"}


def commits(hub: HubDouble) -> int:
    """Commits after the Hub's own first one."""
    return len(hub.repos[NAME].commits) - 1


def test_a_new_file_knows_its_checksums_of_both_kinds(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # several blocks
    (tmp_path / "file").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for file in (NewFile.of_bytes(content), NewFile(tmp_path / "file", sha256, len(content))):
        assert file.has_checksum(sha256)
        assert file.has_checksum(blob)
        assert not file.has_checksum(blob[::-1])
        assert not file.has_checksum(sha256[::-1])
        assert not file.has_checksum(None)


def test_the_tree_tells_files_of_both_storages(hub: HubDouble) -> None:
    put(new_target(hub), GROUP)
    tree = new_target(hub).tree()
    assert tree["part_a/1.parquet"] == hashlib.sha256(MAPS).hexdigest()
    assert tree["list.json"] == hashlib.sha1(b"blob 2\0" + LIST).hexdigest()
    assert all(file.has_checksum(tree[path]) for path, file in new_files(GROUP).items())


def test_a_repository_appears_with_the_first_commit_only(hub: HubDouble) -> None:
    target = new_target(hub)
    assert target.tree() == {}
    target.finish("v1")
    assert hub.repos == {}
    put(target, GROUP)
    assert contents(hub) == GROUP
    assert hub.repos[NAME].is_private
    assert target.revision == hub.repos[NAME].head.oid


def test_a_model_and_a_public_repository(hub: HubDouble) -> None:
    put(new_target(hub, repo_type="model", is_private=False), {"README.md": b"---\nlicense: mit\n---\n"})
    assert not hub.repos[REPO].is_private
    assert hub.repos[REPO].head.files["README.md"].size == 21


def test_what_is_put_can_be_read_and_the_storage_sees_no_token(hub: HubDouble, capfd: pytest.CaptureFixture) -> None:
    target = new_target(hub)
    put(target, GROUP)
    assert {path: target.read(path) for path in GROUP} == GROUP
    assert not any(request.has_token for request in hub.requests if "/lfs-storage/" in request.path)
    assert capfd.readouterr() == ("", "")  # no progress bars in anybody's log


def test_reading_stays_with_the_commit_of_the_tree(hub: HubDouble) -> None:
    put(new_target(hub), GROUP)
    target = new_target(hub)
    hub.commit(NAME, {"list.json": b"[1]"})
    assert target.read("list.json") == LIST


def test_a_group_is_one_commit_and_removal_is_split(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    target = new_target(hub)
    files = {f"part_a/{number}.parquet": b"%d" % number for number in range(5)}
    put(target, files)
    assert commits(hub) == 1
    monkeypatch.setattr(hub_target, "FILES_PER_COMMIT", 2)
    target.remove(list(files)[1:])
    assert commits(hub) == 3
    assert contents(hub) == {"part_a/0.parquet": b"0"}
    titles = [commit.title for commit in hub.repos[NAME].commits.values()][1:]
    assert titles[0] == "Publish part_a/0.parquet and 4 more"
    assert titles[1] == "Remove part_a/1.parquet and 1 more"


def test_content_is_tagged_once(hub: HubDouble) -> None:
    target = new_target(hub)
    put(target, GROUP)
    target.finish("corpus-1")
    tagged = hub.repos[NAME].head.oid
    hub.commit(NAME, {"LICENSE": b""})
    target = new_target(hub)
    target.finish("corpus-1")
    assert hub.repos[NAME].tags == {"corpus-1": tagged}
    assert hub.count("POST", "/tag/") == 1


CALLS = {
    "info": ("GET", rf"/api/datasets/{REPO}\?"),
    "create": ("POST", "/api/repos/create"),
    "commit": ("POST", "/commit/"),
    "read": ("GET", "/resolve/.*list"),
    "read from storage": ("GET", "/lfs-storage/"),
    "refs": ("GET", "/refs"),
    "tag": ("POST", "/tag/"),
}
TROUBLES: dict[str, Callable[[str, str], Fault]] = {
    "429": rate_limited,
    "503": lambda method, path: Fault(method, path, 503),
    "503 and done": lambda method, path: Fault(method, path, 503, is_done=True),
    "no answer": lambda method, path: Fault(method, path, is_cut=True),
    "no answer but done": lambda method, path: Fault(method, path, is_cut=True, is_done=True),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("call", CALLS)
def test_calls_that_the_client_does_not_repeat_are_repeated(hub: HubDouble, call: str, trouble: str) -> None:
    hub.faults = [TROUBLES[trouble](*CALLS[call])]
    target = new_target(hub)
    put(target, GROUP)
    assert {path: target.read(path) for path in GROUP} == GROUP
    target.finish("corpus-1")
    assert hub.faults == []
    assert contents(hub) == GROUP
    assert commits(hub) == 1
    assert hub.repos[NAME].tags == {"corpus-1": hub.repos[NAME].head.oid}
    assert hub.count("PUT") == 1


@pytest.mark.parametrize("is_done", [False, True])
def test_a_removal_that_was_not_answered_is_done_once(hub: HubDouble, is_done: bool) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [Fault("POST", "/commit/", 504, is_done=is_done)]
    target.remove(["list.json"])
    assert contents(hub) == {"part_a/1.parquet": MAPS}
    assert commits(hub) == 2


def test_a_commit_that_happens_after_its_time_limit_happens_once(hub: HubDouble) -> None:
    target = new_target(hub, Patience(attempts=6, first_wait_seconds=0.01, request_seconds=0.2))
    put(target, {"LICENSE": b""})
    hub.faults = [Fault("POST", "/commit/", before=lambda hub: time.sleep(0.5))]
    put(target, GROUP)
    time.sleep(0.5)
    assert hub.count("POST", "/commit/") == 3
    assert contents(hub) == {"LICENSE": b"", **GROUP}
    assert commits(hub) == 2
    assert target.revision == hub.repos[NAME].head.oid


def test_a_silent_tree_is_not_waited_for_for_ever(hub: HubDouble) -> None:
    """The client gives its listings no time limit, nor its commits."""
    put(new_target(hub), GROUP)
    asked = hub.count("GET", "/tree/")
    hub.faults = [Fault("GET", "/tree/", before=lambda hub: time.sleep(0.5))]
    assert len(HubTarget(REPO, endpoint=hub.url, patience=Patience(request_seconds=0.1)).tree()) == 3
    assert hub.count("GET", "/tree/") - asked == 2  # the second after the client's own second


@pytest.mark.parametrize("headers", [{"RateLimit": '"api";r=0;t=0'}, {"Retry-After": "0"}], ids=str)
def test_the_hubs_own_wait_counts(hub: HubDouble, headers: dict[str, str]) -> None:
    hub.faults = [Fault("POST", "/commit/", 429, headers) for _ in range(2)]
    put(new_target(hub, Patience(first_wait_seconds=600.0)), GROUP)
    assert commits(hub) == 1


def test_a_hub_that_never_answers_is_given_up(hub: HubDouble) -> None:
    hub.faults = [Fault("POST", "/commit/", 503) for _ in range(QUICK.attempts)]
    target = new_target(hub)
    with pytest.raises(SourceUnavailable, match="HTTP 503: Injected") as caught:
        put(target, GROUP)
    assert caught.value.is_transient
    assert hub.faults == []
    put(target, GROUP)
    assert contents(hub) == GROUP
    assert hub.count("PUT") == 1


def test_an_unreachable_hub_is_given_up(hub: HubDouble) -> None:
    hub.__exit__()
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        new_target(hub, Patience(attempts=2, first_wait_seconds=0.0))


# Other writers


def test_another_writers_commit_is_kept(hub: HubDouble) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [other_writer(NAME, {"LICENSE": b"CC", ".gitattributes": b"*.parquet filter=lfs\n"})]
    put(target, {"part_a/2.parquet": MAPS + MAPS})
    hub.faults = [other_writer(NAME, {"LICENSE": b"BY"})]
    target.remove(["list.json"])
    assert contents(hub) == {"LICENSE": b"BY", "part_a/1.parquet": MAPS, "part_a/2.parquet": MAPS + MAPS}
    assert commits(hub) == 5


@pytest.mark.parametrize(
    ("path", "content"),
    [("list.json", b"[1]"), ("part_a/1.parquet", None), ("part_b/1.parquet", b"1"), ("figure.parquet", b"2")],
    ids=["changed", "removed", "new", "not owned, but the one that is put"],
)
def test_another_writers_commit_of_published_files_is_refused(hub: HubDouble, path: str, content: bytes | None) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [other_writer(NAME, {path: content, "LICENSE": b"CC"})]
    with pytest.raises(TargetChanged, match=re.escape(path)) as caught:
        put(target, {"figure.parquet": MAPS})
    assert "LICENSE" not in str(caught.value)
    found = contents(hub)
    assert found.get(path) == content
    assert found.get("figure.parquet") != MAPS


def test_an_error_names_a_few_of_many_files(hub: HubDouble) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [other_writer(NAME, {f"part_b/{number}": b"" for number in range(9)})]
    with pytest.raises(TargetChanged, match=r"part_b/4 and 4 others"):
        put(target, {"part_a/2.parquet": MAPS})


@pytest.mark.parametrize("where", ["/preupload/", "/commit/"])
def test_another_writer_who_brought_the_same_is_no_trouble(hub: HubDouble, where: str) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [Fault("POST", where, before=lambda hub: hub.commit(NAME, {"list.json": b"[1]"}))]
    put(target, {"list.json": b"[1]"})
    assert commits(hub) == 2
    assert target.revision == hub.repos[NAME].head.oid


def test_another_writer_who_brought_the_same_and_more_is_refused(hub: HubDouble) -> None:
    """The client then commits nothing and reports success, whatever the parent."""
    target = new_target(hub)
    put(target, GROUP)
    theirs = {"list.json": b"[1]", "part_a/1.parquet": None}
    hub.faults = [Fault("POST", "/preupload/", before=lambda hub: hub.commit(NAME, theirs))]
    with pytest.raises(TargetChanged, match=r"part_a/1\.parquet"):
        put(target, {"list.json": b"[1]"})


def test_a_repository_that_somebody_else_filled_meanwhile_is_refused(hub: HubDouble) -> None:
    def fill(hub: HubDouble) -> None:
        hub.create(NAME)
        hub.commit(NAME, {"list.json": b"[1]"})

    target = new_target(hub)
    hub.faults = [Fault("POST", "/repos/create", before=fill)]
    with pytest.raises(TargetChanged, match=r"list\.json"):
        put(target, GROUP)
    assert contents(hub) == {"list.json": b"[1]"}


@pytest.mark.parametrize(
    ("call", "do"),
    [
        ("commit", lambda target: put(target, GROUP | {"list.json": b"[1]"})),
        ("read", lambda target: target.read("list.json")),
        ("refs", lambda target: target.finish("v1")),
        ("tag", lambda target: target.finish("v1")),
    ],
)
def test_a_repository_deleted_in_between_says_so(hub: HubDouble, call: str, do: Callable[[HubTarget], object]) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.faults = [deleted(NAME, *CALLS[call])]
    with pytest.raises(TargetChanged, match="deleted or renamed"):
        do(target)
    assert hub.repos == {}


def test_a_rewritten_history_says_so(hub: HubDouble) -> None:
    target = new_target(hub)
    put(target, GROUP)
    hub.create(NAME)
    with pytest.raises(TargetChanged, match="history was rewritten"):
        put(target, {"list.json": b"[1]"})


# Refusals


def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))


def test_without_a_token_it_says_how_to_log_in(hub: HubDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged_out(monkeypatch, tmp_path)
    with pytest.raises(BadSetting, match="There is no token"):
        new_target(hub)  # absent, or private: the Hub does not tell
    hub.create(NAME)
    with pytest.raises(BadSetting, match=r"There is no token.*hf auth login"):
        put(new_target(hub), GROUP)


@pytest.mark.parametrize(
    ("token", "repo", "what"),
    [
        ("token-that-expired", REPO, "does not accept the token"),
        (READ, REPO, "no right"),
        (WRITE, "somebody/corpus", "no right"),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_token_without_rights_is_refused_and_never_shown(
    hub: HubDouble, monkeypatch: pytest.MonkeyPatch, token: str, repo: str, what: str, is_there: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if is_there:
        hub.create(f"datasets/{repo}")
    with pytest.raises(BadSetting, match=what) as caught:
        put(new_target(hub, repo=repo), GROUP)
    assert token not in repr(caught.value.fields())
    assert hub.count("POST", "/commit/") == 0


def test_a_server_that_repeats_the_token_is_not_quoted(hub: HubDouble) -> None:
    put(new_target(hub), GROUP)
    hub.faults = [Fault("GET", "/tree/", 418, {"X-Error-Message": f"no tea for Bearer {WRITE}"})]
    with pytest.raises(BadSetting, match=r"HTTP 418: no tea for Bearer .token.") as caught:
        new_target(hub)
    assert WRITE not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["corpus", "a/b/c", "owner/--", "", "owner/a b", "https://hub.example/owner/x"])
def test_a_name_that_the_hub_would_not_take_is_refused_at_once(name: str) -> None:
    with pytest.raises(BadSetting, match="name of a repository"):
        HubTarget(name)


def test_a_name_that_the_hub_does_not_take_is_refused(hub: HubDouble) -> None:
    hub.faults = [Fault("POST", "/repos/create", 400, {"X-Error-Message": "Invalid name"})]
    with pytest.raises(BadSetting, match="Invalid name"):
        put(new_target(hub), GROUP)


def test_a_card_that_the_hub_does_not_take_is_refused(hub: HubDouble) -> None:
    with pytest.raises(BadSetting, match="license"):
        put(new_target(hub), {"README.md": b"---\nlicense: none of these\n---\n"})
    assert commits(hub) == 0


@pytest.mark.parametrize(("method", "status"), [("PUT", 403), ("PUT", 400), ("GET", 403)])
def test_a_signed_address_that_expired_is_signed_anew(hub: HubDouble, method: str, status: int) -> None:
    hub.faults = [Fault(method, "/lfs-storage/", status)]
    target = new_target(hub)
    put(target, GROUP)
    assert target.read("part_a/1.parquet") == MAPS
    assert hub.faults == []


def test_a_storage_that_takes_nothing_is_given_up_without_its_signed_address(hub: HubDouble) -> None:
    hub.faults = [Fault("PUT", "/lfs-storage/", 400, {"X-Error-Message": "Too slow"}) for _ in range(QUICK.attempts)]
    with pytest.raises(SourceUnavailable, match="HTTP 400: Too slow") as caught:
        put(new_target(hub), GROUP)
    assert "X-Signature" not in str(caught.value)


def test_a_gitignore_that_would_leave_files_out_is_refused(hub: HubDouble) -> None:
    put(new_target(hub), GROUP)
    target = new_target(hub)
    hub.faults = [other_writer(NAME, {".gitignore": b"*.parquet"})]
    with pytest.raises(BadSetting, match=r"\.gitignore"):
        put(target, {"part_a/2.parquet": MAPS})
    with pytest.raises(BadSetting, match=r"\.gitignore"):
        new_target(hub)
    assert contents(hub).keys() == {*GROUP, ".gitignore"}


def test_an_offline_client_says_so(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadSetting, match="HF_HUB_OFFLINE"):
        new_target(hub)


def test_an_error_of_our_own_stays_what_it_is(hub: HubDouble, tmp_path: Path) -> None:
    target = new_target(hub)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Exception, match="folder") as caught:
        target.put({"part_a/1.parquet": NewFile(tmp_path / "folder", "0" * 64, 1)})
    assert not isinstance(caught.value, SourceUnavailable)
    assert isinstance(caught.value, MappoolError)


def test_files_go_through_xet_where_the_hub_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    (tmp_path / "staged").write_bytes(MAPS)
    with HubDouble(tmp_path) as hub:
        target = new_target(hub)
        put(target, GROUP)
        staged = NewFile(tmp_path / "staged", hashlib.sha256(MAPS).hexdigest(), len(MAPS))
        hub.faults = [Fault("POST", "/commit/", 503, is_done=True)]
        target.put({"part_a/2.parquet": staged})
        assert contents(hub) == {**GROUP, "part_a/2.parquet": MAPS}
        assert commits(hub) == 2
        assert hub.count("PUT") == 0
        assert target.read("part_a/2.parquet") == MAPS
        hub.faults = [Fault("GET", "xet-write-token", 403)]
        with pytest.raises(BadSetting, match="no right to upload"):
            put(target, {"part_a/3.parquet": b"3"})
    assert capfd.readouterr() == ("", "")
