"""Send the difference between what the lake holds and what a target shows.

In this order, so that no list ever names a file that is not there, whenever it is killed:

1. files that are new or changed, part by part in groups, each group with its part's record;
2. what names them: records, missing shards, card, ``file_list.json`` and last ``SHA256SUMS``;
3. removal of what is no longer part of the corpus.

Between 1 and 2 a changed file does not match the old ``SHA256SUMS``: readers who need one moment in time pin a
revision.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.corpus import Corpus, CorpusShard, read_corpus, write_missing_shards
from mappool_assets.lib.publish.dataset_card import CardSettings, dataset_card
from mappool_assets.lib.publish.publish_target import NewFile, PublishTarget
from mappool_assets.lib.publish.published_files import (
    SHARD_MAPS,
    PublishedFile,
    file_list_json,
    file_path,
    made_from,
    missing_shards_json,
    parse_record,
    published_schema,
    record_csv,
    record_path,
    sha256sums,
    write_published_file,
)

# The Hub advises 50 to 100 files a commit; staged on local disk, a group is about 1.3 GB of maps from the largest pool.
FILES_PER_GROUP = 100

# The only files that are ever removed: what else lies in the target (.gitattributes, LICENSE …) is someone else's.
OWNED = re.compile(r"part_[^/]+/[^/]+\.parquet|provenance/part_[^/]+\.csv")


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    Attributes
    ----------
    files_written, files_unchanged, files_removed : int
        Files of maps that were sent, that were there as they should be, that were taken away.
    bytes_written : int
        Sent, lists and card included: 0 where nothing had changed.
    bytes_total, rows : int
        Size of all published maps, and their number.
    shards, missing_shards : int
        Shards in the corpus, and known ones that are not.
    """

    files_written: int
    files_unchanged: int
    files_removed: int
    bytes_written: int
    bytes_total: int
    rows: int
    shards: int
    missing_shards: int


def publish(
    lake: Lake,
    target: PublishTarget,
    card: CardSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PublishReport:
    """Make a target hold the lake's corpus, and list the known shards that it lacks in ``mappool/missing_shards``.

    Reads the maps of shards that are new or changed since; for the others the footer is enough. A scored shard
    without maps is published as a file without rows: its presence says "looked at, nothing found", and every reader
    takes it.

    Parameters
    ----------
    card : CardSettings
        What the card says that the lake does not know.
    progress : callable
        Called with files done and files in all after each part.

    Raises
    ------
    MissingInput
        No shard has been scored, or the pool has not been listed.
    SourceChanged
        A shard was filtered again meanwhile; what is published is whole, publish again.
    """
    corpus = read_corpus(lake)
    write_missing_shards(lake, corpus)
    sender = _Sender(target)
    published: dict[str, list[PublishedFile]] = {}
    for part, shards in corpus.by_part():
        published[part] = _publish_part(lake, sender, part, shards)
        progress(sum(map(len, published.values())), len(corpus.shards))
    sender.put_changed(_lists(lake, corpus, published, card))
    files_removed = sender.remove_all_but(_paths(published) | {record_path(part) for part in published})
    target.finish()
    return PublishReport(
        files_written=sender.maps_written,
        files_unchanged=len(corpus.shards) - sender.maps_written,
        files_removed=files_removed,
        bytes_written=sender.bytes_written,
        bytes_total=sum(file.bytes for files in published.values() for file in files),
        rows=corpus.row_count,
        shards=len(corpus.shards),
        missing_shards=len(corpus.missing),
    )


def _publish_part(lake: Lake, sender: _Sender, part: str, shards: list[CorpusShard]) -> list[PublishedFile]:
    """Send a part's files that are new or changed, and return what all of its files are then."""
    # An entry is true as long as the file it names has the checksum it says; the others are from a killed publish.
    record = {
        key: file for key, file in sender.record(part).items() if sender.tree.get(file_path(part, key)) == file.sha256
    }
    stale = [s for s in shards if s.shard not in record or record[s.shard].made_from != made_from(s)]
    for start in range(0, len(stale), FILES_PER_GROUP):
        with tempfile.TemporaryDirectory(prefix="mappool-") as folder:
            group = {}
            for shard in stale[start : start + FILES_PER_GROUP]:
                staged = Path(folder) / f"{shard.shard}.parquet"
                file = record[shard.shard] = write_published_file(lake, shard, staged)
                group[file_path(part, shard.shard)] = NewFile(staged, file.sha256, file.bytes)
            group[record_path(part)] = NewFile.of_bytes(record_csv(record.values()))
            sender.put_changed(group)
    return [record[shard.shard] for shard in shards]


def _lists(
    lake: Lake, corpus: Corpus, published: dict[str, list[PublishedFile]], card: CardSettings
) -> dict[str, NewFile]:
    """Return all that names or describes the published files, in the order in which it may appear."""
    with lake.open_table(SHARD_MAPS, corpus.shards[0].shard) as maps:
        schema = published_schema(maps.schema_arrow.field("l14_img").type.list_size)
    bytes_total = sum(file.bytes for files in published.values() for file in files)
    contents = {record_path(part): record_csv(files) for part, files in published.items()}
    contents["missing_shards.json"] = missing_shards_json(corpus.missing)
    contents["README.md"] = dataset_card(corpus, schema, bytes_total, card).encode()
    contents["file_list.json"] = file_list_json(published)
    lists = {path: NewFile.of_bytes(content) for path, content in contents.items()}
    sums = {file_path(part, file.shard): file.sha256 for part, files in published.items() for file in files}
    sums |= {path: file.sha256 for path, file in lists.items()}
    return {**lists, "SHA256SUMS": NewFile.of_bytes(sha256sums(sums))}


def _paths(published: dict[str, list[PublishedFile]]) -> set[str]:
    return {file_path(part, file.shard) for part, files in published.items() for file in files}


class _Sender:
    """Puts what differs from the target's tree, and counts."""

    def __init__(self, target: PublishTarget) -> None:
        self.tree = target.tree()
        self.maps_written = 0
        self.bytes_written = 0
        self._target = target

    def record(self, part: str) -> dict[str, PublishedFile]:
        """Return what the target's record says of a part; nothing where there is no record."""
        path = record_path(part)
        return parse_record(self._target.read(path)) if path in self.tree else {}

    def put_changed(self, files: Mapping[str, NewFile]) -> None:
        """Put, in this order, the files that differ from what is there."""
        changed = {path: file for path, file in files.items() if self.tree.get(path) != file.sha256}
        if changed:
            self._target.put(changed)
        self.tree |= {path: file.sha256 for path, file in changed.items()}
        self.maps_written += sum(path.endswith(".parquet") for path in changed)
        self.bytes_written += sum(file.size_bytes for file in changed.values())

    def remove_all_but(self, wanted: set[str]) -> int:
        """Remove owned files that are not wanted, records first since they name the others; return how many maps."""
        stale = sorted(
            (path for path in self.tree if OWNED.fullmatch(path) and path not in wanted),
            key=lambda path: (path.endswith(".parquet"), path),
        )
        if stale:
            self._target.remove(stale)
        return sum(path.endswith(".parquet") for path in stale)
