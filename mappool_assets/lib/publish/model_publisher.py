"""Send what differs between a model's files and what a target shows.

All files go in one group, ``SHA256SUMS`` last: a repository changes at once, and a folder in which only some were
replaced is one that readers refuse.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mappool_assets.lib.model_file import MODEL_NAME
from mappool_assets.lib.publish.publish_target import NewFile, PublishTarget
from mappool_assets.lib.published_model import (
    CARD_NAME,
    CONFIG_NAME,
    PARITY_NAME,
    SKOPS_NAME,
    SUMS_NAME,
)

# What else lies in the target (.gitattributes, LICENSE, figures …) is someone else's.
OWNED = re.compile(
    "|".join(map(re.escape, (MODEL_NAME, CONFIG_NAME, PARITY_NAME, CARD_NAME, SKOPS_NAME, SUMS_NAME))),
)


@dataclass(frozen=True)
class ModelPublishReport:
    """What a publish did.

    Attributes
    ----------
    version : str
        16 hex digits over all files.
    files_written, files_removed : tuple of str
        Files that were sent because they differed, and files of an earlier model that this one does not have.
    bytes_written, bytes_total : int
        Sent, and the size of all files.
    """

    version: str
    files_written: tuple[str, ...]
    files_removed: tuple[str, ...]
    bytes_written: int
    bytes_total: int


def publish_model(files: Mapping[str, bytes], target: PublishTarget) -> ModelPublishReport:
    """Make a target hold a model's files; where it does already, nothing is sent.

    Parameters
    ----------
    files : mapping of str to bytes
        As :func:`~mappool_assets.lib.publish.model_files.model_files` returns them, in the order in which they may
        appear.
    target : PublishTarget
    """
    tree = target.tree(OWNED)
    new = {name: NewFile.of_bytes(content) for name, content in files.items()}
    changed = {name: file for name, file in new.items() if not file.has_checksum(tree.get(name))}
    stale = tuple(sorted(name for name in tree if OWNED.fullmatch(name) and name not in files))
    if changed:
        target.put(changed)
    if stale:
        target.remove(stale)
    version = hashlib.sha256(files[SUMS_NAME]).hexdigest()[:16]
    target.finish(version)
    return ModelPublishReport(
        version=version,
        files_written=tuple(changed),
        files_removed=stale,
        bytes_written=sum(file.size_bytes for file in changed.values()),
        bytes_total=sum(file.size_bytes for file in new.values()),
    )
