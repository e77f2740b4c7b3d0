"""What must be true of an index, and what is measured of it: faults as rows, figures as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.retrieval.calibration import LEAST_RECALL, Probes
from mappool_assets.lib.retrieval.index_ledger import IndexedShard, read_ledger
from mappool_assets.lib.retrieval.index_places import file_sizes
from mappool_assets.lib.retrieval.index_probes import draw_probes, true_neighbours
from mappool_assets.lib.retrieval.inverted_lists import imbalance_factor
from mappool_assets.lib.retrieval.neighbour_tasks import SHARD_MAPS
from mappool_assets.lib.retrieval.quantiser_store import IndexFigures
from mappool_assets.lib.retrieval.row_file import stream_sha256
from mappool_assets.lib.retrieval.row_similarity import exact_similarities
from mappool_assets.lib.retrieval.search import ImageSearch
from mappool_assets.lib.retrieval.shard_vectors import choose_rows, maps_made_from, read_rows
from mappool_assets.lib.row_blocks import Float32, as_float32

# Between a row and what its code says; measured on a million rows: 0.91 on average, 0.78 at least; at width 64 0.58 is
# five standard deviations off. Two images of a pool have some 0.45, two neighbours 0.8: of a thousand rows that are out
# of step most are found out.
LEAST_CODE_COSINE = 0.58
# A quantiser is for as many rows as it was trained with: with four times as many, lists are twice as long as the rule
# would make them. Lists that are half as uneven again make searches so much slower.
MOST_GROWTH, MOST_IMBALANCE = 4.0, 1.5


@dataclass(frozen=True)
class IndexFault:
    """A shard, the rule that it breaks, and what was found."""

    shard: str
    rule: str
    found: str


@dataclass(frozen=True)
class Recall:
    """Share of the true k nearest images that a search finds, mean over the probes of a kind; NaN without any."""

    k: int
    images: float
    texts: float

    @property
    def is_enough(self) -> bool:
        """Whether what was measured is what an index must reach."""
        return not (self.images < LEAST_RECALL or self.texts < LEAST_RECALL)


@dataclass(frozen=True)
class ListDrift:
    """How an index differs from what its quantiser was trained for.

    Attributes
    ----------
    rows, rows_at_training : int
    imbalance_factor, imbalance_factor_at_training : float
        See :func:`~mappool_assets.lib.retrieval.inverted_lists.imbalance_factor`.
    is_retraining_due : bool
        More than four times the rows, or more than one and a half times the imbalance: build with ``rebuild``.
    """

    rows: int
    rows_at_training: int
    imbalance_factor: float
    imbalance_factor_at_training: float

    @property
    def is_retraining_due(self) -> bool:
        """Whether a new quantiser would be markedly better."""
        has_grown = self.rows > MOST_GROWTH * self.rows_at_training
        return has_grown or self.imbalance_factor > MOST_IMBALANCE * self.imbalance_factor_at_training


def count_faults(lake: Lake) -> list[IndexFault]:
    """Return shards whose index is missing, superfluous, out of date, or of another number of rows than their maps."""
    shards = {shard.shard: shard for shard in read_ledger(lake) if not shard.is_removed}
    maps = maps_made_from(lake, sorted({*shards, *lake.partitions(SHARD_MAPS)}))
    sizes, faults = file_sizes(lake), []
    for key, made in maps.items():
        if not isinstance(made, Provenance):
            faults.append(IndexFault(key, "maps that say what made them", str(made or "none")))
        elif key not in shards:
            faults.append(IndexFault(key, "an index of the maps", "none"))
        else:
            faults += _differences(shards[key], made, sizes)
    return faults


def damaged_files(lake: Lake) -> list[IndexFault]:
    """Read all files of the index, those of rows too; return those whose content the ledger does not know."""
    shards = [shard for shard in read_ledger(lake) if not shard.is_removed]
    files = [(shard.shard, shard.rows_path, shard.rows_sha256) for shard in shards]
    files += [(shard.shard, shard.index_path, shard.sha256) for shard in shards if shard.quantiser_id is not None]
    present = [file for file in files if lake.exists(file[1])]

    def found(file: tuple[str, str, str]) -> str:
        with lake.filesystem.open_input_stream(file[1]) as stream:
            return stream_sha256(stream)

    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(found, present))
    return [
        IndexFault(shard, f"{path} of sha256 {expected}", f"sha256 {sha256}")
        for (shard, path, expected), sha256 in zip(present, hashes, strict=True)
        if sha256 != expected
    ]


def alignment_faults(lake: Lake, search: ImageSearch, count: int = 1000, seed: int = 0) -> list[IndexFault]:
    """Compare a sample of rows of the maps with what the index has at their positions.

    The stored row must be the same bits, and the code's vector must be near it; a row that is zero or not finite must
    not be in the lists.
    """
    chosen = choose_rows({shard.shard: shard.rows for shard in search.shards}, count, seed)
    places = {shard.shard: shard for shard in search.shards}
    drawn = {shard: (rows, read_rows(lake, shard, rows)) for shard, rows in chosen.items()}
    faults = []
    for shard, (rows, vectors) in drawn.items():
        stored = search.vectors(places[shard].ids(rows))
        for row in rows[(stored.view(np.uint16) != vectors.view(np.uint16)).any(axis=1)].tolist():
            faults.append(IndexFault(shard, f"row {row} as in the maps", "another vector in the file of rows"))
    if search.lists is not None and drawn:
        owners = [(shard, int(row)) for shard, (rows, _) in drawn.items() for row in rows]
        positions = np.array([places[shard].first_position + row for shard, row in owners])
        sampled = as_float32(np.concatenate([vectors for _, vectors in drawn.values()]))
        cosines = _cosines(sampled, search.lists.decoded(positions))
        has_direction = np.isfinite(_cosines(sampled, sampled))
        is_wrong = np.where(has_direction, ~(cosines >= LEAST_CODE_COSINE), np.isfinite(cosines))
        faults += [
            IndexFault(owners[n][0], f"row {owners[n][1]} within {LEAST_CODE_COSINE} of its code", f"{cosines[n]:.3f}")
            for n in np.flatnonzero(is_wrong)
        ]
    return faults


def measured_recall(
    lake: Lake,
    search: ImageSearch,
    ks: Iterable[int] = (10, 1000),
    *,
    probes: int = 100,
    seed: int = 1,
    texts: Float32 | None = None,
) -> list[Recall]:
    """Compare searches with the exact scan, for images and texts apart.

    Parameters
    ----------
    ks : iterable of int
        At least 2. Beyond a fortieth of the rows the search is exact anyway; k beyond all rows that can be found is
        left out.
    probes : int
        Of each kind, about: images of the index, where finding the probe itself does not count, and captions;
        others than those that the calibration took.
    texts : float32 array of shape (q, d), optional
        Unit vectors to use instead of captions, for instance those of ``place_queries``.
    """
    wanted = [k for k in ks if k < sum(shard.rows_indexed for shard in search.shards)]
    if not wanted:
        return []
    images, captions = draw_probes(lake, search, probes, max(wanted), seed)
    if texts is not None:
        captions = Probes(texts, true_neighbours(search, texts, max(wanted)), np.full(len(texts), -1))
    return [Recall(k, _share_found(search, images, k), _share_found(search, captions, k)) for k in wanted]


def list_drift(search: ImageSearch, figures: IndexFigures) -> ListDrift | None:
    """Return how uneven the lists are by now; None where there are none."""
    if search.lists is None:
        return None
    factor = imbalance_factor(search.lists.sizes())
    return ListDrift(search.lists.rows, figures.rows, factor, figures.imbalance_factor)


def _differences(shard: IndexedShard, maps: Provenance, sizes: Mapping[str, int]) -> Iterator[IndexFault]:
    if (shard.fingerprint, shard.rows) != (maps.fingerprint, maps.rows_kept):
        rule = f"{maps.rows_kept} rows of {maps.fingerprint}, as the maps"
        yield IndexFault(shard.shard, rule, f"{shard.rows} rows of {shard.fingerprint}")
    expected = {shard.rows_path: shard.rows_bytes, shard.index_path: shard.bytes}
    for path in shard.paths:
        if sizes.get(path) != expected[path]:
            yield IndexFault(shard.shard, f"{path} of {expected[path]} bytes", f"{sizes.get(path, 'no')} bytes")


def _share_found(search: ImageSearch, probes: Probes, k: int) -> float:
    # Not which ids are found counts but how near these are: a copy of an image, which ties with it, is as good.
    shares = []
    for query, nearest, own in zip(probes.queries, search.ids_of(probes.nearest[:, :k]), probes.own, strict=True):
        least = exact_similarities(query, search.vectors(nearest[-1:]))[0]
        found = search.search(query[np.newaxis], k)[0]
        is_hit = found.similarities >= least
        if own >= 0:
            is_hit &= found.ids != search.ids_of(own[np.newaxis])
        wanted = len(nearest) - (own >= 0)
        shares.append(min(int(is_hit.sum()), wanted) / wanted)
    return float(np.mean(shares)) if shares else float("nan")


def _cosines(one: Float32, other: Float32) -> Float32:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.vecdot(one, other) / np.sqrt(np.vecdot(one, one) * np.vecdot(other, other))
