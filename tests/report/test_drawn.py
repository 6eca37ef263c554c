"""Curves that are hard to draw: exact zeros, NaN, rounding noise and seeds that differ, in every picture."""

import json

import matplotlib
import numpy as np
import pytest
from adversarial import CASES, CUT, LAGS, curve_of, store, straight, with_noise, zero_from
from synthetic import put

import gradlab
from gradlab.cli.chart import chart
from gradlab.gradient.curve import GradientCurve
from gradlab.report.data import gaps
from gradlab.report.data.records import grouped, lags_of, noise_lags, read
from gradlab.report.figures import curves as panels
from gradlab.report.figures import drawing as figures
from gradlab.report.figures import explorer_data as explore
from gradlab.report.figures import leaves, overlay
from gradlab.report.page.write import write_report

matplotlib.use("Agg")
AXIS = np.arange(1, LAGS + 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return store(tmp_path_factory.mktemp("drawn"), steps=100)


def group_of(root, name):
    return next(group for group in grouped(read(root, print)) if group[0].config["cell"] == name)


def lines_of(ax):
    """Every line that is not a mark of two points, by its label."""
    found = {}
    for line in ax.get_lines():
        if len(line.get_ydata()) == LAGS:
            found.setdefault(line.get_label(), line)
    return found


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (straight(-3.0), ""),
        (zero_from(7), "zero from lag 7"),
        (np.full(LAGS, -np.inf), "exactly zero at every lag"),
        (np.where(AXIS == 5, -np.inf, 0.0), "zero at lag 5"),
        (np.where(AXIS % 4 == 1, -np.inf, 0.0), "zero at 3 of 12 lags, the first 1"),
        (np.where(AXIS == 1, np.nan, 0.0), "not finite at lag 1"),
        (np.where(AXIS > 6, -np.inf, np.where(AXIS == 2, np.inf, 0.0)), "zero from lag 7, not finite at lag 2"),
    ],
)
def test_gaps_in_words(values, words):
    assert gaps.gap(values, AXIS) == words


# ---------------------------------------------------------------- rounding noise


def test_noise_is_stored_and_read_by_lag(trained):
    arrays = group_of(trained, "late_noise")[0].arrays()
    np.testing.assert_array_equal(noise_lags(arrays, 0), AXIS >= 8)
    np.testing.assert_array_equal(noise_lags(arrays, 0, "task", "h"), AXIS >= 8)
    assert not noise_lags(group_of(trained, "agree")[0].arrays(), 0).any()


@pytest.mark.parametrize("name", ["late_noise", "single"])
def test_noise_is_dotted_and_grey_and_no_part_of_the_line(trained, name):
    drawing = panels.lag_figure("x", [group_of(trained, name)], [name])
    (ax,) = drawing.figure.axes
    lines = lines_of(ax)
    noise = lines.pop(figures.NOISE_LABEL, None)
    line = next(iter(lines.values())).get_ydata()
    if name == "single":
        assert noise is None and np.isfinite(line).all() and "noise" not in drawing.caption
        return
    np.testing.assert_array_equal(np.isfinite(line), AXIS < 8)
    np.testing.assert_array_equal(np.isfinite(noise.get_ydata()), AXIS >= 7)  # it begins at the last value
    assert noise.get_color() == figures.NOISE_COLOUR and line[6] == noise.get_ydata()[6] == pytest.approx(
        -21.82, abs=0.01
    )
    assert "rounding noise from lag 8" in texts_of(ax)
    assert "rounding noise from lag 8 (5 lags), left out of slope and verdict" in drawing.caption


def test_noise_does_not_flatten_what_is_a_value(tmp_path):
    wild = np.where(AXIS < 8, straight(-2.0), 500.0)
    noise = np.where(AXIS < 8, 0.0, 900.0)
    put(tmp_path, [curve_of(wild, noise={"h": noise, "state": noise})], steps=0, length=LAGS, status="measured")
    (ax,) = panels.probe_figure("x", [read(tmp_path, print)], ["X"]).figure.axes
    low, high = ax.get_ylim()
    assert high - low < 40


def test_a_chaotic_trajectory_is_named(trained):
    note = "one trajectory of a chaotic network: ± 60 decades"
    assert note in panels.lag_figure("x", [group_of(trained, "chaotic")], ["X"]).caption
    assert note in gradlab.plot(with_noise(8, chaotic=True)).get_title(loc="left")
    assert "chaotic" not in panels.lag_figure("x", [group_of(trained, "late_noise")], ["X"]).caption


def test_a_map_keeps_noise_apart(trained):
    drawing = panels.heat_figure("x", group_of(trained, "late_noise")[0], "X")
    assert "from -21.8 to +0.0" in drawing.caption and "Grey (zero or not finite)" not in drawing.caption
    assert (
        "Pale grey (rounding noise): training step 0 from lag 8, 10 from lag 8, 100 from lag 8." in drawing.caption
    )
    ax = drawing.figure.axes[0]
    patches = [
        patch for patch in ax.patches if patch.get_facecolor()[:3] == matplotlib.colors.to_rgb(figures.PALE)
    ]
    assert [(patch.get_x(), patch.get_width()) for patch in patches] == [(7, 5)] * 3
    assert ax.collections[0].get_array().mask.sum() == 15


def test_a_leaf_is_not_called_largest_where_there_is_no_number(tmp_path):
    dead = GradientCurve.of({"h": zero_from(7)[:, None], "c": zero_from(9)[:, None]})
    bad = GradientCurve.of({"h": straight(-1.0)[:, None], "c": np.full((LAGS, 1), np.nan)})
    noise = {"h": np.where(AXIS < 8, 0.0, 60.0), "c": np.where(AXIS < 8, 0.0, 60.0)}
    unsure = GradientCurve.of({"h": straight(-5.0)[:, None], "c": straight(-6.0)[:, None]}, noise=noise)
    for index, (curve, words) in enumerate((
        (dead, "largest in h at lag 1 and zero in every leaf at lag 12"),
        (bad, "not finite at lag 1 and not finite at lag 12"),
        (unsure, "largest in h at lag 1 and rounding noise at lag 12"),
    )):  # fmt: skip
        put(tmp_path / str(index), [curve] * 3, length=LAGS)
        (record,) = read(tmp_path / str(index), print)
        assert f"the gradient is {words} at initialisation" in leaves.leaves_figure("x", record, "X").heading


def test_the_terminal_draws_noise_as_dots():
    curve = with_noise(8)
    lines = chart({"initial": curve.summarised()}, noise={"initial": curve.is_noise()}, width=40, height=9)
    plot = "\n".join(line.partition("|")[2] for line in lines if "|" in line)
    assert "o" in plot and lines[-1] == ". rounding noise" and lines[-2] == "o initial (rounding noise from lag 8)"
    assert lines[8].strip().startswith("-40 |") and "." in plot


# ---------------------------------------------------------------- zeros, NaN and seeds that differ


def test_a_cut_gradient_has_axes_and_a_word(trained):
    (ax,) = panels.lag_figure("x", [group_of(trained, "cut")], ["X"]).figure.axes
    assert texts_of(ax)[0] == "exactly zero at every lag"
    low, high = ax.get_xlim()
    assert low < 1 and high > LAGS  # the lags are those of the curve, though no point is drawn
    assert chart({"initial": CUT.summarised()}) == ["(nothing to draw)", "o initial (exactly zero at every lag)"]


def test_words_at_one_place_stand_below_each_other(trained):
    groups = [group_of(trained, name) for name in ("cut", "noise")]
    (ax,) = panels.probe_figure("x", groups, ["A", "B"]).figure.axes
    heights = {text.get_text(): text.xyann[1] for text in ax.texts if "every lag" in text.get_text()}
    assert len(heights) == 2 and len(set(heights.values())) == 2


@pytest.mark.parametrize(
    ("name", "end", "note"),
    [
        ("one_not_finite", -5.5, "the mean leaves out 1 of 3 not finite"),
        ("one_zero", -5.5, "the mean leaves out 1 of 3 zero at some lag"),
        ("one_cut", -5.5, "the mean leaves out 1 of 3 zero at some lag"),
        ("agree", -6.0, ""),
    ],
)
def test_a_mean_is_drawn_of_the_seeds_that_have_one(trained, name, end, note):
    drawing = panels.lag_figure("x", [group_of(trained, name)], ["X"])
    line = next(iter(lines_of(drawing.figure.axes[0]).values())).get_ydata()
    assert np.isfinite(line).all() and line[-1] == pytest.approx(end)
    assert (note in drawing.caption) if note else ("leaves out" not in drawing.caption)


def test_a_zero_behind_nan_is_no_zero_and_other_seeds_keep_theirs(tmp_path):
    from gradlab.gradient.summary import NonFinite

    dead = GradientCurve.of({"h": zero_from(7)[:, None]}, non_finite=(NonFinite("h", 2, 1),))
    for seed, curve in enumerate((dead, curve_of(zero_from(9)))):
        put(tmp_path, [curve], seed=seed, steps=0, length=LAGS, status="measured")
    drawing = panels.probe_figure("x", [read(tmp_path, print)], ["X"])
    line = next(iter(lines_of(drawing.figure.axes[0]).values())).get_ydata()
    np.testing.assert_array_equal(np.isfinite(line), AXIS < 9)  # of the seed that is finite
    assert "the mean leaves out 1 of 2 not finite" in drawing.caption and "zero from lag 9" in drawing.caption


def test_sequences_of_other_lengths_end_where_they_end(tmp_path):
    """The seeds' curves may have other numbers of lags, and a curve more at one checkpoint than at another."""
    short = GradientCurve.of({"h": straight(-2.0)[:8, None]})
    put(tmp_path, [short, curve_of(straight(-3.0)), short], length=LAGS, seed=0)
    put(tmp_path, [curve_of(straight(-3.0))] * 3, length=LAGS, seed=1)
    group = read(tmp_path, print)
    assert [lags_of(group[0].arrays(), row) for row in range(3)] == [8, LAGS, 8]
    drawing = panels.lag_figure("x", [group], ["X"])
    drawn = [line.get_ydata() for line in drawing.figure.axes[0].get_lines() if line.get_label()[0] != "_"]
    assert [len(values) for values in drawn] == [8, LAGS, 8] and all(np.isfinite(values).all() for values in drawn)
    assert "not finite" not in drawing.caption
    assert "Grey" not in panels.heat_figure("y", group[0], "X").caption


def test_no_shift_between_a_zero_and_the_same_zero(tmp_path):
    dead = np.stack([zero_from(7)] * 3)
    pair = overlay.Pair(dead, dead, np.full(LAGS, 1e-4))
    paths = overlay.draw_overlay(tmp_path, "x", "heading", AXIS.tolist(), {"at initialisation": pair})
    text = paths[0].read_text()
    assert "zero from lag 7" in text and "not finite" not in text


def test_curves_to_choose_say_what_is_odd_about_them(trained):
    found = {(run["setting"], run["seed"]): run for run in explore.choices(read(trained, print))["runs"]}
    assert found["cut", 0]["odd"]["state"]["final"] == {"said": "exactly zero at every lag", "noise": []}
    assert found["late_noise", 0]["odd"]["state"]["initial"]["noise"] == list(range(7, LAGS))
    assert found["late_noise", 0]["map"][0][7:] == [None] * 5
    assert found["gap", 0]["odd"]["state"]["initial"]["said"] == "zero at lag 5"
    assert all("odd" not in found["agree", seed] for seed in range(3))


def test_the_whole_report_of_such_a_store_is_written(trained):
    paths = write_report(trained, lambda message: pytest.fail(message))
    text = paths[1].read_text()
    assert {path.suffix for path in paths} == {".html", ".md", ".csv", ".svg", ".png"}
    for name in CASES:
        assert f"| adding | {name} | 12 |" in text
    data = paths[0].read_text()
    assert json.loads(data.partition('id="choices">')[2].partition("</script>")[0])["runs"]
    assert "inf decades" not in text and "| inf" not in text
