"""img2dataset, run until all is there: judged by what it wrote, never by its exit code."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mappool_assets.lib.errors import BadSetting, MappoolError
from mappool_assets.lib.image_download.process_group import ProcessGroup
from mappool_assets.lib.image_download.sub_shards import NotWhole, SubShard, SubShards

PROGRAM = "mappool_assets.lib.image_download.img2dataset_process"
RUNS = 2
POLL_SECONDS = 0.1
LOG_BYTES_SHOWN = 2000


class DownloadBroken(MappoolError):
    """img2dataset that ended twice without having finished."""


class Engine:
    """Runs img2dataset where a sub-shard is missing; a context manager that leaves no process behind.

    Parameters
    ----------
    sub_shards : SubShards
        What it is to write.
    job : bytes
        One line for :mod:`~mappool_assets.lib.image_download.img2dataset_process`.
    log : Path
        What it prints is appended here.
    """

    def __init__(self, sub_shards: SubShards, job: bytes, log: Path) -> None:
        self._sub_shards, self._job, self._log = sub_shards, job, log
        self._run: ProcessGroup | None = None
        self._runs_left = RUNS

    def __enter__(self) -> Engine:
        if self._sub_shards.missing():
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.end()

    def wait_for(self, index: int) -> SubShard:
        """Return a sub-shard once it is whole.

        Raises
        ------
        DownloadBroken
            img2dataset ended twice without it.
        """
        while True:
            is_running = self._run is not None and self._run.is_running  # asked before what it wrote is looked at
            try:
                return self._sub_shards.find(index)
            except NotWhole as error:
                if not is_running:
                    self._start_again(str(error))
            time.sleep(POLL_SECONDS)

    def _start_again(self, reason: str) -> None:
        if self._run is not None:
            self._run.end()
        if not self._runs_left:
            raise self._broken(reason)
        self._start()

    def _start(self) -> None:
        self._runs_left -= 1
        try:
            self._run = ProcessGroup([sys.executable, "-m", PROGRAM], self._job, self._log)
        except BlockingIOError:
            raise BadSetting(
                "The folder is in use",
                where=str(self._log.parent),
                rule="a folder that no other download uses at the same time",
                got="one whose log another process has locked",
                action="Wait until it has ended, or give another folder.",
            ) from None

    def _broken(self, reason: str) -> DownloadBroken:
        missing = ", ".join(f"{index:05d}" for index in self._sub_shards.missing())
        printed = self._log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace")
        return DownloadBroken(
            "img2dataset ended without having finished",
            where=f"{self._sub_shards.folder}, sub-shards {missing}",
            rule="a tar, a parquet file and a count of all rows for each sub-shard",
            got=f"{reason}; the last that it printed in {RUNS} runs: {printed.strip()}",
            action="Where memory or disk ran out, make room; what is finished is not fetched again.",
        )
