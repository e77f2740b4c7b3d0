"""One run a shard at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.shard_runs import ShardTask


@contextlib.contextmanager
def one_run_a_shard(task: ShardTask, images: str) -> Iterator[None]:
    """Keep other runs from the shard, where the lake is a folder: each would sweep away what the other is writing.

    The lock is on the folder of the shard's images; it ends with the process, however that ends. In a bucket, and on
    file systems without such locks, nothing keeps two runs apart.

    Parameters
    ----------
    images : str
        The folder, inside the lake, in which each shard has a folder for its images.

    Raises
    ------
    BadSetting
        Another run has the shard.
    """
    if not task.lake.is_local:
        yield
        return
    folder = Path(task.lake.root, images, task.key)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, task)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, task: ShardTask) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadSetting(
            "Another run is fetching the images of this shard",
            where=str(task),
            rule="one run a shard at a time",
            got="a lock on the folder of its images",
            action="Wait until it has ended.",
        ) from None
    except OSError:
        pass  # NFS and the like have no lock on a folder
