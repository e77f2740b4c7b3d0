import numpy as np
import pytest
from scipy.stats import binom
from threadpoolctl import threadpool_limits

from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib.decision import SVM
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.screen import Screen, ScreenedClassifier
from mappool_assets.lib.screen_audit import ScreenAudit
from mappool_assets.lib.screen_calibration import calibrate_screen
from mappool_assets.lib.shard_filter import filter_shard

KEY = shard_key("screened")


@pytest.fixture(scope="module")
def svm():
    from mappool_assets.lib.classifiers import fit_candidates

    rows = synthetic_rows(900, seed=90, map_share=0.5)
    images = rows.members["l14_img"].astype(np.float32)
    (fitted,) = fit_candidates(images[:500], rows.is_map[:500], encoder_id="test", training_set_id="test", kinds=(SVM,))
    return fitted.classifier, calibrate_screen(fitted.classifier, images)


@pytest.fixture
def shard(tmp_path):
    write_shard_at = tmp_path / "pool"
    write_shard_at.mkdir()
    write_shard(write_shard_at, KEY, synthetic_rows(3_000, seed=91, map_share=0.05))
    (found,) = list_pool(str(write_shard_at), Storage()).shards
    return found


def maps_of(lake):
    return lake.read_table("mappool/shard_maps", KEY)


def test_with_and_without_screen_the_same_maps(svm, shard, tmp_path):
    classifier, screen = svm
    exact = filter_shard(shard, classifier, Lake(str(tmp_path / "exact")), Storage(), {})
    screened = filter_shard(shard, ScreenedClassifier(classifier, screen), Lake(str(tmp_path / "fast")), Storage(), {})
    assert exact.screen is None
    assert 0 < screened.screen.refused < 3_000
    sampled = -(-screened.screen.refused // 3)  # a thousand of 3,000 rows
    assert (screened.screen.sampled, screened.screen.missed) == (sampled, 0)
    assert screened.rows_dropped == exact.rows_dropped
    fast, slow = maps_of(Lake(str(tmp_path / "fast"))), maps_of(Lake(str(tmp_path / "exact")))
    assert fast.drop(["map_score"]).equals(slow.drop(["map_score"]))
    np.testing.assert_allclose(fast["map_score"].to_numpy(), slow["map_score"].to_numpy(), atol=1e-4)


def blind(classifier, screen):
    """A screen that refuses nearly everything: the bound lies far below the score."""
    parameters = {**screen.parameters, "value": screen.parameters["value"] - 100}
    return ScreenedClassifier(classifier, Screen(screen.classifier_id, screen.arrays, parameters))


def test_a_blind_screen_is_found_out_and_what_the_sample_found_is_kept(svm, shard, tmp_path):
    classifier, screen = svm
    lake = Lake(str(tmp_path / "lake"))
    report = filter_shard(shard, blind(classifier, screen), lake, Storage(), {"classifier_id": "a", "screen_id": "b"})
    audit = report.screen
    assert audit.refused == 3_000
    assert audit.missed == report.rows_kept > 0
    assert audit.missed / audit.sampled < audit.miss_rate_upper < 1
    (offending,) = lake.query(_check(), {"shards": None}).to_pylist()
    assert offending == {"shard": KEY, "missed": audit.missed, "sampled": audit.sampled, "refused": 3_000}
    (reported,) = _report(lake)
    assert reported["missed_maps_upper"] >= 3_000 * audit.miss_rate_upper
    again = filter_shard(shard, blind(classifier, screen), lake, Storage(), {})
    assert again.screen == audit  # the same rows are drawn each time


def test_the_report_where_nothing_was_refused(svm, shard, tmp_path):
    classifier, _ = svm
    lake = Lake(str(tmp_path / "lake"))
    passing = ScreenedClassifier(classifier, Screen(classifier.classifier_id, {}, {}))
    filter_shard(shard, passing, lake, Storage(), {"classifier_id": "a", "screen_id": "b"})
    (reported,) = _report(lake)
    assert (reported["refused"], reported["sampled"], reported["missed"]) == (0, 0, 0)
    assert (reported["miss_rate_upper"], reported["missed_maps_upper"]) == (0.0, 0)


def _check():
    from mappool_assets.lib import sql_files

    return sql_files.statement("checks/shard_maps_screen_missed")


def _report(lake):
    from mappool_assets.lib import sql_files

    return sql_files.run(lake, "reports/screen").to_pylist()


@pytest.mark.parametrize(("sampled", "missed"), [(1, 0), (32, 0), (2_000, 0), (2_000, 1), (2_000, 17)])
def test_the_bound_is_the_rate_at_which_so_few_misses_have_five_percent(sampled, missed):
    upper = ScreenAudit(refused=10**6, sampled=sampled, missed=missed).miss_rate_upper
    assert binom.cdf(missed, sampled, upper) == pytest.approx(0.05)


def test_the_bound_without_evidence():
    assert ScreenAudit(refused=0).miss_rate_upper == 0
    assert ScreenAudit(refused=5, sampled=5, missed=5).miss_rate_upper == 1


def test_the_same_bytes_whatever_the_number_of_threads(svm, shard, tmp_path):
    files = []
    for threads in (1, 2):
        lake = Lake(str(tmp_path / f"lake-{threads}"))
        with threadpool_limits(threads):
            filter_shard(shard, ScreenedClassifier(*svm), lake, Storage(), {})
        files.append(lake.read_bytes(f"mappool/shard_maps/{KEY}.parquet"))
    assert files[0] == files[1]
