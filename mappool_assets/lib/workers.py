"""A pool of worker processes that hands back each result as it is done and outlives a worker that is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from mappool_assets.lib.errors import MappoolError

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerKilled(MappoolError):
    """A worker that vanished without an exception, twice on the same task: most often out of memory."""


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What came of one task: a result and its duration, or the exception that ended it."""

    task: Task
    result: Result | None
    error: Exception | None
    seconds: float


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Outcome[Task, Result]]:
    """Call ``function`` on every task and yield outcomes as they come, not in order.

    An exception ends its own task only. Where a worker is killed, the tasks that were under way are tried once
    more, each alone, so that one deadly task cannot take others with it.

    Parameters
    ----------
    function : callable
        Importable by name from a module (it is sent to spawned processes), as are its tasks and results.
    workers : int
        Processes; each uses its share of the cores for matrix products. With 1, or one task, all runs in this
        process.
    """
    if workers == 1 or len(tasks) == 1:
        yield from (timed(function, task) for task in tasks)
        return
    waiting, suspects = deque(tasks), deque[Task]()
    while waiting:
        yield from _run_until_broken(function, waiting, suspects, min(workers, len(waiting)))
        while suspects:
            yield _run_alone(function, suspects.popleft())


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Limit what BLAS and OpenMP use in this process."""
    import numpy  # noqa: F401  threadpoolctl limits only what is loaded
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)


def timed(function: Callable[[Task], Result], task: Task) -> Outcome[Task, Result]:
    """Call ``function`` on the task; an exception becomes part of the outcome."""
    began = time.perf_counter()
    try:
        result = function(task)
    except Exception as error:
        return Outcome(task, None, error, time.perf_counter() - began)
    return Outcome(task, result, None, time.perf_counter() - began)


def _run_until_broken(
    function: Callable[[Task], Result], waiting: deque[Task], suspects: deque[Task], workers: int
) -> Iterator[Outcome[Task, Result]]:
    """Work through ``waiting``; where a worker dies, leave what was under way in ``suspects``."""
    with _ended_with_us(_executor(workers)) as executor:
        running: dict[Future[Outcome[Task, Result]], Task] = {}
        while (waiting or running) and not suspects:
            while waiting and len(running) < workers:  # never queued: what runs when a worker dies is known
                try:
                    running[executor.submit(timed, function, waiting[0])] = waiting[0]
                except BrokenProcessPool:  # a worker died while the consumer dealt with the last outcome
                    suspects.extend(running.values())
                    return
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(task)
                else:
                    yield future.result()
        suspects.extend(running.values())


def _run_alone(function: Callable[[Task], Result], task: Task) -> Outcome[Task, Result]:
    with _ended_with_us(_executor(1)) as executor:
        try:
            return executor.submit(timed, function, task).result()
        except BrokenProcessPool as error:
            killed = WorkerKilled(
                "The worker process was killed",
                where=str(task),
                rule="a worker that ends by itself",
                got=f"two workers that vanished ({error})",
                action="Look for the kernel's out-of-memory killer; run fewer workers at once.",
            )
            return Outcome(task, None, killed, 0.0)


@contextlib.contextmanager
def _ended_with_us(executor: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Yield the pool; where we are stopped, its workers end at once: else it would wait for what they are doing."""
    with executor:
        try:
            yield executor
        except BaseException:
            for process in list((executor._processes or {}).values()):  # until Python 3.14's kill_workers
                process.kill()
            raise


def _executor(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: BLAS and Arrow threads do not survive a fork.
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(max(1, available_cores() // workers),),
    )


def _start_worker(threads: int) -> None:
    """Give a worker its share of the cores, and let it end with the process that started it, even if killed."""
    limit_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
