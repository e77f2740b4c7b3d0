"""Where data lie, how the pool is read and filtered, and how images are fetched."""

from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.device_classifier import check_device
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.image_task import BALANCED_POOL
from mappool_assets.lib.map_images.map_images import ImageSettings
from mappool_assets.lib.publish.take_down import TakeDown
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets.lib.workers import available_cores


class LakeResource(dg.ConfigurableResource):
    """The lake: where all tables live."""

    root: str
    s3_endpoint: str = ""

    def open(self) -> Lake:
        """Return the lake."""
        return Lake(self.root, self.s3_endpoint or None)


class ScratchResource(dg.ConfigurableResource):
    """A folder of this machine for what is under way and for what does not fit in memory."""

    root: str = "data/scratch"

    def folder(self) -> Path:
        """Return the folder; each step makes one of its own there."""
        return Path(self.root)


class PoolResource(dg.ConfigurableResource):
    """The pool to filter, and how its store is reached."""

    source: str
    s3_endpoint: str = ""
    hub_endpoint: str = ""
    request_cost_bytes: int | None = None

    def storage(self) -> Storage:
        """Return how files of the pool are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None, request_cost_bytes=self.request_cost_bytes)


class FilterResource(dg.ConfigurableResource):
    """Where shards are filtered, how many at once, and how."""

    workers: int = 0
    ray_address: str = ""
    is_screened: bool = True
    device: str = ""

    def worker_count(self) -> int:
        """Return the processes to use: as set, or one a core."""
        return self.workers or available_cores()

    def scoring_device(self) -> str | None:
        """Return the CUDA device that scores, known to be there unless Ray's nodes score; None is the CPU."""
        if self.device in ("", "cpu", "mps"):
            return None
        if not self.ray_address:
            check_device(self.device)
        return self.device


class WebResource(dg.ConfigurableResource):
    """How files are fetched from the web."""

    user_agent: str = "mappool-assets"
    egress_proxy: str = ""
    allow_private_addresses: bool = False
    obeys_robots: bool = True

    def rules(self, *, obeys_robots: bool = False) -> FetchRules:
        """Return the limits that every URL is held to; for what people name themselves, robots.txt is not asked."""
        return FetchRules(
            allow_private_addresses=self.allow_private_addresses,
            user_agent=self.user_agent,
            obeys_robots=obeys_robots and self.obeys_robots,
            obeys_opt_out=obeys_robots and self.obeys_robots,
            egress_proxy=self.egress_proxy or None,
        )


class ImagesResource(dg.ConfigurableResource):
    """How the images of maps are stored, and how often they are tried."""

    archive_format: str = "webdataset"
    attempts: int = 3
    images_of: str = "shard_maps"

    @property
    def are_of_the_first_draw(self) -> bool:
        """Whether only images are fetched that curation's first draw left."""
        return self.images_of == BALANCED_POOL

    def settings(self, rules: FetchRules, take_down: TakeDown, scratch: Path) -> ImageSettings:
        """Return how images are fetched and stored, and which are not."""
        return ImageSettings(
            rules=rules,
            archive_format=self.archive_format,
            max_attempts=self.attempts,
            scratch=scratch,
            take_down=take_down,
            images_of=self.images_of,
        )


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
    """Return where data lie, and how shards are filtered and their images fetched."""
    s3_endpoint, hub_endpoint = read.text("MAPPOOL_S3_ENDPOINT"), read.text("MAPPOOL_HUB_ENDPOINT")
    return {
        "lake": LakeResource(root=read.text("MAPPOOL_LAKE"), s3_endpoint=s3_endpoint),
        "scratch": ScratchResource(root=read.text("MAPPOOL_SCRATCH")),
        "pool": PoolResource(
            source=read.text("MAPPOOL_POOL"),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
            request_cost_bytes=read.optional("MAPPOOL_REQUEST_COST_BYTES", int),
        ),
        "web": WebResource(
            user_agent=read.text("MAPPOOL_USER_AGENT"),
            # By name: it may hold a password, and the UI shows what resources are made of.
            egress_proxy=dg.EnvVar("MAPPOOL_EGRESS_PROXY") if read.text("MAPPOOL_EGRESS_PROXY") else "",
            allow_private_addresses=read.text("MAPPOOL_ALLOW_PRIVATE_ADDRESSES") == "1",
            obeys_robots=read.text("MAPPOOL_ROBOTS") != "0",
        ),
        "filtering": FilterResource(
            workers=read.number("MAPPOOL_WORKERS", int),
            ray_address=read.text("MAPPOOL_RAY_ADDRESS"),
            is_screened=read.text("MAPPOOL_SCREEN") != "0",
            device=read.text("MAPPOOL_DEVICE"),
        ),
        "images": ImagesResource(
            archive_format=read.text("MAPPOOL_IMAGE_FORMAT"),
            attempts=read.number("MAPPOOL_IMAGE_ATTEMPTS", int),
            images_of=read.text("MAPPOOL_IMAGES_OF"),
        ),
    }
