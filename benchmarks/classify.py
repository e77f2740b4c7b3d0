"""How fast a pool's embeddings are classified by the SVM: behind its screen, exactly, and by scikit-learn.

    python benchmarks/classify.py [--rows 500000] [--seed 1] [--repeats 3]

Every figure starts from the float16 embeddings of a shard and includes their conversion, except those of the bare
product. The rival from Intel is fitted and applied in float32, in which it is fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mappool_assets.lib.classifiers import DEFAULT_SETTINGS, fit_candidates, new_estimator
from mappool_assets.lib.decision import LOGISTIC_REGRESSION, SVM, MapClassifier
from mappool_assets.lib.screen import COARSE, Screen, ScreenedClassifier
from mappool_assets.lib.screen_calibration import calibrate_screen

DIMENSION = 768
TRAINING_SHARES = 0.5, 0.15  # maps, and near-maps among the others: negatives for training are chosen to be hard
POOL_SHARES = 0.01, 0.05
TRAINING_ROWS, EVALUATION_ROWS = 3_720, 2_480  # MapPool's, half of them maps
DRAW_ROWS = 8_192
CHUNK_ROWS = 50_000  # what a rival is given at a time: 154 MB of float32
PRODUCT_ROWS = 4_096  # of 2,048, 4,096, 20,000 and all rows at a time the fastest bare product
SCIKIT_LEARN_ROWS = 4_000  # it takes minutes for all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()

    training, is_map = draw(TRAINING_ROWS, TRAINING_SHARES, settings.seed)
    held_out = draw(EVALUATION_ROWS, TRAINING_SHARES, settings.seed + 1)
    classifier = fitted(training, is_map, held_out)
    start = time.perf_counter()
    screen = calibrate_screen(classifier, np.concatenate([training, held_out[0]]))
    print(f"screen calibrated in {time.perf_counter() - start:.1f} s on {TRAINING_ROWS + EVALUATION_ROWS:,} rows")
    pool, _ = draw(settings.rows, POOL_SHARES, settings.seed + 2)

    rivals = {package: fitted_rival(package, training, is_map) for package in ("sklearnex", "sklearn")}
    screened = ScreenedClassifier(classifier, screen)
    methods: dict[str, Callable[[], np.ndarray]] = {
        "screened": lambda: screened.scores(pool) > screened.threshold,
        "exact": lambda: classifier.scores(pool) > classifier.threshold,
        "intelex": lambda: predict(rivals["sklearnex"], pool),
        "product": lambda: product(classifier, pool),
        "scikit-learn": lambda: predict(rivals["sklearn"], pool[:SCIKIT_LEARN_ROWS]),
    }
    seconds, answers = timed(methods, settings.repeats)
    seconds["scikit-learn"] *= len(pool) / len(answers["scikit-learn"])
    print_rows(screen, pool, answers)
    report(seconds, settings.rows)


def draw(rows: int, shares: tuple[float, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw float16 unit vectors and which of them are maps.

    Twelve clusters of maps, thirty of others, ``shares`` of all rows that are maps and of the others that are drawn
    towards a cluster of maps, deviations in every dimension with Student's t of 3 degrees of freedom. Sizes found by
    trial so that the SVM beats the linear model.
    """
    world = np.random.default_rng(20_240)  # one arrangement of clusters for all draws
    shared = world.standard_normal(DIMENSION, dtype=np.float32)
    maps, others = (0.55 * world.standard_normal((n, DIMENSION), dtype=np.float32) for n in (12, 30))
    map_share, near_map_share = shares
    random = np.random.default_rng([seed, rows])
    embeddings, is_map = np.empty((rows, DIMENSION), np.float16), random.random(rows) < map_share
    for block in blocks(rows, DRAW_ROWS):
        truth = is_map[block]
        centre = np.where(truth[:, None], maps[random.integers(0, 12, len(truth))], 0)
        centre[~truth] = others[random.integers(0, 30, (~truth).sum())]
        near = ~truth & (random.random(len(truth)) < near_map_share)
        centre[near] = 0.55 * centre[near] + 0.45 * maps[random.integers(0, 12, near.sum())]
        spread = random.standard_gamma(1.5, centre.shape, dtype=np.float32) / 1.5
        vectors = shared + centre + 0.6 * random.standard_normal(centre.shape, dtype=np.float32) / np.sqrt(spread)
        embeddings[block] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return embeddings, is_map


def fitted(training: np.ndarray, is_map: np.ndarray, held_out: tuple[np.ndarray, np.ndarray]) -> MapClassifier:
    candidates = fit_candidates(
        training, is_map, encoder_id="generated", training_set_id="generated", kinds=(LOGISTIC_REGRESSION, SVM)
    )
    for candidate in candidates:
        classifier = candidate.classifier
        accuracy = (classifier.is_map(classifier.scores(held_out[0])) == held_out[1]).mean()
        print(f"{classifier.kind:<20} {accuracy:.1%} of {len(held_out[1]):,} held-out rows right")
    print(f"{len(classifier.arrays['support_vectors']):,} support vectors")
    return classifier


def fitted_rival(package: str, training: np.ndarray, is_map: np.ndarray):
    estimator = new_estimator(SVM, training, DEFAULT_SETTINGS, is_accelerated=package == "sklearnex")
    return estimator.fit(training.astype(np.float32), is_map.astype(np.int64))


def predict(estimator, pool: np.ndarray) -> np.ndarray:
    chunks = [estimator.predict(pool[rows].astype(np.float32)) for rows in blocks(len(pool), CHUNK_ROWS)]
    return np.concatenate(chunks).astype(bool)


def product(classifier: MapClassifier, pool: np.ndarray) -> np.ndarray:
    """Multiply as many float32 rows with the support vectors, always the same rows, so that nothing is converted."""
    block, support = pool[:PRODUCT_ROWS].astype(np.float32), classifier.arrays["support_vectors"].T
    result = np.empty((len(block), support.shape[1]), dtype=np.float32)
    for rows in blocks(len(pool), len(block)):
        size = rows.stop - rows.start
        np.matmul(block[:size], support, out=result[:size])
    return result


def timed(methods: dict[str, Callable], repeats: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the median seconds of each method, all of them run in turn, and the last answers."""
    runs: dict[str, list[float]] = {name: [] for name in methods}
    answers = {}
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            answers[name] = method()
            runs[name].append(time.perf_counter() - start)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {repeats} runs")
    return {name: statistics.median(seconds) for name, seconds in runs.items()}, answers


def print_rows(screen: Screen, pool: np.ndarray, answers: dict[str, np.ndarray]) -> None:
    coarse = np.concatenate([screen.bounds(pool[rows], COARSE) for rows in blocks(len(pool), CHUNK_ROWS)])
    shares = {
        "the coarse stage": (coarse > screen.parameters["threshold"]).mean(),
        "both stages": screen.passes(pool).mean(),
        "the exact score": answers["exact"].mean(),
    }
    print("\n".join(f"{share:.2%} of {len(pool):,} rows pass {name}" for name, share in shares.items()))
    for name in ("exact", "intelex"):
        missed = int((answers[name] & ~answers["screened"]).sum())
        extra = int((answers["screened"] & ~answers[name]).sum())
        print(f"screened against {name}: {missed} of {answers[name].sum():,} kept rows missed, {extra} extra")


def report(seconds: dict[str, float], rows: int) -> None:
    names = {
        "screened": "screened, then exact",
        "exact": "exact step alone",
        "product": "bare float32 product",
        "intelex": "scikit-learn-intelex SVC.predict",
        "scikit-learn": f"scikit-learn SVC.predict, from {SCIKIT_LEARN_ROWS:,} rows",
    }
    print(f"\n| {rows:,} embeddings | seconds | screened is faster by |\n|---|---|---|")
    for name, text in names.items():
        print(f"| {text} | {seconds[name]:.2f} | {seconds[name] / seconds['screened']:.1f} × |")
    print()
    claims = [
        ("exact step's share of the bare product's rate", seconds["product"] / seconds["exact"], 0.65),
        ("exact step against scikit-learn-intelex", seconds["intelex"] / seconds["exact"], 1.15),
        ("screened against scikit-learn", seconds["scikit-learn"] / seconds["screened"], 150),
        ("screened against scikit-learn-intelex", seconds["intelex"] / seconds["screened"], 8),
    ]
    for claim, figure, bound in claims:
        line = {"claim": claim, "figure": round(figure, 2), "unit": "ratio", "at_least": bound, "machine": machine()}
        print(json.dumps(line))


def machine() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {model}"


def blocks(rows: int, size: int) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


if __name__ == "__main__":
    main()
