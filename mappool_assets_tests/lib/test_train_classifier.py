import dataclasses

import numpy as np
import pytest

from mappool_assets.lib.classifier_store import DOCUMENT_PATH, MODEL_PATH, classifier_record
from mappool_assets.lib.classifiers import SCIKIT_LEARN, FitSettings
from mappool_assets.lib.decision import CENTROID, KINDS, LOGISTIC_REGRESSION, SVM
from mappool_assets.lib.errors import BadSetting, BadTrainingSet, MissingInput
from mappool_assets.lib.evaluation import accuracy_table
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.train_classifier import EVALUATION_TABLE, read_splits, train
from mappool_assets_tests.hard_embeddings import hard_embeddings, write_embeddings_table, write_training_embeddings

# Fits in milliseconds; what is tested here is not how well the perceptron learns.
QUICK = FitSettings(mlp_hidden_layers=(8, 8, 8), mlp_max_iterations=5)
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture
def lake(tmp_path):
    made = Lake(str(tmp_path))
    write_training_embeddings(made)
    return made


def files(lake):
    """Name, content and time of change of all that training writes."""
    paths = (MODEL_PATH, DOCUMENT_PATH, lake.table_path(EVALUATION_TABLE))
    return [(path, lake.read_bytes(path), lake.filesystem.get_file_info(path).mtime_ns) for path in paths]


def test_stores_the_chosen_one_and_the_table(lake):
    report = train(lake, settings=QUICK)
    assert report.classifier.kind == SVM
    assert (report.training_rows, report.evaluation_rows) == (200, 100)
    assert [e.method for e in report.evaluations] == list(KINDS)
    assert all(e.rows == 100 for e in report.evaluations)
    assert set(report.seconds) == set(report.fitted_by) == set(KINDS)
    assert all(s.fit > 0 and s.predict > 0 for s in report.seconds.values())
    assert not report.is_skipped

    record = classifier_record(lake)
    assert record.classifier.classifier_id == report.classifier.classifier_id
    assert record.classifier.encoder_id == "small/seed0"
    assert record.classifier.training_set_id == "0123456789abcdef"
    assert record.evaluations == report.evaluations
    assert lake.read_table(EVALUATION_TABLE).equals(accuracy_table(report.evaluations))
    made = lake.provenance(EVALUATION_TABLE)
    assert (made.rows_in, made.rows_kept, made.rows_dropped) == (4, 4, {})
    assert made.inputs == record.inputs


def test_fits_on_training_and_evaluates_on_the_other_split(lake):
    report = train(lake, chosen=CENTROID, settings=QUICK)
    embeddings, is_map = hard_embeddings(300, draw=1, dimension=32)
    is_training = np.arange(300) % 3 < 2
    expected = embeddings[is_training & is_map].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(report.classifier.arrays["map_centroid"], expected, rtol=1e-6)
    right = report.classifier.is_map(report.classifier.scores(embeddings)) == is_map
    assert report.evaluations[0].accuracy == right[~is_training].mean()


def test_second_time_nothing_is_done(lake):
    first = train(lake, settings=QUICK)
    before = files(lake)
    second = train(lake, settings=QUICK, acceleration=SCIKIT_LEARN)  # how it is fitted is not an input
    assert second.is_skipped
    assert second.seconds == {}
    assert second.evaluations == first.evaluations
    assert second.classifier.classifier_id == first.classifier.classifier_id
    assert (second.training_rows, second.evaluation_rows) == (200, 100)
    assert files(lake) == before


def test_forced_training_gives_the_same_bytes(lake):
    train(lake, settings=QUICK)
    before = files(lake)
    assert not train(lake, settings=QUICK, force=True).is_skipped
    assert [file[:2] for file in files(lake)] == [file[:2] for file in before]
    assert files(lake) != before  # written again


@pytest.mark.parametrize(
    "change",
    [{"chosen": LOGISTIC_REGRESSION}, {"threshold": 0.25}, {"settings": dataclasses.replace(QUICK, svm_c=2.0)}],
)
def test_another_setting_trains_again(lake, change):
    first = train(lake, settings=QUICK)
    second = train(lake, **({"settings": QUICK} | change))
    assert not second.is_skipped
    assert second.classifier.classifier_id != first.classifier.classifier_id
    assert classifier_record(lake).classifier.classifier_id == second.classifier.classifier_id


@pytest.mark.parametrize("inputs", [{"encoder_id": "another"}, {"training_set_id": "another"}, {"code_version": "2"}])
def test_other_embeddings_train_again(lake, inputs):
    train(lake, settings=QUICK)
    write_training_embeddings(lake, **inputs)
    assert not train(lake, settings=QUICK).is_skipped


@pytest.mark.parametrize("path", [MODEL_PATH, DOCUMENT_PATH, Lake.table_path(EVALUATION_TABLE)])
@pytest.mark.parametrize("is_gone", [True, False])
def test_what_is_missing_or_half_replaced_is_made_anew(lake, path, is_gone):
    first = train(lake, settings=QUICK)
    before = [file[:2] for file in files(lake)]
    if is_gone:
        lake.delete(path)
    elif path == lake.table_path(EVALUATION_TABLE):
        lake.write_table(EVALUATION_TABLE, accuracy_table(first.evaluations), Provenance({"other": 1}, 4, 4))
    else:
        with lake.writing(path) as file:
            file.write_bytes(b"half of something")
    assert not train(lake, settings=QUICK).is_skipped
    assert [file[:2] for file in files(lake)] == before


def test_the_threshold_is_the_chosen_ones_only(lake):
    report = train(lake, threshold=0.25, settings=QUICK)
    assert {e.method: e.threshold for e in report.evaluations} == dict.fromkeys(KINDS, 0.0) | {SVM: 0.25}
    assert classifier_record(lake).classifier.threshold == 0.25


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(MissingInput, match="Materialise mappool/training_embeddings first"):
        train(Lake(str(tmp_path)))


@pytest.mark.parametrize(("split", "where"), [("training", "learnt"), ("evaluation", "evaluated")])
def test_one_class_in_a_split(tmp_path, split, where):
    lake = Lake(str(tmp_path))
    embeddings, is_map = hard_embeddings(60, draw=1, dimension=8)
    splits = np.where(np.arange(60) < 40, "training", "evaluation")
    is_map[splits == split] = True
    write_embeddings_table(lake, embeddings, is_map, splits.tolist())
    with pytest.raises(BadTrainingSet, match=f"Nothing can be {where}"):
        train(lake, settings=QUICK)
    assert not lake.exists(MODEL_PATH)
    assert not lake.exists(DOCUMENT_PATH)
    assert not lake.exists(lake.table_path(EVALUATION_TABLE))


def test_an_empty_evaluation_split(tmp_path):
    lake = Lake(str(tmp_path))
    embeddings, is_map = hard_embeddings(40, draw=1, dimension=8)
    write_embeddings_table(lake, embeddings, is_map, ["training"] * 40)
    with pytest.raises(BadTrainingSet, match="0 maps and 0 others"):
        train(lake, settings=QUICK)


def test_rows_of_an_unknown_split_are_not_lost_silently(tmp_path):
    lake = Lake(str(tmp_path))
    write_embeddings_table(lake, *hard_embeddings(3, draw=1, dimension=8), ["training", "evaluation", "test"])
    with pytest.raises(BadTrainingSet, match=r"splits \['test'\]"):
        train(lake)


def test_embeddings_of_unknown_origin(tmp_path):
    lake = Lake(str(tmp_path))
    write_training_embeddings(lake)
    table = lake.read_table("mappool/training_embeddings")
    lake.write_table("mappool/training_embeddings", table, Provenance({}, table.num_rows, table.num_rows))
    with pytest.raises(BadTrainingSet, match="encoder_id"):
        train(lake)


@pytest.mark.parametrize("change", [{"chosen": "forest"}, {"threshold": float("nan")}, {"threshold": float("inf")}])
def test_settings_out_of_range(lake, change):
    with pytest.raises(BadSetting):
        train(lake, **change)


def test_splits_are_read_as_they_were_written(lake):
    embeddings, is_map = hard_embeddings(300, draw=1, dimension=32)
    is_training = np.arange(300) % 3 < 2
    splits = read_splits(lake)
    assert splits["training"].embeddings.dtype == np.float16
    assert (splits["training"].embeddings == embeddings[is_training]).all()
    assert (splits["evaluation"].embeddings == embeddings[~is_training]).all()
    assert (splits["evaluation"].is_map == is_map[~is_training]).all()
