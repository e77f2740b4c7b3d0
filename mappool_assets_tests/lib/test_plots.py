import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib.decision import KINDS
from mappool_assets.lib.evaluation import Evaluation, wilson_interval
from mappool_assets.lib.plots import BLUE, GREY, ORANGE, accuracy_plot, score_histogram_plot

EDGES = np.linspace(-5, 5, 101)
COUNTS = np.maximum(1, 100_000 * np.exp(-((EDGES[:-1] + 1.5) ** 2))).astype(int)


def evaluation(method, right, rows):
    low, high = wilson_interval(right, rows)
    return Evaluation(method, "id", 0.0, rows, 0, 0, 0, 0, right / rows, low, high, None, 0.5, 0.5)


def table(*right, rows=1000):
    return [evaluation(method, count, rows) for method, count in zip(KINDS, right, strict=False)]


def columns_of(png, colour):
    """Which pixel columns show a colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.nonzero((np.abs(pixels - wanted).max(axis=2) <= 2).any(axis=0))[0]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_plots_fit_the_ui_and_are_light():
    for png in (accuracy_plot(table(950, 960, 970, 980)), score_histogram_plot(EDGES, COUNTS, 0.0)):
        image = Image.open(io.BytesIO(png))
        assert image.format == "PNG"
        assert image.width == 770
        assert 300 <= image.height <= 700
        assert np.asarray(image.convert("L")).mean() > 180


def test_same_numbers_same_bytes():
    assert accuracy_plot(table(950, 960), "svm_poly") == accuracy_plot(table(950, 960), "svm_poly")
    assert score_histogram_plot(EDGES, COUNTS, 0.0) == score_histogram_plot(EDGES, COUNTS, 0.0)
    assert accuracy_plot(table(950, 960)) != accuracy_plot(table(950, 961))


def test_more_methods_take_more_height():
    heights = [Image.open(io.BytesIO(accuracy_plot(table(*[950] * n)))).height for n in (1, 4)]
    assert heights[0] < heights[1]


@pytest.mark.parametrize("right", [0, 1, 500, 1000])
def test_accuracy_of_any_size_is_drawn(right):
    png = accuracy_plot(table(right, 1000))
    assert len(columns_of(png, BLUE)) > 5
    assert len(columns_of(png, ORANGE)) > 5


def test_the_chosen_method_stands_out():
    assert accuracy_plot(table(950, 960), KINDS[1]) != accuracy_plot(table(950, 960))


def test_maps_lie_right_of_the_threshold():
    png = score_histogram_plot(EDGES, COUNTS, 0.0)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    bars = Image.fromarray(pixels[len(pixels) // 3 : -len(pixels) // 4])  # without the legend and the axis
    content = io.BytesIO()
    bars.save(content, "PNG")
    line = columns_of(content.getvalue(), ORANGE)
    assert columns_of(content.getvalue(), GREY).max() <= line.max()
    assert columns_of(content.getvalue(), BLUE).min() >= line.min()


@pytest.mark.parametrize(
    "counts",
    [np.zeros(100, int), np.eye(1, 100, 3, dtype=int)[0], np.full(100, 10**9), COUNTS.tolist()],
)
@pytest.mark.parametrize("threshold", [-7.0, 0.0, 0.25, 7.0, 7e5])
def test_any_histogram_is_drawn(counts, threshold):
    assert len(columns_of(score_histogram_plot(EDGES, counts, threshold), ORANGE)) > 0


def test_one_row_is_visible_beside_a_million():
    counts = np.zeros(100, int)
    counts[40], counts[80] = 1_000_000, 1
    with_it, without = (score_histogram_plot(EDGES, c, 0.0) for c in (counts, np.where(counts == 1, 0, counts)))
    assert len(columns_of(with_it, BLUE)) > len(columns_of(without, BLUE)) - 5
    assert with_it != without


def test_heights_are_logarithms():
    counts = np.zeros(100, int)
    counts[20], counts[50], counts[80] = 1, 10, 100
    pixels = np.asarray(Image.open(io.BytesIO(score_histogram_plot(EDGES, counts, 7.0))).convert("RGB")).astype(int)
    grey = [int(GREY[i : i + 2], 16) for i in (1, 3, 5)]
    heights = (np.abs(pixels - grey).max(axis=2) <= 2)[40:300, 60:].sum(axis=0)  # without labels and axes
    one, ten, hundred = np.unique(heights[heights > 0])
    assert abs((hundred - ten) - (ten - one)) <= 1


def test_no_label_is_cut():
    pixels = np.asarray(Image.open(io.BytesIO(score_histogram_plot(EDGES, np.full(100, 10**15), 0.0))).convert("L"))
    border = np.concatenate([pixels[:, :2].ravel(), pixels[:, -2:].ravel(), pixels[:2].ravel(), pixels[-2:].ravel()])
    assert border.min() > 230


def test_a_histogram_needs_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # its import alone would cost each run as much as 30 plots
    assert score_histogram_plot(EDGES, COUNTS, 0.0)


def test_no_global_figure_is_left():
    from matplotlib import pyplot

    score_histogram_plot(EDGES, COUNTS, 0.0)
    accuracy_plot(table(950))
    assert pyplot.get_fignums() == []
