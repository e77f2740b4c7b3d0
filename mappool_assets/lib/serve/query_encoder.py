"""The encoder of queries: its weights come when they are needed, on one thread that does nothing else."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadModel, MappoolError
from mappool_assets.lib.images import ImageRefused, open_image
from mappool_assets.lib.row_blocks import Float32
from mappool_assets.lib.serve.refusals import refused

REMEMBERED_TEXTS = 1_024  # 3 MB at width 768; pages and retries ask again

_DATA_URL = re.compile(r"data:[a-z0-9.+/-]*;base64,", re.IGNORECASE)


class QueryEncoder:
    """CLIP for one query after another. Call :meth:`load` and the two ``embed`` from one thread at a time.

    Attributes
    ----------
    state : str
        ``not loaded``, ``loading``, ``ready``, or ``failed: `` and why.
    """

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder
        self.state = "not loaded"
        self._failure: MappoolError | None = None
        self._remembered: OrderedDict[str, Float32] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def encoder_id(self) -> str:
        """The space of the vectors; known without weights."""
        return self.encoder.encoder_id

    def load(self) -> None:
        """Load the weights, unless they are there; a failure is kept, and raised again whenever they are needed."""
        if self.state == "ready":
            return
        if self._failure is not None:
            raise self._failure
        self.state = "loading"
        try:
            self.encoder.embed_texts(["a map"])
        except Exception as error:  # PyTorch's are of many kinds: out of memory, a driver that is too old
            failure = error if isinstance(error, MappoolError) else _unusable(self.encoder_id, error)
            self.state, self._failure = f"failed: {failure.what}", failure
            raise failure from error
        self.state = "ready"

    def remembered(self, texts: Sequence[str]) -> Float32 | None:
        """Return the vectors of texts where all were embedded lately; safe from any thread."""
        with self._lock:
            if not all(text in self._remembered for text in texts):
                return None
            for text in texts:
                self._remembered.move_to_end(text)
            return np.stack([self._remembered[text] for text in texts])

    def embed_texts(self, texts: Sequence[str]) -> Float32:
        """Return the vectors (n, d) of texts."""
        self.load()
        vectors = self.encoder.embed_texts(list(texts), np.float32)
        with self._lock:
            for text, vector in zip(texts, vectors, strict=True):
                self._remembered[text] = vector
                self._remembered.move_to_end(text)
            while len(self._remembered) > REMEMBERED_TEXTS:
                self._remembered.popitem(last=False)
        return vectors

    def embed_image(self, data: bytes, max_pixels: int, field: str) -> Float32:
        """Return the vector (d,) of an image file.

        Raises
        ------
        RequestRefused
            No image, or one of too many pixels; decided before it is decoded.
        """
        try:
            image = open_image(data, max_pixels=max_pixels)
        except ImageRefused as refusal:
            is_large = refusal.reason == "too_many_pixels"
            raise refused(
                "The image cannot be used",
                field,
                f"a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or the like, of at most {max_pixels:,} pixels",
                str(refusal),
                "Send a smaller one." if is_large else "Send an image file.",
                status=413 if is_large else 400,
            ) from None
        self.load()
        return self.encoder.embed_images([image])[0].astype(np.float32)


def image_bytes(encoded: str) -> bytes:
    """Return what base64 says, with or without ``data:…;base64,`` before it.

    >>> image_bytes("data:image/png;base64,aGk=")
    b'hi'
    """
    match = _DATA_URL.match(encoded[:100])
    try:
        data = base64.b64decode(encoded[match.end() :] if match else encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        data, got = b"", str(error)
    else:
        got = "no bytes"
    if not data:
        raise refused("The image is not base64", "image", "an image file in base64", got, "Encode the file's bytes.")
    return data


def unit_vector(vector: Float32, dimension: int, field: str) -> Float32:
    """Return a vector at length 1; refused where it has another width or no direction."""
    if vector.shape != (dimension,):
        raise refused(
            "The vector is not of the index's width",
            field,
            f"{dimension:,} numbers",
            f"{vector.size:,}",
            "Embed the query with the index's encoder, which /health names.",
        )
    exact = vector.astype(np.float64)
    length = float(np.sqrt(np.vecdot(exact, exact)))
    if not np.isfinite(length) or length < 1e-30:
        raise refused(
            "The vector has no direction", field, "numbers that are not all 0", f"length {length:g}", "Correct it."
        )
    return (exact / length).astype(np.float32)


def _unusable(encoder_id: str, error: Exception) -> BadModel:
    return BadModel(
        "The encoder cannot be used",
        where=encoder_id,
        rule="a text's vector",
        got=f"{type(error).__name__}: {error}",
        action="Look at the device and its memory, then start the service again.",
    )
