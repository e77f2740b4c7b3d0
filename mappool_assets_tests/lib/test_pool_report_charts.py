import io
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib.plots import WIDTH
from mappool_assets.lib.pool_report.charts import map_score_chart, score_chart, yield_chart
from mappool_assets.lib.report_page.axes import MOST_BARS, round_step
from mappool_assets.lib.report_page.charts import concentration_chart, steps_chart
from mappool_assets.lib.report_page.figures import as_png, as_svg

YIELDS = np.random.default_rng(0).normal(0.007, 0.001, 25_000).clip(0)
EDGES = np.linspace(-5, 5, 101)
COUNTS = np.maximum(1, 1e9 * np.exp(-((EDGES[:-1] + 1.5) ** 2))).astype(np.int64)
CHARTS = {
    "yields": lambda: yield_chart(YIELDS),
    "scores": lambda: score_chart(EDGES, COUNTS, [0.0]),
    "map scores": lambda: map_score_chart(np.arange(150), np.arange(150) ** 2, [20, 40]),
    "sizes": lambda: steps_chart({"pool": {3: 5, 9: 1}, "fetched": {4: 2}}, {4: "2", 8: "4"}, "pixels"),
    "domains": lambda: concentration_chart([1, 10, 100], [0.1, 0.5, 1.0], "maps"),
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def bars(svg):
    """Heights of the filled blue or grey rectangles, in points."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*fill: var\(--(?:blue|grey)\)', svg)
    corners = [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float) for path in paths]
    return [np.ptp(each[:, 1]) for each in corners if len(each) == 4]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_takes_colours_and_font_from_the_page_and_nothing_from_elsewhere(name):
    svg = as_svg(CHARTS[name](), name)
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert "var(--ink)" in svg
    assert "width=" not in svg.partition(">")[0]  # as wide as there is room for
    for forbidden in ("<style", "<script", "font-family", "<metadata", "<!--", "DOCTYPE"):
        assert forbidden not in svg
    assert re.findall(r"(?<!\()#[0-9a-fA-F]{6}\b", svg) == []  # a colour of its own
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', svg) == []
    assert len(svg) < 100_000


@pytest.mark.parametrize("name", CHARTS)
def test_same_numbers_same_bytes(name):
    assert as_svg(CHARTS[name](), name) == as_svg(CHARTS[name](), name)
    assert as_png(CHARTS[name]()) == as_png(CHARTS[name]())


def test_ids_of_two_charts_on_one_page_differ():
    ids = [set(re.findall(r' id="([^"]*)"', as_svg(CHARTS["yields"](), name))) for name in ("one", "two")]
    assert ids[0]
    assert ids[0] & ids[1] == set()


def test_pngs_fit_the_ui_and_are_light():
    image = Image.open(io.BytesIO(as_png(CHARTS["yields"]())))
    assert image.format == "PNG"
    assert abs(image.width - WIDTH) <= 1
    assert np.asarray(image.convert("L")).mean() > 180


@pytest.mark.parametrize(
    "yields", [[0.0], [1.0], [0.007] * 9, [0.0, 1.0], [0.0070, 0.0071], YIELDS], ids=lambda yields: str(yields[:2])
)
def test_every_shard_is_in_one_bar_of_at_most_forty_odd(yields):
    svg = as_svg(yield_chart(yields), "yields")
    heights = np.array([height for height in bars(svg) if height > 0])
    assert 1 <= len(heights) <= MOST_BARS + 1
    counts = heights / heights.sum() * len(yields)
    np.testing.assert_allclose(counts, np.round(counts), atol=max(0.01, 1e-4 * len(yields)))


def test_the_bars_of_yields_are_a_histogram():
    yields = [0.011, 0.012, 0.029, 0.031, 0.0399, 0.05]  # steps of 1 %: 2, 1, 2, 0, 1
    heights = [height for height in bars(as_svg(yield_chart(yields), "y")) if height > 0]
    np.testing.assert_allclose(np.array(heights) / min(heights), [2, 1, 2, 1], atol=0.01)


@pytest.mark.parametrize("thresholds", [[0.0], [-7.0], [7e5], [0.1, 0.2, 0.3]])
def test_any_scores_are_drawn(thresholds):
    for counts in (COUNTS, np.eye(1, 100, 3, dtype=int)[0]):
        assert "threshold" in as_svg(score_chart(EDGES, counts, thresholds), "s")


def test_a_single_map_or_size_is_drawn():
    assert bars(as_svg(map_score_chart([7], [1], []), "m"))
    assert as_svg(steps_chart({"pool": {0: 1}}, {0: "1"}, "pixels"), "s")
    assert as_svg(concentration_chart([1], [1.0], "maps"), "d")


@pytest.mark.parametrize("least", [1e-9, 0.011, 0.1, 0.3, 1, 2, 2.01, 5.5, 99, 1e12])
def test_round_steps_are_the_least_of_their_kind(least):
    step = round_step(least)
    kinds = [factor * 10.0**power for power in range(-12, 16) for factor in (1, 2, 5)]
    assert step == pytest.approx(min(kind for kind in kinds if kind >= least * (1 - 1e-9)))


def test_no_global_figure_is_left():
    from matplotlib import pyplot

    as_png(CHARTS["yields"]())
    assert pyplot.get_fignums() == []
