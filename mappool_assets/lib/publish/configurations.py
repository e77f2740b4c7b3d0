"""Further configurations of the published dataset, beside that of the maps: ``load_dataset(repository, name)``.

What one holds, whoever makes it knows (:class:`Configuration`). How it lies in the dataset is said here: files
``<name>/00000.parquet`` and so on, their record ``provenance/<name>.csv``, an entry in the card's header, a section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mappool_assets.lib.errors import SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.corpus import Corpus
from mappool_assets.lib.publish.publish_target import NewFile
from mappool_assets.lib.publish.published_files import PublishedFile, file_path, record_csv, record_path

DEFAULT = "default"  # the configuration of the maps, which `datasets` loads when none is named


@dataclass(frozen=True)
class ConfigurationCard:
    """What the dataset card says of a configuration.

    Attributes
    ----------
    name : str
        Its name.
    schema : pyarrow.Schema
        Of its files.
    rows : int
        In all of its files.
    content : str
        What they hold, for the card's table of files.
    section : str
        Markdown, with its heading.
    """

    name: str
    schema: pa.Schema
    rows: int
    content: str
    section: str

    @property
    def data_files(self) -> str:
        """The pattern of its files."""
        return f"{self.name}/*.parquet"


class Configuration(Protocol):
    """Rows beside the maps; same lake and corpus, same bytes and card."""

    @property
    def name(self) -> str:
        """Its name and the folder of its files: letters and underscores, not beginning with ``part_``."""

    def made_from(self, lake: Lake, corpus: Corpus) -> str | None:
        """Return the fingerprint of what decides its files and its card; None where the lake has nothing for it."""

    def card(self, lake: Lake, corpus: Corpus, repository: str) -> ConfigurationCard:
        """Return what the card says of it; asked where it is made from something, as :meth:`write_files` is."""

    def write_files(self, lake: Lake, corpus: Corpus, folder: Path) -> tuple[PublishedFile, ...]:
        """Write its files to a folder, one at least, as ``00000.parquet`` and so on; ``shard`` is the number."""


@dataclass(frozen=True)
class PreparedConfiguration:
    """A configuration that can be put.

    Attributes
    ----------
    files : dict of str to NewFile
        Its files and last their record, by path. Those that the target has already hold no content.
    card : ConfigurationCard
        What is said of it.
    """

    files: dict[str, NewFile]
    card: ConfigurationCard


def owned_pattern(configuration: Configuration) -> str:
    """Return the regular expression of all paths that a configuration may ever have."""
    return rf"{configuration.name}/\d{{5}}\.parquet|provenance/{configuration.name}\.csv"


def prepare(
    configuration: Configuration,
    lake: Lake,
    corpus: Corpus,
    there: Mapping[str, PublishedFile],
    folder: Path,
    repository: str,
) -> PreparedConfiguration | None:
    """Write a configuration's files, unless the target has them; None where there is no such configuration.

    Parameters
    ----------
    there : mapping of str to PublishedFile
        The target's files of the configuration that are as its record says.
    folder : Path
        Where the files are written; it stays until they are put.
    repository : str
        ``user/name`` on the Hub.

    Raises
    ------
    SourceChanged
        The lake's rows became others meanwhile.
    """
    made_from = configuration.made_from(lake, corpus)
    if made_from is None:
        return None
    card = configuration.card(lake, corpus, repository)
    files = tuple(there.values())
    if not _are_all(files, made_from, card.rows):
        folder.mkdir()
        files = configuration.write_files(lake, corpus, folder)
        if not _are_all(files, made_from, card.rows):
            raise SourceChanged(
                "The rows of a configuration became others while they were being published",
                where=f"configuration {configuration.name}",
                rule=f"{card.rows:,} rows made from {made_from}",
                got=f"{sum(file.rows for file in files):,} rows made from {files[0].made_from}",
                action="Publish again.",
            )
    new = {
        file_path(configuration.name, file.shard): NewFile(folder / f"{file.shard}.parquet", file.sha256, file.bytes)
        for file in files
    }
    return PreparedConfiguration({**new, record_path(configuration.name): NewFile.of_bytes(record_csv(files))}, card)


def write_parts(
    groups: Iterator[pa.Table], schema: pa.Schema, folder: Path, *, rows_a_file: int, dictionaries: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Write rows to the files of a configuration, one at least; yield the name and rows of each.

    Settings are those of the published maps, dictionaries aside.

    Parameters
    ----------
    groups : iterator of pyarrow.Table
        Each becomes a row group, and has the schema's columns at least.
    rows_a_file : int
        At most; a group that has more is alone in its file.
    dictionaries : sequence of str
        Columns whose values are the same in many rows.
    """
    group, number = next(groups, None), 0
    while group is not None or number == 0:
        name, rows = f"{number:05d}", 0
        with pq.ParquetWriter(
            folder / f"{name}.parquet",
            schema,
            compression="zstd",
            use_dictionary=list(dictionaries),
            use_content_defined_chunking=True,
            write_page_index=True,
        ) as writer:
            while group is not None and rows + len(group) <= max(rows_a_file, len(group)):
                writer.write_table(group.select(schema.names).cast(schema))
                rows, group = rows + len(group), next(groups, None)
        yield name, rows
        number += 1


def _are_all(files: Sequence[PublishedFile], made_from: str, rows: int) -> bool:
    """Tell whether these are all files: one that is lost, or a line of the record, leaves others that are right."""
    return {file.made_from for file in files} == {made_from} and sum(file.rows for file in files) == rows


# -- the card's header ----------------------------------------------------------------------------------------


def header_entry(name: str, data_files: str) -> dict[str, Any]:
    """Return a configuration's entry in the card's ``configs``.

    >>> header_entry("geo", "geo/*.parquet")
    {'config_name': 'geo', 'data_files': [{'split': 'train', 'path': 'geo/*.parquet'}]}
    """
    return {"config_name": name, "data_files": [{"split": "train", "path": data_files}]}
