"""What unique pairs are made from, and that it belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mappool_assets.lib import sql_files
from mappool_assets.lib.curation.balanced_pool import TABLE as PAIRS
from mappool_assets.lib.curation.shard_texts import MAPS_TABLE
from mappool_assets.lib.duplicates.unique_table import TABLE as IMAGES
from mappool_assets.lib.errors import MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.map_images.image_ledger import TABLE as LEDGERS

READERS = 16  # footers under way at once: in a bucket each takes 50 ms of waiting
NAMED = 3  # shards in an error
GIVEN_UP = f"Of a shard that is given up, remove the file of {PAIRS}: all that are there are taken."
DRAWN_BY = ("t", "seed", "entry_counts")


@dataclass(frozen=True)
class UniqueSources:
    """Balanced shards, and the images that were compared.

    Attributes
    ----------
    shards : mapping of str to Provenance
        What made the pairs of each shard; by key, sorted.
    images : Provenance or None
        What made ``mappool/unique_images``; None where images are told apart by what the pool lists.
    """

    shards: Mapping[str, Provenance]
    images: Provenance | None

    @classmethod
    def read(cls, lake: Lake, *, are_fetched: bool) -> UniqueSources:
        """Read what made them, and check that they belong together.

        Parameters
        ----------
        are_fetched : bool
            Whether images are told apart by what was fetched.

        Raises
        ------
        MissingInput
            No shard is balanced, or no image compared.
        SourceChanged
            Shards do not say what made them, or are of different entries or rules; maps were filtered again since they
            were balanced; images were asked for by what was balanced before, or images or maps are others than those
            that were compared.
        """
        found = _provenances(lake, PAIRS, lake.partitions(PAIRS))
        if not found:
            raise MissingInput(
                "No shard has been balanced",
                where=lake.url(PAIRS),
                rule="the pairs that the first balancing kept",
                got="nothing",
                action="Materialise balanced_pool first.",
            )
        shards = {shard: made for shard, made in found.items() if made is not None}
        unknown = sorted(found.keys() - shards.keys())
        if unknown:
            raise SourceChanged(
                "Pairs do not say what made them",
                where=_named(unknown),
                rule="pairs that balancing has written",
                got="files without provenance, or gone by now",
                action="Materialise balanced_pool of these shards again.",
            )
        _check_rules(shards)
        _check_maps(lake, shards)
        if not are_fetched:
            return cls(shards, None)
        _check_asked(lake, shards)
        return cls(shards, _compared_images(lake))

    @property
    def files(self) -> list[str]:
        """The pairs, for SQL."""
        return [Lake.sql_file(PAIRS, shard) for shard in self.shards]

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the rows beside the settings; ``shard_maps`` is empty where the texts are the whole pool's."""
        rule = next(iter(self.shards.values())).inputs["rule"]
        return {
            "rule": rule,
            "balanced_pool": fingerprint({shard: made.fingerprint for shard, made in self.shards.items()}),
            "shard_maps": _maps_of(self.shards),
            "unique_images": self.images.fingerprint if self.images else None,
        }

    @property
    def first_passes(self) -> list[dict[str, Any]]:
        """How the pairs were drawn, and of how many shards so: one row, unless some are balanced anew and some not."""
        passes = Counter(tuple(made.inputs[name] for name in DRAWN_BY) for made in self.shards.values())
        return [{**dict(zip(DRAWN_BY, by, strict=True)), "shards": shards} for by, shards in sorted(passes.items())]


def _provenances(lake: Lake, table: str, partitions: list[str]) -> dict[str, Provenance | None]:
    with ThreadPoolExecutor(READERS) as readers:
        made = readers.map(lambda partition: lake.provenance(table, partition), partitions)
        return dict(zip(partitions, made, strict=True))


def _check_rules(shards: Mapping[str, Provenance]) -> None:
    """Refuse ids of different lists: they are other entries."""
    (first, made), *others = shards.items()
    rule = made.inputs["rule"]
    differing = [shard for shard, of_shard in others if of_shard.inputs["rule"] != rule]
    if differing:
        raise SourceChanged(
            "Shards were balanced with different entries, or matched by different rules",
            where=_named(differing),
            rule=f"{rule}, as of {first}",
            got=str(shards[differing[0]].inputs["rule"]),
            action="Materialise matches, entry_counts and balanced_pool so that all shards have the entries of today. "
            + GIVEN_UP,
        )


def _check_maps(lake: Lake, shards: Mapping[str, Provenance]) -> None:
    """Refuse pairs of maps that are others by now; captions of the whole pool do not depend on the maps."""
    balanced = _maps_of(shards)
    maps = _provenances(lake, MAPS_TABLE, list(balanced))
    stale = [shard for shard, made in maps.items() if made is None or made.fingerprint != balanced[shard]]
    if stale:
        raise SourceChanged(
            "Shards were filtered again since they were balanced, or have no maps any more",
            where=_named(stale),
            rule="pairs of the maps that there are",
            got="pairs of others" if maps[stale[0]] else "no maps",
            action=f"Materialise shard_maps, matches, entry_counts and balanced_pool of these shards again. {GIVEN_UP}",
        )


def _check_asked(lake: Lake, shards: Mapping[str, Provenance]) -> None:
    """Refuse images that were asked for by an earlier draw: pairs of today's would lack theirs, and not by chance."""
    made = _provenances(lake, LEDGERS, sorted(shards.keys() & set(lake.partitions(LEDGERS))))
    asked = {shard: of_shard.inputs.get("balanced_pool") for shard, of_shard in made.items() if of_shard is not None}
    stale = [shard for shard, drawn in asked.items() if drawn not in (None, shards[shard].fingerprint)]
    if stale:
        raise SourceChanged(
            "Shards were balanced again since the images of their pairs were asked for",
            where=_named(stale),
            rule=f"images of the pairs of {shards[stale[0]].fingerprint}",
            got=f"those of {asked[stale[0]]}",
            action="Materialise map_images of these shards again, then unique_images.",
        )


def _maps_of(shards: Mapping[str, Provenance]) -> dict[str, str]:
    """Return the fingerprints of the maps whose captions were balanced, by shard."""
    texts = {shard: made.inputs["texts"] for shard, made in shards.items()}
    return {shard: of_shard["shard_maps"] for shard, of_shard in texts.items() if "shard_maps" in of_shard}


def _compared_images(lake: Lake) -> Provenance:
    """Return what made ``unique_images``; refuse one that has not seen all of today's images and maps."""
    made = lake.provenance(IMAGES)
    if made is None:
        raise MissingInput(
            "The images have not been compared",
            where=lake.url(lake.table_path(IMAGES)),
            rule="the images that are kept of those that were fetched",
            got="nothing",
            action="Materialise map_images and unique_images first, or tell images apart by what the pool lists.",
        )
    sources = fingerprint({"rows": sql_files.run(lake, "steps/image_fingerprints").to_pylist()})
    if made.inputs["sources"] != sources:
        raise SourceChanged(
            "Images were fetched, or maps filtered, since the images were compared",
            where=lake.url(lake.table_path(IMAGES)),
            rule=f"images and maps of {sources}",
            got=str(made.inputs["sources"]),
            action="Materialise unique_images again.",
        )
    return made


def _named(shards: list[str]) -> str:
    further = f" and {len(shards) - NAMED:,} more" if len(shards) > NAMED else ""
    return f"{PAIRS}: {', '.join(shards[:NAMED])}{further}"
