"""Images that a script loads, and their twins for readers without scripts, in ``<noscript>``: together one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mappool_assets.lib.web_documents.item import Item


class LateImages:
    """The images of one page, as far as twins are told by them.

    An image in a ``<noscript>`` is a twin where its address is that of another image of the page, or where it stands
    beside an image that a script loads, with no text between: such a pair may differ in size.

    Attributes
    ----------
    early : set of int
        Places of the images in a ``<noscript>`` that were no twins of anything before them.
    """

    def __init__(self) -> None:
        self.early: set[int] = set()
        self._single: dict[int, str] = {}  # places of late images without a twin, and their addresses as in the page
        self._addresses: set[str | None] = set()  # of all images that are not in a noscript, up to item number
        self._read = 0

    def see(self, place: int, address: str) -> None:
        """Take in an image that a script loads: its place among the items, and its address as it stands in the page."""
        self._single[place] = address

    def is_twin_markup(self, place: int, markup: str) -> bool:
        """Whether a ``<noscript>`` with one image, right after the item before ``place``, is that item's twin."""
        address = self._single.get(place - 1)
        if not address or address not in markup:
            return False
        del self._single[place - 1]
        return True

    def is_twin(self, items: Sequence[Item], image: Item, is_beside: bool) -> bool:
        """Whether an image in a ``<noscript>`` is a twin of one before it.

        Parameters
        ----------
        items : sequence of Item
            What is before it.
        image : Item
        is_beside : bool
            Whether there is no text between it and the last of them.
        """
        if is_beside and self._single.pop(len(items) - 1, None) is not None:
            return True
        return image.url in self._addresses_of(items)

    def early_twins(self, items: Sequence[Item]) -> Iterator[int]:
        """Yield the places of those in a ``<noscript>`` that are twins of what came after them."""
        for place in self.early:
            if place + 1 in self._single or items[place].url in self._addresses_of(items):
                yield place

    def _addresses_of(self, items: Sequence[Item]) -> set[str | None]:
        for place in range(self._read, len(items)):
            item = items[place]
            if item.text is None and place not in self.early:
                self._addresses.add(item.url)
                self._addresses.update(url for url, _ in item.candidates)
        self._read = len(items)
        return self._addresses
