"""The demo's encoder is the same each time, loads as open_clip's own models do, and tells most maps."""

import json

import numpy as np
import pytest
from sklearn.svm import SVC

from mappool_assets.demo.drawings import draw
from mappool_assets.demo.encoder import write_encoder
from mappool_assets.lib.encoder import ClipEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder, seed=7)
    return folder


def test_same_seed_same_bytes_and_no_global_random_state(folder, tmp_path):
    import torch

    state = torch.random.get_rng_state()
    name = write_encoder(tmp_path, seed=7)
    assert torch.equal(state, torch.random.get_rng_state())
    assert name == f"local-dir:{tmp_path}"
    for file in ("open_clip_config.json", "open_clip_model.safetensors"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
    assert set(json.loads((folder / "open_clip_config.json").read_text())) == {"model_cfg", "preprocess_cfg"}


def test_maps_can_be_told_but_not_all(folder):
    """300 to learn from, 300 to judge by."""
    encoder = ClipEncoder(model=f"local-dir:{folder}", device="cpu")
    is_map = np.arange(600) % 2 == 0
    drawings = [draw(np.random.default_rng([1, index]), is_map=truth) for index, truth in enumerate(is_map.tolist())]
    vectors = encoder.embed_images(drawing.image() for drawing in drawings).astype(np.float32)
    assert vectors.shape == (600, 768)
    accuracy = SVC(kernel="poly", degree=3).fit(vectors[:300], is_map[:300]).score(vectors[300:], is_map[300:])
    assert 0.9 < accuracy < 0.995
    texts = encoder.embed_texts([drawing.caption for drawing in drawings[:100]]).astype(np.float32)
    scores = (vectors[:100] * texts).sum(1)
    assert scores.std() > 0.02  # rows put together wrongly must be noticed
