"""A lake with a classifier of light and dark pictures, on a tiny encoder."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.publish.model_card import ModelCardSettings
from mappool_assets.lib.publish.model_files import model_files
from mappool_assets.lib.train_classifier import train
from mappool_assets.lib.training_embeddings import write_training_embeddings
from mappool_assets.lib.training_set import TrainingSetSettings, write_training_set
from mappool_assets.lib.web.web_fetch import FetchRules
from mappool_assets_tests.labelled_pictures import encoded, picture
from mappool_assets_tests.tiny_clip import write_tiny_clip


class SmallModel(NamedTuple):
    lake: Lake
    encoder: ClipEncoder

    def files(self, address: str = "published") -> dict[str, bytes]:
        return model_files(self.lake, self.encoder, ModelCardSettings(address=address))

    def publish(self, folder: Path) -> Path:
        folder.mkdir()
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
        return folder


def light(seed: int) -> Image.Image:
    """A picture that is a map, as far as the classifier has been told."""
    return Image.blend(picture(seed), Image.new("RGB", (48, 40), "white"), 0.5)


def dark(seed: int) -> Image.Image:
    return Image.blend(picture(seed), Image.new("RGB", (48, 40), "black"), 0.5)


def write_pictures(folder: Path, images_per_class: int = 30, first_seed: int = 0) -> Path:
    for label, draw in (("map", light), ("other", dark)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(images_per_class):
            seed = first_seed + number + zlib.crc32(label.encode()) % 10_000
            (folder / label / f"{number:03d}.png").write_bytes(encoded(draw(seed)))
    return folder


def build_small_model(folder: Path, kind: str = "svm_poly", threshold: float = 0.0) -> SmallModel:
    encoder = ClipEncoder(write_tiny_clip(folder / "encoder"), "", device="cpu", batch_size=4)
    lake = Lake(str(folder / "lake"))
    pictures = write_pictures(folder / "labelled")
    write_training_set(
        lake, str(pictures), TrainingSetSettings(), fetch_rules=FetchRules(), progress=lambda done, total: None
    )
    write_training_embeddings(lake, encoder, progress=lambda done, total: None)
    train(lake, kind, threshold)
    return SmallModel(lake, encoder)


_build_once = functools.cache(build_small_model)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> SmallModel:
    """One for all modules that import it; not to be changed."""
    return _build_once(tmp_path_factory.getbasetemp() / "small-model")
