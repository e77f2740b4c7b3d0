"""Filter one shard on local disk, npz and parquet in, kept parquet out: this project against MapPool's recipe.

The recipe is ``np.load``, ``pandas.read_parquet``, ``SVC.predict`` of the Intel extension on float32, a boolean filter
and ``to_parquet``. It is run twice, with all members of the npz and with the two alone that MapPool publishes; the
claim is against the faster.

Each run has a process of its own. The clock runs from opening the files to the written result: imports, loading the
classifier and, for the recipe, fitting the same estimator come before it, as a worker does these once for many shards.
Both read from the page cache. The bounds are meant for 200,000 rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.own_process import Measured, measure, median_by_seconds
from harness.paper import against_the_paper
from harness.verdict import Claim, conclude, print_table
from harness.world import list_into, make_lake, make_shard, scorer, training_split

from mappool_assets.lib.lake import Lake

LEAST_SPEEDUP = 5.0
MOST_MEGABYTES = 800.0
MOST_GROWTH = 1.05  # of memory, for twice the rows

PUBLISHED = ["l14_img", "l14_txt"]
COLUMNS = ["uid", "url", "text", "original_width", "original_height", "sha256", "clip_l14_similarity_score"]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mappool-benchmark-") as folder:
        root, pool = Path(folder), Path(folder) / "pool"
        lake = make_lake(root)
        shard, larger = make_shard(pool, arguments.rows), make_shard(pool, 2 * arguments.rows)
        list_into(lake, str(pool))
        runs: dict[str, list[Measured]] = {"ours": [], "recipe, all members": [], "recipe, two members": []}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute of the machine hits all
            runs["ours"].append(measure(prepare_ours, lake.root, shard))
            runs["recipe, all members"].append(measure(prepare_recipe, lake.root, pool, shard, None))
            runs["recipe, two members"].append(measure(prepare_recipe, lake.root, pool, shard, PUBLISHED))
        medians = {name: median_by_seconds(measured) for name, measured in runs.items()}
        twice = measure(prepare_ours, lake.root, larger)
    kept = [measured.result["uids"] for measured in medians.values()]
    assert kept[0] == kept[1] == kept[2] != [], "the same rows must be kept"

    ours, recipe = medians["ours"], min(list(medians.values())[1:], key=lambda run: run.seconds)
    _print_runs({**medians, "ours, twice the rows": twice}, recipe, arguments)
    print(f"the screen passed {ours.result['passed']:.1%} of the rows to the exact classifier")
    against_the_paper(ours, arguments.rows)
    conclude(
        Claim("whole_shard_memory_growth", MOST_GROWTH * ours.peak_bytes / twice.peak_bytes, 1.0),
        Claim("whole_shard_memory", MOST_MEGABYTES * 1e6 / max(ours.peak_bytes, twice.peak_bytes), 1.0),
        Claim("whole_shard", recipe.seconds / ours.seconds, LEAST_SPEEDUP),
    )


def prepare_ours(lake_root: str, key: str) -> Callable[[], dict]:
    """Load what a worker of ``shard_maps`` loads; the work is one shard."""
    from mappool_assets.lib.pool_shards import known_shards
    from mappool_assets.lib.ranged_file.base import Storage
    from mappool_assets.lib.shard_filter import TABLE, filter_shard

    lake = Lake(lake_root)
    shard, score_with = known_shards(lake)[key], scorer(lake)
    score_with.scores(training_split(lake).embeddings)  # what is made on first use

    def work() -> dict:
        report = filter_shard(shard, score_with, lake, Storage(), inputs={})
        uids = lake.read_table(TABLE, key, columns=["uid"])["uid"].to_pylist()
        passed = 1 - report.screen.refused / report.rows_in if report.screen else 1.0
        return {"uids": uids, "bytes_read": report.bytes_read, "passed": passed}

    return work


def prepare_recipe(lake_root: str, pool: Path, key: str, members: list[str] | None) -> Callable[[], dict]:
    """Fit the same estimator; the work is one shard by the recipe."""
    import numpy as np
    import pandas

    from mappool_assets.lib.classifiers import DEFAULT_SETTINGS, new_estimator
    from mappool_assets.lib.decision import SVM

    training = training_split(Lake(lake_root))
    estimator = new_estimator(SVM, training.embeddings, DEFAULT_SETTINGS, is_accelerated=True)
    estimator.fit(training.embeddings.astype(np.float64), training.is_map.astype(np.int64))
    estimator.predict(training.embeddings.astype(np.float32))  # what is made on first use

    def work() -> dict:
        with np.load(pool / f"{key}.npz") as archive:
            vectors = {name: archive[name] for name in members or archive.files}
        metadata = pandas.read_parquet(pool / f"{key}.parquet")
        is_map = estimator.predict(vectors["l14_img"].astype(np.float32)).astype(bool)
        kept = metadata.loc[is_map, COLUMNS]
        kept = kept.assign(**{name: list(vectors[name][is_map]) for name in PUBLISHED})
        kept.to_parquet(pool / f"{key}.maps.tmp")
        return {"uids": kept["uid"].to_list()}

    return work


def _print_runs(runs: dict[str, Measured], recipe: Measured, arguments: argparse.Namespace) -> None:
    rows = [
        [
            name,
            f"{run.seconds:.2f}",
            f"{run.cpu_seconds:.2f}",
            f"{run.peak_bytes / 1e6:,.0f}",
            len(run.result["uids"]),
            f"{recipe.seconds / run.seconds:.2f}",
        ]
        for name, run in runs.items()
    ]
    print_table(
        f"one shard of {arguments.rows:,} rows on local disk, median of {arguments.repeats}",
        ["", "seconds", "CPU s", "peak MB", "kept", "× faster"],
        rows,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000, help="of the shard; memory is also taken at twice as many")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
