"""Which web pages are read, and what is made of them."""

from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.crawl.crawl_files import CrawlListing, list_crawl
from mappool_assets.lib.map_images.map_images import ImageSettings
from mappool_assets.lib.packed_documents.pack_task import PackSettings
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web_documents.media_links import LinkSettings
from mappool_assets.lib.web_documents.natural_language import LanguageSettings
from mappool_assets.lib.web_documents.page_documents import DocumentSettings
from mappool_assets.lib.web_documents.page_items import PageSettings


class CrawlResource(dg.ConfigurableResource):
    """Which files of which crawl are taken."""

    source: str
    kind: str = "warc"
    files: int = 10
    seed: int = 0
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def storage(self) -> Storage:
        """Return how its files are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None)

    def listing(self) -> CrawlListing:
        """Return the files."""
        return list_crawl(self.source, self.storage(), kind=self.kind, sample=self.files or None, seed=self.seed)


class PagesResource(dg.ConfigurableResource):
    """What is made of web pages."""

    keeps_boilerplate: bool = False
    obeys_robots: bool = True
    languages: list[str] = []  # noqa: RUF012  pydantic copies it
    language_score: float = 0.5
    tokenizer: str = "words"
    window_tokens: int = 256
    form: str = "tar"
    images_a_page: int = 5
    aesthetic_head: str = ""

    def document_settings(self) -> DocumentSettings:
        """Return how documents are made of pages."""
        return DocumentSettings(
            page=PageSettings(drops_boilerplate=not self.keeps_boilerplate),
            language=LanguageSettings(least_score=self.language_score, languages=tuple(self.languages)),
            obeys_robots=self.obeys_robots,
        )

    def link_settings(self) -> LinkSettings:
        """Return how much text goes with an image, sound or film."""
        return LinkSettings(self.tokenizer, self.window_tokens)

    def pack_settings(self, images: ImageSettings) -> PackSettings:
        """Return how documents are packed."""
        return PackSettings(images, self.images_a_page, self.form)

    def aesthetic_head_file(self) -> Path | None:
        """Return the head that tells beauty, if there is one."""
        return Path(self.aesthetic_head) if self.aesthetic_head else None


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
    """Return which web pages are read, and what is made of them."""
    return {
        "crawl": CrawlResource(
            source=read.text("MAPPOOL_CRAWL"),
            kind=read.text("MAPPOOL_CRAWL_KIND"),
            files=read.number("MAPPOOL_CRAWL_FILES", int),
            seed=read.number("MAPPOOL_CRAWL_SEED", int),
            s3_endpoint=read.text("MAPPOOL_S3_ENDPOINT"),
            hub_endpoint=read.text("MAPPOOL_HUB_ENDPOINT"),
        ),
        "pages": PagesResource(
            keeps_boilerplate=read.switch("MAPPOOL_PAGE_BOILERPLATE"),
            obeys_robots=read.text("MAPPOOL_ROBOTS") != "0",
            languages=read.listed("MAPPOOL_PAGE_LANGUAGES"),
            language_score=read.number("MAPPOOL_PAGE_LANGUAGE_SCORE", float),
            tokenizer=read.text("MAPPOOL_WINDOW_TOKENIZER"),
            window_tokens=read.number("MAPPOOL_WINDOW_TOKENS", int),
            form=read.text("MAPPOOL_PACK_FORM"),
            images_a_page=read.number("MAPPOOL_PACK_IMAGES_A_PAGE", int),
            aesthetic_head=read.text("MAPPOOL_AESTHETIC_HEAD"),
        ),
    }
