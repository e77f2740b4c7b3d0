"""A CLIP model of open_clip with seeded random weights, small enough for a test."""

import json
from pathlib import Path

CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


def write_tiny_clip(folder: Path, seed: int = 0, **model_cfg: object) -> str:
    """Write the model to a folder; return its name for open_clip."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    config = {**CONFIG, "model_cfg": {**CONFIG["model_cfg"], **model_cfg}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = CLIP(**config["model_cfg"]).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
