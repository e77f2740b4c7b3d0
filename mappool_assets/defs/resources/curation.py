"""What pairs are balanced by, and how far."""

from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.curation.balance_task import BalanceSettings
from mappool_assets.lib.curation.curation_settings import CurationSettings
from mappool_assets.lib.curation.entry_settings import EntrySettings, NgramSettings, TitleSettings
from mappool_assets.lib.curation.matches import MatchSettings
from mappool_assets.lib.curation.named_sources import source_fields
from mappool_assets.lib.curation.plan_settings import PlanSettings
from mappool_assets.lib.curation.unique_pairs import PairSettings
from mappool_assets.lib.places.place_filter import PlaceFilter
from mappool_assets.lib.ranged_file.base import Storage


class CurationResource(dg.ConfigurableResource):
    """By which entries pairs are balanced, and how far."""

    sources: list[str]
    min_word_count: int = 100
    min_pair_pmi: float | None = 30.0
    min_pair_count: int = 1
    text_column: str = "text"
    min_title_views: int = 70
    min_title_hour_views: int = 50
    title_domain: str = "en"
    place_feature_classes: list[str] = []  # noqa: RUF012  pydantic copies it
    place_min_population: int | None = None
    texts: str = "maps"
    is_unspaced: bool = False
    first_t: float = 170_000
    t: float = 20_000
    seeds: list[int] = [0]  # noqa: RUF012
    wanted_pairs: int | None = None
    wanted_tail_share: float | None = None
    unique_by: str = "fetched"
    text_copies: int = 1
    policy: str = "text"
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def storage(self) -> Storage:
        """Return how sources of the metadata list are read."""
        return Storage(self.s3_endpoint or None, self.hub_endpoint or None)

    def entry_settings(self, scratch: Path) -> EntrySettings:
        """Return what the metadata list is made of."""
        return EntrySettings(
            scratch=scratch,
            ngrams=NgramSettings(self.text_column, self.min_word_count, self.min_pair_pmi, self.min_pair_count),
            titles=TitleSettings(self.title_domain, self.min_title_hour_views, self.min_title_views),
            place_filter=PlaceFilter(
                feature_classes=tuple(self.place_feature_classes), min_population=self.place_min_population
            ),
            **source_fields(self.sources),
        )

    def match_settings(self, scratch: Path) -> MatchSettings:
        """Return what is matched, and how; compiled code is kept in a folder of its own."""
        return MatchSettings(self.texts, self.is_unspaced, scratch / "compiled")

    def plan_settings(self) -> PlanSettings:
        """Return for what sizes are worked out."""
        return PlanSettings(self.t, self.first_t, self.wanted_pairs, self.wanted_tail_share)

    def balance_settings(self) -> BalanceSettings:
        """Return how the first draw is made."""
        return BalanceSettings(self.first_t, self._first_seed())

    def pair_settings(self) -> PairSettings:
        """Return which pairs are the same."""
        return PairSettings(self.unique_by, self.text_copies, self._first_seed())

    def curation_settings(self) -> CurationSettings:
        """Return how the second draw is made; it refuses seeds that are none."""
        return CurationSettings(self.t, tuple(self.seeds), self.policy)

    def _first_seed(self) -> int:
        return self.curation_settings().seeds[0]


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
    """Return what pairs are balanced by, and how far."""
    return {
        "curation": CurationResource(
            sources=read.listed("MAPPOOL_ENTRIES"),
            min_word_count=read.number("MAPPOOL_ENTRY_WORD_COUNT", int),
            min_pair_pmi=read.optional("MAPPOOL_ENTRY_PAIR_PMI", float),
            min_pair_count=read.number("MAPPOOL_ENTRY_PAIR_COUNT", int),
            text_column=read.text("MAPPOOL_ENTRY_TEXT_COLUMN"),
            min_title_views=read.number("MAPPOOL_ENTRY_TITLE_VIEWS", int),
            min_title_hour_views=read.number("MAPPOOL_ENTRY_TITLE_HOUR_VIEWS", int),
            title_domain=read.text("MAPPOOL_ENTRY_TITLE_DOMAIN"),
            place_feature_classes=read.listed("MAPPOOL_ENTRY_PLACE_FEATURES"),
            place_min_population=read.optional("MAPPOOL_ENTRY_PLACE_MIN_POPULATION", int),
            texts=read.text("MAPPOOL_MATCH_TEXTS"),
            is_unspaced=read.switch("MAPPOOL_MATCH_UNSPACED"),
            first_t=read.number("MAPPOOL_BALANCE_FIRST_T", float),
            t=read.number("MAPPOOL_BALANCE_T", float),
            seeds=read.numbers("MAPPOOL_BALANCE_SEEDS", int),
            wanted_pairs=read.optional("MAPPOOL_BALANCE_PAIRS", int),
            wanted_tail_share=read.optional("MAPPOOL_BALANCE_TAIL_SHARE", float),
            unique_by=read.text("MAPPOOL_UNIQUE_BY"),
            text_copies=read.number("MAPPOOL_TEXT_COPIES", int),
            policy=read.text("MAPPOOL_CURATION_POLICY"),
            s3_endpoint=read.text("MAPPOOL_S3_ENDPOINT"),
            hub_endpoint=read.text("MAPPOOL_HUB_ENDPOINT"),
        ),
    }
