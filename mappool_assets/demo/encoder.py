"""A small CLIP model with seeded random weights, in a folder that open_clip loads as ``local-dir:/path``.

It stands in for ViT-L/14 where that would take a download and a GPU. No gradient ever touched it: random Gabor
filters over patches, a random hidden layer, an average over the picture, and a projection that gives all directions
in which drawings vary about the same weight. That is enough to tell most maps by colour and texture. Its captions'
vectors mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mappool_assets.demo.drawings import draw

if TYPE_CHECKING:
    import torch

MODEL: dict[str, Any] = {
    "embed_dim": 768,  # as ViT-L/14, so that shards have CommonPool's widths
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 4,  # many small patches: averages over them know textures
        "width": 64,
        "head_width": 64,
        "layers": 1,
        "mlp_ratio": 8.0,
        "no_ln_pre": True,  # a normalised patch has lost its contrast
        "pool_type": "avg",
        "final_ln_after_pool": True,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49_408, "width": 64, "heads": 2, "layers": 1},
}
PREPROCESSING: dict[str, Any] = {
    "size": 64,
    "mean": [0.6, 0.6, 0.58],  # about the drawings' own
    "std": [0.28, 0.28, 0.28],
    "interpolation": "bilinear",
    "resize_mode": "squash",  # frames, legends and scale bars lie at the edges
}
_VISUAL_BLOCK = "visual.transformer.resblocks.0."
_CALIBRATION_DRAWINGS = 300  # twice as many gave the same accuracy
_SMALLEST_SHARE = 0.01  # of the largest singular value: directions weaker than that are noise and stay weak


def write_encoder(folder: Path, seed: int) -> str:
    """Write the model; the same seed gives the same bytes on the same kind of machine.

    Returns
    -------
    str
        The model's name for open_clip, ``local-dir:`` and the folder's absolute path.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):  # open_clip initialises at random; every value is replaced below
        model = open_clip.CLIP(**MODEL).eval()
    weights = {
        name: torch.from_numpy(_random_weights(name, tuple(old.shape), np.random.default_rng([seed, index])))
        for index, (name, old) in enumerate(sorted(model.state_dict().items()))
    }
    model.load_state_dict(weights)
    features = _features(model, np.random.default_rng(seed))
    centre, projection = _equalising(features, np.random.default_rng([seed, len(weights)]))
    weights["visual.ln_post.bias"], weights["visual.proj"] = torch.from_numpy(-centre), torch.from_numpy(projection)

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder.absolute()}"


def _random_weights(name: str, shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw weights that keep the scale of what passes through."""
    normal = random.standard_normal(shape, dtype=np.float32)
    if name == "logit_scale":
        return np.array(np.log(100), np.float32)  # the value CLIP's training ends at
    if name == "visual.conv1.weight":
        return _gabor_filters(shape[0], shape[2], random)
    if name.startswith("visual") and name.endswith("c_fc.bias"):
        return normal  # with the gain below: bends in many places, so that averages tell textures apart
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if "ln_" in name:
        return np.ones(shape, np.float32)
    if "positional" in name or "class" in name:
        return np.float32(0.05) * normal
    if "token" in name:
        return np.float32(0.5) * normal
    inputs = shape[1] if name.endswith("weight") else shape[0]
    gain = {"mlp.c_fc.weight": 3.0, "attn.out_proj.weight": 0.3}.get(name.removeprefix(_VISUAL_BLOCK), 1.0)
    return np.float32(gain * inputs**-0.5) * normal


def _gabor_filters(count: int, side: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw oriented waves under a Gaussian, each in a direction of colour; finer ones stronger, as edges are weak.

    Returns
    -------
    array of float32, shape (count, 3, side, side)
    """
    frequency = np.exp(random.uniform(np.log(0.02), np.log(0.4), (count, 1, 1)))  # cycles a pixel
    angle, phase = random.uniform(0, 2 * np.pi, (2, count, 1, 1))
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    x, y = (v - random.uniform(-side / 4, side / 4, (count, 1, 1)) for v in (x, y))
    width = np.minimum(0.6 / frequency, side / 2.5)
    wave = np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    wave *= np.exp(-(x**2 + y**2) / (2 * width**2))
    wave *= np.sqrt(frequency / 0.1) / np.linalg.norm(wave, axis=(1, 2), keepdims=True)
    colour = random.standard_normal((count, 3, 1, 1))
    colour /= np.linalg.norm(colour, axis=1, keepdims=True)
    return (colour * wave[:, None]).astype(np.float32)


def _features(model: Any, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return what the image tower makes of drawings before its projection; shape (drawings, width)."""
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocess = image_transform_v2(PreprocessCfg(**PREPROCESSING), is_train=False)
    images = [preprocess(draw(random, is_map=i % 2 == 0).image()) for i in range(_CALIBRATION_DRAWINGS)]
    model.visual.proj = None
    with torch.inference_mode():
        return np.concatenate([model.visual(batch).numpy() for batch in _batches(images)]).astype(np.float64)


def _batches(images: list[torch.Tensor], size: int = 50) -> list[torch.Tensor]:
    import torch

    return list(torch.stack(images).split(size))


def _equalising(
    features: npt.NDArray[np.float64], random: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the features' mean, and a projection to the embedding under which they vary alike in all directions."""
    centre = features.mean(0)
    _, strength, directions = np.linalg.svd(features - centre, full_matrices=False)
    random_basis, _ = np.linalg.qr(random.standard_normal((MODEL["embed_dim"], features.shape[1])))
    scale = 1 / (strength / strength[0] + _SMALLEST_SHARE)
    return centre.astype(np.float32), np.ascontiguousarray((directions.T * scale) @ random_basis.T, np.float32)
