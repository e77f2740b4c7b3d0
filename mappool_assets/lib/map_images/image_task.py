"""One shard's images as a task: the settings, what fetches, what decides the result, and what is reported of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.image_download.downloads import Download, download_images
from mappool_assets.lib.lake import Lake, Provenance, fingerprint
from mappool_assets.lib.map_images.image_archive import FORMATS, WEBDATASET
from mappool_assets.lib.publish.take_down import NO_TAKE_DOWN, TakeDown
from mappool_assets.lib.web.robots import product_token
from mappool_assets.lib.web.web_fetch import FetchRules

OBEDIENT = FetchRules(obeys_robots=True, obeys_opt_out=True)
SHARD_MAPS, BALANCED_POOL = "shard_maps", "balanced_pool"
CODE_VERSION = "1"  # raise when stored images are no longer right as they are: every one is then fetched anew


class ImageEngine(Protocol):
    """What fetches: :func:`mappool_assets.lib.image_download.downloads.download_images`, or another like it."""

    def __call__(self, requests: pa.Table, work: Path, rules: FetchRules, *, threads: int) -> Iterator[Download]:
        """Yield one download a request, in their order."""


@dataclass(frozen=True)
class ImageSettings:
    """How images are fetched and stored.

    Attributes
    ----------
    scratch : Path
        Local folder for downloads under way; what a killed run fetched is found there again.
    rules : FetchRules
        What holds for every address. By default the wishes of sites (robots.txt, X-Robots-Tag) are obeyed.
    archive_format : str
        ``webdataset`` (tars) or ``files``.
    max_attempts : int
        Runs that ask for an image that may come later. Our choice: each run asks three times within its deadline, so
        three runs, days apart, are nine requests; a server that was away for all of them costs a full deadline each
        time.
    threads : int
        Addresses asked at once, for each shard under way. With 32, img2dataset fetched 130 images a second.
    take_down : TakeDown
        Images that are not fetched, and removed where they were.
    images_of : str
        ``shard_maps``: the images of all maps. ``balanced_pool``: of those that the first balancing of curation kept;
        the others are ``not_balanced``, but for images that are there, which stay.
    """

    scratch: Path
    rules: FetchRules = OBEDIENT
    archive_format: str = WEBDATASET
    max_attempts: int = 3
    threads: int = 32
    take_down: TakeDown = NO_TAKE_DOWN
    images_of: str = SHARD_MAPS

    def __post_init__(self) -> None:
        if self.archive_format not in FORMATS:
            raise _bad_setting(
                "The format of images", "MAPPOOL_IMAGE_FORMAT", " or ".join(FORMATS), self.archive_format
            )
        if self.images_of not in (SHARD_MAPS, BALANCED_POOL):
            raise _bad_setting(
                "Whose images are fetched", "MAPPOOL_IMAGES_OF", f"{SHARD_MAPS} or {BALANCED_POOL}", self.images_of
            )
        if self.max_attempts < 1:
            raise _bad_setting("The number of attempts", "MAPPOOL_IMAGE_ATTEMPTS", "1 or more", self.max_attempts)

    @functools.cached_property
    def take_down_id(self) -> str:
        """The hash of the take-down list."""
        listed = self.take_down
        return fingerprint({"uids": sorted(listed.uids), "urls": sorted(listed.urls), "sha256": sorted(listed.sha256s)})


@dataclass(frozen=True)
class ImageTask:
    """What a worker needs to fetch one shard's images.

    Attributes
    ----------
    key : str
        The shard's.
    maps_fingerprint : str
        Of the shard's maps; empty where there are none yet.
    origin : mapping
        The pool's address and pinned commit, for lineage.
    lake : Lake
        Where the maps are, and the images go.
    settings : ImageSettings
        How.
    engine : ImageEngine
        What fetches; importable by name.
    balanced_fingerprint : str or None
        Of the pairs that the first balancing kept, empty where there are none yet; None where they do not matter.
    """

    key: str
    maps_fingerprint: str
    origin: Mapping[str, str]
    lake: Lake
    settings: ImageSettings
    engine: ImageEngine = download_images
    balanced_fingerprint: str | None = None

    def __str__(self) -> str:
        return f"images of shard {self.key}"

    @property
    def scratch(self) -> Path:
        """Where downloads of this lake lie; other lakes may have shards of the same keys under way."""
        return self.settings.scratch / f"map_images-{fingerprint({'lake': self.lake.url('')})}"

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides which images are asked for and how they lie."""
        balanced = {} if self.balanced_fingerprint is None else {"balanced_pool": self.balanced_fingerprint}
        return {
            "shard": self.key,
            "shard_maps": self.maps_fingerprint,
            **balanced,
            "rules": deciding_rules(self.settings.rules),
            "archive_format": self.settings.archive_format,
            "code_version": CODE_VERSION,
        }


@dataclass
class ImageReport:
    """What became of a shard's images.

    Attributes
    ----------
    shard : str
        Its key.
    rows_in, rows_kept : int
        Maps, and those with an image.
    rows_dropped : dict of str to int
        Maps without one, by status.
    image_bytes : int
        Of all images.
    rows_to_retry : int
        Maps whose image the next run asks for again.
    fingerprint : str
        Of inputs and rows; the data version of the partition.
    rows_tried : int
        Images asked for in this run.
    is_reused : bool
        Nothing was done: what is there was made from the same inputs, and nothing is left to be tried again.
    contact_sheet : bytes or None
        A PNG of the first images; None where there is none, or is_reused.
    """

    shard: str
    rows_in: int
    rows_kept: int
    rows_dropped: dict[str, int]
    image_bytes: int
    rows_to_retry: int
    fingerprint: str
    rows_tried: int = 0
    is_reused: bool = False
    contact_sheet: bytes | None = field(default=None, repr=False)


def deciding_rules(rules: FetchRules) -> dict[str, Any]:
    """Return those of the rules that decide which images are asked for.

    The proxy does not, and may hold a password; of the user agent the name that robots.txt knows us by does, not our
    version, with each of which all that was given up would be asked for again.
    """
    deciding = asdict(rules) | {"user_agent": product_token(rules.user_agent)}
    del deciding["egress_proxy"]
    return deciding


def rows_to_retry(made: Provenance, max_attempts: int) -> int:
    """Return how many rows of a ledger may come later and have not been asked for by ``max_attempts`` runs."""
    return sum(rows for attempts, rows in made.measures["to_retry"].items() if int(attempts) < max_attempts)


def report_of(task: ImageTask, made: Provenance, **fields: Any) -> ImageReport:
    """Return the report of a shard whose ledger has this provenance."""
    return ImageReport(
        task.key,
        made.rows_in,
        made.rows_kept,
        dict(made.rows_dropped),
        made.measures["image_bytes"],
        rows_to_retry(made, task.settings.max_attempts),
        made.fingerprint,
        **fields,
    )


def _bad_setting(what: str, where: str, rule: str, got: object) -> BadSetting:
    return BadSetting(f"{what} cannot be used", where=where, rule=rule, got=repr(got), action="Correct the setting.")
