"""Settings: one frozen resource a concern. The environment is read here and nowhere else in Python."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import dagster as dg

from mappool_assets.lib.device_classifier import check_device
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.map_images import ImageSettings
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import PublishTarget
from mappool_assets.lib.publish.take_down import TakeDown, read_take_down
from mappool_assets.lib.publish.targets import dataset_name, dataset_target, model_target
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.training_set import TrainingSetSettings
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets.lib.workers import available_cores

Number = TypeVar("Number", int, float)


class Setting(NamedTuple):
    """An environment variable: its default and what it decides."""

    default: str
    meaning: str


SETTINGS = {
    "MAPPOOL_LAKE": Setting("data/lake", "Where all tables live: a folder or `s3://bucket/prefix`"),
    "MAPPOOL_TRAINING_IMAGES": Setting(
        "data/training_images",
        "Labelled images: a folder per class, a `.csv`/`.parquet` table, or `hf://datasets/owner/name`",
    ),
    "MAPPOOL_POSITIVE_LABEL": Setting("map", "The label that means map; every other one means no map"),
    "MAPPOOL_POOL": Setting(
        "hf://datasets/mlfoundations/datacomp_small",
        "The pool: `hf://datasets/owner/name[@revision]`, a folder, `s3://bucket/prefix`, or an HTTP listing",
    ),
    "MAPPOOL_ENCODER_MODEL": Setting("ViT-L-14", "open_clip model; must be the one that made the pool's embeddings"),
    "MAPPOOL_ENCODER_PRETRAINED": Setting("openai", "open_clip weights; empty for `local-dir:` models"),
    "MAPPOOL_DEVICE": Setting(
        "",
        "`cuda`, `cuda:N`, `mps` or `cpu`, for the encoder; empty chooses the best there is. Shards are scored on the "
        "CPU, which the screen makes cheap, unless this says `cuda` or `cuda:N`: each worker then takes its part of "
        "that device's memory",
    ),
    "MAPPOOL_CLASSIFIER": Setting(
        "svm_poly", "Which of the table is used: `centroid_l2`, `logistic_regression`, `mlp` or `svm_poly`"
    ),
    "MAPPOOL_THRESHOLD": Setting("0.0", "Score over which an image is a map; raise it for precision"),
    "MAPPOOL_WORKERS": Setting("0", "Processes that filter shards at once; 0 means one a core"),
    "MAPPOOL_RAY_ADDRESS": Setting(
        "",
        "A Ray cluster that filters shards instead of processes here: `auto`, `host:port` or `ray://host:port`; "
        "its nodes must reach pool and lake",
    ),
    "MAPPOOL_SCREEN": Setting("1", "0 scores every row exactly; 1 only those that a cheap bound cannot exclude"),
    "MAPPOOL_REQUEST_COST_BYTES": Setting(
        "", "Superfluous bytes as cheap as one more request, for kept rows' `l14_txt`; empty: by the kind of store"
    ),
    "MAPPOOL_IMAGE_FORMAT": Setting("webdataset", "How fetched images are stored: `webdataset` (tars) or `files`"),
    "MAPPOOL_IMAGE_ATTEMPTS": Setting("3", "Runs that try to fetch an image before it is given up"),
    "MAPPOOL_USER_AGENT": Setting(
        "mappool-assets",
        "The name told to web servers, the first word of which robots.txt is read for; add where their operators reach "
        "you: `mappool-assets (+https://example.org/contact)`",
    ),
    "MAPPOOL_ROBOTS": Setting("1", "0 fetches images against robots.txt and X-Robots-Tag (noai, noimageai, noindex …)"),
    "MAPPOOL_EGRESS_PROXY": Setting(
        "", "`http://[user:password@]host:port` through which images are fetched; it then has to refuse addresses"
    ),
    "MAPPOOL_SCRATCH": Setting("data/scratch", "Local folder for downloads under way and for what exceeds memory"),
    "MAPPOOL_PUBLISH_TO": Setting("data/published", "Folder or `hf://datasets/user/name` that receives the dataset"),
    "MAPPOOL_PUBLISH_MODEL_TO": Setting(
        "", "Folder or `hf://user/name` that receives the model; empty: `published_model` beside the dataset's folder"
    ),
    "MAPPOOL_PUBLISH_PRIVATE": Setting("1", "0 makes a Hub repository public when it is created; 1 leaves that to you"),
    "MAPPOOL_PUBLISH_AFTER_SHARDS": Setting("100", "Newly filtered shards after which the sensor publishes"),
    "MAPPOOL_TAKE_DOWN": Setting(
        "", "Take-down list: path or address of a text file with a uid, sha256 or image URL a line; empty: none"
    ),
    "MAPPOOL_TITLE": Setting("Map pool", "The dataset's title on its card"),
    "MAPPOOL_REPOSITORY": Setting(
        "user/name", "The dataset's name in the card's loading snippets, where it is published to a folder"
    ),
    "MAPPOOL_S3_ENDPOINT": Setting("", "Address of an S3-compatible store instead of AWS"),
    "MAPPOOL_HUB_ENDPOINT": Setting("", "Address of a Hub other than huggingface.co"),
    "MAPPOOL_ALLOW_PRIVATE_ADDRESSES": Setting(
        "0", "1 lets image URLs point into private networks: for the demo and tests only"
    ),
}


class LakeResource(dg.ConfigurableResource):
    """The lake: where all tables live."""

    root: str
    s3_endpoint: str = ""

    def open(self) -> Lake:
        """Return the lake."""
        return Lake(self.root, self.s3_endpoint or None)


class PoolResource(dg.ConfigurableResource):
    """The pool to filter, and how its store is reached."""

    source: str
    s3_endpoint: str = ""
    hub_endpoint: str = ""
    request_cost_bytes: int | None = None

    def storage(self) -> Storage:
        """Return how files of the pool are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None, request_cost_bytes=self.request_cost_bytes)


class WebResource(dg.ConfigurableResource):
    """How images are fetched from the web."""

    allow_private_addresses: bool = False

    def rules(self) -> FetchRules:
        """Return the limits that every URL is held to."""
        return FetchRules(allow_private_addresses=self.allow_private_addresses)


class ImagesResource(dg.ConfigurableResource):
    """How the images of maps are fetched and stored."""

    archive_format: str = "webdataset"
    attempts: int = 3
    user_agent: str = "mappool-assets"
    obeys_robots: bool = True
    egress_proxy: str = ""
    allow_private_addresses: bool = False
    scratch: str = "data/scratch"

    def settings(self, take_down: TakeDown) -> ImageSettings:
        """Return how images are fetched and stored, and which are not."""
        return ImageSettings(
            rules=FetchRules(
                allow_private_addresses=self.allow_private_addresses,
                user_agent=self.user_agent,
                obeys_robots=self.obeys_robots,
                obeys_opt_out=self.obeys_robots,
                egress_proxy=self.egress_proxy or None,
            ),
            archive_format=self.archive_format,
            max_attempts=self.attempts,
            scratch=Path(self.scratch),
            take_down=take_down,
        )


class TrainingImagesResource(dg.ConfigurableResource):
    """Labelled images to learn from."""

    source: str
    positive_label: str = "map"

    def settings(self) -> TrainingSetSettings:
        """Return how the training set is made."""
        return TrainingSetSettings(positive_label=self.positive_label)


class EncoderResource(dg.ConfigurableResource):
    """The CLIP model whose embeddings the pool ships."""

    model: str = "ViT-L-14"
    pretrained: str = "openai"
    device: str = ""

    def load(self) -> ClipEncoder:
        """Return the encoder; its weights are loaded on first use."""
        return ClipEncoder(self.model, self.pretrained, device=self.device or None)


class ClassifierResource(dg.ConfigurableResource):
    """Which classifier decides, and from which score on."""

    method: str = "svm_poly"
    threshold: float = 0.0


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


class TakeDownResource(dg.ConfigurableResource):
    """The list of what people asked to be left out."""

    source: str = ""
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def read(self) -> TakeDown:
        """Return what must be neither fetched nor published."""
        return read_take_down(self.source, Storage(self.s3_endpoint or None, self.hub_endpoint or None))


class DuplicatesResource(dg.ConfigurableResource):
    """Where the search for duplicates keeps what does not fit in memory."""

    scratch: str = "data/scratch"

    def folder(self) -> Path:
        """Return the folder."""
        return Path(self.scratch)


class PublishResource(dg.ConfigurableResource):
    """Where the dataset and the model are published, and under which name."""

    target: str
    model_target: str = ""
    title: str = "Map pool"
    repository: str = "user/name"
    is_private: bool = True
    after_shards: int = 100
    hub_endpoint: str = ""

    def open_target(self) -> PublishTarget:
        """Return where the dataset goes."""
        return dataset_target(self.target, hub_endpoint=self.hub_endpoint or None, is_private=self.is_private)

    def card(self) -> CardSettings:
        """Return what the card says that the lake does not know."""
        return CardSettings(repository=dataset_name(self.target) or self.repository, pretty_name=self.title)

    def model_address(self) -> str:
        """Return where the model goes: as set, else beside the dataset's folder, else in ``data``."""
        beside = Path("data") if "://" in self.target else Path(self.target).parent
        return self.model_target or str(beside / "published_model")

    def open_model_target(self) -> PublishTarget:
        """Return where the model goes; :class:`BadSetting` where the dataset goes too, as both have a card."""
        if Path(self.model_address()).absolute() == Path(self.target).absolute():
            raise BadSetting(
                "Dataset and model cannot share a folder",
                where="MAPPOOL_PUBLISH_MODEL_TO",
                rule="another folder than MAPPOOL_PUBLISH_TO",
                got=repr(self.model_target),
                action="Name another folder, or none for the default.",
            )
        return model_target(self.model_address(), hub_endpoint=self.hub_endpoint or None, is_private=self.is_private)


def resources_from(environment: Mapping[str, str]) -> dict[str, dg.ConfigurableResource]:
    """Return every resource as the settings say; what is not set has its default."""

    def setting(name: str) -> str:
        return environment.get(name, SETTINGS[name].default)

    def number(name: str, kind: Callable[[str], Number]) -> Number:
        try:
            return kind(setting(name))
        except ValueError:
            raise BadSetting(
                "A setting is not a number",
                where=name,
                rule=f"a number such as {SETTINGS[name].default or 1}",
                got=repr(setting(name)),
                action="Correct it in .env or in the environment.",
            ) from None

    s3_endpoint, hub_endpoint = setting("MAPPOOL_S3_ENDPOINT"), setting("MAPPOOL_HUB_ENDPOINT")
    return {
        "lake": LakeResource(root=setting("MAPPOOL_LAKE"), s3_endpoint=s3_endpoint),
        "pool": PoolResource(
            source=setting("MAPPOOL_POOL"),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
            request_cost_bytes=number("MAPPOOL_REQUEST_COST_BYTES", int)
            if setting("MAPPOOL_REQUEST_COST_BYTES")
            else None,
        ),
        "web": WebResource(allow_private_addresses=setting("MAPPOOL_ALLOW_PRIVATE_ADDRESSES") == "1"),
        "training_images": TrainingImagesResource(
            source=setting("MAPPOOL_TRAINING_IMAGES"), positive_label=setting("MAPPOOL_POSITIVE_LABEL")
        ),
        "encoder": EncoderResource(
            model=setting("MAPPOOL_ENCODER_MODEL"),
            pretrained=setting("MAPPOOL_ENCODER_PRETRAINED"),
            device=setting("MAPPOOL_DEVICE"),
        ),
        "classifier_choice": ClassifierResource(
            method=setting("MAPPOOL_CLASSIFIER"), threshold=number("MAPPOOL_THRESHOLD", float)
        ),
        "filtering": FilterResource(
            workers=number("MAPPOOL_WORKERS", int),
            ray_address=setting("MAPPOOL_RAY_ADDRESS"),
            is_screened=setting("MAPPOOL_SCREEN") != "0",
            device=setting("MAPPOOL_DEVICE"),
        ),
        "images": ImagesResource(
            archive_format=setting("MAPPOOL_IMAGE_FORMAT"),
            attempts=number("MAPPOOL_IMAGE_ATTEMPTS", int),
            user_agent=setting("MAPPOOL_USER_AGENT"),
            obeys_robots=setting("MAPPOOL_ROBOTS") != "0",
            # By name: it may hold a password, and the UI shows what resources are made of.
            egress_proxy=dg.EnvVar("MAPPOOL_EGRESS_PROXY") if setting("MAPPOOL_EGRESS_PROXY") else "",
            allow_private_addresses=setting("MAPPOOL_ALLOW_PRIVATE_ADDRESSES") == "1",
            scratch=setting("MAPPOOL_SCRATCH"),
        ),
        "duplicates": DuplicatesResource(scratch=setting("MAPPOOL_SCRATCH")),
        "take_down": TakeDownResource(
            source=setting("MAPPOOL_TAKE_DOWN"), s3_endpoint=s3_endpoint, hub_endpoint=hub_endpoint
        ),
        "publishing": PublishResource(
            target=setting("MAPPOOL_PUBLISH_TO"),
            model_target=setting("MAPPOOL_PUBLISH_MODEL_TO"),
            title=setting("MAPPOOL_TITLE"),
            repository=setting("MAPPOOL_REPOSITORY"),
            is_private=setting("MAPPOOL_PUBLISH_PRIVATE") != "0",
            after_shards=number("MAPPOOL_PUBLISH_AFTER_SHARDS", int),
            hub_endpoint=hub_endpoint,
        ),
    }


def resources_from_environment() -> dict[str, dg.ConfigurableResource]:
    """Return every resource as the process's environment (and a ``.env`` file, which Dagster loads) sets it."""
    return resources_from(os.environ)
