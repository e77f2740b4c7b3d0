"""What the images of places are made from, as the lake holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadModel, MissingInput, SourceChanged
from mappool_assets.lib.geo_subset.best_prompts import BestPrompts
from mappool_assets.lib.geo_subset.found_images import Measures
from mappool_assets.lib.geo_subset.safety_head import SafetyHead
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.places.place_queries import GENERIC_QUERIES
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES
from mappool_assets.lib.row_blocks import Float32


@dataclass(frozen=True)
class GeoSources:
    """Neighbours, and what is needed to judge them.

    Attributes
    ----------
    neighbours : Provenance
        Its inputs hold ``k``, the encoder and the fingerprint of each shard's maps.
    prompts : float32 array of shape (q, d)
        The places' prompts.
    places : int32 array of shape (q,)
        Whose each prompt is.
    generic : float32 array of shape (g, d), optional
        Prompts that name no place.
    generic_id : str or None
        Fingerprint of these.
    head : SafetyHead, optional
    """

    neighbours: Provenance
    prompts: Float32
    places: NDArray[np.int32]
    generic: Float32 | None
    generic_id: str | None
    head: SafetyHead | None

    @classmethod
    def read(cls, lake: Lake, safety_head: Path | None) -> GeoSources:
        """Read them, and check that they belong together.

        Raises
        ------
        MissingInput
            There are no neighbours, or no prompts.
        SourceChanged
            The prompts are others than the neighbours'.
        BadModel
            Generic prompts or a safety head of another encoder.
        """
        neighbours = made_of(lake, NEIGHBOURS)
        queries = made_of(lake, QUERIES)
        if queries.fingerprint != neighbours.inputs["place_queries"]:
            raise SourceChanged(
                "The prompts are not those whose neighbours were found",
                where=lake.url(QUERIES),
                rule=f"prompts made from {neighbours.inputs['place_queries']}",
                got=queries.fingerprint,
                action=f"Materialise {NEIGHBOURS} again.",
            )
        prompts = lake.read_table(QUERIES, columns=["place_id", "vector"])
        places = pc.dictionary_encode(prompts["place_id"].combine_chunks()).indices.to_numpy()
        encoder_id, vectors = neighbours.inputs["encoder_id"], _matrix(prompts)
        generic, generic_id = _generic(lake, encoder_id)
        head = SafetyHead.read(safety_head, encoder_id, vectors.shape[1]) if safety_head else None
        return cls(neighbours, vectors, places.astype(np.int32), generic, generic_id, head)

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the images beside the settings."""
        return {
            "neighbours": self.neighbours.fingerprint,
            "shard_maps": self.neighbours.inputs["shards"],  # so that the images are told from later maps by themselves
            "generic_queries": self.generic_id,
            "safety_head": self.head.sha256 if self.head else None,
        }

    @property
    def measures(self) -> Measures:
        """What is worked out from each image's embedding."""
        generic = None
        if self.generic is not None:
            generic = BestPrompts(self.generic, np.zeros(len(self.generic), np.int32))
        return Measures(self.places, BestPrompts(self.prompts, self.places), generic, self.head)


def check_unchanged(lake: Lake, neighbours: Provenance) -> None:
    """Raise :class:`SourceChanged` where neighbours or prompts were written anew since the neighbours were read."""
    for table, expected in ((NEIGHBOURS, neighbours.fingerprint), (QUERIES, neighbours.inputs["place_queries"])):
        if (found := made_of(lake, table).fingerprint) != expected:
            raise SourceChanged(
                "A table was written anew while images were chosen from it",
                where=lake.url(table),
                rule=f"the one made from {expected}",
                got=f"one made from {found}",
                action="Materialise geo_subset/geo_images again.",
            )


def made_of(lake: Lake, table: str) -> Provenance:
    """Return what made a table that a geo subset is made from; :class:`MissingInput` where it is not there."""
    made = lake.provenance(table)
    if made is None:
        raise MissingInput(
            "A geo subset is not complete",
            where=lake.url(table),
            rule="a table of the lake",
            got="nothing",
            action=f"Materialise {table} first.",
        )
    return made


def _generic(lake: Lake, encoder_id: str) -> tuple[Float32 | None, str | None]:
    made = lake.provenance(GENERIC_QUERIES)
    if made is None or not made.rows_kept:
        return None, None
    if made.inputs["encoder_id"] != encoder_id:
        raise BadModel(
            "Generic prompts and places were embedded by different encoders",
            where=lake.url(GENERIC_QUERIES),
            rule=encoder_id,
            got=str(made.inputs["encoder_id"]),
            action="Materialise geo_subset/place_queries again, which makes both.",
        )
    return _matrix(lake.read_table(GENERIC_QUERIES, columns=["vector"])), made.fingerprint


def _matrix(rows: pa.Table) -> Float32:
    vectors = rows["vector"].combine_chunks()
    return vectors.flatten().to_numpy().reshape(len(vectors), -1)
