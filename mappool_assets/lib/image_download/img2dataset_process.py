"""Run ``img2dataset.download`` in this process, its addresses asked by our fetcher. Started by ``downloads``.

One line of JSON on the standard input says what to do; the input's end means that who started us has ended, and then
so does our whole process group. This module is also what img2dataset's worker processes import first: multiprocessing
gives them our main module as ``__mp_main__``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
import urllib.request
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mappool_assets.lib.image_download.sub_shards import SubShards

# Imported by img2dataset, but of no use without re-encoding, logging to a service and clusters: 2.4 of the 2.8 seconds
# of CPU and 575 of the 726 MB that its import takes in each process. Albumentations would also look for a new version.
OPTIONAL_PACKAGES = ("torch", "ray")
UNUSED_PACKAGES = ("albumentations", "wandb")
WATCH_SECONDS = 0.1
M_ARENA_MAX = -8  # glibc's number for the parameter of mallopt that limits its heaps


def main() -> None:
    """Do what the first line of the standard input asks for."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what ends us and our workers may have been ignored by our parent
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_with_any_worker, daemon=True).start()
    # multiprocessing hands these arguments on to the workers, through a pipe: no proxy's password is in a command line.
    sys.argv[1:] = [json.dumps(job["rules"])]
    ask_through_our_fetcher(job["rules"])
    leave_out_unused_packages()
    sub_shards = SubShards(Path(job["output"]), job["row_count"], job["rows_each"])
    missing = sub_shards.missing()
    for index in missing:  # halves, which img2dataset may take for finished
        sub_shards.discard(index)
    download(job["requests"], sub_shards, min(job["processes"], len(missing)), job["threads"])


def download(requests: str, sub_shards: SubShards, processes: int, threads: int) -> None:
    """Call img2dataset as MapPool's card does, less its hash check, which ``downloads`` makes: some rows have no hash.

    Retries are left to the fetcher (of addresses, inside their deadline) and to ``engine`` (of sub-shards).
    """
    import img2dataset  # type: ignore[import-untyped]

    img2dataset.download(
        url_list=requests,
        input_format="parquet",
        url_col="disguised_url",
        output_folder=str(sub_shards.folder),
        output_format="webdataset",
        number_sample_per_shard=sub_shards.rows_each,
        processes_count=processes,
        thread_count=threads,
        disable_all_reencoding=True,
        extract_exif=False,
        compute_hash=None,
        incremental_mode="incremental",
        retries=0,
        max_shard_retry=0,
    )


def ask_through_our_fetcher(rules: dict[str, Any]) -> None:
    """Install our opener for all that this process asks with ``urllib``, before anything else can ask."""
    from mappool_assets.lib.image_download.guarded_opener import GuardedOpener
    from mappool_assets.lib.web.web_fetch import FetchRules

    urllib.request.install_opener(GuardedOpener(FetchRules(**rules)))  # type: ignore[arg-type]


def leave_out_unused_packages() -> None:
    """Make the import of what is not used cheap; what would use it after all, fails."""
    for name in OPTIONAL_PACKAGES:
        sys.modules[name] = None  # type: ignore[assignment]  # as Python has it: the import fails, which is foreseen
    for name in UNUSED_PACKAGES:
        sys.modules[name] = types.ModuleType(name)


def share_freed_memory() -> None:
    """Let all threads use two heaps: with its own, each keeps what it frees (of files of 32 MiB 1.3 GB, not 0.7)."""
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing more is ever written: it returns at the end
    _end_group()


def _end_with_any_worker() -> None:
    """End the group once one of its processes ended badly: multiprocessing's pool would wait for its result forever."""
    known: set[BaseProcess] = set()
    while True:
        known.update(multiprocessing.active_children())
        for process in known:
            if process.exitcode:
                print(f"{process.name} ended ({process.exitcode}): ending all", flush=True)
                _end_group()
        time.sleep(WATCH_SECONDS)


def _end_group() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgrp(), signal.SIGTERM)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    share_freed_memory()
    ask_through_our_fetcher(json.loads(sys.argv[1]))
    leave_out_unused_packages()
