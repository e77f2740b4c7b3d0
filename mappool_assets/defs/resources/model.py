"""What the classifier learns from, and the encoder that it stands on."""

import dagster as dg

from mappool_assets.defs.settings import SettingsReader
from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.training_set import TrainingSetSettings


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


def resources(read: SettingsReader) -> dict[str, dg.ConfigurableResource]:
    """Return what the classifier learns from."""
    return {
        "training_images": TrainingImagesResource(
            source=read.text("MAPPOOL_TRAINING_IMAGES"), positive_label=read.text("MAPPOOL_POSITIVE_LABEL")
        ),
        "encoder": EncoderResource(
            model=read.text("MAPPOOL_ENCODER_MODEL"),
            pretrained=read.text("MAPPOOL_ENCODER_PRETRAINED"),
            device=read.text("MAPPOOL_DEVICE"),
        ),
        "classifier_choice": ClassifierResource(
            method=read.text("MAPPOOL_CLASSIFIER"), threshold=read.number("MAPPOOL_THRESHOLD", float)
        ),
    }
