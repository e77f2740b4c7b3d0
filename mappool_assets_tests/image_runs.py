"""Fetch a shard's images in a process of its own, which can be measured and killed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from mappool_assets.lib.image_download import downloads
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.map_images import ImageSettings, fetch_map_images, map_image_tasks
from mappool_assets.lib.web.web_fetch import FetchRules

MARK = "MAPPOOL_TEST_RUN"  # an environment variable, handed down to every descendant


class ImageRun:
    """A process that fetches the images of one shard.

    Parameters
    ----------
    rules : dict
        Of :class:`FetchRules`.
    is_pretended : bool
        Whether its Internet is that of ``pretended_internet``.
    images_a_batch : int, optional
        Images that img2dataset fetches before it closes a file, instead of our own figure.
    killed_before : str, optional
        The run is killed when it is about to give a file a name that ends so.
    """

    def __init__(
        self,
        lake: Lake,
        shard: str,
        scratch: Path,
        rules: dict[str, Any],
        *,
        is_pretended: bool = False,
        images_a_batch: int | None = None,
        killed_before: str | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        order = {
            "lake": lake.root,
            "shard": shard,
            "scratch": str(scratch),
            "rules": rules,
            "images_a_batch": images_a_batch,
            "killed_before": killed_before,
        }
        path = [str(Path(__file__).parents[1])]
        if is_pretended:
            path.append(str(Path(__file__).with_name("pretended_internet")))
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(order)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), MARK: self._mark},
        )

    def finish(self) -> dict[str, Any]:
        """Wait for the end; return the report's fields and the peak memory in MB."""
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return json.loads(printed.splitlines()[-1])

    def living(self) -> list[str]:
        """Return the command lines of the run's living processes, its own included; none where that is not Linux."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # no process, or not ours, or gone
        return found


def kill_before(name_end: str) -> None:
    """Have this process killed, as Python's audit events report it, before a file gets a name that ends so."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith(name_end):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def main() -> None:
    order = json.loads(sys.argv[1])
    if order["images_a_batch"]:
        downloads.ROWS_A_SUB_SHARD = order["images_a_batch"]
    if order["killed_before"]:
        kill_before(order["killed_before"])
    settings = ImageSettings(rules=FetchRules(**order["rules"]), scratch=Path(order["scratch"]))
    tasks = map_image_tasks(Lake(order["lake"]), [order["shard"]], settings)
    (outcome,) = fetch_map_images(tasks, workers=1)
    if outcome.error:
        raise outcome.error
    # Not ru_maxrss of this process: exec passes on the figure of the one that forked, the test's own.
    own = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
    peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    report = dataclasses.replace(outcome.result, contact_sheet=None)
    print(json.dumps({**dataclasses.asdict(report), "peak_megabytes": peak // 1024, "seconds": outcome.seconds}))


if __name__ == "__main__":
    main()
