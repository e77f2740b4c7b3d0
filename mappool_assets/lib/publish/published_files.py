"""The files of a published dataset: maps as parquet, and the records and lists that name them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import PROVENANCE_KEY, Lake, Provenance, fingerprint
from mappool_assets.lib.publish.corpus import CorpusShard
from mappool_assets.lib.publish.publish_target import sha256_of

SHARD_MAPS = "mappool/shard_maps"

# Uncompressed 3.4 MB a row group: the Hub's viewer and ranged readers fetch a few of them, not a whole file.
ROWS_PER_GROUP = 1000

FORMAT = {"version": 1, "rows_per_group": ROWS_PER_GROUP}  # raise the version when the same maps give other bytes

# MapPool's columns in MapPool's order, then the score that its authors did not publish.
COLUMN_MEANINGS = {
    "uid": "identifier of the pair in CommonPool, 32 hex digits",
    "url": "address of the image",
    "text": "caption: the image's alternative text on the web page",
    "original_width": "width of the image in pixels, when DataComp fetched it",
    "original_height": "height of the image in pixels, when DataComp fetched it",
    "sha256": "of the image's bytes, to tell whether the address still holds the same image",
    "l14_img": "CLIP ViT-L/14 embedding of the image, unit length",
    "l14_txt": "CLIP ViT-L/14 embedding of the caption, unit length",
    "clip_l14_similarity_score": "cosine of the two embeddings",
    "map_score": "the classifier's score; higher is more map-like, all lie over the threshold",
}


@dataclass(frozen=True)
class PublishedFile:
    """What a part's record says of a file.

    Attributes
    ----------
    shard : str
        Its key: the file name without suffix.
    rows, bytes : int
        Maps in it, and its size.
    sha256 : str
        Of its bytes.
    made_from : str
        Fingerprint of the lake's maps, of those taken down and of the published format: when equal, the file needs not
        be written again.
    """

    shard: str
    rows: int
    bytes: int
    sha256: str
    made_from: str


def published_schema(dimension: int) -> pa.Schema:
    """Return the columns of a published file; ``dimension`` is the embeddings' width, 768 for ViT-L/14."""
    embedding = pa.list_(pa.float16(), dimension)
    types = {
        "original_width": pa.int64(),
        "original_height": pa.int64(),
        "l14_img": embedding,
        "l14_txt": embedding,
        "clip_l14_similarity_score": pa.float32(),
        "map_score": pa.float32(),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMN_MEANINGS])


def file_path(part: str, shard: str) -> str:
    """Return the path of a shard's file."""
    return f"{part}/{shard}.parquet"


def record_path(part: str) -> str:
    """Return the path of a part's record."""
    return f"provenance/{part}.csv"


def made_from(shard: CorpusShard) -> str:
    """Return the fingerprint of what decides a file's bytes."""
    taken_down = {"taken_down": shard.taken_down} if shard.taken_down else {}  # else no other shard's would change
    return fingerprint({"maps": shard.fingerprint, "format": FORMAT, **taken_down})


def write_published_file(lake: Lake, shard: CorpusShard, file: Path) -> PublishedFile:
    """Write a shard's maps as they are published, in blocks of ``ROWS_PER_GROUP`` rows; same maps, same bytes.

    Maps that were taken down are left out, and make their block smaller.

    Made for the Hub: a page index and small row groups for ranged readers; content-defined chunking, so that an
    upload sends only chunks that differ; no dictionaries, which would undo that and hold nothing twice anyway.

    Raises
    ------
    SourceChanged
        The shard was filtered anew since the corpus was read.
    """
    with lake.open_table(SHARD_MAPS, shard.shard) as maps:
        made = Provenance.from_json(maps.metadata.metadata[PROVENANCE_KEY])
        if (made.fingerprint, made.rows_kept) != (shard.fingerprint, shard.rows_kept):
            raise SourceChanged(
                "A shard was filtered again while it was being published",
                where=f"{SHARD_MAPS} {shard.shard}",
                rule=f"maps made from {shard.fingerprint}",
                got=made.fingerprint,
                action="Publish again.",
            )
        schema = published_schema(maps.schema_arrow.field("l14_img").type.list_size)
        scalars = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
        with pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=False,
            use_content_defined_chunking=True,
            write_page_index=True,
            write_statistics=scalars,  # least and largest value of an embedding's components select nothing
        ) as writer:
            taken_down = pa.array(shard.taken_down, pa.string())
            for batch in maps.iter_batches(ROWS_PER_GROUP, columns=schema.names):
                rows = pa.Table.from_batches([batch]).select(schema.names).replace_schema_metadata().cast(schema)
                if len(taken_down):
                    rows = rows.filter(pc.invert(pc.is_in(rows["uid"], taken_down)))
                if rows.num_rows:
                    writer.write_table(rows, row_group_size=ROWS_PER_GROUP)
    return PublishedFile(shard.shard, shard.rows_published, file.stat().st_size, sha256_of(file), made_from(shard))


def record_csv(files: Iterable[PublishedFile]) -> bytes:
    """Return a part's record, sorted by shard."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(PublishedFile))
    writer.writerows(astuple(file) for file in sorted(files, key=lambda file: file.shard))
    return text.getvalue().encode()


def parse_record(content: bytes) -> dict[str, PublishedFile]:
    """Parse what :func:`record_csv` wrote, by shard; a record with other columns, of another version, says nothing."""
    rows = csv.DictReader(io.StringIO(content.decode()))
    if rows.fieldnames != [field.name for field in fields(PublishedFile)]:
        return {}
    return {
        row["shard"]: PublishedFile(row["shard"], int(row["rows"]), int(row["bytes"]), row["sha256"], row["made_from"])
        for row in rows
    }


def file_list_json(files: Mapping[str, Iterable[PublishedFile]]) -> bytes:
    """Return MapPool's list, ``{part: [file without .parquet, …]}``, which its download snippet reads."""
    return _json({part: sorted(file.shard for file in those) for part, those in sorted(files.items())})


def missing_shards_json(missing: Mapping[str, str]) -> bytes:
    """Return the shards of the pool that the corpus lacks, with the reason of each."""
    return _json(dict(sorted(missing.items())))


def sha256sums(tree: Mapping[str, str]) -> bytes:
    """Return a tree's checksums as ``sha256sum --check`` reads them."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(tree.items())).encode()


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
