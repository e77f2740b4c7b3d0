"""Web pages in a lake, as the assets before packing leave them; a loopback server has their images."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.map_images.image_task import ImageEngine
from mappool_assets.lib.packed_documents.packed_document import PackedDocument
from mappool_assets.lib.packed_documents.packed_documents import (
    TABLE,
    PackReport,
    PackSettings,
    pack_documents,
    packed_document_tasks,
)
from mappool_assets.lib.packed_documents.packs import PACKS
from mappool_assets.lib.packed_documents.reading import read_packed
from mappool_assets.lib.web_documents.interleaved_pages import interleaved_tasks, make_interleaved
from mappool_assets.lib.web_documents.media_links import LinkSettings, make_media_links, media_link_tasks
from mappool_assets_tests.image_web import ImageWeb
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.small_documents import DOCUMENTS_SCHEMA, ITEM
from mappool_assets_tests.small_engine import fetch_in_turn
from mappool_assets_tests.small_lake import folder_bytes

W, W2 = "CC-MAIN-1", "CC-MAIN-2"
SCHEMA = DOCUMENTS_SCHEMA.append(pa.field("robots", pa.list_(pa.string())))


@dataclass(frozen=True)
class Page:
    """A page: its items (a str is a text, an int an image of the server, a pair a kind and an address), its robots."""

    items: Sequence[str | int | tuple[str, str]]
    robots: Sequence[str] = ()
    url: str = ""


class PageWeb(ImageWeb):
    """A web and a lake of pages."""

    def write_pages(self, *pages: Page | Sequence[str | int | tuple[str, str]], crawl_file: str = W) -> None:
        """Write documents, and all that is made of them before they are packed."""
        rows = []
        for number, page in enumerate(pages):
            page = page if isinstance(page, Page) else Page(page)
            rows.append(
                {
                    "document_id": f"{crawl_file}:{number}",
                    "url": page.url or f"https://pages.example/{number}",
                    "title": f"Page {number}",
                    "language": "en" if number % 3 else None,
                    "items": [self._item(position, item) for position, item in enumerate(page.items)],
                    "robots": list(page.robots),
                }
            )
        made = Provenance({"documents": str(rows)}, len(rows), len(rows), origin={"source": "made up"})
        self.lake.write_table("web_documents/documents", pa.Table.from_pylist(rows, schema=SCHEMA), made, crawl_file)
        links = make_media_links(media_link_tasks(self.lake, [crawl_file], LinkSettings()), 1)
        assert [outcome.error for outcome in links] == [None]
        interleaved = make_interleaved(interleaved_tasks(self.lake, [crawl_file]), 1)
        assert [outcome.error for outcome in interleaved] == [None]

    def _item(self, position: int, item: str | int | tuple[str, str]) -> dict[str, Any]:
        described = dict.fromkeys(ITEM.names) | {"position": position, "candidates": []}
        if isinstance(item, str):
            return {**described, "kind": "text", "text": item}
        kind, url = ("image", self.url(item)) if isinstance(item, int) else item
        return {**described, "kind": kind, "url": url, "alt": f"alt {position}"}

    def pack_settings(self, images_a_page: int = 5, form: str = "tar", documents_a_pack: int = 1000,
                      **images: Any) -> PackSettings:  # fmt: skip
        return PackSettings(self.settings(**images), images_a_page, form, documents_a_pack)

    def pack(
        self, crawl_file: str = W, *, force: bool = False, engine: ImageEngine = fetch_in_turn, **settings: Any
    ) -> PackReport:
        """Pack a crawl file's documents; raise what went wrong."""
        tasks = packed_document_tasks(self.lake, [crawl_file], self.pack_settings(**settings), engine=engine)
        (outcome,) = pack_documents(tasks, workers=1, force=force)
        if outcome.error:
            raise outcome.error
        assert outcome.result is not None
        return outcome.result

    def ledger(self, crawl_file: str = W) -> list[dict[str, Any]]:
        return self.lake.read_table(TABLE, crawl_file).to_pylist()

    def outcomes(self, crawl_file: str = W) -> list[list[str]]:
        """Return the outcomes of each page's images."""
        return [[image["outcome"] for image in row["images"]] for row in self.ledger(crawl_file)]

    def packed(self, crawl_file: str = W) -> list[PackedDocument]:
        return list(read_packed(self.lake, crawl_file))

    def packs(self, crawl_file: str = W) -> dict[str, bytes]:
        return folder_bytes(Path(self.lake.root) / PACKS / crawl_file)

    def elsewhere(self, folder: Path, kind: type[Lake] = Lake) -> PageWeb:
        """Return the same web with the lake and the scratch folder of another folder."""
        return dataclasses.replace(self, lake=kind(str(folder / "lake")), scratch=folder / "scratch")


@contextlib.contextmanager
def page_web(folder: Path, lake: Lake | None = None) -> Iterator[PageWeb]:
    with running() as server:
        yield PageWeb(server, lake or Lake(str(folder / "lake")), folder / "scratch")
