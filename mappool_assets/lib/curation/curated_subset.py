"""What a seed drew as a DataComp subset file, by which DataComp's resharder cuts its shards.

``curation/curated_subset/datacomp_subset.npy`` in the lake, of the form that
:mod:`mappool_assets.lib.publish.datacomp_subset` describes: a uid of a pair an entry.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mappool_assets.lib.curation import curated_pairs
from mappool_assets.lib.curation.curated_sources import made_of
from mappool_assets.lib.errors import BadSetting, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.datacomp_subset import SUBSET_PATH, write_subset
from mappool_assets.lib.publish.publish_target import sha256_of

PATH = f"curation/curated_subset/{SUBSET_PATH}"  # in the lake


@dataclass(frozen=True)
class CuratedSubset:
    """What was written.

    Attributes
    ----------
    path : str
        Of the file, inside the lake.
    seed : int
        Whose draw it is.
    rows, bytes : int
        Pairs in it, and its size.
    sha256 : str
        Of its bytes: equal pairs give equal files.
    """

    path: str
    seed: int
    rows: int
    bytes: int
    sha256: str


def write_curated_subset(lake: Lake, seed: int | None = None, *, scratch: Path | None = None) -> CuratedSubset:
    """Write the uids that a seed drew; same pairs, same bytes.

    Parameters
    ----------
    seed : int, optional
        One of those that drew. Default: the first of them.
    scratch : Path, optional
        A folder on a local disk, for some 32 bytes a pair. Default: the system's for temporary files.

    Raises
    ------
    MissingInput
        There are no curated pairs.
    BadSetting
        It is not among the seeds that drew.
    BadShard
        A uid is not 32 hex digits.
    SourceChanged
        The pairs were drawn anew meanwhile.
    """
    made = made_of(lake, curated_pairs.TABLE)
    seeds = made.inputs["seeds"]
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        raise BadSetting(
            "This seed did not draw",
            where=lake.url(lake.table_path(curated_pairs.TABLE)),
            rule=f"one of {', '.join(map(str, seeds))}",
            got=str(chosen),
            action=f"Name one of these, or materialise {curated_pairs.TABLE} with this one too.",
        )
    with tempfile.TemporaryDirectory(prefix="mappool-", dir=scratch) as folder:
        file = Path(folder) / SUBSET_PATH
        rows = write_subset(lake, "exports/curated_subset", curated_pairs.TABLE, file, seed=chosen)
        if (found := made_of(lake, curated_pairs.TABLE).fingerprint) != made.fingerprint:
            raise SourceChanged(
                "Pairs were drawn anew while their uids were being written",
                where=lake.url(lake.table_path(curated_pairs.TABLE)),
                rule=f"those made from {made.fingerprint}",
                got=f"some made from {found}",
                action="Write the file again.",
            )
        with lake.writing(PATH) as target:
            shutil.copyfile(file, target)
        return CuratedSubset(PATH, chosen, rows, file.stat().st_size, sha256_of(file))
