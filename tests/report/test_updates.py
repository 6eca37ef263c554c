"""The figure of the weights' gradient by training step: its norm before clipping, and how often it was clipped."""

import numpy as np
import pytest
from synthetic import falling, put

from gradlab.report.data.records import labelled, read
from gradlab.report.figures.updates import updates_figure


def traces(norm, every):
    """Of 100 training steps one in `every` is clipped."""
    norms = np.full(100, norm)
    return {"log10_grad_norm": norms, "clipped": (np.arange(100) % every == 0).astype(float)}


def figure_of(root):
    found = labelled(read(root, pytest.fail))
    return updates_figure("updates", [group for _, group in found], [label for label, _ in found])


def test_norms_and_shares_are_those_that_were_stored(tmp_path):
    for seed, norm in enumerate((0.0, 2.0)):
        put(tmp_path, [falling(1.0)] * 3, seed=seed, traces=traces(norm, 4))
    put(tmp_path, [falling(1.0)] * 3, cell="gru", traces=traces(-1.0, 2))
    put(tmp_path, [falling(1.0)] * 3, cell="rnn")  # an older run, without them
    drawing = figure_of(tmp_path)
    left, right = drawing.figure.axes
    lines = {line.get_label(): line.get_ydata() for line in left.get_lines() if line.get_label()[0] != "_"}
    assert list(lines) == ["LSTM", "GRU"] and set(lines["LSTM"]) == {1.0} and set(lines["GRU"]) == {-1.0}
    assert [np.mean(line.get_ydata()) for line in right.get_lines()] == pytest.approx([0.25, 0.5], abs=0.05)
    words = "adding, T = 40: the gradient of the weights was clipped in 25 % to 50 % of training steps"
    assert drawing.heading == words and "LSTM: 25 % clipped. GRU: 50 % clipped." in drawing.caption
    assert drawing.section == "training" and "clip\n1" in [text.get_text() for text in left.texts]


def test_what_is_not_finite_leaves_a_gap_and_no_share(tmp_path):
    found = traces(1.0, 4)
    found["log10_grad_norm"][50:] = np.nan
    found["clipped"][50:] = np.nan
    put(tmp_path, [falling(1.0)] * 3, status="diverged", clip="value:0.1", traces=found)
    drawing = figure_of(tmp_path)
    (line,) = (line for line in drawing.figure.axes[0].get_lines() if line.get_label()[0] != "_")
    assert max(line.get_xdata()) <= 51 and "in 26 % of entries" in drawing.heading


def test_runs_without_training_steps_have_none(tmp_path):
    put(tmp_path, [falling(1.0)], steps=0, status="measured")
    assert figure_of(tmp_path) is None
