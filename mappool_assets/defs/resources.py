"""Settings: one frozen resource a concern. The environment is read here and nowhere else in Python."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import dagster as dg

from mappool_assets.lib.device_classifier import check_device
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.geo_subset.place_labels import read_labels
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.map_images import ImageSettings
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.place_queries import PlaceQuerySettings
from mappool_assets.lib.places.prompts import LAION_GEO_TEMPLATE
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import PublishTarget
from mappool_assets.lib.publish.take_down import TakeDown, read_take_down
from mappool_assets.lib.publish.targets import dataset_name, dataset_target, model_target
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings
from mappool_assets.lib.training_set import TrainingSetSettings
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets.lib.workers import available_cores

Number = TypeVar("Number", int, float)
MOST_UNSAFE = 0.5  # clip-retrieval's


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
    "MAPPOOL_WORKERS": Setting(
        "0",
        "Processes that filter shards at once, or fetch their images (each with 32 connections and up to 2 GB); 0 means"
        " one a core",
    ),
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
    "MAPPOOL_PLACES": Setting(
        "keywords:data/places.txt",
        "Places to look for, separated by commas: `keywords:`, `geonames:`, `natural_earth:`, `overture:`, "
        "`linked_places:`, `csv:` or `jsonl:` and a path or address",
    ),
    "MAPPOOL_PLACE_PROMPTS": Setting(
        LAION_GEO_TEMPLATE, "Wordings of the prompts, separated by `;`; parts that a place lacks are left out"
    ),
    "MAPPOOL_PLACE_NAMES": Setting("name", "Names that are asked for: `name`, `alternate`, `historic`"),
    "MAPPOOL_PLACE_BBOX": Setting("", "Only places inside `west,south,east,north`, in degrees"),
    "MAPPOOL_PLACE_COUNTRIES": Setting("", "Only places of these countries, codes or names: `AT,DE`"),
    "MAPPOOL_PLACE_FEATURES": Setting("", "Only places of these feature classes, as their source has them: `P,A`"),
    "MAPPOOL_PLACE_MIN_POPULATION": Setting("", "Only places of so many people or more"),
    "MAPPOOL_NEIGHBOURS": Setting("1000", "Images that a prompt finds at most; LAION-geo's number"),
    "MAPPOOL_GEO_FILTER": Setting("", "Which maps are searched: `width >= 1024 and domain != 'example.org'`"),
    "MAPPOOL_GEO_MIN_SIMILARITY": Setting("", "Least cosine of image and prompt"),
    "MAPPOOL_GEO_MOST_A_DOMAIN": Setting("", "Most images of one domain for a place"),
    "MAPPOOL_GEO_SAFETY_HEAD": Setting("", "safetensors file of a linear head over `l14_img` that tells unsafe images"),
    "MAPPOOL_GEO_LABELS": Setting("", "CSV of `uid,label` (yes or no): does the image show its place?"),
    "MAPPOOL_SCRATCH": Setting(
        "data/scratch", "Local folder for downloads under way and vectors that exceed memory; SQL spills to `TMPDIR`"
    ),
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

    def settings(self, rules: FetchRules, take_down: TakeDown, scratch: Path) -> ImageSettings:
        """Return how images are fetched and stored, and which are not."""
        return ImageSettings(
            rules=rules,
            archive_format=self.archive_format,
            max_attempts=self.attempts,
            scratch=scratch,
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


class ScratchResource(dg.ConfigurableResource):
    """A folder of this machine for what is under way and for what does not fit in memory."""

    root: str = "data/scratch"

    def folder(self) -> Path:
        """Return the folder; each step makes one of its own there."""
        return Path(self.root)


class PlacesResource(dg.ConfigurableResource):
    """Which places are asked for, and in what words."""

    sources: list[str]
    templates: list[str]
    name_kinds: list[str]
    bbox: list[float]
    countries: list[str]
    feature_classes: list[str]
    min_population: int | None = None
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def settings(self) -> PlaceQuerySettings:
        """Return them as the library takes them."""
        return PlaceQuerySettings(
            sources=tuple(self.sources),
            place_filter=PlaceFilter(
                bbox=_bbox(self.bbox),
                countries=tuple(self.countries),
                feature_classes=tuple(self.feature_classes),
                min_population=self.min_population,
            ),
            templates=tuple(self.templates),
            name_kinds=tuple(self.name_kinds),
        )

    def storage(self) -> Storage:
        """Return how remote files are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None)


class GeoSubsetResource(dg.ConfigurableResource):
    """Which images count as those of a place."""

    neighbours: int = 1000
    row_filter: str = ""
    min_similarity: float | None = None
    most_a_domain: int | None = None
    safety_head: str = ""
    labels: str = ""

    def neighbour_settings(self) -> NeighbourSettings:
        """Return which images are found."""
        return NeighbourSettings(self.neighbours, self.min_similarity, self.row_filter or None)

    def image_settings(self) -> GeoSettings:
        """Return which of them are returned; with a safety head, those that it calls unsafe are not."""
        most_unsafe = MOST_UNSAFE if self.safety_head else None
        return GeoSettings(max_unsafe_score=most_unsafe, most_a_domain=self.most_a_domain)

    def safety_head_file(self) -> Path | None:
        """Return the safety head, if there is one."""
        return Path(self.safety_head) if self.safety_head else None

    def read_labels(self) -> dict[str, bool] | None:
        """Return by uid whether an image shows its place, if somebody looked."""
        return read_labels(Path(self.labels).read_bytes(), self.labels) if self.labels else None


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


def number_of(name: str, text: str, kind: Callable[[str], Number]) -> Number:
    """Return a setting as a number; :class:`BadSetting` where it is none."""
    try:
        return kind(text)
    except ValueError:
        raise BadSetting(
            "A setting is not a number",
            where=name,
            rule=f"a number such as {SETTINGS[name].default or 1}",
            got=repr(text),
            action="Correct it in .env or in the environment.",
        ) from None


def _bbox(edges: Sequence[float]) -> tuple[float, float, float, float] | None:
    if not edges:
        return None
    if len(edges) != 4:
        raise BadSetting(
            "The box of places has not four edges",
            where="MAPPOOL_PLACE_BBOX",
            rule="west,south,east,north in degrees",
            got=", ".join(map(str, edges)),
            action="Correct it, or leave it empty.",
        )
    west, south, east, north = edges
    return west, south, east, north


def resources_from(environment: Mapping[str, str]) -> dict[str, dg.ConfigurableResource]:
    """Return every resource as the settings say; what is not set has its default."""

    def setting(name: str) -> str:
        return environment.get(name, SETTINGS[name].default)

    def number(name: str, kind: Callable[[str], Number]) -> Number:
        return number_of(name, setting(name), kind)

    def optional(name: str, kind: Callable[[str], Number]) -> Number | None:
        return number(name, kind) if setting(name) else None

    def listed(name: str, separator: str = ",") -> list[str]:
        return [part.strip() for part in setting(name).split(separator) if part.strip()]

    s3_endpoint, hub_endpoint = setting("MAPPOOL_S3_ENDPOINT"), setting("MAPPOOL_HUB_ENDPOINT")
    return {
        "lake": LakeResource(root=setting("MAPPOOL_LAKE"), s3_endpoint=s3_endpoint),
        "pool": PoolResource(
            source=setting("MAPPOOL_POOL"),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
            request_cost_bytes=optional("MAPPOOL_REQUEST_COST_BYTES", int),
        ),
        "web": WebResource(
            user_agent=setting("MAPPOOL_USER_AGENT"),
            # By name: it may hold a password, and the UI shows what resources are made of.
            egress_proxy=dg.EnvVar("MAPPOOL_EGRESS_PROXY") if setting("MAPPOOL_EGRESS_PROXY") else "",
            allow_private_addresses=setting("MAPPOOL_ALLOW_PRIVATE_ADDRESSES") == "1",
            obeys_robots=setting("MAPPOOL_ROBOTS") != "0",
        ),
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
        ),
        "scratch": ScratchResource(root=setting("MAPPOOL_SCRATCH")),
        "places": PlacesResource(
            sources=listed("MAPPOOL_PLACES"),
            templates=listed("MAPPOOL_PLACE_PROMPTS", ";"),
            name_kinds=listed("MAPPOOL_PLACE_NAMES"),
            bbox=[number_of("MAPPOOL_PLACE_BBOX", part, float) for part in listed("MAPPOOL_PLACE_BBOX")],
            countries=listed("MAPPOOL_PLACE_COUNTRIES"),
            feature_classes=listed("MAPPOOL_PLACE_FEATURES"),
            min_population=optional("MAPPOOL_PLACE_MIN_POPULATION", int),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
        ),
        "geo_subset": GeoSubsetResource(
            neighbours=number("MAPPOOL_NEIGHBOURS", int),
            row_filter=setting("MAPPOOL_GEO_FILTER"),
            min_similarity=optional("MAPPOOL_GEO_MIN_SIMILARITY", float),
            most_a_domain=optional("MAPPOOL_GEO_MOST_A_DOMAIN", int),
            safety_head=setting("MAPPOOL_GEO_SAFETY_HEAD"),
            labels=setting("MAPPOOL_GEO_LABELS"),
        ),
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
