"""The images of places as a second configuration, ``geo``, of the published dataset.

``load_dataset(repository, "geo")`` reads ``geo/*.parquet``: an image of a place a row, its embeddings in the file
``part_*/<shard>.parquet`` of the configuration ``default``, found by ``uid``. What is taken down there is not here
either, and neither is what was found in a shard that is not published, or was filtered anew since.

All of it follows from ``geo_subset/geo_images`` alone, which tells the maps that its images were found in. While
prompts or neighbours are being made anew, the images that are there stay published, whole and as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib import sql_files
from mappool_assets.lib.errors import MissingInput
from mappool_assets.lib.geo_subset import geo_images
from mappool_assets.lib.geo_subset.geo_sources import made_of
from mappool_assets.lib.lake import Lake, fingerprint
from mappool_assets.lib.publish.card_for_readers import table
from mappool_assets.lib.publish.configurations import ConfigurationCard, write_parts
from mappool_assets.lib.publish.corpus import Corpus
from mappool_assets.lib.publish.publish_target import sha256_of
from mappool_assets.lib.publish.published_files import PublishedFile
from mappool_assets.lib.retrieval.neighbour_merge import NEIGHBOURS
from mappool_assets.lib.retrieval.neighbour_tasks import QUERIES

CONFIGURATION = "geo"

ROWS_PER_GROUP = 5_000  # 1.5 MB, as the maps' files with their embeddings
ROWS_A_FILE = 500_000
REPEATED_COLUMNS = ("shard", "place_id", "place", "country", "prompt")
FORMAT = {"version": 1, "rows_per_group": ROWS_PER_GROUP, "rows_a_file": ROWS_A_FILE}

COLUMN_MEANINGS = {
    "uid": "identifier of the pair in CommonPool, as in the configuration `default`",
    "shard": "the file of the configuration `default` that holds the pair and its embeddings",
    "url": "address of the image",
    "text": "caption",
    "original_width": "width of the image in pixels, when DataComp fetched it",
    "original_height": "height of the image in pixels, when DataComp fetched it",
    "sha256": "of the image's bytes",
    "map_score": "the classifier's score",
    "place_id": "identifier of the place that the image is most similar to, with its source before the colon",
    "place": "name of the place",
    "country": "country of the place, as its source gives it",
    "latitude": "latitude of the place, not of what the image shows",
    "longitude": "longitude of the place",
    "prompt": "the place's prompt that is most similar to the image",
    "rank": "rank of the image among all images by that prompt, from 1",
    "similarity": "cosine of the embeddings of image and prompt",
    "place_margin": "similarity less that to the best prompt of another place; below 0 the other fits better",
    "generic_margin": "similarity less that to the best prompt that names no place",
    "unsafe_score": "what a safety head says, near 1 where unsafe; empty where there was none",
}
SCHEMA = pa.schema([geo_images.SCHEMA.field(name).with_nullable(True) for name in COLUMN_MEANINGS])


@dataclass(frozen=True)
class PublishedGeo:
    """How many images of places are published.

    Attributes
    ----------
    rows, places : int
        Published images, and the places that they are of.
    rows_in : int
        Images that the lake returns.
    rows_dropped : dict of str to int
        Of these not published: ``taken_down``, ``shard_changed`` (filtered anew since), ``not_published`` (the corpus
        lacks the shard).
    """

    rows: int
    places: int
    rows_in: int
    rows_dropped: dict[str, int]


class GeoConfiguration:
    """The images of places as a :class:`mappool_assets.lib.publish.configurations.Configuration`."""

    name = CONFIGURATION

    def made_from(self, lake: Lake, corpus: Corpus) -> str | None:
        """Return the fingerprint of what decides the files' bytes; None where there are no images of places."""
        images = lake.provenance(geo_images.TABLE)
        if images is None:
            return None
        shards = [[shard.shard, shard.fingerprint, list(shard.taken_down)] for shard in corpus.shards]
        return fingerprint({"geo_images": images.fingerprint, "shards": shards, "format": FORMAT})

    def card(self, lake: Lake, corpus: Corpus, repository: str) -> ConfigurationCard:
        """Return what the card says, from the lake alone; raises as :func:`count_geo` does."""
        geo = count_geo(lake, corpus)
        content = "images of places, best first; the embeddings of each are in the file that its `shard` names"
        return ConfigurationCard(CONFIGURATION, SCHEMA, geo.rows, content, card_section(geo, repository))

    def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
        """Write the files; same images and corpus, same bytes.

        Raises
        ------
        MissingInput
            There are no images of places, or they do not say which maps they were found in.
        """
        chosen, _ = _published_shards(lake, corpus)
        made_from = self.made_from(lake, corpus)
        assert made_from is not None
        whole = folder / "all.parquet"
        sql_files.run(lake, "exports/geo_images", file=str(whole), shards=chosen, **_taken_down(corpus))
        files = []
        with pq.ParquetFile(whole) as source:
            groups = (pa.table(batch) for batch in source.iter_batches(ROWS_PER_GROUP, columns=SCHEMA.names))
            for name, rows in write_parts(
                groups, SCHEMA, folder, rows_a_file=ROWS_A_FILE, dictionaries=REPEATED_COLUMNS
            ):
                file = folder / f"{name}.parquet"
                files.append(PublishedFile(name, rows, file.stat().st_size, sha256_of(file), made_from))
        whole.unlink()
        return tuple(files)


def count_geo(lake: Lake, corpus: Corpus) -> PublishedGeo:
    """Count what :meth:`GeoConfiguration.write_files` writes and leaves out.

    Raises
    ------
    MissingInput
        There are no images of places, or they do not say which maps they were found in.
    """
    chosen, changed = _published_shards(lake, corpus)
    bound = {"chosen": chosen, "changed": changed, **_taken_down(corpus)}
    (counted,) = sql_files.run(lake, "reports/geo_published", **bound).to_pylist()
    dropped = {
        "taken_down": counted["taken_down"],
        "shard_changed": counted["changed"],
        "not_published": counted["images"] - counted["published"] - counted["taken_down"] - counted["changed"],
    }
    reasons = {reason: rows for reason, rows in dropped.items() if rows}
    return PublishedGeo(counted["published"], counted["places"], counted["images"], reasons)


def is_behind(lake: Lake) -> bool:
    """Tell whether there are images of places, but of other neighbours than the lake's, or of other prompts."""
    images, neighbours, queries = (lake.provenance(table) for table in (geo_images.TABLE, NEIGHBOURS, QUERIES))
    if images is None:
        return False
    if neighbours is None or queries is None or neighbours.fingerprint != images.inputs["neighbours"]:
        return True
    return queries.fingerprint != neighbours.inputs["place_queries"]


def _published_shards(lake: Lake, corpus: Corpus) -> tuple[list[str], list[str]]:
    """Return the corpus' shards that images were found in, as they were then, and those that were filtered anew."""
    published = {shard.shard: shard.fingerprint for shard in corpus.shards}
    found_in = {name: maps for name, maps in _shards_found_in(lake).items() if name in published}
    chosen = [name for name, maps in found_in.items() if published[name] == maps]
    return chosen, [name for name, maps in found_in.items() if published[name] != maps]


def _shards_found_in(lake: Lake) -> Mapping[str, str]:
    """Return the shards that the images were found in, with the fingerprints of their maps."""
    shards = made_of(lake, geo_images.TABLE).inputs.get("shard_maps")
    if shards is None:
        raise MissingInput(
            "The images of places do not say which maps they were found in",
            where=lake.url(geo_images.TABLE),
            rule="images of this version of the code",
            got="images of an earlier one",
            action=f"Materialise {geo_images.TABLE} again.",
        )
    return shards


def _taken_down(corpus: Corpus) -> dict[str, list[str]]:
    """Return what the statements call what is taken down."""
    pairs = [(shard.shard, uid) for shard in corpus.shards for uid in shard.taken_down]
    return {"taken_down_shards": [name for name, _ in pairs], "taken_down_uids": [uid for _, uid in pairs]}


def card_section(geo: PublishedGeo, repository: str) -> str:
    """Return the section of the dataset card on the configuration."""
    dropped = ", ".join(f"{rows:,} {reason.replace('_', ' ')}" for reason, rows in geo.rows_dropped.items())
    left_out = f" Not published of {geo.rows_in:,}: {dropped}." if dropped else ""
    rows = [(f"`{name}`", meaning) for name, meaning in COLUMN_MEANINGS.items()]
    return f"""
## Images of places

The configuration `{CONFIGURATION}` lists {geo.rows:,} of these images by the place, of {geo.places:,}, whose name
they are most similar to, near duplicates left out.{left_out} Nobody looked at each: take `place_margin` and
`generic_margin` to be stricter.

```python
from datasets import load_dataset

places = load_dataset("{repository}", "{CONFIGURATION}", split="train", streaming=True)
```

{table(("column", "meaning"), rows)}
""".strip()
