"""The settings: environment variables with their defaults and meanings, and how their values are read."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.prompts import LAION_GEO_TEMPLATE

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
    "MAPPOOL_IMAGES_OF": Setting(
        "shard_maps", "Whose images are fetched: `shard_maps`, all maps, or `balanced_pool`, those that curation drew"
    ),
    "MAPPOOL_USER_AGENT": Setting(
        "mappool-assets",
        "The name told to web servers, the first word of which robots.txt is read for; add where their operators reach "
        "you: `mappool-assets (+https://example.org/contact)`",
    ),
    "MAPPOOL_ROBOTS": Setting(
        "1",
        "0 fetches images against robots.txt and X-Robots-Tag (noai, noimageai, noindex …), and takes pages of a crawl "
        "that say noai or noindex",
    ),
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
    "MAPPOOL_CRAWL": Setting(
        "CC-MAIN-2024-22",
        "Web pages: a crawl of Common Crawl by name, the address of a list of its WARC or WAT files, or a folder or "
        "`s3://bucket/prefix` of such files",
    ),
    "MAPPOOL_CRAWL_KIND": Setting("warc", "Which files of it: `warc`, or `wat` for its media URLs alone, much faster"),
    "MAPPOOL_CRAWL_FILES": Setting("10", "Files of the crawl that are taken, drawn by chance; 0 takes all"),
    "MAPPOOL_CRAWL_SEED": Setting("0", "Decides which files are drawn"),
    "MAPPOOL_PAGE_BOILERPLATE": Setting("0", "1 keeps menus, banners and footers in documents"),
    "MAPPOOL_PAGE_LANGUAGES": Setting("", "Only pages in these languages, ISO 639 codes: `en,de`"),
    "MAPPOOL_PAGE_LANGUAGE_SCORE": Setting("0.5", "How sure a page's language must be, 0 to 1; CCNet's number"),
    "MAPPOOL_WINDOW_TOKENS": Setting(
        "256", "Tokens of text before and after an image, sound or film; Flamingo's number"
    ),
    "MAPPOOL_WINDOW_TOKENIZER": Setting("words", "What a token is: `words`, or `clip` for those of OpenAI's CLIP"),
    "MAPPOOL_PACK_FORM": Setting("tar", "How packed documents are stored: `tar` (tars in tars) or `parquet`"),
    "MAPPOOL_PACK_IMAGES_A_PAGE": Setting("5", "Images of a page that are fetched and packed; Flamingo's number"),
    "MAPPOOL_AESTHETIC_HEAD": Setting("", "safetensors file of a linear head over `l14_img` that tells beauty"),
    "MAPPOOL_ENTRIES": Setting(
        "numbers,cartography",
        "Where the metadata list comes from, separated by commas: `given:` (its JSON or text file), `numbers`, "
        "`wordnet:` (its folder or zip), `corpus:` (Wikipedia's XML dump, text, parquet), `page_views:`, `places:` (as "
        "in `MAPPOOL_PLACES`) and a path or address, `cartography`",
    ),
    "MAPPOOL_ENTRY_WORD_COUNT": Setting("100", "Least count of a word of the corpus; CLIP's number"),
    "MAPPOOL_ENTRY_PAIR_PMI": Setting(
        "30", "Least pointwise mutual information of a pair of words, in bits, MetaCLIP's number; empty takes no pairs"
    ),
    "MAPPOOL_ENTRY_PAIR_COUNT": Setting("1", "Least count of a pair of words; ask for more where the PMI is lower"),
    "MAPPOOL_ENTRY_TEXT_COLUMN": Setting("text", "The column of a corpus in parquet"),
    "MAPPOOL_ENTRY_TITLE_VIEWS": Setting("70", "Least views of a title of Wikipedia; MetaCLIP's number"),
    "MAPPOOL_ENTRY_TITLE_HOUR_VIEWS": Setting("50", "Least views in an hour for it to count; MetaCLIP's number"),
    "MAPPOOL_ENTRY_TITLE_DOMAIN": Setting("en", "Which Wikipedia's titles, as page-view files abbreviate it"),
    "MAPPOOL_ENTRY_PLACE_FEATURES": Setting("", "Only places of these feature classes, as their source has them: `P`"),
    "MAPPOOL_ENTRY_PLACE_MIN_POPULATION": Setting("", "Only places of so many people or more"),
    "MAPPOOL_MATCH_TEXTS": Setting(
        "maps", "What is curated: `maps`, the pairs that `shard_maps` kept, or `pool`, all of the pool"
    ),
    "MAPPOOL_MATCH_UNSPACED": Setting(
        "0", "1 finds entries of scripts without spaces within runs of letters, as MetaCLIP 2"
    ),
    "MAPPOOL_BALANCE_FIRST_T": Setting(
        "170000", "t of the first draw, before images are fetched; MetaCLIP's for 2.5 billion pairs"
    ),
    "MAPPOOL_BALANCE_T": Setting("20000", "t of the second draw, for training; MetaCLIP's for 400 million pairs"),
    "MAPPOOL_BALANCE_SEEDS": Setting(
        "0",
        "Seeds of the second draw, separated by commas; the first one's is the DataComp subset, and draws first too",
    ),
    "MAPPOOL_BALANCE_PAIRS": Setting("", "A wanted number of pairs, for which `balance_plan` finds t"),
    "MAPPOOL_BALANCE_TAIL_SHARE": Setting(
        "",
        "A wanted share of entries with fewer than t texts in all matches, for which `balance_plan` finds t: `0.06`",
    ),
    "MAPPOOL_UNIQUE_BY": Setting(
        "fetched",
        "Which images are the same between the draws: `fetched`, as `unique_images` says, or `listed`, by the pool's "
        "own sha256, without fetching any",
    ),
    "MAPPOOL_TEXT_COPIES": Setting("1", "Images that the same text may stay with; 0 sets no limit"),
    "MAPPOOL_CURATION_POLICY": Setting(
        "text", "`text` draws each pair, so that an image may be there with several texts; `image` one text an image"
    ),
    "MAPPOOL_SCRATCH": Setting(
        "data/scratch",
        "Local folder for downloads under way, compiled code and vectors that exceed memory; SQL spills to `TMPDIR`",
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


class SettingsReader:
    """The settings of an environment; what is not set has its default."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        """Return a setting as it stands."""
        return self._environment.get(name, SETTINGS[name].default)

    def number(self, name: str, kind: Callable[[str], Number]) -> Number:
        """Return a setting as a number; :class:`BadSetting` where it is none."""
        return _number(name, self.text(name), kind)

    def optional(self, name: str, kind: Callable[[str], Number]) -> Number | None:
        """Return a setting as a number, None where it is empty."""
        return self.number(name, kind) if self.text(name) else None

    def switch(self, name: str) -> bool:
        """Return whether a setting is on; :class:`BadSetting` where it is neither 1 nor 0."""
        text = self.text(name)
        if text not in ("0", "1"):
            raise BadSetting(
                "A setting is neither on nor off",
                where=name,
                rule="1 or 0",
                got=repr(text),
                action="Correct it in .env or in the environment.",
            )
        return text == "1"

    def listed(self, name: str, separator: str = ",") -> list[str]:
        """Return the parts of a setting."""
        return [part.strip() for part in self.text(name).split(separator) if part.strip()]

    def numbers(self, name: str, kind: Callable[[str], Number]) -> list[Number]:
        """Return the parts of a setting as numbers."""
        return [_number(name, part, kind) for part in self.listed(name)]


def _number(name: str, text: str, kind: Callable[[str], Number]) -> Number:
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
