"""The inputs of cells and networks on one pair of axes, and both sides of a bidirectional network."""

import matplotlib
import numpy as np
import pytest
from synthetic import put

from gradlab.gradient.curve import GradientCurve
from gradlab.report.data.records import read
from gradlab.report.data.tables import seeds, summaries
from gradlab.report.figures.gallery import drawings

matplotlib.use("Agg")
LAGS = 12


def line(decades, lags=LAGS):
    return -decades * np.arange(lags)[:, None] / (LAGS - 1) + np.zeros((1, 3))


def beside(state, inputs, lags=LAGS):
    """Leaves of the state and `x`, which is no part of `state`."""
    return GradientCurve.of(state | {"x": line(inputs, lags)}, beside=("x",))


def stored(root, cells, **options):
    for cell, curve in cells.items():
        put(root, [curve], steps=0, length=LAGS, status="measured", cell=cell, **options)
    return read(root, print)


def drawn(records, start):
    return [drawing for drawing in drawings(records) if drawing.name.startswith(start)]


def test_inputs_are_drawn_where_a_cell_and_a_network_have_them(tmp_path):
    cells = {"lstm": beside({"h": line(4.0)}, 4.2), "attention": GradientCurve.of({"x": line(0.4)})}
    records = stored(tmp_path, cells | {"gru": GradientCurve.of({"h": line(9.0)})})
    (figure,) = drawn(records, "probe-inputs")
    (ax,) = figure.figure.axes
    ends = {
        one.get_label().partition(":")[0]: one.get_ydata()[-1] for one in ax.get_lines() if ":" in one.get_label()
    }
    assert ends == {"LSTM": pytest.approx(-4.2), "attention": pytest.approx(-0.4)}
    assert "LSTM: 4.2 decades lost" in figure.caption and "GRU" not in figure.caption
    table = summaries(records).set_index(["cell", "leaf"])["span"]
    assert table["lstm", "x"] == pytest.approx(-4.2) and table["lstm", "state"] == pytest.approx(-4.0)
    assert seeds(records).set_index(["cell", "leaf"])["span_mean"]["attention", "x"] == pytest.approx(-0.4)


@pytest.mark.parametrize("cells", [{"lstm": {"h": line(4.0)}}, {"attention": {"x": line(0.4)}}])
def test_inputs_alone_or_none_need_no_figure(tmp_path, cells):
    assert not drawn(
        stored(tmp_path, {name: GradientCurve.of(leaves) for name, leaves in cells.items()}), "probe-in"
    )


def test_both_sides_stand_beside_each_other(tmp_path):
    past, future = beside({"forward.h": line(5.0)}, 5.1), beside({"backward.h": line(2.0, 7)}, 2.1, 7)
    records = stored(tmp_path, {"bidirectional:gru": past}, future=[future])
    (figure,) = drawn(records, "sides")
    left, right = figure.figure.axes
    assert left.xaxis_inverted() and not right.xaxis_inverted()
    assert [ax.get_xlabel() for ax in (left, right)] == [
        f"lag (timesteps {word} the loss)" for word in ("before", "after")
    ]
    found = [
        {one.get_label(): len(one.get_xdata()) for one in ax.get_lines() if "_" not in one.get_label()}
        for ax in (left, right)
    ]
    assert found == [{"forward.h": 12, "x": 12}, {"backward.h": 7, "x": 7}]
    assert "5.0 decades lost on the side of the past" in figure.heading
    # The second setting has one timestep of the future, which is no curve.
    single = beside({"backward.h": line(0.0, 1)}, 0.0, 1)
    put(tmp_path / "b", [past], steps=0, length=LAGS, status="measured", future=[single])
    assert not drawn(read(tmp_path / "b", print), "sides")
