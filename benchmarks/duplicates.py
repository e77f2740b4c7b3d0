"""Duplicates among images: how many of known ones are found, how many are wrong, and what it costs.

1. Real and drawn maps with a copy of each kind: the share of copies that lie within each distance of their original, by
   perceptual hash and by embedding, and how many pairs of different maps do. The embeddings are those of the demo's
   encoder, whose weights are random: they show that the search works, and say nothing of CLIP.
2. What the step keeps of these by hash: recall and precision, beside what connected components would keep. The claims
   are about drawn maps. The real ones come from the tests of one library: many are one map in another projection or
   colour, and count as different.
3. Pairs within a distance by the index, against comparing all with all: of hashes, where both find the same, and of
   embeddings, where the lists miss some.
4. The whole step on a synthetic lake and on one twice as large, each in a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness.image_lake import write_image_lake
from harness.known_duplicates import MARKED, ORIGINAL, Pictures, known_duplicates
from harness.own_process import Measured, measure
from harness.verdict import Claim, conclude, print_table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mappool_assets.demo.embeddings import image_vectors, unit_rows
from mappool_assets.demo.encoder import write_encoder
from mappool_assets.demo.picture_copies import COPIES
from mappool_assets.lib.duplicates.coarse_lists import fit_centroids, list_count
from mappool_assets.lib.duplicates.embedding_lists import EmbeddingLists
from mappool_assets.lib.duplicates.embedding_neighbours import EmbeddingNeighbours
from mappool_assets.lib.duplicates.hash_neighbours import pairs_within
from mappool_assets.lib.duplicates.look_alikes import LookAlikes
from mappool_assets.lib.duplicates.representatives import choose_representatives
from mappool_assets.lib.duplicates.unique_images import DEFAULT_SETTINGS
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.perceptual_hash import has_neighbour_within
from mappool_assets.lib.workers import available_cores

DISTANCES = (0, 2, 4, 6, 8, 10)  # pHash has as many ones as zeros, so that distances are even
SIMILARITIES = (0.9, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995)
# What another site makes of a picture without anybody's touching it.
PLAIN_COPIES = ("re-encoded, quality 70", "re-encoded, quality 30", "half as wide", "a quarter as wide", "mirrored")
PAIRS_AT_ONCE = 50_000
LEAST_RECALL, LEAST_PRECISION = 0.85, 0.9
LEAST_FOUND = 0.97  # of near embeddings
LEAST_SPEEDUP = 10.0
SQL_MEMORY = "512MB"  # little, so that what grows with the images is the step's own


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        encoder = write_encoder(Path(folder) / "encoder", seed=7)
        pictures = known_duplicates(encoder, arguments.drawn, 10 * arguments.drawn)
        found = print_embeddings_found(Path(folder) / "lists", arguments.vectors)
        runs = {rows: measure_step(Path(folder), rows) for rows in (arguments.rows, 2 * arguments.rows)}
    for origin in np.unique(pictures.origin)[::-1]:  # real ones, where there are any, and drawn ones
        print_copies_found(pictures.where(pictures.origin == origin))
        recall, precision = print_kept(pictures.where((pictures.origin == origin) & (pictures.kind != MARKED)))
    speedup = print_speed(arguments.hashes)
    print_step(runs)
    conclude(
        Claim("duplicates_embeddings_found", found, LEAST_FOUND),
        Claim("duplicates_precision", precision, LEAST_PRECISION),
        Claim("duplicates_recall", recall, LEAST_RECALL),
        Claim("duplicates", speedup, LEAST_SPEEDUP),
    )


def hash_distances(pictures: Pictures, others: Pictures) -> np.ndarray:
    """Return in how many bits pictures differ, as they are or mirrored, whichever is less."""
    pairs = (
        (pictures.hash, others.hash),
        (pictures.hash, others.mirrored_hash),
        (pictures.mirrored_hash, others.hash),
    )
    return np.minimum.reduce([np.bitwise_count(one ^ other) for one, other in pairs])


def similarities(pictures: Pictures, others: Pictures) -> np.ndarray:
    """Return the cosines of pictures' embeddings."""
    return np.vecdot(pictures.embedding.astype(np.float32), others.embedding.astype(np.float32))


def print_copies_found(pictures: Pictures) -> None:
    """Print, by kind of copy, the share within each distance of the original, and the rate of other pairs that are."""
    originals = pictures.where(pictures.kind == ORIGINAL)
    one, other = np.triu_indices(len(originals.kind), 1)
    for title, measured, limits, is_within in (
        ("bits of the perceptual hash, at most", hash_distances, DISTANCES, np.less_equal),
        ("cosine of random embeddings, at least", similarities, SIMILARITIES, np.greater_equal),
    ):
        rows = []
        for kind in (*COPIES, MARKED):
            copies = pictures.where(pictures.kind == kind)
            apart = measured(copies, originals.where(np.searchsorted(originals.family, copies.family)))
            rows.append([kind, *(f"{is_within(apart, limit).mean():.0%}" for limit in limits)])
        wrong = np.zeros(len(limits))
        for start in range(0, len(one), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            apart = measured(originals.where(one[some]), originals.where(other[some]))
            wrong += [is_within(apart, limit).sum() for limit in limits]
        rows.append([f"pairs of {len(originals.kind):,} different maps", *wrong.astype(int)])
        rows.append(["… in a million", *(f"{count / len(one) * 1e6:.2g}" for count in wrong)])
        print_table(f"{originals.origin[0]} maps and their copies: {title}", ["", *limits], rows)


def print_kept(pictures: Pictures) -> tuple[float, float]:
    """Print what is kept by hash; return recall and precision at the default distance.

    Recall is the share of plain copies that are attached to one of their family. Precision is the share of what is
    attached that is attached to one of its family; marked maps, which a hash cannot tell apart, are left out.
    """
    preferred = pictures.where(np.lexsort((pictures.kind, pictures.family, -pictures.bytes, -pictures.pixels)))
    is_plain = np.isin(preferred.kind, PLAIN_COPIES)
    rows, figures = [], {}
    for distance in DISTANCES:
        alike = LookAlikes(preferred.hash, preferred.mirrored_hash, distance)
        chosen = choose_representatives(len(preferred.kind), [alike])
        is_right = preferred.family == preferred.family[chosen.representative]
        recall, precision = (~chosen.is_kept & is_right)[is_plain].mean(), is_right[~chosen.is_kept].mean()
        figures[distance] = recall, precision
        best = best_of_component(alike, len(preferred.kind))
        in_component = (preferred.family == preferred.family[best])[best != np.arange(len(best))].mean()
        shares = (f"{share:.1%}" for share in (recall, precision, in_component))
        rows.append([f"{distance} bits", (~chosen.is_kept).sum(), *shares])
    title = f"{len(preferred.kind):,} {preferred.origin[0]} maps and copies: what the rule keeps, by hash"
    print_table(title, ["", "attached", "recall, plain copies", "precision", "… of connected components"], rows)
    return figures[DEFAULT_SETTINGS.hash_distance]


def best_of_component(alike: LookAlikes, count: int) -> np.ndarray:
    """Return the best picture of each one's connected component."""
    edges = alike.edges_to_worse(np.arange(count, dtype=np.int32))
    graph = coo_array((np.ones(len(edges.better)), (edges.better, edges.worse)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]


def print_speed(hashes: int) -> float:
    """Print what it takes to find the pairs of random hashes; return how much faster that is than all with all."""
    random = np.random.default_rng(8)
    left, right = (random.integers(0, 2**64, hashes, dtype=np.uint64) for _ in range(2))
    right[::10] = left[::10] ^ (np.uint64(1) << random.integers(0, 64, len(left[::10]), dtype=np.uint64))
    distance = DEFAULT_SETTINGS.hash_distance
    began = time.process_time()
    found = np.zeros(hashes, dtype=bool)
    for pairs in pairs_within(left, right, distance):
        found[pairs.right] = True
    indexed = time.process_time() - began
    began = time.process_time()
    expected = has_neighbour_within(right, left, distance)
    all_with_all = time.process_time() - began
    assert (found == expected).all()
    rows = [["by index", f"{indexed:.3f}"], ["all with all", f"{all_with_all:.3f}"]]
    print_table(f"{hashes:,} hashes against as many, {distance} bits", ["", "CPU s"], rows)
    return all_with_all / indexed


def print_embeddings_found(folder: Path, count: int) -> float:
    """Print what it takes to find near synthetic embeddings; return the share of them that is found.

    A tenth are copies of others, at a cosine of 0.98 to 0.999, moved in a direction in which the others vary.
    """
    random, least = np.random.default_rng(9), DEFAULT_SETTINGS.similarity
    vectors = image_vectors(np.ones(count, bool), random)
    copies = count // 10
    moved = vectors[:copies] - vectors[copies : 2 * copies]
    moved = unit_rows(moved - np.vecdot(moved, vectors[-copies:])[:, None] * vectors[-copies:])
    cosine = random.uniform(least, 0.999, (copies, 1)).astype(np.float32)
    vectors[:copies] = cosine * vectors[-copies:] + np.sqrt(1 - cosine**2) * moved
    stored, images = vectors.astype(np.float16), np.arange(count, dtype=np.int32)
    rows, pairs = [], []
    for lists in (
        1,
        list_count(count),
        10 * list_count(count),
    ):  # as fine as the last they are with millions of vectors
        (folder / str(lists)).mkdir(parents=True)
        began = time.process_time()
        dealt = EmbeddingLists(folder / str(lists), fit_centroids(stored, lists), count)
        dealt.add(images, stored)
        edges = EmbeddingNeighbours(dealt, count, least, available_cores()).edges_to_worse(images)
        pairs.append(set(zip(edges.better.tolist(), edges.worse.tolist(), strict=True)))
        name = "all with all" if lists == 1 else f"{lists} lists"
        rows.append(
            [name, f"{time.process_time() - began:.1f}", len(pairs[-1]), f"{len(pairs[-1]) / len(pairs[0]):.1%}"]
        )
    assert pairs[0] >= pairs[1] | pairs[2]
    print_table(f"{count:,} embeddings, a cosine of {least}", ["", "CPU s", "pairs", "found"], rows)
    return len(pairs[2]) / len(pairs[0])


def measure_step(folder: Path, rows: int) -> Measured:
    """Run the step on a synthetic lake."""
    lake = write_image_lake(folder / f"lake-{rows}", rows)
    return measure(prepare_step, lake.root, str(folder / "scratch"))


def prepare_step(lake_root: str, scratch: str) -> Callable[[], dict]:
    """Import; the work is the step."""
    from mappool_assets.lib import lake_sql
    from mappool_assets.lib.duplicates.unique_images import find_unique_images

    lake_sql.SQL_MEMORY = SQL_MEMORY
    return lambda: dict(find_unique_images(Lake(lake_root), Path(scratch)).rows_dropped)


def print_step(runs: dict[int, Measured]) -> None:
    """Print time and memory of the step."""
    rows = [
        [f"{rows:,} images", f"{run.seconds:.0f}", f"{run.cpu_seconds:.0f}", f"{run.peak_bytes / 1e6:,.0f}", run.result]
        for rows, run in runs.items()
    ]
    print_table(f"the whole step, SQL within {SQL_MEMORY}", ["", "seconds", "CPU s", "peak MB", "dropped"], rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawn", type=int, default=200, help="maps with copies; ten times as many have none")
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=20_000, help="of the smaller lake; 4 kB each on disk")
    return parser.parse_args()


if __name__ == "__main__":
    main()
