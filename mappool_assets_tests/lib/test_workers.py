import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.workers import WorkerKilled, available_cores, run_tasks


def square_or_fail(task):
    if task == 3:
        raise BadShard("bad", where="task 3", rule="r", got="g", action="a")
    return task * task


def die_on_five(task):
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return task, os.getpid()


def threads_and_pid(_):
    import threadpoolctl

    return os.getpid(), max((pool["num_threads"] for pool in threadpoolctl.threadpool_info()), default=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_one_outcome_and_an_error_ends_only_its_own(workers):
    outcomes = {outcome.task: outcome for outcome in run_tasks(square_or_fail, range(6), workers)}
    assert sorted(outcomes) == list(range(6))
    assert isinstance(outcomes[3].error, BadShard)
    assert outcomes[3].error.where == "task 3"
    assert {task: o.result for task, o in outcomes.items() if task != 3} == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25}


def test_a_killed_worker_costs_its_task_only():
    outcomes = list(run_tasks(die_on_five, range(10), 2))
    assert sorted(outcome.task for outcome in outcomes) == list(range(10))
    failed = [outcome for outcome in outcomes if outcome.error]
    assert [outcome.task for outcome in failed] == [5]
    assert isinstance(failed[0].error, WorkerKilled)
    assert "memory" in str(failed[0].error)


def die_at_once(task):
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_worker_killed_while_its_consumer_is_busy_costs_nothing_else():
    outcomes = []
    for outcome in run_tasks(die_at_once, ["a", "deadly", "b", "c", "d"], 2):
        outcomes.append(outcome)
        time.sleep(0.5)  # the executor breaks meanwhile: the next submit fails
    assert sorted(outcome.task for outcome in outcomes) == ["a", "b", "c", "d", "deadly"]
    assert [outcome.task for outcome in outcomes if outcome.error] == ["deadly"]


def test_workers_share_the_cores():
    found = [outcome.result for outcome in run_tasks(threads_and_pid, range(4), 2)]
    assert len({pid for pid, _ in found}) <= 2
    assert all(threads <= max(1, available_cores() // 2) for _, threads in found)


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, time
            from pathlib import Path
            from mappool_assets.lib.workers import run_tasks

            def sleep(task):
                Path({str(tmp_path)!r}, f"pid-{{os.getpid()}}").touch()
                time.sleep(60)

            if __name__ == "__main__":
                list(run_tasks(sleep, [1, 2], 2))
            """
        )
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        pids = pids_in(tmp_path, 2)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: [pid for pid in pids if is_running(pid)], lambda left: not left) == []


def leave_pid_and_sleep(folder):
    if folder:
        Path(folder, f"pid-{os.getpid()}").touch()
        time.sleep(30)


def test_workers_end_at_once_where_who_takes_their_outcomes_stops(tmp_path):
    outcomes = run_tasks(leave_pid_and_sleep, ["", tmp_path], 2)
    next(outcomes)
    pids, stopped = pids_in(tmp_path, 1), time.monotonic()
    outcomes.close()
    assert time.monotonic() - stopped < 15
    assert [pid for pid in pids if is_running(pid)] == []


def test_workers_end_at_once_where_who_waits_for_them_is_interrupted(tmp_path):
    sent = []

    def interrupt():
        pids_in(tmp_path, 2)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGALRM)  # not SIGINT: pytest's own workers take no notice of that

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(run_tasks(leave_pid_and_sleep, [tmp_path, tmp_path], 2))
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - sent[0] < 15
    assert [pid for pid in pids_in(tmp_path, 2) if is_running(pid)] == []


def pids_in(folder, count):
    """Wait for so many workers to have begun."""
    return wait_for(lambda: [int(path.name[4:]) for path in folder.glob("pid-*")], lambda found: len(found) == count)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(look, is_enough, seconds=20.0):
    until = time.monotonic() + seconds
    while not is_enough(found := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return found
