"""`load` and the tables of many runs: each archive is read once, columns are small, and progress is shown."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic import falling, put

import gradlab
from gradlab.report.data import progress, tables
from gradlab.report.data.records import read
from gradlab.runs import files


@pytest.fixture
def several(tmp_path):
    """Runs whose specs differ in fields, one of them without curves and one still of another shape."""
    put(tmp_path, [falling(1.0)] * 3, seed=0)
    put(tmp_path, [falling(2.0, lags=7)] * 2, seed=2**31, cell="gru", length=7, learning_rate=0.5)
    put(tmp_path, [falling(2.0)] * 1, seed=2, steps=0, status="measured", params="adding-lstm-T40-s0")
    return tmp_path


def test_load_reads_each_archive_once_and_no_log(several, monkeypatch):
    opened, read_file = [], files.read_file
    monkeypatch.setattr(files, "read_file", lambda path: opened.append(path) or read_file(path))
    gradlab.load(several)
    assert sorted(path.name for path in opened) == sorted(["config.json", "done.json", "curves.npz"] * 3)


def test_figures_and_tables_share_the_arrays_that_were_read(several, monkeypatch):
    records = read(several, pytest.fail)
    monkeypatch.setattr(files, "read_file", pytest.fail)
    tables.write_curves(several / "curves.csv", records)
    monkeypatch.undo()
    assert len(pd.read_csv(several / "curves.csv")) == 3 * 80 + 2 * 14 + 80


def test_columns_of_load(several):
    frame = gradlab.load(several)
    assert len(frame) == 3 * 80 + 2 * 14 + 80
    gru = frame[frame["cell"] == "gru"]
    assert set(gru["length"]) == {7} and set(gru["seed"]) == {2**31} and set(gru["learning_rate"]) == {0.5}
    assert gru["training_step"].tolist() == [0] * 7 + [10] * 7 + [0] * 7 + [10] * 7
    assert gru["lag"].tolist() == [*range(1, 8)] * 4 and gru["leaf"].tolist() == ["h"] * 14 + ["state"] * 14
    typical = gru[(gru["leaf"] == "state") & (gru["training_step"] == 10)]["typical"]
    np.testing.assert_allclose(typical, -2.0 * np.arange(7) / 6, atol=1e-12)
    assert set(frame["params"]) == {"none", "adding-lstm-T40-s0"}
    texts = {"task", "cell", "run", "status", "curve", "leaf"}
    assert {name for name in texts if isinstance(frame[name].dtype, pd.CategoricalDtype)} == texts
    assert frame["lag"].dtype == np.int32 and frame["seed"].dtype == np.int64 and frame["rms"].dtype == np.float64
    frame.loc[0, "rms"] = 1.0  # it can be written
    assert frame.memory_usage(deep=True).sum() / len(frame) < 150


def test_a_field_that_some_runs_have_is_a_column_of_every_table(several, tmp_path):
    put(several, [falling(1.0)] * 3, seed=4, cell="rnn", depth=2)
    frame = gradlab.load(several)
    assert frame["depth"].isna().sum() == 3 * 80 + 2 * 14 + 80 and set(frame["depth"].dropna()) == {2}
    tables.write_curves(tmp_path / "a.csv", read(several, pytest.fail))
    kept = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values=["nan"])
    assert kept["depth"].isna().sum() == frame["depth"].isna().sum()
    assert list(kept["typical"]) == pytest.approx(list(frame["typical"]), rel=1e-8)


def test_a_warning_of_load_is_about_the_line_that_called_it(several):
    next(several.glob("runs/*gru*/curves.npz")).write_bytes(b"")
    next(several.glob("runs/*probe*/done.json")).write_bytes(b"{")
    with pytest.warns(UserWarning, match="skipped") as caught:
        assert set(gradlab.load(several)["cell"]) == {"lstm"}
    assert [warning.filename for warning in caught] == [__file__] * 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream, seen", [(Terminal(), True), (io.StringIO(), False)])
def test_load_shows_progress_on_a_terminal_alone(several, monkeypatch, stream, seen):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "EVERY", 2)
    gradlab.load(several)
    told = stream.getvalue()
    assert ("] 2 of 3 runs read" in told) == seen and told.endswith("\r\x1b[K" if seen else "")
    assert seen or told == ""
