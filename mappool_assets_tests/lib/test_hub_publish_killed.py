"""A publisher killed outright at each commit: readers are never misled, and the next one ends as one alone would."""

from __future__ import annotations

import copy
import importlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish import publisher
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.hub_client import Patience
from mappool_assets.lib.publish.hub_target import HubTarget
from mappool_assets_tests.hub_double import WRITE, Fault, HubDouble
from mappool_assets_tests.hub_repository import HubError, Repository
from mappool_assets_tests.published_lists import assert_lists_name_only_what_is_there
from mappool_assets_tests.small_lake import A2, A, C, D, write_flat_pool, write_maps, write_pool

REPO = "owner/maps"
NAME = f"datasets/{REPO}"
IMPORTED_WHEN_NEEDED = ("duckdb", "pandas", "huggingface_hub.hf_api", "huggingface_hub.repocard_data")
FILES_PER_COMMIT = 5  # so that there are several commits to be killed at


def publish(lake: str, url: str) -> None:
    target = HubTarget(REPO, endpoint=url, patience=Patience(attempts=2, first_wait_seconds=0.01))
    publisher.publish(Lake(lake), target, CardSettings(repository=REPO))


def fork_publishers() -> None:
    """Run a publisher for each line of lake and address: a process each, without importing everything anew."""
    for name in IMPORTED_WHEN_NEEDED:
        importlib.import_module(name)
    huggingface_hub.constants.HF_HUB_DISABLE_XET = True
    publisher.FILES_PER_COMMIT = FILES_PER_COMMIT
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                publish(*line.split())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Publishers:
    """Starts publishers, and kills the one that runs."""

    def __init__(self) -> None:
        code = f"from {__name__} import fork_publishers; fork_publishers()"
        environment = {**os.environ, "HF_TOKEN": WRITE, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self._is_running = threading.Event()
        self._pid = 0

    def run(self, lake: Lake, hub: HubDouble) -> int:
        """Return a publisher's exit status; minus the signal's number where it was killed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{lake.root} {hub.url}\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())
        self._is_running.set()
        status = int(self._process.stdout.readline())
        self._is_running.clear()
        return status

    def kill(self) -> None:
        assert self._is_running.wait(10)
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def publishers() -> Iterator[Publishers]:
    publishers = Publishers()
    yield publishers
    publishers.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    write_flat_pool(lake)
    return lake


@pytest.fixture
def hub(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> HubDouble:
    monkeypatch.setattr(publisher, "FILES_PER_COMMIT", FILES_PER_COMMIT)
    return hub


def change_everything(lake: Lake) -> None:
    """A new shard in an old part, one in a new part, a changed one, a lost one, and a part that vanishes."""
    write_pool(lake, dict.fromkeys((A, A2, C, D), ""))
    write_maps(lake, A, 4, threshold=0.6, seed=1)
    write_maps(lake, C)
    write_maps(lake, D)


def bytes_uploaded(hub: HubDouble) -> int:
    return sum(request.bytes_in for request in hub.requests if request.method == "PUT" and request.status == 200)


def kill_instead_of(commit: int, hub: HubDouble, publishers: Publishers) -> None:
    """Kill whoever is about to make the n-th commit from now."""
    left = iter(range(commit, 0, -1))

    def hook(_: int) -> None:
        if next(left, 0) == 1:
            publishers.kill()
            raise HubError(503, "Nobody is there any more")

    hub.before_commit = hook


def kill_after(commit: int, hub: HubDouble, publishers: Publishers) -> None:
    """Kill whoever has made the n-th commit from now, before the answer."""
    left = iter(range(commit, 0, -1))
    hub.after_commit = lambda _: publishers.kill() if next(left, 0) == 1 else None


def let_live(hub: HubDouble) -> None:
    hub.before_commit = hub.after_commit = lambda _: None


@pytest.mark.parametrize(
    ("is_first", "kill"),
    [(True, kill_instead_of), (False, kill_instead_of), (False, kill_after)],
    ids=["first publish", "everything changes", "everything changes, after each"],
)
def test_killed_at_any_commit_then_run_again(
    lake: Lake,
    hub: HubDouble,
    publishers: Publishers,
    is_first: bool,
    kill: Callable[[int, HubDouble, Publishers], None],
) -> None:
    before: dict[str, Repository] = {}
    if not is_first:
        publish(lake.root, hub.url)
        before = copy.deepcopy(hub.repos)
        change_everything(lake)
    hub.requests.clear()
    publish(lake.root, hub.url)
    wanted, uploaded, tags = hub.tree(NAME), bytes_uploaded(hub), set(hub.repos[NAME].tags)
    commits = hub.count("POST", "/commit/")
    assert commits == (3 if is_first else 5)

    for commit in range(1, commits + 1):
        hub.repos = copy.deepcopy(before)
        hub.requests.clear()
        kill(commit, hub, publishers)
        assert publishers.run(lake, hub) == -signal.SIGKILL
        let_live(hub)
        publish(lake.root, hub.url)
        assert hub.tree(NAME) == wanted, f"killed at commit {commit}"
        assert set(hub.repos[NAME].tags) == tags
        assert bytes_uploaded(hub) == uploaded  # nothing that arrived was sent again
        for oid in hub.repos[NAME].commits:
            assert_lists_name_only_what_is_there(hub.files(NAME, oid))


def test_killed_before_the_tag_then_run_again(lake: Lake, hub: HubDouble, publishers: Publishers) -> None:
    hub.faults = [Fault("POST", "/tag/", 503, before=lambda hub: publishers.kill())]
    assert publishers.run(lake, hub) == -signal.SIGKILL
    commits = dict(hub.repos[NAME].commits)
    assert hub.repos[NAME].tags == {}
    publish(lake.root, hub.url)
    assert hub.repos[NAME].commits == commits
    assert list(hub.repos[NAME].tags.values()) == [hub.repos[NAME].head.oid]


def test_killed_while_uploading_sends_what_did_not_arrive(lake: Lake, hub: HubDouble, publishers: Publishers) -> None:
    hub.faults = [Fault("PUT", "/lfs-storage/", 503, before=lambda hub: publishers.kill(), skip=2)]
    assert publishers.run(lake, hub) == -signal.SIGKILL
    publish(lake.root, hub.url)
    sent = [request.path for request in hub.requests if request.method == "PUT" and request.status == 200]
    assert len(sent) == len(set(sent)) == 4  # three of maps, one of DataComp's subset
    assert_lists_name_only_what_is_there(hub.files(NAME))
