"""The interface of ``workers.run_tasks`` on a Ray cluster: shards beyond one machine."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mappool_assets.lib.errors import BadEnvironment, BadSetting, SourceUnavailable
from mappool_assets.lib.lake_sql import SQL_FOLDER
from mappool_assets.lib.workers import Outcome, WorkerKilled, limit_threads, timed

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3  # Ray's own default: a node taken back by a cloud is met more than once in a long run
TASKS_PER_CPU = 2  # the next task waits at its node, and a cluster that can grow sees that it should
FEWEST_TASKS = 16  # under way even where no node has joined yet
ASK_AFTER = FEWEST_TASKS  # outcomes between two looks at the cluster's size: over ray:// one takes 15 ms
CONNECT_SECONDS = 30.0  # a cluster answers in 3; Ray itself tries for a quarter of an hour, deaf to signals


def run_tasks_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], address: str
) -> Iterator[Outcome[Task, Result]]:
    """Call ``function`` on every task on a Ray cluster and yield outcomes as they come, not in order.

    An exception ends its own task only. Where a worker or a node is killed, Ray runs the task again elsewhere, up to
    ``RETRIES`` times; then its outcome is a :class:`WorkerKilled`. A task takes one CPU, and no more than a few for
    each CPU of the cluster are under way, however many there are; a cluster that grows is given more.

    Parameters
    ----------
    function : callable
        Importable by name from a module that does not import Dagster. Its package and this one are sent to the nodes;
        what they import must be installed there, with the same versions of Python and Ray.
    address : str
        ``auto`` (the cluster of this machine), ``host:port`` (of a cluster that this machine belongs to) or
        ``ray://host:port`` (of any).

    Raises
    ------
    BadEnvironment
        Ray is not installed.
    BadSetting
        The address is none of the three.
    SourceUnavailable
        No cluster answers there, or it does not take this program.
    """
    if not tasks:
        return
    with _connected(address, function) as ray:
        submit = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_run_on_node).remote
        running: dict[Any, Task] = {}
        most, returned = _most_at_once(ray), 0
        for task in tasks:
            while len(running) >= most:
                under_way = len(running)
                yield from _next_outcomes(ray, running)
                returned += under_way - len(running)
                if returned >= ASK_AFTER:
                    most, returned = _most_at_once(ray), 0
            running[submit(function, task)] = task
        while running:
            yield from _next_outcomes(ray, running)


def _run_on_node(function: Callable[[Task], Result], task: Task) -> Outcome[Task, Result]:
    limit_threads(1)  # as many as the task's CPUs
    return timed(function, task)


def _most_at_once(ray: ModuleType) -> int:
    return max(FEWEST_TASKS, TASKS_PER_CPU * int(ray.cluster_resources().get("CPU", 0)))


def _next_outcomes(ray: ModuleType, running: dict[Any, Task]) -> Iterator[Outcome[Task, Result]]:
    """Wait for one task or more of ``running``; take them out and yield their outcomes."""
    done, _ = ray.wait(list(running), num_returns=1)
    for reference in done:
        task = running.pop(reference)
        try:
            yield ray.get(reference)
        except ray.exceptions.RayError as error:
            yield Outcome(task, None, _explained(ray, task, error), 0.0)


def _explained(ray: ModuleType, task: object, error: Exception) -> Exception:
    """Return our error for one of Ray's; those of the function itself are in its outcome."""
    last_line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    if isinstance(error, ray.exceptions.RayTaskError | ray.exceptions.RuntimeEnvSetupError):
        return BadEnvironment(
            "A Ray node could not take the task, or not return what came of it",
            where=str(task),
            rule="nodes with the same versions of Python and Ray, and this program's dependencies",
            got=last_line,
            action="Install mappool-assets[ray] with this project's constraints.txt on every node.",
        )
    return WorkerKilled(
        "The Ray worker was killed",
        where=str(task),
        rule="a worker that ends by itself",
        got=f"{type(error).__name__} after {RETRIES} retries ({last_line})",
        action="Look for the node's out-of-memory killer; give nodes more memory for each CPU.",
    )


@contextlib.contextmanager
def _connected(address: str, function: Callable) -> Iterator[ModuleType]:
    """Connect to the cluster while the context lasts; what is under way when it ends is cancelled."""
    try:
        import ray
    except ImportError as error:
        raise BadEnvironment(
            "Ray is not installed",
            where=f"Ray cluster {address}",
            rule="the extra `ray`",
            got=str(error),
            action="Run: pip install 'mappool-assets[ray]'",
        ) from None
    _require_address(address)
    if not address.startswith("ray://"):  # such a client gives up by itself after 30 s, and can be interrupted
        _require_answer(address)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _copy_packages(function, Path(folder))
            # Their working folder: it comes before this process's own, which nodes on the same disk would search.
            ray.init(address, runtime_env={"working_dir": folder}, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _unavailable(address, f"{type(error).__name__}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _copy_packages(function: Callable, folder: Path) -> None:
    """Copy this package, whole as a wheel has it, and the function's."""
    for name in {module.split(".")[0] for module in (__name__, function.__module__)}:
        (source,) = sys.modules[name].__path__
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SQL_FOLDER, folder / __name__.split(".")[0] / "sql", dirs_exist_ok=True)


def _require_address(address: str) -> None:
    if not _is_understood(address):
        raise BadSetting(
            "The address of the Ray cluster cannot be understood",
            where="Ray cluster",
            rule="auto, host:port or ray://host:port",
            got=repr(address),
            action="Correct the setting.",
        )


def _require_answer(address: str) -> None:
    """Connect in a process of its own first: one that can be ended when no answer comes."""
    connect = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    try:
        subprocess.run(  # noqa: S603  our own interpreter, and an address that is an argument, not code
            [sys.executable, "-c", connect, address],
            check=True,
            capture_output=True,
            text=True,
            timeout=CONNECT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _unavailable(address, f"no answer in {CONNECT_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        raise _unavailable(address, (error.stderr.strip().splitlines() or ["nothing"])[-1]) from None


def _is_understood(address: str) -> bool:
    if address == "auto":
        return True
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return bool(parts.hostname and parts.port) and parts.scheme in ("", "ray")
    except ValueError:  # a port that is no number
        return False


def _unavailable(address: str, got: str) -> SourceUnavailable:
    return SourceUnavailable(
        "The Ray cluster cannot be used",
        where=f"Ray cluster {address}",
        rule="a running cluster with the same versions of Python and Ray as here",
        got=got,
        action="Start it (`ray start --head`) or correct the address; from outside the cluster use ray://host:10001.",
    )
