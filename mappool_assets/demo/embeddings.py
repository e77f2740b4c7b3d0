"""Synthetic embeddings with what makes real ones hard: a common offset, clusters, heavy tails, near-map negatives."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DIMENSIONS = 768
_GEOMETRY_SEED = 20_231  # the one arrangement of clusters that all synthetic rows share
_MAP_CLUSTERS = 12
_OTHER_CLUSTERS = 120
_SUBSPACE = 24  # dimensions in which rows of a cluster vary strongly
_NEAR_MAP_SHARE = 0.05  # of the non-maps: plans, satellite pictures, diagrams
_NEAR_MAP_STEP = 0.62  # how far such a cluster lies from its map cluster, in cluster radii
_TAIL_DEGREES_OF_FREEDOM = 5.0  # of Student's t, by which each row's distance from its cluster is scaled
_COSINE_RANGE = (0.10, 0.35)  # of captions and pictures in CommonPool (ViT-L/14)


class _Geometry(NamedTuple):
    offset: npt.NDArray[np.float32]  # (768,), shared by all pictures: CLIP's vectors fill a narrow cone
    map_centres: npt.NDArray[np.float32]
    near_map_centres: npt.NDArray[np.float32]
    other_centres: npt.NDArray[np.float32]
    other_weights: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float32]  # (_SUBSPACE, 768)
    caption_offset: npt.NDArray[np.float32]


@functools.cache
def _geometry() -> _Geometry:
    random = np.random.default_rng(_GEOMETRY_SEED)

    def unit(*shape: int) -> npt.NDArray[np.float32]:
        return unit_rows(random.standard_normal((*shape, DIMENSIONS), dtype=np.float32))

    maps = 0.35 * unit(1) + 0.45 * unit(_MAP_CLUSTERS)
    weights = 1 / np.arange(1, _OTHER_CLUSTERS + 1)  # Zipf: a few frequent kinds, many rare ones
    return _Geometry(
        offset=unit(1)[0],
        map_centres=maps,
        near_map_centres=maps + _NEAR_MAP_STEP * unit(_MAP_CLUSTERS),
        other_centres=0.57 * unit(_OTHER_CLUSTERS),
        other_weights=weights / weights.sum(),
        spread=unit(_SUBSPACE) * 0.12,
        caption_offset=unit(1)[0],
    )


def image_vectors(is_map: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw a picture's vector for each row.

    ``unit(offset + centre + s · (A z₁ + σ z₂))`` with the row's cluster centre, ``s²`` inverse-gamma distributed (so
    that deviations follow Student's t) and ``A`` of low rank.

    Parameters
    ----------
    is_map : array of bool, shape (n,)
    random : numpy.random.Generator

    Returns
    -------
    array of float32, shape (n, 768)
        Unit vectors.
    """
    geometry = _geometry()
    n = len(is_map)
    centre = geometry.other_centres[random.choice(_OTHER_CLUSTERS, n, p=geometry.other_weights)]
    cluster = random.integers(_MAP_CLUSTERS, size=n)
    is_near_map = ~is_map & (random.random(n) < _NEAR_MAP_SHARE)
    centre[is_near_map] = geometry.near_map_centres[cluster[is_near_map]]
    centre[is_map] = geometry.map_centres[cluster[is_map]]
    scale = np.sqrt(_TAIL_DEGREES_OF_FREEDOM / random.chisquare(_TAIL_DEGREES_OF_FREEDOM, n))
    deviation = random.standard_normal((n, _SUBSPACE), dtype=np.float32) @ geometry.spread
    deviation += 0.016 * random.standard_normal((n, DIMENSIONS), dtype=np.float32)
    return unit_rows(geometry.offset + centre + scale[:, None].astype(np.float32) * deviation)


def caption_vectors(images: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw a caption's vector for each picture, at a cosine of 0.10 to 0.35 to it.

    Parameters
    ----------
    images : array of float32, shape (n, 768)
        Unit vectors.
    random : numpy.random.Generator

    Returns
    -------
    array of float32, shape (n, 768)
        Unit vectors.
    """
    noise = random.standard_normal(images.shape, dtype=np.float32)
    noise = unit_rows(noise) + _geometry().caption_offset
    noise = unit_rows(noise - np.einsum("ij,ij->i", noise, images)[:, None] * images)
    low, high = _COSINE_RANGE
    cosine = (low + (high - low) * random.beta(3, 3, (len(images), 1))).astype(np.float32)
    sine: npt.NDArray[np.float32] = np.sqrt(1 - cosine**2)
    return cosine * images + sine * noise


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale each row to length 1."""
    norms: npt.NDArray[np.float32] = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / norms
