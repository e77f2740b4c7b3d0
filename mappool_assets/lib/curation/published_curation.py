"""Curated pairs as a further configuration, ``curated``, of the published dataset.

``load_dataset(repository, "curated")`` reads ``curated/*.parquet``: a pair that a seed drew a row, its embeddings in
the file ``part_*/<shard>.parquet`` of the configuration ``default``, found by ``uid``. What is taken down there is not
here either, nor what has its image from there, and neither is what was drawn in a shard that is not published, or was
filtered anew since.

All of it follows from ``curation/curated_pairs`` alone, which tells the maps that its pairs are of. Pairs of the whole
pool are not published: ``default`` does not hold them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.curation import curated_pairs
from mappool_assets.lib.curation.curated_sources import UNIQUE_PAIRS
from mappool_assets.lib.curation.curation_settings import PER_IMAGE
from mappool_assets.lib.curation.matches import MAPS
from mappool_assets.lib.curation.pair_rows import in_groups, pair_batches
from mappool_assets.lib.curation.shard_texts import recorded
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.publish.card_for_readers import table
from mappool_assets.lib.publish.configurations import ConfigurationCard, write_parts
from mappool_assets.lib.publish.corpus import TAKEN_DOWN, Corpus
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets.lib.publish.published_files import PublishedFile

CONFIGURATION = "curated"

ROWS_PER_GROUP = 5_000  # 1.5 MB, as the maps' files with their embeddings
ROWS_A_FILE = 500_000
FORMAT = {"version": 1, "rows_per_group": ROWS_PER_GROUP, "rows_a_file": ROWS_A_FILE}

SHARD_CHANGED, NOT_PUBLISHED = "shard_changed", "not_published"
COLUMN_MEANINGS = {
    "uid": "identifier of the pair in CommonPool, as in the configuration `default`",
    "shard": "the file of the configuration `default` that holds the pair and its embeddings",
    "url": "address of the image",
    "text": "caption",
    "sha256": "of the image's bytes, to tell whether the address still holds the same image",
    "image_uid": "identifier of the pair whose image stands for this one's and its duplicates: the same where pairs "
    "are of one image",
    "matched": "entries of the metadata list that the caption holds: why the pair is here",
    "p": "chance with which a pair of these entries is kept, of all unique pairs",
    "seeds": "the draws that the pair is in; one draw is a balanced set, all together are not",
}
SCHEMA = pa.schema([curated_pairs.SCHEMA.field(name).with_nullable(True) for name in COLUMN_MEANINGS])
READ = ["entries", "image_shard", *COLUMN_MEANINGS]


@dataclass(frozen=True)
class PublishedCuration:
    """How many curated pairs are published.

    Attributes
    ----------
    rows : int
        Published pairs.
    of_seeds : dict of int to int
        Those of each seed.
    rows_in : int
        Pairs that the lake holds.
    rows_dropped : dict of str to int
        Of these not published: ``taken_down``, ``shard_changed`` (filtered anew since), ``not_published`` (the corpus
        lacks the shard).
    """

    rows: int
    of_seeds: dict[int, int]
    rows_in: int
    rows_dropped: dict[str, int]


class CuratedConfiguration:
    """Curated pairs as a :class:`mappool_assets.lib.publish.configurations.Configuration`."""

    name = CONFIGURATION

    def made_from(self, lake: Lake, corpus: Corpus) -> str | None:
        """Return the fingerprint of what decides the files' bytes; None where there is nothing to publish."""
        pairs = lake.provenance(curated_pairs.TABLE)
        return _made_from(pairs, corpus) if pairs is not None and _are_maps(pairs) else None

    def card(self, lake: Lake, corpus: Corpus, repository: str) -> ConfigurationCard:
        """Return what the card says, from the lake alone; raises as :func:`count_curation` does."""
        pairs, counted = _counted(lake, corpus)
        content = "curated pairs; the embeddings of each are in the file that its `shard` names"
        return ConfigurationCard(CONFIGURATION, SCHEMA, counted.rows, content, card_section(pairs, counted, repository))

    def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
        """Write the files; same pairs and corpus, same bytes.

        Raises
        ------
        MissingInput
            There are no curated pairs.
        """
        files = []
        with lake.open_table(curated_pairs.TABLE) as lying:
            pairs = _recorded(lake, lying)
            rows = in_groups(_Chosen(pairs, corpus).tables(lying), ROWS_PER_GROUP)
            for name, count in write_parts(rows, SCHEMA, folder, rows_a_file=ROWS_A_FILE, dictionaries=["shard"]):
                file = folder / f"{name}.parquet"
                size, sha256 = file.stat().st_size, sha256_of(file)
                files.append(PublishedFile(name, count, size, sha256, _made_from(pairs, corpus)))
        return tuple(files)


def are_withheld(lake: Lake) -> bool:
    """Tell whether there are curated pairs that cannot be published: of the whole pool, not of its maps alone."""
    pairs = lake.provenance(curated_pairs.TABLE)
    return pairs is not None and not _are_maps(pairs)


def _are_maps(pairs: Provenance) -> bool:
    return bool(pairs.inputs["matched"] == MAPS)


def count_curation(lake: Lake, corpus: Corpus) -> PublishedCuration:
    """Count what :meth:`CuratedConfiguration.write_files` writes and leaves out.

    Raises
    ------
    MissingInput
        There are no curated pairs.
    """
    return _counted(lake, corpus)[1]


def is_behind(lake: Lake) -> bool:
    """Tell whether there are curated pairs, but of other unique pairs than the lake's."""
    curated, unique = (lake.provenance(name) for name in (curated_pairs.TABLE, UNIQUE_PAIRS))
    if curated is None:
        return False
    return unique is None or unique.fingerprint != curated.inputs["unique_pairs"]


def _counted(lake: Lake, corpus: Corpus) -> tuple[Provenance, PublishedCuration]:
    with lake.open_table(curated_pairs.TABLE) as lying:
        pairs = _recorded(lake, lying)
        chosen = _Chosen(pairs, corpus)
        rows = sum(len(rows) for rows in chosen.tables(lying))
    of_seeds = {seed: chosen.of_seeds[seed] for seed in pairs.inputs["seeds"]}
    return pairs, PublishedCuration(rows, of_seeds, pairs.rows_kept, chosen.dropped)


def _made_from(pairs: Provenance, corpus: Corpus) -> str:
    shards = [[shard.shard, shard.fingerprint, list(shard.taken_down)] for shard in corpus.shards]
    return fingerprint({"curated_pairs": pairs.fingerprint, "shards": shards, "format": FORMAT})


def _recorded(lake: Lake, lying: pq.ParquetFile) -> Provenance:
    pairs = recorded(lying)
    if pairs is None:
        raise MissingInput(
            "The curated pairs do not say what made them",
            where=lake.url(lake.table_path(curated_pairs.TABLE)),
            rule="pairs that curation has written",
            got="a file without provenance",
            action=f"Materialise {curated_pairs.TABLE} again.",
        )
    return pairs


class _Chosen:
    """The pairs that are published, and why others are not; to be gone through once."""

    def __init__(self, pairs: Provenance, corpus: Corpus) -> None:
        drawn_in: Mapping[str, str] = pairs.inputs["shard_maps"]
        published = {shard.shard: shard.fingerprint for shard in corpus.shards}
        there = [name for name in drawn_in if name in published]
        self._unchanged = pa.array([name for name in there if published[name] == drawn_in[name]], pa.string())
        self._changed = pa.array([name for name in there if published[name] != drawn_in[name]], pa.string())
        taken_down = [f"{shard.shard}/{uid}" for shard in corpus.shards for uid in shard.taken_down]
        self._taken_down = pa.array(taken_down, pa.string())
        self._dropped, self.of_seeds = Counter[str](), Counter[int]()

    def tables(self, pairs: pq.ParquetFile) -> Iterator[pa.Table]:
        """Yield the rows of some curated pairs, in their order."""
        for batch in pair_batches(pairs, READ):
            is_changed = pc.is_in(batch["shard"], self._changed)
            is_there = pc.is_in(batch["shard"], self._unchanged)
            is_taken_down = pc.and_(is_there, self._is_taken_down(batch))
            is_chosen = pc.and_not(is_there, is_taken_down)
            self._dropped[TAKEN_DOWN] += is_taken_down.true_count
            self._dropped[SHARD_CHANGED] += is_changed.true_count
            self._dropped[NOT_PUBLISHED] += len(batch) - is_there.true_count - is_changed.true_count
            rows = pa.table(batch.filter(is_chosen))
            for each in pc.value_counts(pc.list_flatten(rows["seeds"])).to_pylist():
                self.of_seeds[each["values"]] += each["counts"]
            yield rows

    def _is_taken_down(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Tell which pairs are named by the list, or have their image from one that is."""
        names = (("shard", "uid"), ("image_shard", "image_uid"))
        keys = [pc.binary_join_element_wise(batch[shard], batch[uid], "/") for shard, uid in names]
        return pc.or_(*(pc.is_in(key, self._taken_down) for key in keys))

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs that are not published, by reason."""
        return {reason: rows for reason, rows in self._dropped.items() if rows}


def card_section(pairs: Provenance, counted: PublishedCuration, repository: str) -> str:
    """Return the section of the dataset card on the configuration.

    Parameters
    ----------
    pairs : Provenance
        Of the lake's curated pairs.
    counted : PublishedCuration
        How many of them are published.
    repository : str
        ``user/name`` on the Hub.
    """
    dropped = ", ".join(f"{rows:,} {reason.replace('_', ' ')}" for reason, rows in counted.rows_dropped.items())
    left_out = f" Not published of {counted.rows_in:,}: {dropped}." if dropped else ""
    rows = [(f"`{name}`", meaning) for name, meaning in COLUMN_MEANINGS.items()]
    first = pairs.inputs["seeds"][0]
    return f"""
## Curated pairs

The configuration `{CONFIGURATION}` lists {counted.rows:,} of these maps, drawn as MetaCLIP draws CLIP's data: captions
that hold an entry of a metadata list, and of frequent entries only so many that each passes {pairs.inputs["t"]:,g}
pairs on average. {_policy(pairs.inputs)} {_draws(counted)}{left_out} Nobody looked at each.

```python
from datasets import load_dataset

curated = load_dataset("{repository}", "{CONFIGURATION}", split="train")
draw = curated.filter(lambda pair: {first} in pair["seeds"])
```

{table(("column", "meaning"), rows)}

The method: H. Xu et al.: *Demystifying CLIP Data*. ICLR, 2024.
""".strip()


def _policy(inputs: Mapping[str, Any]) -> str:
    if inputs["policy"] == PER_IMAGE:
        return "Of each image there is one pair at most."
    return "An image can be there more than once, with different captions."


def _draws(counted: PublishedCuration) -> str:
    if len(counted.of_seeds) == 1:
        return "They are one draw."
    sizes = _enumerated([f"{rows:,} (seed {seed})" for seed, rows in counted.of_seeds.items()])
    return f"They are {len(counted.of_seeds)} draws that overlap: of {sizes} pairs."


def _enumerated(things: Sequence[str]) -> str:
    return f"{', '.join(things[:-1])} and {things[-1]}"
