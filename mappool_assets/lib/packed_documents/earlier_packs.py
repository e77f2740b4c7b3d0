"""What an earlier run left of a crawl file: images that need not be asked for again, and packs that can stay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mappool_assets.lib.errors import BadShard
from mappool_assets.lib.map_images.image_ledger import OK, LedgerRow
from mappool_assets.lib.packed_documents.pack_ledger import FACTS, DocumentRow, ImageRow, PackLedger
from mappool_assets.lib.packed_documents.pack_plan import PlannedPage
from mappool_assets.lib.packed_documents.pack_task import PackTask
from mappool_assets.lib.packed_documents.packed_document import PackedDocument, PackedImage
from mappool_assets.lib.packed_documents.packs import PackReader, Place, stored_packs
from mappool_assets.lib.packed_documents.page_tar import to_tar


class EarlierPacks:
    """A ledger, and those of its packs that are there.

    Parameters
    ----------
    ledger : PackLedger or None
        None where there is none, or one of no use.
    reader : PackReader
        Of the crawl file's packs.
    is_checked : bool
        Whether all packs are read, and what is damaged is taken for not there.

    Attributes
    ----------
    images : dict of str to LedgerRow
        What is known of each image, by address; the ``file`` of one that is ok is a pack that holds it, or None where
        there is none any more.
    """

    def __init__(self, task: PackTask, ledger: PackLedger | None, reader: PackReader, *, is_checked: bool) -> None:
        self._task, self._reader = task, reader
        self._rows = ledger.rows if ledger else []
        self._is_same_packing = ledger is not None and _is_part(task.packing, ledger.provenance.inputs)
        self._packs = {row.pack for row in self._rows if row.pack is not None} & set(stored_packs(task.lake, task.key))
        self._copies: dict[str, Place] = {}
        there = set(self._packs)
        for row in self._rows:
            if row.place is not None and row.pack in there:
                self._find_copies(row, row.place, is_checked)
        self.images = {image.url: self._known(image) for row in self._rows for image in row.images}

    def read(self, image: LedgerRow) -> bytes:
        """Return an image that is ok.

        Raises
        ------
        BadShard
            The pack that holds it is damaged.
        """
        place = self._copies[image.url]
        for found in self._reader.read(place).images:
            if found.url == image.url and _is_sound(found, image.sha256):
                return found.data
        raise BadShard(
            "An image in a pack is not what the ledger says",
            where=f"{place.pack} of {self._task.key}, byte or row {place.offset:,}",
            rule=f"the sha256 {image.sha256}",
            got="another, or none",
            action="Materialise web_documents/packed_documents for this file again, with force.",
        )

    def rows_that_stay(self, pages: Sequence[PlannedPage], images: Mapping[str, LedgerRow]) -> list[DocumentRow | None]:
        """Return for each page its row where its pack stays as it is, else None.

        A pack stays where it was made from the same tables under the same settings, and each of its documents has the
        same images as before.

        Parameters
        ----------
        images : mapping
            What is known of each image after this run, by address.
        """
        if not self._is_same_packing:
            return [None] * len(pages)
        changed = {row.pack for row, page in zip(self._rows, pages, strict=True) if _had(row) != _has(page, images)}
        staying = self._packs - changed
        return [row if row.pack in staying else None for row in self._rows]

    def _find_copies(self, row: DocumentRow, place: Place, is_checked: bool) -> None:
        images = {image.url: image.sha256 for image in row.images if image.outcome == OK}
        if is_checked:
            document = self._read_if_whole(place)
            if document is None or hashlib.sha256(to_tar(document)).hexdigest() != row.sha256:
                self._packs.discard(place.pack)
                sound = document.images if document else ()
                images = {image.url: image.sha256 for image in sound if _is_sound(image, images.get(image.url))}
        for url in images:
            self._copies.setdefault(url, place)

    def _read_if_whole(self, place: Place) -> PackedDocument | None:
        try:
            return self._reader.read(place)
        except BadShard:
            return None

    def _known(self, image: ImageRow) -> LedgerRow:
        row = LedgerRow(image.url, image.url, None, image.outcome, image.detail, image.attempts)
        if image.file is None:
            return row
        pack = self._copies[image.url].pack if image.url in self._copies else None
        facts = {name: getattr(image, name) for name in FACTS}
        return row._replace(file=pack, extension=image.file.rpartition(".")[2], **facts)


def _is_part(some: Mapping[str, object], of: Mapping[str, object]) -> bool:
    return all(of.get(name) == value for name, value in some.items())


def _is_sound(image: PackedImage, sha256: str | None) -> bool:
    return hashlib.sha256(image.data).hexdigest() == sha256


def _had(row: DocumentRow) -> list[tuple[str, str | None]]:
    return [(image.url, image.sha256) for image in row.images if image.outcome == OK]


def _has(page: PlannedPage, images: Mapping[str, LedgerRow]) -> list[tuple[str, str | None]]:
    found = (images[image.url] for image in page.images)
    return [(row.url, row.sha256) for row in found if row.status == OK]
