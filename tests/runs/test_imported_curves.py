"""`gradlab import-curve`: a table becomes a run that every reader serves."""

import numpy as np
import pandas as pd
import pytest

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.report.data.records import read
from gradlab.report.text.findings import statement
from gradlab.runs.imported_curves import import_curves, read_curves, store_curve
from gradlab.runs.store import Store

FIELDS = {"cell": "my-lstm", "task": "adding", "seed": 0}


def rows(lags=20, examples=1, steps=(0,), slope=-0.2):
    return pd.DataFrame(
        [
            {
                "lag": lag,
                "leaf": leaf,
                "log10_norm": slope * lag + example + step,
                "example": example,
                "step": step,
            }
            for step in steps
            for example in range(examples)
            for leaf in "hc"
            for lag in range(1, lags + 1)
        ]
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    return Store(tmp_path / "results")


@pytest.fixture
def written(tmp_path):
    """Writes a table as curve.csv, shuffled, because the order of rows says nothing."""

    def write(table):
        table.sample(frac=1, random_state=0).to_csv(tmp_path / "curve.csv", index=False)
        return tmp_path / "curve.csv"

    return write


def test_the_columns_that_may_be_missing(written):
    (curve,) = read_curves(written(rows().drop(columns=["example", "step"]))).values()
    assert curve.leaves == ["h", "c", "state"] or curve.leaves == ["c", "h", "state"]
    np.testing.assert_allclose(curve.log10_norm["h"][:, 0], -0.2 * np.arange(1, 21))
    np.testing.assert_allclose(curve.log10_norm["state"], curve.log10_norm["h"] + np.log10(2) / 2)


def test_norms_of_an_npz_and_exact_zeros(tmp_path):
    path = tmp_path / "curve.npz"
    np.savez(path, lag=np.arange(1, 5), leaf=np.array(["h"] * 4), norm=np.array([1.0, 1e-3, 0.0, 0.0]))
    (curve,) = read_curves(path).values()
    assert curve.log10_norm["h"][:, 0].tolist() == [0.0, -3.0, -np.inf, -np.inf] and curve.span() == -np.inf


def test_examples_of_different_length_and_nan(written):
    table = rows(lags=5, examples=3)
    table = table[(table.example != 1) | (table.lag <= 2)]
    table.loc[(table.lag == 4) & (table.example == 2), "log10_norm"] = np.nan
    (curve,) = read_curves(written(table)).values()
    assert curve.lengths.tolist() == [5, 2, 5] and curve.examples.tolist() == [3, 3, 2, 2, 2]
    assert curve.verdict().word == "non-finite" and curve.verdict().lag == 4


def test_a_run_that_every_reader_serves(written, store, typed):
    path = written(rows(examples=4))
    (name,) = import_curves(path, store, FIELDS)
    (record,) = read(store.root, pytest.fail)
    assert (record.run.status, record.config["length"], record.config["measure_batch"]) == ("measured", 20, 4)
    assert record.summary("initial").verdict.word == "vanishing"
    text = str(statement([record], "my-lstm"))
    assert "vanishes (3.8 decades lost) as imported (seed 0)" in text and "initialisation" not in text
    assert name in typed("ls")[1]
    shown = typed("show", name)[1].replace(" \\\n    ", " ")
    assert "\nimported\n" in shown and f"import-curve {path} --cell my-lstm --task adding --seed 0" in shown


def test_training_steps_are_runs_and_a_new_table_replaces_them(written, store):
    first = import_curves(written(rows(steps=(0, 100))), store, FIELDS)
    assert len(first) == 2 and [store.find(one).config["params"] for one in first] == [
        "imported-step0",
        "imported-step100",
    ]
    again = import_curves(written(rows(steps=(0, 100), slope=-0.1)), store, FIELDS)
    assert again == first
    assert [one.summary("initial").span for one in read(store.root, pytest.fail)] == pytest.approx([-1.9, -1.9])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.drop(columns="leaf"), "has no column leaf: its columns are lag, log10_norm"),
        (lambda table: table.drop(columns="log10_norm"), r"has no column log10_norm \(or norm\)"),
        (lambda table: table[table.lag != 3], "lacks lags of leaf .: give every lag from 1 to the last"),
        (lambda table: pd.concat([table, table[:1]]), "has lag 1 of leaf h twice"),
        (lambda table: table[(table.leaf == "h") | (table.lag < 9)], "has other lags or examples of one leaf"),
        (lambda table: table.assign(lag=table.lag - 1), "has lag `0` in row"),
        (lambda table: table.assign(lag=table.lag / 2), r"has lag `\d+\.5` in row"),
        (lambda table: table.assign(log10_norm="low"), "has log10_norm `low` in row 1"),
        (lambda table: table.assign(norm=-1.0).drop(columns="log10_norm"), "has norm `-1.0` in row 1"),
        (lambda table: table[:0], "holds no rows"),
    ],
)
def test_a_table_that_is_no_curve(written, change, message):
    with pytest.raises(GradlabError, match=message):
        read_curves(written(change(rows())))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"leaf": np.array(["h", None], object)}, "it is damaged, or holds objects; write it by numpy.savez"),
        (
            {"lag": np.arange(1, 4), "leaf": np.array(["h"] * 2)},
            "arrays of the shapes lag (3,), leaf (2,): write it",
        ),
        ({"lag": np.ones((2, 2))}, "arrays of the shapes lag (2, 2): write it"),
    ],
)
def test_an_npz_of_other_things_is_refused_in_one_line(tmp_path, typed, arrays, message):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    code, _, err = typed("import-curve", path)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    path.write_bytes(path.read_bytes()[:90])
    code, _, err = typed("import-curve", path)
    assert code == 2 and "own.npz` cannot be read: it is damaged" in err and len(err.splitlines()) == 1


def test_a_file_that_cannot_be_read(tmp_path, typed):
    for name in ("torn.npz", "curve.txt", "empty.csv"):
        (tmp_path / name).write_text("")
    for name, message in {
        "torn.npz": "cannot be read",
        "empty.csv": "cannot be read",
        "curve.txt": "is neither .csv nor .npz",
        "none.csv": "is no file",
    }.items():
        code, _, err = typed("import-curve", tmp_path / name)
        assert code == 2 and message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "../../evil"}, "cell is `../../evil`: give one"),
        ({"cell": ""}, "cell is ``: give one"),
        ({"cell": "mine", "task": "../x"}, "task is `../x`: give one"),
        ({"cell": "mine", "seed": -1}, "seed is -1: give 0 or more"),
    ],
)
def test_names_that_would_not_be_found_again_are_refused(tmp_path, fields, message):
    curve = GradientCurve.of({"h": [[0.0], [-1.0]]})
    with pytest.raises(GradlabError, match=message):
        store_curve(curve, results=tmp_path, **fields)
    assert not list(tmp_path.rglob("config.json"))


def test_the_arithmetic_of_a_curve_is_stored(tmp_path):
    curve = GradientCurve.of({"h": [[0.0], [-1.0]]}, dtype="float32")
    name = store_curve(curve, "mine", results=tmp_path)
    assert Store(tmp_path).find(name).config["dtype"] == "float32"
