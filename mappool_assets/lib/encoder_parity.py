"""Does the encoder make the vectors that the pool holds? Some of the pool's images are fetched and embedded to see."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.web.web_fetch import FetchRefused, WebFetcher

# DataComp's public downloader has img2dataset store JPEGs of at most 512 pixels a side; we embed the files themselves.
# Some images may therefore differ by more than rounding, which is why not all need to agree. Bounds: our choice.
COSINE_AT_LEAST = 0.99
SHARE_AT_LEAST = 0.9
VERIFIED_AT_LEAST = 8  # fewer say nothing: one image that differs would already be more than a tenth


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and what follows.

    Attributes
    ----------
    cosines : tuple of float
        Of our vector and the pool's, an entry for each image verified.
    tried : int
        Rows of the pool taken.
    refused : mapping of str to int
        Images that could not be compared, by reason: those of the fetch and of the decoder, ``sha256_changed`` (the
        address now has another file), ``zero_vector`` and
        ``vector_not_finite`` (the pool's). ``tried == verified + sum(refused.values())``.
    """

    cosines: tuple[float, ...]
    tried: int
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def verified(self) -> int:
        """Images that are the pool's, by their hash, and were compared."""
        return len(self.cosines)

    @property
    def agreeing_share(self) -> float:
        """Share of the images verified whose cosine is at least 0.99; 0 where none was."""
        return sum(cosine >= COSINE_AT_LEAST for cosine in self.cosines) / max(1, self.verified)

    @property
    def verdict(self) -> str:
        """``agrees``, ``disagrees``, or ``undecided`` where fewer than eight images were verified."""
        if self.verified < VERIFIED_AT_LEAST:
            return "undecided"
        return "agrees" if self.agreeing_share >= SHARE_AT_LEAST else "disagrees"


def measure_parity(
    encoder: ClipEncoder,
    rows: Iterable[tuple[str, str, NDArray[np.float16]]],
    fetcher: WebFetcher,
    *,
    wanted: int = 16,
    at_most: int = 200,
) -> ParityReport:
    """Embed images of the pool and compare with the pool's own vectors.

    Parameters
    ----------
    encoder : ClipEncoder
        To be checked.
    rows : iterable of (str, str, array of shape (d,))
        Address, sha256 of the image's bytes in hex, and ``l14_img``. Taken until enough images are verified.
    fetcher : WebFetcher
        Fetches the images.
    wanted : int
        Images to verify.
    at_most : int
        Rows to try, as many of the pool's addresses are dead or changed by now.

    Raises
    ------
    BadModel
        The pool's vectors are of another length than the encoder's.
    """
    refused: Counter[str] = Counter()
    expected: list[NDArray[np.float32]] = []

    def verified_images() -> Iterator[Image]:
        for url, sha256, vector in rows:
            _check_dimension(encoder, vector)
            result = _verified(url, sha256, vector, fetcher)
            if isinstance(result, str):
                refused[result] += 1
            else:
                expected.append(vector.astype(np.float32))
                yield result
            if len(expected) == wanted or len(expected) + refused.total() == at_most:
                return

    ours = encoder.embed_images(verified_images()).astype(np.float32)
    cosines = tuple(_cosine(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))
    return ParityReport(cosines, len(expected) + refused.total(), dict(sorted(refused.items())))


def _verified(url: str, sha256: str, vector: NDArray[np.float16], fetcher: WebFetcher) -> Image | str:
    """Return the image that the pool saw, or the reason why not."""
    if not np.any(vector):
        return "zero_vector"
    if not np.all(np.isfinite(vector)):
        return "vector_not_finite"
    try:
        data = fetcher.get(url)
        if hashlib.sha256(data).hexdigest() != sha256.lower():
            return "sha256_changed"
        return open_image(data)
    except (FetchRefused, ImageRefused) as refusal:
        return refusal.reason


def _check_dimension(encoder: ClipEncoder, vector: NDArray[np.float16]) -> None:
    if vector.shape != (encoder.dimension,):
        raise BadModel(
            "The encoder's vectors cannot be those of the pool",
            where=encoder.encoder_id,
            rule=f"vectors of length {vector.shape[0]}, as in the pool",
            got=f"{encoder.dimension}",
            action="Choose the encoder that the pool was made with: ViT-L-14, openai.",
        )


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
