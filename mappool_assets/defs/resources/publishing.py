"""What is published where, and what is not."""

from pathlib import Path

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.publish.dataset_card import CardSettings
from mappool_assets.lib.publish.publish_target import PublishTarget
from mappool_assets.lib.publish.take_down import TakeDown, read_take_down
from mappool_assets.lib.publish.targets import dataset_name, dataset_target, model_target
from mappool_assets.lib.ranged_file.base import Storage


class TakeDownResource(dg.ConfigurableResource):
    """The list of what people asked to be left out."""

    source: str = ""
    s3_endpoint: str = ""
    hub_endpoint: str = ""

    def read(self) -> TakeDown:
        """Return what must be neither fetched nor published."""
        return read_take_down(self.source, Storage(self.s3_endpoint or None, self.hub_endpoint or None))


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


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
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
