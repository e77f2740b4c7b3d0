"""The indexes that are served, by name; an index that was built anew is taken up without a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappool_assets.lib.errors import MappoolError
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval.index_ledger import INDEX_SHARDS
from mappool_assets.lib.retrieval.open_index import open_index
from mappool_assets.lib.retrieval.search import ImageSearch
from mappool_assets.lib.serve.heads import Heads
from mappool_assets.lib.serve.index_metadata import IndexMetadata
from mappool_assets.lib.serve.place_notes import GEO_IMAGES, PlaceNotes
from mappool_assets.lib.serve.refusals import refused, unreadable
from mappool_assets.lib.serve.row_filters import RowFilters
from mappool_assets.lib.serve.stored_images import StoredImages


@dataclass(frozen=True, eq=False)
class ServedIndex:
    """An index and all that is told of its images."""

    search: ImageSearch
    metadata: IndexMetadata
    filters: RowFilters
    places: PlaceNotes | None
    images: StoredImages
    heads: Heads

    def describe(self) -> dict[str, Any]:
        """Return what ``/health`` says of it."""
        return {
            "rows": self.search.rows,
            "shards": len(self.search.shards),
            "dimension": self.search.dimension,
            "encoder_id": self.search.encoder_id,
            "has_lists": self.search.lists is not None,
            "has_places": self.places is not None,
            "has_images": self.images.is_any,
            "safety_model": self.heads.safety is not None,
            "violence_detector": self.heads.violence is not None,
            "aesthetic_score": self.heads.aesthetics is not None,
        }


def open_served_index(
    lake: Lake,
    encoder_id: str,
    *,
    cache: Path | None = None,
    safety: Path | None = None,
    violence: Path | None = None,
    aesthetics: Path | None = None,
) -> ServedIndex:
    """Open the image index of a lake; errors as of :func:`open_index` and :meth:`Heads.read`."""
    search = open_index(lake, encoder_id=encoder_id, cache=cache)
    metadata = IndexMetadata(lake, search.shards)
    heads = Heads.read(encoder_id, search.dimension, safety, violence, aesthetics)
    filters = RowFilters(search, metadata)
    return ServedIndex(search, metadata, filters, PlaceNotes.read(lake), StoredImages(lake), heads)


class Catalogue:
    """Opened indexes by name.

    Parameters
    ----------
    lakes : mapping of str to Lake
        The first is searched where a request names none.
    open_one : callable
        Opens the index of a lake.

    Raises
    ------
    MappoolError
        An index cannot be opened.
    """

    def __init__(self, lakes: Mapping[str, Lake], open_one: Callable[[Lake], ServedIndex]) -> None:
        self._lakes, self._open_one = dict(lakes), open_one
        self._versions = {name: self._version(name) for name in self._lakes}
        self._indexes = {name: open_one(lake) for name, lake in self._lakes.items()}
        self.failures: dict[str, MappoolError] = {}
        self._refreshing = threading.Lock()

    @property
    def names(self) -> list[str]:
        """All names, the first one first."""
        return list(self._lakes)

    def get(self, name: str | None) -> ServedIndex:
        """Return an index; :class:`RequestRefused` where there is none of that name."""
        if name is None:
            name = self.names[0]
        if name not in self._indexes:
            raise refused(
                "There is no such index", "indice_name", ", ".join(self.names), name, "Name one of these.", status=404
            )
        return self._indexes[name]

    def refresh(self) -> list[str]:
        """Open indexes whose ledger, or places, were written since; return their names.

        One that cannot be opened is served as it was; why is in ``failures`` until it can be.
        """
        taken_up = []
        with self._refreshing:
            for name, lake in self._lakes.items():
                version = self._version(name)
                if version == self._versions[name]:
                    continue
                try:
                    self._indexes[name] = self._open_one(lake)
                except (MappoolError, OSError) as error:
                    self.failures[name] = error if isinstance(error, MappoolError) else unreadable(lake.root, error)
                    continue
                self._versions[name] = version
                self.failures.pop(name, None)
                taken_up.append(name)
        return taken_up

    def _version(self, name: str) -> tuple[Any, ...]:
        lake = self._lakes[name]
        tables = lake.filesystem.get_file_info([lake.table_path(table) for table in (INDEX_SHARDS, GEO_IMAGES)])
        return tuple((found.mtime_ns, found.size) for found in tables)
