"""What decides a shard's nearest rows: settings, inputs, and whether what is stored was made from them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib.classifier_store import classifier_record
from mappool_assets.lib.errors import BadModel, BadSetting, MissingInput
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.exact_scan import check_k
from mappool_assets.lib.retrieval.metadata_filter import RowFilter

QUERIES = "geo_subset/place_queries"
SHARD_MAPS = "mappool/shard_maps"
SHARD_NEIGHBOURS = "geo_subset/shard_neighbours"
CODE_VERSION = "1"  # raise when the same inputs would give other rows

FOOTERS_AT_A_TIME = 16  # read by threads: of 25,000 files in a bucket, one by one, they would take minutes


@dataclass(frozen=True)
class NeighbourSettings:
    """Which images count as a prompt's neighbours.

    Parameters
    ----------
    k : int
        Most images of a prompt. Default 1,000, LAION-geo's.
    min_similarity : float, optional
        Least cosine, -1 to 1.
    row_filter : str, optional
        Which rows of ``shard_maps`` are searched, in the language of
        :mod:`mappool_assets.lib.retrieval.filter_language`.

    Raises
    ------
    BadSetting
        A value out of range, or (:class:`BadFilter`) a filter that says nothing.
    """

    k: int = 1000
    min_similarity: float | None = None
    row_filter: str | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise BadSetting(
                "No cosine can be the least similarity",
                where="min_similarity",
                rule="a number from -1 to 1",
                got=f"{self.min_similarity}",
                action="Correct it; text and image seldom exceed 0.35.",
            )
        if self.row_filter is not None:
            RowFilter.parse(self.row_filter)

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """The settings as provenance records them, the filter in its fixed form."""
        chosen = None if self.row_filter is None else str(RowFilter.parse(self.row_filter))
        return {"k": self.k, "min_similarity": self.min_similarity, "row_filter": chosen}


@dataclass(frozen=True)
class NeighbourTask:
    """What a worker needs to find the nearest rows of one shard.

    Attributes
    ----------
    key : str
        The shard's.
    lake : Lake
        Holds the queries and the shard's maps; gets the neighbours.
    queries_fingerprint, encoder_id, classifier_id : str
        The prompts, what made their vectors, and the lake's classifier, which is of the same encoder.
    settings : NeighbourSettings
    maps_fingerprint, maps_classifier_id : str or None
        What the shard's maps were made from, and by which classifier; None where there are no maps.
    floors_id : str or None
        The floors below which rows are not kept (:mod:`mappool_assets.lib.retrieval.similarity_floors`).
    """

    key: str
    lake: Lake
    queries_fingerprint: str
    encoder_id: str
    classifier_id: str
    settings: NeighbourSettings
    maps_fingerprint: str | None
    maps_classifier_id: str | None
    floors_id: str | None = None

    def __str__(self) -> str:
        return f"neighbours in shard {self.key}"

    @property
    def shared_inputs(self) -> dict[str, Any]:
        """What decides the neighbours beside the shard."""
        return {
            "place_queries": self.queries_fingerprint,
            "encoder_id": self.encoder_id,
            **self.settings.inputs,
            "code_version": CODE_VERSION,
        }

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows that are written for the shard."""
        return {
            **self.shared_inputs,
            "shard": self.key,
            "shard_maps": self.maps_fingerprint,
            "floors": self.floors_id,
        }


def neighbour_tasks(lake: Lake, shards: Sequence[str], settings: NeighbourSettings) -> list[NeighbourTask]:
    """Return the tasks of some shards, from what the lake holds.

    Raises
    ------
    MissingInput
        There are no prompts or no classifier yet.
    BadModel
        The prompts' vectors are of another encoder than the maps'.
    """
    made = lake.provenance(QUERIES)
    if made is None or not made.rows_kept:
        raise MissingInput(
            "There are no prompts",
            where=lake.url(QUERIES),
            rule="a prompt, at least, with its vector",
            got="nothing",
            action=f"Materialise the asset {QUERIES} first.",
        )
    classifier = classifier_record(lake).classifier
    if made.inputs.get("encoder_id") != classifier.encoder_id:
        raise BadModel(
            "Prompts and maps were embedded by different encoders",
            where=lake.url(QUERIES),
            rule=f"{classifier.encoder_id}, the classifier's",
            got=str(made.inputs.get("encoder_id", "no encoder_id in the provenance")),
            action=f"Set the encoder, then materialise {QUERIES} again.",
        )
    identity = (made.fingerprint, classifier.encoder_id, classifier.classifier_id, settings)
    return [
        NeighbourTask(
            key,
            lake,
            *identity,
            maps.fingerprint if maps else None,
            maps.inputs.get("classifier_id") if maps else None,
        )
        for key, maps in zip(shards, provenances(lake, SHARD_MAPS, shards), strict=True)
    ]


def provenances(lake: Lake, table: str, partitions: Iterable[str]) -> list[Provenance | None]:
    """Return what made some partitions of a table, in their order, None for those that are not there."""
    with ThreadPoolExecutor(FOOTERS_AT_A_TIME) as pool:
        return list(pool.map(lambda partition: lake.provenance(table, partition), partitions))


def stored_neighbours(tasks: Sequence[NeighbourTask]) -> list[Provenance | None]:
    """Return what made the stored neighbours of each task's shard, None where they must be found (again).

    Their floors may be others than the task's: that no floor was too high is proved when shards are merged.
    """
    if not tasks:
        return []
    made = provenances(tasks[0].lake, SHARD_NEIGHBOURS, (task.key for task in tasks))
    return [
        found if found and {**found.inputs, "floors": None} == {**task.inputs, "floors": None} else None
        for task, found in zip(tasks, made, strict=True)
    ]
