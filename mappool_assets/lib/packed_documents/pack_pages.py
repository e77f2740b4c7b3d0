"""Pages whose images are known, put into packs and into the ledger one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from mappool_assets.lib.map_images.image_ledger import OK, LedgerRow
from mappool_assets.lib.packed_documents.pack_ledger import FACTS, DocumentRow, ImageRow, PackLedgerWriter
from mappool_assets.lib.packed_documents.pack_plan import NO_IMAGE_FETCHED, PageContent, PageTables, PlannedPage
from mappool_assets.lib.packed_documents.pack_task import TOKENIZER, VOCABULARY
from mappool_assets.lib.packed_documents.packed_document import PackedDocument, PackedImage, TextPart, put_in_order
from mappool_assets.lib.packed_documents.packs import PackWriter
from mappool_assets.lib.packed_documents.page_tar import to_tar

SHEET_IMAGES, SHEET_IMAGE_BYTES = 6, 2 * 2**20  # they are in memory together

Read = Callable[[LedgerRow], bytes]  # returns an image that is ok


def pack_pages(
    tables: PageTables,
    pages: Sequence[PlannedPage],
    images: Mapping[str, LedgerRow],
    staying: Sequence[DocumentRow | None],
    read: Read,
    packs: PackWriter,
    ledger: PackLedgerWriter,
) -> list[tuple[bytes, str]]:
    """Write each page's row, and pack those that have an image and do not lie in a pack that stays.

    Parameters
    ----------
    images : mapping
        What is known of each image that was chosen, by address.
    staying : sequence of DocumentRow or None
        For each page its earlier row, where its pack stays.

    Returns
    -------
    list of (bytes, str)
        For a contact sheet: the first images of some documents packed now, with the pages' addresses.
    """
    rows = [
        before._replace(images=_image_rows(page, images)) if before else _new_row(page, _image_rows(page, images))
        for page, before in zip(pages, staying, strict=True)
    ]
    to_pack = {row.document_id for row in rows if row.status == OK and row.pack is None}
    contents = tables.contents(to_pack) if to_pack else iter(())
    sample: list[tuple[bytes, str]] = []
    for number, row in enumerate(rows):
        if row.document_id not in to_pack:
            ledger.add(row)
            continue
        document = _document(row, next(contents), images, read)
        ledger.add(_packed(row, document, packs, number))
        first = document.images[0]
        if len(sample) < SHEET_IMAGES and first.bytes <= SHEET_IMAGE_BYTES:
            sample.append((first.data, document.url))
    return sample


def _new_row(page: PlannedPage, images: tuple[ImageRow, ...]) -> DocumentRow:
    status = page.status or (OK if any(image.outcome == OK for image in images) else NO_IMAGE_FETCHED)
    return DocumentRow(page.document_id, page.url, page.language, status, images=images)


def _image_rows(page: PlannedPage, images: Mapping[str, LedgerRow]) -> tuple[ImageRow, ...]:
    rows, number = [], 0
    for chosen in page.images:
        image = images[chosen.url]
        row = ImageRow(chosen.position, image.url, image.status, image.detail, image.attempts)
        if image.status == OK:
            facts = {name: getattr(image, name) for name in FACTS}
            row = row._replace(file=f"{number}.{image.extension}", **facts)
            number += 1
        rows.append(row)
    return tuple(rows)


def _document(row: DocumentRow, content: PageContent, images: Mapping[str, LedgerRow], read: Read) -> PackedDocument:
    fetched = tuple(_packed_images(row, images, read))
    parts, gaps = put_in_order(
        content.parts,
        content.text,
        {image.url: number for number, image in enumerate(fetched)},
        {image.url: image.outcome for image in row.images if image.outcome != OK},
        _token_ids,
    )
    return PackedDocument(
        row.document_id, row.url, row.language, TOKENIZER, VOCABULARY, parts, images=fetched, gaps=gaps
    )


def _packed_images(row: DocumentRow, images: Mapping[str, LedgerRow], read: Read) -> Iterator[PackedImage]:
    for image in row.images:
        if image.outcome == OK:
            facts = {name: getattr(image, name) for name in PackedImage._fields if name != "data"}
            yield PackedImage(**facts, data=read(images[image.url]))


def _packed(row: DocumentRow, document: PackedDocument, packs: PackWriter, number: int) -> DocumentRow:
    place = packs.add(number, document)
    tokens = sum(len(part.token_ids) for part in document.parts if isinstance(part, TextPart))
    return row._replace(
        pack=place.pack,
        pack_offset=place.offset,
        pack_bytes=place.bytes,
        sha256=hashlib.sha256(to_tar(document)).hexdigest(),
        parts=len(document.parts),
        text_tokens=tokens,
        gaps=len(document.gaps),
    )


def _token_ids(text: str) -> list[int]:
    from mappool_assets.lib.web_documents.clip_tokens import clip_tokenizer

    return clip_tokenizer().ids(text).tolist()
