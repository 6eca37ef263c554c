"""Curves that are hard to draw: exact zeros, NaN, rounding noise and seeds that differ, in every picture."""

import json

import matplotlib
import numpy as np
import pytest
from adversarial import CASES, CUT, LAGS, curve_of, store, straight, with_noise, zero_from
from matplotlib.figure import Figure
from synthetic import falling, put

import gradlab
from gradlab.cli.chart import chart
from gradlab.gradient.curve import GradientCurve
from gradlab.report.data import gaps
from gradlab.report.data.records import grouped, lags_of, noise_lags, read
from gradlab.report.figures import curves, drawing, heat, leaves, overlay, sampling
from gradlab.report.figures.embed import embedded
from gradlab.report.figures.save import discard_drawing
from gradlab.report.figures.svg import svg
from gradlab.report.figures.ticks import PlainLogFormatter
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


def names_of(ax):
    """The names in the legend, in one line each."""
    return [" ".join(text.get_text().split()) for text in ax.get_legend().get_texts()]


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
    drawn = curves.lag_figure("x", [group_of(trained, name)], [name])
    (ax,) = drawn.figure.axes
    lines = lines_of(ax)
    noise = lines.pop(drawing.NOISE_LABEL, None)
    line = next(iter(lines.values())).get_ydata()
    if name == "single":
        assert noise is None and np.isfinite(line).all() and "noise" not in drawn.caption
        return
    np.testing.assert_array_equal(np.isfinite(line), AXIS < 8)
    np.testing.assert_array_equal(np.isfinite(noise.get_ydata()), AXIS >= 7)  # it begins at the last value
    assert noise.get_color() == drawing.NOISE_COLOUR and line[6] == noise.get_ydata()[6] == pytest.approx(
        -21.82, abs=0.01
    )
    assert all(label.endswith("(rounding noise from lag 8)") for label in names_of(ax))
    assert "rounding noise from lag 8 (5 lags), left out of slope and verdict" in drawn.caption


def test_noise_does_not_flatten_what_is_a_value(tmp_path):
    wild = np.where(AXIS < 8, straight(-2.0), 500.0)
    noise = np.where(AXIS < 8, 0.0, 900.0)
    put(tmp_path, [curve_of(wild, noise={"h": noise, "state": noise})], steps=0, length=LAGS, status="measured")
    (ax,) = curves.checkpoint_figure("x", [read(tmp_path, print)], ["X"]).figure.axes
    low, high = ax.get_ylim()
    assert high - low < 40


def test_a_chaotic_trajectory_is_named(trained):
    note = "one trajectory of a chaotic network: ± 60 decades"
    assert note in curves.lag_figure("x", [group_of(trained, "chaotic")], ["X"]).caption
    assert note in gradlab.plot(with_noise(8, chaotic=True)).get_title(loc="left")
    assert "chaotic" not in curves.lag_figure("x", [group_of(trained, "late_noise")], ["X"]).caption


def test_a_map_keeps_noise_apart(trained):
    drawn = heat.heat_figure("x", group_of(trained, "late_noise")[0], "X")
    assert "from -21.8 to +0.0" in drawn.caption and "Grey (zero or not finite)" not in drawn.caption
    assert (
        "Pale grey (rounding noise): training step 0 from lag 8, 10 from lag 8, 100 from lag 8." in drawn.caption
    )
    ax = drawn.figure.axes[0]
    patches = [patch for patch in ax.patches if patch.get_facecolor()[:3] == matplotlib.colors.to_rgb(heat.PALE)]
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


def test_a_line_is_parted_where_it_is_noise():
    ax = Figure().subplots()
    style = drawing.line_style(0)
    assert drawing.draw_line(ax, AXIS, straight(-5.0), style, label="a", noise=AXIS >= 8) == ""
    first, second, cross = ax.get_lines()
    np.testing.assert_array_equal(np.isfinite(first.get_ydata()), AXIS < 8)
    np.testing.assert_array_equal(np.isfinite(second.get_ydata()), AXIS >= 7)
    assert (second.get_label(), second.get_color()) == (drawing.NOISE_LABEL, drawing.NOISE_COLOUR)
    assert cross.get_xydata().tolist() == [[7, straight(-5.0)[6]]]
    assert [line.get_gid() for line in ax.get_lines()] == ["a0-s0-line", "a0-s0-noise", "a0-s0-mark"]


@pytest.mark.parametrize("noise", [0.0, 0.5, 20.0])
def test_a_long_curve_is_sampled_and_keeps_what_matters(noise):
    lags = np.arange(5000)
    values = 80 * np.sin(lags / 300) + noise * np.random.default_rng(0).normal(size=5000)
    values[4321], values[1234] = 999.0, -999.0
    values[4900:], unsure = -np.inf, (lags >= 4700) & (lags < 4800)
    kept = sampling.sampled(values, unsure)
    assert len(kept) <= sampling.LAGS and (np.diff(kept) > 0).all()
    # Lag 1, lag T, spikes, the last value before noise and before zeros, and the first of both.
    assert {0, 4999, 4321, 1234, 4699, 4700, 4899, 4900} <= set(kept.tolist())
    if noise == 0:
        smooth = np.interp(lags[:1000], kept, values[kept])
        np.testing.assert_allclose(smooth, values[:1000], atol=1.0)
    assert sampling.sampled(values[: sampling.LAGS], unsure).tolist() == list(range(sampling.LAGS))


# ---------------------------------------------------------------- zeros, NaN and seeds that differ


def test_a_cut_gradient_has_axes_and_a_word(trained):
    (ax,) = curves.lag_figure("x", [group_of(trained, "cut")], ["X"]).figure.axes
    assert all(label.endswith("(exactly zero at every lag)") for label in names_of(ax))
    low, high = ax.get_xlim()
    assert low < 1 and high > LAGS  # the lags are those of the curve, though no point is drawn
    assert chart({"initial": CUT.summarised()}) == ["(nothing to draw)", "o initial (exactly zero at every lag)"]


def test_no_text_stands_on_a_line(trained):
    groups = [group_of(trained, name) for name in ("cut", "noise", "late_noise")]
    (ax,) = curves.checkpoint_figure("x", groups, ["A", "B", "C"]).figure.axes
    assert sum("every lag" in name for name in names_of(ax)) == 2
    assert ax.texts and all(
        text.xy[0] == 1.0 and text.get_ha() == "left" for text in ax.texts
    )  # right of the axes
    box, legend = ax.get_window_extent(), ax.get_legend()
    ax.figure.draw_without_rendering()
    assert legend.get_window_extent().y1 < box.y0 + ax.figure.get_figheight() * ax.figure.dpi


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
    drawn = curves.lag_figure("x", [group_of(trained, name)], ["X"])
    line = next(iter(lines_of(drawn.figure.axes[0]).values())).get_ydata()
    assert np.isfinite(line).all() and line[-1] == pytest.approx(end)
    assert (note in drawn.caption) if note else ("leaves out" not in drawn.caption)


def test_a_zero_behind_nan_is_no_zero_and_other_seeds_keep_theirs(tmp_path):
    from gradlab.gradient.summary import NonFinite

    dead = GradientCurve.of({"h": zero_from(7)[:, None]}, non_finite=(NonFinite("h", 2, 1),))
    for seed, curve in enumerate((dead, curve_of(zero_from(9)))):
        put(tmp_path, [curve], seed=seed, steps=0, length=LAGS, status="measured")
    drawn = curves.checkpoint_figure("x", [read(tmp_path, print)], ["X"])
    line = next(iter(lines_of(drawn.figure.axes[0]).values())).get_ydata()
    np.testing.assert_array_equal(np.isfinite(line), AXIS < 9)  # of the seed that is finite
    assert "the mean leaves out 1 of 2 not finite" in drawn.caption and "zero from lag 9" in drawn.caption


def test_sequences_of_other_lengths_end_where_they_end(tmp_path):
    """The seeds' curves may have other numbers of lags, and a curve more at one checkpoint than at another."""
    short = GradientCurve.of({"h": straight(-2.0)[:8, None]})
    put(tmp_path, [short, curve_of(straight(-3.0)), short], length=LAGS, seed=0)
    put(tmp_path, [curve_of(straight(-3.0))] * 3, length=LAGS, seed=1)
    group = read(tmp_path, print)
    assert [lags_of(group[0].arrays(), row) for row in range(3)] == [8, LAGS, 8]
    drawn = curves.lag_figure("x", [group], ["X"])
    found = [line.get_ydata() for line in drawn.figure.axes[0].get_lines() if line.get_label()[0] != "_"]
    assert [len(values) for values in found] == [8, LAGS, 8] and all(np.isfinite(values).all() for values in found)
    assert "not finite" not in drawn.caption
    assert "Grey" not in heat.heat_figure("y", group[0], "X").caption


def test_no_shift_between_a_zero_and_the_same_zero(tmp_path):
    dead = np.stack([zero_from(7)] * 3)
    pair = overlay.Pair(AXIS.tolist(), dead, dead, np.full(LAGS, 1e-4))
    paths = overlay.draw_overlay(tmp_path, "x", "heading", {"at initialisation": pair})
    text = paths[0].read_text()
    assert "zero from lag 7" in text and "not finite" not in text


def test_a_figure_on_a_page_says_what_is_odd_about_its_lines(trained):
    def lines(name):
        (panel,) = embedded(curves.lag_figure("x", [group_of(trained, name)], [name])).data
        return panel["lines"]

    assert all(line["label"].endswith("(exactly zero at every lag)") for line in lines("cut"))
    assert all(line["label"].endswith("(zero at lag 5)") for line in lines("gap"))
    assert all(line["y"][7:] == [None] * 5 for line in lines("late_noise"))
    assert not any("zero" in line["label"] or "noise" in line["label"] for line in lines("agree"))
    (panel,) = embedded(heat.heat_figure("x", group_of(trained, "late_noise")[0], "X")).data
    assert [line["y"][7:] for line in panel["lines"]] == [[None] * 5] * 3


@pytest.mark.slow
def test_the_whole_report_of_such_a_store_is_written(trained):
    paths = write_report(trained, lambda message: pytest.fail(message))
    text = paths[1].read_text()
    assert {path.suffix for path in paths} == {".html", ".md", ".csv", ".svg", ".png"}
    for name in CASES:
        assert f"| {name} | adding | 12 |" in text
    data = paths[0].read_text()
    assert json.loads(data.partition('id="figure-data">')[2].partition("</script>")[0])
    assert "inf decades" not in text and "| inf" not in text


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("lags", [2, 12, 40, 999])
def test_an_axis_of_lags_begins_at_1(lags):
    figure = drawing.plot(curve_of(np.linspace(0, -1, lags))).figure
    figure.draw_without_rendering()
    ticks = [tick for tick in figure.axes[0].get_xticks() if tick <= lags]
    assert ticks[0] == 1 and len(ticks) > 1 and all(tick == round(tick) for tick in ticks)


def test_ticks_of_powers_are_plain_text():
    figure = Figure()
    with drawing.themed():
        ax = figure.subplots()
        ax.set(xscale="log", xlim=(0.02, 90), yscale="log", ylim=(2, 6))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PlainLogFormatter())
            axis.set_minor_formatter(PlainLogFormatter())
        figure.draw_without_rendering()
    texts = {text.get_text() for axis in (ax.xaxis, ax.yaxis) for text in axis.get_ticklabels(which="both")}
    assert {"10⁻¹", "10⁰", "10¹", "3×10⁰"} <= texts and not [text for text in texts if "$" in text]


def test_timesteps_are_said_where_they_are_not_the_length(tmp_path):
    put(tmp_path, [falling(1.0, 30)], task="copy", length=20, steps=0, status="measured")
    put(tmp_path, [falling(1.0, 30)], length=30, steps=0, status="measured")
    drawings = [curves.checkpoint_figure("x", [[record]], ["LSTM"]) for record in read(tmp_path, print)]
    assert [one.heading.partition(":")[0] for one in drawings] == ["adding, T = 30", "copy, T = 20 (30 timesteps)"]


@pytest.mark.parametrize("heading", ["", "A heading"])
def test_a_figure_whose_lines_are_exchanged_is_drawn_as_a_new_one(heading):
    def drawn(figure, ax, line):
        for old in [*ax.lines]:
            old.remove()
        ax.plot(line, color=drawing.INK, scalex=False, scaley=False)
        discard_drawing(figure)
        return svg(figure, "one")

    def fresh():
        with drawing.themed():
            figure, (ax,) = drawing.panels(1, 1, (2.2, 1.5), heading)
            ax.set(xlim=(0, 2), ylim=(0, 2))
            return figure, ax

    lines, once = ([0, 1, 2], [2, 0, 1]), fresh()
    with drawing.themed():
        assert [drawn(*once, line) for line in lines] == [drawn(*fresh(), line) for line in lines]
