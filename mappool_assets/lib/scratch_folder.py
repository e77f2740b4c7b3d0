"""A folder for what is on its way from the lake and back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mappool_assets.lib.lake import Lake, fingerprint


@contextmanager
def scratch_folder(scratch: Path, lake: Lake, work: str) -> Iterator[Path]:
    """Yield a new folder for some work on a lake, and remove it again; what a killed run left there is removed first.

    Parameters
    ----------
    scratch : Path
        On a local disk.
    work : str
        Names the folder, with the lake: other work, and work on other lakes, have others.
    """
    folder = scratch / f"{work}-{fingerprint({'lake': lake.url('')})}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
