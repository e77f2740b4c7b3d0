"""Which images a filter chooses, remembered: reading the columns of a million rows takes seconds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from mappool_assets.lib.retrieval.metadata_filter import RowFilter
from mappool_assets.lib.retrieval.search import ImageSearch
from mappool_assets.lib.retrieval.selection import Selection
from mappool_assets.lib.serve.index_metadata import IndexMetadata

REMEMBERED = 64  # selections: an eighth of a byte a row each


class RowFilters:
    """Selections of an index by the text of a filter."""

    def __init__(self, search: ImageSearch, metadata: IndexMetadata) -> None:
        self._search, self._metadata = search, metadata
        self._remembered: OrderedDict[str, Selection] = OrderedDict()
        self._lock = threading.Lock()

    def select(self, text: str, check: Callable[[], None]) -> Selection:
        """Return the images that a filter chooses.

        Parameters
        ----------
        text : str
            A filter.
        check : callable
            Called between shards; what it raises ends the work.

        Raises
        ------
        BadFilter
            The text is none.
        SourceChanged
            A shard was filtered again since it was indexed.
        """
        row_filter = RowFilter.parse(text)
        key = str(row_filter)
        with self._lock:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
        masks = {}
        for shard in self._search.shards:
            check()
            with self._metadata.open_shard(shard) as file:
                masks[shard.shard] = row_filter.mask_of_file(file)
        selection = self._search.select(masks)
        with self._lock:
            self._remembered[key] = selection
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return selection
