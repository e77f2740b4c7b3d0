"""One crawl file's packed documents as a task: the settings, what decides the result, and what is reported of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.image_download.downloads import download_images
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.map_images.image_task import ImageEngine, ImageSettings, deciding_rules, rows_to_retry
from mappool_assets.lib.packed_documents.packs import FORMS, TAR

CODE_VERSION = "1"  # raise when packs are no longer right as they are: all images are then fetched anew
TOKENIZER = "clip"  # the one that has ids: mappool_assets.lib.web_documents.clip_tokens
VOCABULARY = 49_408  # of CLIP: 512 bytes, 48,894 merges and two markers; an image's local id is this plus its number


@dataclass(frozen=True)
class PackSettings:
    """How documents are packed.

    Attributes
    ----------
    images : ImageSettings
        How images are fetched: scratch folder, rules, attempts, threads, take-down list. Its ``archive_format`` plays
        no part here.
    images_a_page : int
        Images of a page that are asked for: the first of its different ones, each with all its places. Flamingo takes
        5 (Alayrac et al. 2022, arXiv:2204.14198, on M3W). The page alone decides which: one that fails leaves a gap
        and is not replaced by the sixth, so that no page costs more requests than this, and a later run that gets it
        changes nothing else.
    form : str
        ``tar`` or ``parquet``.
    documents_a_pack : int
        Most documents of a pack. Our choice: of pages with 300 kB of images 1,000 are 300 MB, what one process of a
        training run reads in a minute.
    """

    images: ImageSettings
    images_a_page: int = 5
    form: str = TAR
    documents_a_pack: int = 1000

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise _bad_setting("The form of packed documents", "MAPPOOL_PACK_FORM", " or ".join(FORMS), self.form)
        for what, where, got in (
            ("The number of images a page", "MAPPOOL_PACK_IMAGES_A_PAGE", self.images_a_page),
            ("The number of documents a pack", "documents_a_pack", self.documents_a_pack),
        ):
            if got < 1:
                raise _bad_setting(what, where, "1 or more", got)


@dataclass(frozen=True)
class PackTask:
    """What a worker needs to pack one crawl file's documents.

    Attributes
    ----------
    key : str
        The crawl file's.
    sources : mapping of str to str
        The fingerprints of the tables that it is made from, by name; empty where there is none yet.
    origin : mapping
        For lineage.
    lake : Lake
        Where the tables are, and the packs go.
    settings : PackSettings
        How.
    engine : ImageEngine
        What fetches; importable by name.
    """

    key: str
    sources: Mapping[str, str]
    origin: Mapping[str, str]
    lake: Lake
    settings: PackSettings
    engine: ImageEngine = download_images

    def __str__(self) -> str:
        return f"packed documents of {self.key}"

    @property
    def scratch(self) -> Path:
        """Where downloads of this lake lie; other lakes may have crawl files of the same keys under way."""
        return self.settings.images.scratch / f"packed_documents-{fingerprint({'lake': self.lake.url('')})}"

    @property
    def packing(self) -> dict[str, Any]:
        """What decides, besides the images that are there, the bytes of packs."""
        return {
            "crawl_file": self.key,
            **self.sources,
            "images_a_page": self.settings.images_a_page,
            "form": self.settings.form,
            "documents_a_pack": self.settings.documents_a_pack,
            "tokenizer": TOKENIZER,
            "code_version": CODE_VERSION,
        }

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides which images are asked for, and how documents lie."""
        return {**self.packing, "rules": deciding_rules(self.settings.images.rules)}


@dataclass
class PackReport:
    """What became of a crawl file's documents.

    Attributes
    ----------
    shard : str
        The crawl file's key.
    rows_in, rows_kept : int
        Pages with media, and those that are packed.
    rows_dropped : dict of str to int
        The others, by status.
    images : dict of str to int
        Images chosen, each once however many pages have it, by outcome.
    image_bytes : int
        Of all images that are there, each once.
    images_to_retry : int
        Those that the next run asks for again.
    fingerprint : str
        Of inputs and rows; the data version of the partition.
    images_tried : int
        Images asked for in this run.
    is_reused : bool
        Nothing was done: what is there was made from the same inputs, and nothing is left to be tried again.
    contact_sheet : bytes or None
        A PNG of images of documents packed in this run; None where there is none.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    images: dict[str, int]
    image_bytes: int
    images_to_retry: int
    fingerprint: str
    images_tried: int = 0
    is_reused: bool = False
    contact_sheet: bytes | None = field(default=None, repr=False)


def report_of(task: PackTask, made: Provenance, **fields: Any) -> PackReport:
    """Return the report of a crawl file whose ledger has this provenance."""
    return PackReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        dict(made.measures["images"]),
        made.measures["image_bytes"],
        rows_to_retry(made, task.settings.images.max_attempts),
        made.fingerprint,
        **fields,
    )


def _bad_setting(what: str, where: str, rule: str, got: object) -> BadSetting:
    return BadSetting(f"{what} cannot be used", where=where, rule=rule, got=repr(got), action="Correct the setting.")
