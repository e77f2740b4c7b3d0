"""Measure work in a process of its own, so that time, CPU and memory are nobody else's (Linux)."""

from __future__ import annotations

import multiprocessing
import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What some work gave and took.

    Attributes
    ----------
    result : object
        What it returned.
    seconds, cpu_seconds : float
        Of the work alone, without imports and preparation.
    peak_bytes : int
        Most memory the process ever held, imports and preparation included.
    """

    result: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> Measured:
    """Start a fresh interpreter, let ``prepare(*arguments)`` import and load, then measure the work it returns."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_measure_here, args=(sender, prepare, arguments))
    process.start()
    sender.close()  # so that a child that dies ends the wait
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"the process that ran {prepare.__name__} failed, see above") from None
    finally:
        process.join()


def median_by_seconds(runs: list[Measured]) -> Measured:
    """Return the run of median duration."""
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _measure_here(sender: Connection, prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    work = prepare(*arguments)
    cpu_before, began = _cpu_seconds(), time.perf_counter()
    result = work()
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - cpu_before
    sender.send(Measured(result, seconds, cpu_seconds, _peak_bytes()))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_bytes() -> int:
    # Not ru_maxrss: exec passes on the figure of the process that forked, here that of the one that made the data.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
