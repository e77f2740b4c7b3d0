"""One frozen resource a concern. The environment is read here and nowhere else in Python."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.crawl.crawl_files import CrawlListing, list_crawl
from mappool_assets.lib.device_classifier import check_device
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.geo_subset.place_labels import read_labels
from mappool_assets.lib.geo_subset.settings import GeoSettings
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.map_images.map_images import ImageSettings
from mappool_assets.lib.packed_documents.pack_task import PackSettings
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.places.place_queries import PlaceQuerySettings
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import PublishTarget
from mappool_assets.lib.publish.take_down import TakeDown, read_take_down
from mappool_assets.lib.publish.targets import dataset_name, dataset_target, model_target
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.retrieval.neighbour_tasks import NeighbourSettings
from mappool_assets.lib.training_set import TrainingSetSettings
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets.lib.web_documents.media_links import LinkSettings
from mappool_assets.lib.web_documents.natural_language import LanguageSettings
from mappool_assets.lib.web_documents.page_documents import DocumentSettings
from mappool_assets.lib.web_documents.page_items import PageSettings
from mappool_assets.lib.workers import available_cores

Resources = dict[str, dg.ConfigurableResource]
MOST_UNSAFE = 0.5  # clip-retrieval's


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
        if not self.labels:
            return None
        try:
            return read_labels(Path(self.labels).read_bytes(), self.labels)
        except OSError as error:
            raise BadSetting(
                "The labels of images cannot be read",
                where="MAPPOOL_GEO_LABELS",
                rule="the path of a CSV file",
                got=f"{self.labels}: {error.strerror}",
                action="Correct it, or leave it empty.",
            ) from error


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


def resources_from(environment: Mapping[str, str]) -> Resources:
    """Return every resource as the settings say; what is not set has its default."""
    read = SettingsReader(environment)
    return {**_of_pool(read), **_of_model(read), **_of_places(read), **_of_pages(read), **_of_publishing(read)}


def resources_from_environment() -> Resources:
    """Return every resource as the process's environment (and a ``.env`` file, which Dagster loads) sets it."""
    return resources_from(os.environ)


def _of_pool(read: SettingsReader) -> Resources:
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
        "encoder": EncoderResource(
            model=read.text("MAPPOOL_ENCODER_MODEL"),
            pretrained=read.text("MAPPOOL_ENCODER_PRETRAINED"),
            device=read.text("MAPPOOL_DEVICE"),
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
        ),
    }


def _of_model(read: SettingsReader) -> Resources:
    """Return what the classifier learns from."""
    return {
        "training_images": TrainingImagesResource(
            source=read.text("MAPPOOL_TRAINING_IMAGES"), positive_label=read.text("MAPPOOL_POSITIVE_LABEL")
        ),
        "classifier_choice": ClassifierResource(
            method=read.text("MAPPOOL_CLASSIFIER"), threshold=read.number("MAPPOOL_THRESHOLD", float)
        ),
    }


def _of_places(read: SettingsReader) -> Resources:
    """Return what a geo subset is made of."""
    s3_endpoint, hub_endpoint = read.text("MAPPOOL_S3_ENDPOINT"), read.text("MAPPOOL_HUB_ENDPOINT")
    return {
        "places": PlacesResource(
            sources=read.listed("MAPPOOL_PLACES"),
            templates=read.listed("MAPPOOL_PLACE_PROMPTS", ";"),
            name_kinds=read.listed("MAPPOOL_PLACE_NAMES"),
            bbox=read.numbers("MAPPOOL_PLACE_BBOX"),
            countries=read.listed("MAPPOOL_PLACE_COUNTRIES"),
            feature_classes=read.listed("MAPPOOL_PLACE_FEATURES"),
            min_population=read.optional("MAPPOOL_PLACE_MIN_POPULATION", int),
            s3_endpoint=s3_endpoint,
            hub_endpoint=hub_endpoint,
        ),
        "geo_subset": GeoSubsetResource(
            neighbours=read.number("MAPPOOL_NEIGHBOURS", int),
            row_filter=read.text("MAPPOOL_GEO_FILTER"),
            min_similarity=read.optional("MAPPOOL_GEO_MIN_SIMILARITY", float),
            most_a_domain=read.optional("MAPPOOL_GEO_MOST_A_DOMAIN", int),
            safety_head=read.text("MAPPOOL_GEO_SAFETY_HEAD"),
            labels=read.text("MAPPOOL_GEO_LABELS"),
        ),
    }


def _of_pages(read: SettingsReader) -> Resources:
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


def _of_publishing(read: SettingsReader) -> Resources:
    """Return what is published where."""
    s3_endpoint, hub_endpoint = read.text("MAPPOOL_S3_ENDPOINT"), read.text("MAPPOOL_HUB_ENDPOINT")
    return {
        "take_down": TakeDownResource(
            source=read.text("MAPPOOL_TAKE_DOWN"), s3_endpoint=s3_endpoint, hub_endpoint=hub_endpoint
        ),
        "publishing": PublishResource(
            target=read.text("MAPPOOL_PUBLISH_TO"),
            model_target=read.text("MAPPOOL_PUBLISH_MODEL_TO"),
            title=read.text("MAPPOOL_TITLE"),
            repository=read.text("MAPPOOL_REPOSITORY"),
            is_private=read.text("MAPPOOL_PUBLISH_PRIVATE") != "0",
            after_shards=read.number("MAPPOOL_PUBLISH_AFTER_SHARDS", int),
            hub_endpoint=hub_endpoint,
        ),
    }
