"""PyTorch's CPU stands for CUDA: the same code, another memory. See also test_decision, which scores in all places."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from mappool_assets.defs.resources import FilterResource
from mappool_assets.demo.commonpool import shard_key, synthetic_rows, write_shard
from mappool_assets.lib import device_classifier
from mappool_assets.lib.classifier_store import store_classifier
from mappool_assets.lib.classifiers import fit_candidates
from mappool_assets.lib.decision import CENTROID, KINDS, LOGISTIC_REGRESSION, MLP, SVM, MapClassifier
from mappool_assets.lib.device_classifier import check_device, for_device_blocks, on_device
from mappool_assets.lib.errors import BadEnvironment, BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.model_file import ClassifierRecord
from mappool_assets.lib.pool import list_pool
from mappool_assets.lib.pool_shards import write_pool_shards
from mappool_assets.lib.ranged_file.base import Storage
from mappool_assets.lib.screen_calibration import calibrate_screen
from mappool_assets.lib.shard_maps import filter_shards, filter_tasks
from mappool_assets_tests.hard_embeddings import hard_embeddings

DIMENSION = 128
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def embeddings():
    embeddings, _ = hard_embeddings(3000, draw=2, dimension=DIMENSION)
    embeddings[[7, 1500]] = np.nan
    return embeddings


def classifier_of(kind):
    """A classifier of each kind with arrays drawn by lot."""
    random = np.random.default_rng(3)
    vectors, _ = hard_embeddings(300, draw=1, dimension=DIMENSION)
    arrays = {
        CENTROID: {"map_centroid": vectors[0], "non_map_centroid": vectors[1]},
        LOGISTIC_REGRESSION: {"coefficients": random.normal(size=DIMENSION), "intercept": [0.1]},
        MLP: {
            "weights_0": random.normal(0, 0.3, (DIMENSION, 40)),
            "bias_0": random.normal(size=40),
            "weights_1": random.normal(0, 0.3, (40, 20)),
            "bias_1": random.normal(size=20),
            "weights_2": random.normal(0, 0.3, (20, 1)),
            "bias_2": [0.1],
        },
        SVM: {"support_vectors": vectors, "dual_coefficients": random.normal(0, 0.1, 300), "intercept": [0.1]},
    }[kind]
    parameters = {"degree": 3, "gamma": 1.5, "coef0": 0.25} if kind == SVM else {}
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return MapClassifier(kind, arrays, "encoder", "set", parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64, ">f2"])
@pytest.mark.parametrize("block_rows", [None, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_numpy(kind, block_rows, number, device, embeddings):
    classifier = classifier_of(kind)
    scores = on_device(classifier, device).scores(embeddings.astype(number), block_rows)
    assert scores.dtype == np.float32
    assert np.isnan(scores).nonzero()[0].tolist() == [7, 1500]
    assert np.nanstd(scores) > 0.05  # there is something to compare
    np.testing.assert_allclose(scores, classifier.scores(embeddings), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_have_no_scores(kind, device):
    scores = on_device(classifier_of(kind), device).scores(np.empty((0, DIMENSION), np.float16))
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("number", [np.float16, np.float32])
@pytest.mark.parametrize("layout", ["read-only", "backwards", "every second", "every second column", "one row"])
def test_rows_of_any_layout_are_scored_without_a_warning_and_left_as_they_were(embeddings, layout, number):
    width = 2 * DIMENSION if layout == "every second column" else DIMENSION
    rows = np.resize(embeddings[8:400], (300, width)).astype(number)
    rows.setflags(write=layout != "read-only")
    rows = {
        "read-only": rows,
        "backwards": rows[::-1],
        "every second": rows[::2],
        "every second column": rows[:, ::2],
        "one row": rows[:1][::-1],
    }[layout]
    before, classifier = rows.copy(), classifier_of(MLP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = on_device(classifier, "cpu").scores(rows)
    np.testing.assert_allclose(scores, classifier.scores(before), rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("kind", KINDS)
def test_device_is_no_part_of_the_identity(kind):
    classifier = classifier_of(kind)
    moved = on_device(classifier, "cpu")
    assert moved.classifier_id == classifier.classifier_id
    other = dataclasses.replace(moved, threshold=0.5)
    assert other.classifier_id == dataclasses.replace(classifier, threshold=0.5).classifier_id
    assert other.device == "cpu"


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_never_leave_the_device(kind):
    # PyTorch's device without memory refuses most operands of the CPU and every way back, as CUDA does.
    moved = on_device(classifier_of(kind), "cpu")
    object.__setattr__(moved, "device", "meta")
    scores = moved._score(torch.empty((5, DIMENSION), device="meta"))
    assert (scores.device.type, scores.shape, scores.dtype) == ("meta", (5,), torch.float32)


@pytest.mark.parametrize("device", DEVICES)
def test_arrays_are_moved_once(device, embeddings):
    moved = on_device(classifier_of(SVM), device)
    moved.scores(embeddings)
    before = {name: tensor.data_ptr() for name, tensor in moved._device_operands.items()}
    moved.scores(embeddings)
    assert {name: tensor.data_ptr() for name, tensor in moved._device_operands.items()} == before
    assert {(tensor.dtype, tensor.device.type) for tensor in moved._device_operands.values()} == {
        (torch.float32, device)
    }


@pytest.mark.parametrize("device", DEVICES)
def test_rows_near_the_threshold_are_scored_in_float64(device):
    # Terms of 10^4 that cancel, and one of 10^-3 that does not: float32 loses it, float64 does not.
    random = np.random.default_rng(0)
    pairs = np.repeat(random.uniform(0.5, 1, (1000, 2)), 2, axis=0)
    arrays = {
        "support_vectors": np.vstack([pairs, [[0.1, 0.0]]]),
        "dual_coefficients": np.concatenate([np.tile([1e4, -1e4], 1000), [1.0]]),
        "intercept": np.zeros(1),
    }
    classifier = MapClassifier(SVM, arrays, "encoder", "set", {"degree": 3, "gamma": 1.0, "coef0": 0.0})
    rows = random.uniform(0.5, 1, (50, 2)).astype(np.float32)
    expected = (0.1 * rows[:, 0].astype(np.float64)) ** 3
    np.testing.assert_allclose(on_device(classifier, device).scores(rows), expected, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [0, 1, 5, 12])
def test_every_row_is_worked_once_in_blocks(rows, device):
    embeddings = np.arange(rows * 2, dtype=np.float16).reshape(rows, 2)
    seen, sizes = [], []

    def work(where, block):
        assert block.dtype == torch.float32
        assert block.device.type == device
        np.testing.assert_array_equal(block.cpu().numpy(), embeddings[where])
        seen.extend(range(where.start, where.stop))
        sizes.append(len(block))

    for_device_blocks(embeddings, work, device, 5)
    assert seen == list(range(rows))
    assert max(sizes, default=0) <= 5


@pytest.mark.parametrize("chosen", ["highest", "high"])
def test_products_are_of_full_float32_and_the_process_keeps_its_choice(chosen):
    before, during = torch.get_float32_matmul_precision(), []

    def fail(where, block):
        during.append((torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32))
        raise ValueError("a block")

    torch.set_float32_matmul_precision(chosen)
    try:
        with pytest.raises(ValueError, match="a block"):
            for_device_blocks(np.ones((3, 2), np.float32), fail, "cpu")
        assert during == [("highest", False)]
        assert torch.get_float32_matmul_precision() == chosen
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_full_device_is_an_error_that_says_what_to_do():
    def fill(where, block):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmuch more")

    with pytest.raises(BadEnvironment, match=r"Tried to allocate 20 GiB\.\. Run fewer workers") as found:
        for_device_blocks(np.ones((3, 2), np.float32), fill, "cpu")
    assert found.value.where == "cpu"


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1111", "mps", "cuda\n"])
def test_names_of_no_device_are_refused(name):
    with pytest.raises(BadSetting, match="cuda, cuda:N or cpu"):
        check_device(name)


@pytest.mark.parametrize(
    "name",
    ["cuda:999", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="it is there"))],
)
def test_a_device_that_is_not_there_is_refused_before_any_row_is_read(name):
    for check in (check_device, lambda device: on_device(classifier_of(CENTROID), device)):
        with pytest.raises(BadEnvironment, match=r"reaches no such device.*or score on the CPU") as found:
            check(name)
        assert found.value.where == name


def test_a_block_takes_the_memory_that_the_source_states():
    width, support_vectors = 768, 2000
    assert device_classifier.BLOCK_ROWS * (6 * width + 8 * support_vectors) == pytest.approx(0.17e9, rel=0.02)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """A lake with an SVM behind its screen and a listed pool of two shards."""
    folder = tmp_path_factory.mktemp("stocked")
    lake, labelled = Lake(str(folder / "lake")), synthetic_rows(400, seed=99, map_share=0.5)
    images = labelled.members["l14_img"]
    (svm,) = fit_candidates(images, labelled.is_map, encoder_id="encoder", training_set_id="set", kinds=[SVM])
    store_classifier(lake, ClassifierRecord(svm.classifier, (), {}, calibrate_screen(svm.classifier, images)))
    (folder / "pool").mkdir()
    for seed in range(2):
        write_shard(folder / "pool", shard_key("device", seed), synthetic_rows(300, seed=seed, map_share=0.2))
    write_pool_shards(lake, list_pool(str(folder / "pool"), Storage()))
    return lake


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("is_screened", [True, False])
def test_shards_filtered_on_a_device_hold_the_same_maps(stocked, is_screened, device):
    shards = [shard_key("device", seed) for seed in range(2)]
    tables = {}
    for place in (None, device):
        tasks = filter_tasks(stocked, shards, Storage(), is_screened=is_screened, device=place)
        outcomes = list(filter_shards(tasks, workers=1, force=True))
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert all((outcome.result.screen is not None) == is_screened for outcome in outcomes)
        tables[place] = [stocked.read_table("mappool/shard_maps", shard) for shard in shards]
    assert sum(table.num_rows for table in tables[None]) > 50
    for expected, found in zip(tables[None], tables[device], strict=True):
        assert found.drop_columns("map_score").equals(expected.drop_columns("map_score"))
        np.testing.assert_allclose(found["map_score"], expected["map_score"], rtol=0, atol=TOLERANCE)
    again = list(filter_shards(filter_tasks(stocked, shards, Storage(), is_screened=is_screened), workers=1))
    assert all(outcome.result.is_reused for outcome in again)  # the device is no reason to filter anew


def test_a_worker_without_the_device_fails_its_shards_with_that_error(stocked):
    tasks = filter_tasks(stocked, [shard_key("device", 0)], Storage(), device="cuda:999")
    (outcome,) = filter_shards(tasks, workers=1, force=True)
    assert isinstance(outcome.error, BadEnvironment)


@pytest.mark.parametrize("setting", ["", "cpu", "mps"])
def test_only_cuda_asks_for_another_device_than_the_cpu(setting):
    assert FilterResource(device=setting).scoring_device() is None


def test_the_step_fails_at_once_without_the_device_but_ray_looks_on_its_nodes():
    with pytest.raises(BadEnvironment, match="reaches no such device"):
        FilterResource(device="cuda:999").scoring_device()
    with pytest.raises(BadSetting, match="Correct MAPPOOL_DEVICE"):
        FilterResource(device="gpu").scoring_device()
    assert FilterResource(device="cuda:999", ray_address="auto").scoring_device() == "cuda:999"
