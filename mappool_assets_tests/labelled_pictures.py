"""Small drawings, each unlike the others, as a folder per class."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """Return an image of large random patches: far, in perceptual hash, from that of any other seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def write_classes(folder: Path, images_per_class: int = 12, first_seed: int = 0) -> Path:
    for position, label in enumerate(("map", "photo")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(images_per_class):
            seed = first_seed + 10_000 * position + number
            (folder / label / f"{seed:05d}.png").write_bytes(encoded(picture(seed)))
    return folder
