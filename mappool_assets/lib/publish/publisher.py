"""Send the difference between what the lake holds and what a target shows.

In this order, so that no list ever names a file that is not there, whenever it is killed:

1. files that are new or changed, in groups, each group with the records of its parts;
2. together, what names and describes them: records, DataComp's subset file, missing shards, card, ``file_list.json``
   and last ``SHA256SUMS``;
3. removal of what is no longer part of the corpus.

Between 1 and 2 a changed file does not match the old ``SHA256SUMS``: readers who need one moment in time pin a
revision.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.configurations import Configuration, PreparedConfiguration, owned_pattern, prepare
from mappool_assets.lib.publish.corpus import Corpus, CorpusShard, read_corpus, write_missing_shards
from mappool_assets.lib.publish.datacomp_subset import SUBSET, SUBSET_PATH, subset_made_from, write_datacomp_subset
from mappool_assets.lib.publish.dataset_card import CardSettings, dataset_card
from mappool_assets.lib.publish.publish_target import FILES_PER_COMMIT, DryRun, NewFile, PublishTarget
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
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown

MAPS = re.compile(r"part_[^/]+/[^/]+\.parquet")

# Beside the configurations' the only files that are ever removed: what else lies in the target (.gitattributes,
# LICENSE …) is someone else's.
REMOVABLE = rf"{MAPS.pattern}|provenance/part_[^/]+\.csv"

# What is written and never removed. Whoever else writes one of all these meanwhile is in the way.
LISTS = rf"provenance/{SUBSET}\.csv|{re.escape(SUBSET_PATH)}|missing_shards\.json|README\.md|file_list\.json|SHA256SUMS"


@dataclass(frozen=True)
class PublishReport:
    """What a publish did, or in a dry run would do.

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
    rows_taken_down : int
        Maps that the take-down list keeps out.
    version : str
        Names the content: the first digits of the sha256 of ``SHA256SUMS``. A repository's tag.
    paths_written, paths_removed : tuple of str
        All that was sent, lists and card included, and all that was taken away, in this order.
    """

    files_written: int
    files_unchanged: int
    files_removed: int
    bytes_written: int
    bytes_total: int
    rows: int
    shards: int
    missing_shards: int
    rows_taken_down: int
    version: str
    paths_written: tuple[str, ...]
    paths_removed: tuple[str, ...]


def publish(
    lake: Lake,
    target: PublishTarget,
    card: CardSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    take_down: TakeDown = NO_TAKE_DOWN,
    configurations: Sequence[Configuration] = (),
    is_dry_run: bool = False,
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
        Called with files done and files in all, at first and after each group.
    take_down : TakeDown
        Maps that must not be published.
    configurations : sequence of Configuration
        What is published beside the maps where the lake has it, and removed where it has it no more.
    is_dry_run : bool
        Change nothing, neither target nor lake (a folder's remembered checksums aside), but make every file that would
        be sent, and report.

    Raises
    ------
    MissingInput
        No shard has been scored, or the pool has not been listed; or a configuration lacks what it was made from.
    SourceChanged
        A shard was filtered again meanwhile, or a configuration's rows were made anew; what is published is whole,
        publish again.
    TargetChanged
        Somebody else changed published files meanwhile; publish again.
    """
    corpus = read_corpus(lake, take_down)
    if is_dry_run:
        target = DryRun(target)
    else:
        write_missing_shards(lake, corpus)
    sender = _Sender(target, configurations)
    with tempfile.TemporaryDirectory(prefix="mappool-") as folder:
        # Made first, so that nothing is sent where one cannot be made.
        more = [
            made
            for c in configurations
            if (made := prepare(c, lake, corpus, sender.intact(c.name), Path(folder) / c.name, card.repository))
        ]
        published = _publish_maps(lake, sender, corpus, progress)
        lists = _lists(lake, sender, corpus, published, card, more, Path(folder))
        sender.put_changed(lists)
    sender.remove_all_but(
        {file_path(part, file.shard) for part in published for file in published[part]} | lists.keys()
    )
    version = f"corpus-{lists['SHA256SUMS'].sha256[:12]}"
    target.finish(version)
    return _report(corpus, sender, published, version)


def _publish_maps(
    lake: Lake, sender: _Sender, corpus: Corpus, progress: Callable[[int, int], None]
) -> dict[str, list[PublishedFile]]:
    """Send the files that are new or changed; return, by part, what all of its files are then."""
    records = {part: sender.intact(part) for part, _ in corpus.by_part()}
    stale = [
        shard
        for shard in corpus.shards
        if shard.shard not in records[shard.part] or records[shard.part][shard.shard].made_from != made_from(shard)
    ]
    done, total = len(corpus.shards) - len(stale), len(corpus.shards)
    progress(done, total)
    for shards in _groups(stale):
        with tempfile.TemporaryDirectory(prefix="mappool-") as folder:
            group = {}
            for shard in shards:
                staged = Path(folder) / f"{shard.shard}.parquet"
                file = records[shard.part][shard.shard] = write_published_file(lake, shard, staged)
                group[file_path(shard.part, shard.shard)] = _staged(staged, file)
            for part in sorted({shard.part for shard in shards}):
                group[record_path(part)] = NewFile.of_bytes(record_csv(records[part].values()))
            sender.put_changed(group)
        done += len(shards)
        progress(done, total)
    return {part: [records[part][shard.shard] for shard in shards] for part, shards in corpus.by_part()}


def _groups(shards: Iterable[CorpusShard]) -> Iterator[list[CorpusShard]]:
    """Yield shards in groups whose files, with a record a part, fit a commit.

    Parts share a commit: a few new shards in each part are one commit, and a repository bears a few thousand only.
    Staged on local disk, a group is about 1.3 GB of maps from the largest pool.
    """
    group: list[CorpusShard] = []
    for shard in shards:
        if len(group) + 1 + len({s.part for s in [*group, shard]}) > FILES_PER_COMMIT and group:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def _lists(
    lake: Lake,
    sender: _Sender,
    corpus: Corpus,
    published: Mapping[str, list[PublishedFile]],
    card: CardSettings,
    configurations: Sequence[PreparedConfiguration],
    folder: Path,
) -> dict[str, NewFile]:
    """Return all that names or describes the published files, in the order in which it may appear."""
    with lake.open_table(SHARD_MAPS, corpus.shards[0].shard) as maps:
        schema = published_schema(maps.schema_arrow.field("l14_img").type.list_size)
    bytes_total = sum(file.bytes for files in published.values() for file in files)
    contents = {record_path(part): record_csv(files) for part, files in published.items()}
    subset = sender.record(SUBSET).get(SUBSET)
    staged = folder / SUBSET_PATH
    if subset is None or subset.made_from != subset_made_from(corpus) or not sender.has(SUBSET_PATH, subset):
        subset = write_datacomp_subset(lake, corpus, staged)
    contents[record_path(SUBSET)] = record_csv([subset])
    contents["missing_shards.json"] = missing_shards_json(corpus.missing)
    contents["README.md"] = dataset_card(corpus, schema, bytes_total, card, [c.card for c in configurations]).encode()
    contents["file_list.json"] = file_list_json(published)
    lists = {path: file for configuration in configurations for path, file in configuration.files.items()}
    lists[SUBSET_PATH] = _staged(staged, subset)  # where it is there already, nobody asks for its content
    lists |= {path: NewFile.of_bytes(content) for path, content in contents.items()}
    sums = {file_path(part, file.shard): file.sha256 for part, files in published.items() for file in files}
    sums |= {path: file.sha256 for path, file in lists.items()}
    return {**lists, "SHA256SUMS": NewFile.of_bytes(sha256sums(sums))}


def _staged(content: Path, file: PublishedFile) -> NewFile:
    return NewFile(content, file.sha256, file.bytes)


def _report(
    corpus: Corpus, sender: _Sender, published: Mapping[str, list[PublishedFile]], version: str
) -> PublishReport:
    maps_written = sum(MAPS.fullmatch(path) is not None for path in sender.paths_written)
    return PublishReport(
        files_written=maps_written,
        files_unchanged=len(corpus.shards) - maps_written,
        files_removed=sum(MAPS.fullmatch(path) is not None for path in sender.paths_removed),
        bytes_written=sender.bytes_written,
        bytes_total=sum(file.bytes for files in published.values() for file in files),
        rows=corpus.row_count,
        shards=len(corpus.shards),
        missing_shards=len(corpus.missing),
        rows_taken_down=corpus.taken_down_count,
        version=version,
        paths_written=tuple(sender.paths_written),
        paths_removed=tuple(sender.paths_removed),
    )


class _Sender:
    """Puts what differs from the target's tree, and notes what that was."""

    def __init__(self, target: PublishTarget, configurations: Iterable[Configuration]) -> None:
        self.paths_written: list[str] = []
        self.paths_removed: list[str] = []
        self.bytes_written = 0
        self._removable = re.compile("|".join([REMOVABLE, *map(owned_pattern, configurations)]))
        self._tree = target.tree(re.compile(rf"{self._removable.pattern}|{LISTS}"))
        self._target = target

    def has(self, path: str, file: PublishedFile) -> bool:
        """Tell whether a file is there as a record says."""
        return self._tree.get(path) == file.sha256

    def record(self, name: str) -> dict[str, PublishedFile]:
        """Return what the target's record says of a part; nothing where there is no record."""
        path = record_path(name)
        return parse_record(self._target.read(path)) if path in self._tree else {}

    def intact(self, name: str) -> dict[str, PublishedFile]:
        """Return the entries of a record whose files are there as it says; others are from a killed publish."""
        return {k: file for k, file in self.record(name).items() if self.has(file_path(name, k), file)}

    def put_changed(self, files: Mapping[str, NewFile]) -> None:
        """Put, in this order, the files that differ from what is there; where they are too many, the last together."""
        changed = {path: file for path, file in files.items() if not file.has_checksum(self._tree.get(path))}
        left = list(changed)
        while left:
            size = len(left) % FILES_PER_COMMIT or FILES_PER_COMMIT
            self._target.put({path: changed[path] for path in left[:size]})
            left = left[size:]
        self._tree |= {path: file.sha256 for path, file in changed.items()}
        self.paths_written += changed
        self.bytes_written += sum(file.size_bytes for file in changed.values())

    def remove_all_but(self, wanted: set[str]) -> None:
        """Remove files of ours that are not wanted, records first since they name the others."""
        stale = sorted(
            (path for path in self._tree if self._removable.fullmatch(path) and path not in wanted),
            key=lambda path: (path.endswith(".parquet"), path),
        )
        if stale:
            self._target.remove(stale)
        self.paths_removed += stale
