"""Which of a shard's maps the first balancing of curation kept, where only their images are to be fetched."""

from __future__ import annotations

import pyarrow as pa

from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Provenance
from mappool_assets.lib.map_images.image_task import ImageTask

BALANCED_TABLE = "curation/balanced_pool"


def balanced_uids(task: ImageTask) -> frozenset[str] | None:
    """Return the uids that balancing kept; None where the images of all maps are to be fetched.

    Raises
    ------
    MissingInput
        The shard has not been balanced yet.
    SourceChanged
        It was balanced anew while the task waited for its turn, or is of maps that have been filtered again since.
    """
    if task.balanced_fingerprint is None:
        return None
    if not task.balanced_fingerprint:
        raise MissingInput(
            "The shard has not been balanced, and only images of balanced maps are to be fetched",
            where=task.lake.url(task.lake.table_path(BALANCED_TABLE, task.key)),
            rule="the pairs that the first balancing kept",
            got="nothing",
            action="Materialise curation/balanced_pool of this shard first, or fetch the images of all maps.",
        )
    with task.lake.open_table(BALANCED_TABLE, task.key) as table:
        recorded = (table.metadata.metadata or {}).get(PROVENANCE_KEY)
        made = Provenance.from_json(recorded) if recorded else None
        if made is None or made.fingerprint != task.balanced_fingerprint:
            raise SourceChanged(
                "The shard was balanced anew while its images waited for their turn",
                where=task.key,
                rule=task.balanced_fingerprint,
                got=made.fingerprint if made else "pairs that do not say what made them",
                action="Run the shard's images again.",
            )
        _check_maps(task, made)
        uids: pa.ChunkedArray = table.read(columns=["uid"])["uid"]
    return frozenset(uids.to_pylist())


def _check_maps(task: ImageTask, balanced: Provenance) -> None:
    """Refuse pairs of maps that are others by now; captions of the whole pool do not depend on the maps."""
    of_maps = balanced.inputs["texts"].get("shard_maps", task.maps_fingerprint)
    if of_maps != task.maps_fingerprint:
        raise SourceChanged(
            "The shard was filtered again since it was balanced",
            where=task.key,
            rule=f"maps made from {of_maps}",
            got=task.maps_fingerprint,
            action="Materialise matches, entry_counts and balanced_pool for this shard again.",
        )
