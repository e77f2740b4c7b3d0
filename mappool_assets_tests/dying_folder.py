"""A target of publishing that is killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mappool_assets.lib.publish.publish_target import FolderTarget, NewFile


class Dying(FolderTarget):
    """A folder whose writer dies after a number of files."""

    def __init__(self, folder: Path, files: int) -> None:
        super().__init__(folder)
        self.left = files

    def put(self, files: Mapping[str, NewFile]) -> None:
        for path, file in files.items():
            if not self.left:
                raise InterruptedError(path)
            self.left -= 1
            super().put({path: file})
