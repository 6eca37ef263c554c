"""The report: real runs, and synthetic stores whose findings are known."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from attempts import dead_attempt, rewrite
from matplotlib.figure import Figure
from synthetic import CONFIG, falling, put
from wording import wording

import gradlab
from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.report.data import tables
from gradlab.report.data.records import grouped, labelled, labels, read, summarised
from gradlab.report.figures import curves, gallery, heat, training
from gradlab.report.figures.drawing import themed
from gradlab.report.page.build import commands
from gradlab.report.page.write import write_report
from gradlab.report.text import findings
from gradlab.report.text.environments import environments
from gradlab.report.text.plain import markdown
from gradlab.runs.labels import cell_label

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Four real runs: two probes of an LSTM, a copy task with two curves, and one that diverges."""
    root = tmp_path_factory.mktemp("real")
    small = {"hidden": 4, "batch": 4, "steps": 5, "measure_batch": 8}
    for seed in (0, 1):
        gradlab.run(gradlab.RunSpec(cell="lstm", length=12, seed=seed, **small | {"steps": 0}), root)
    gradlab.run(gradlab.RunSpec(task="copy", cell="rnn:gain=0.5", length=5, **small), root)
    wild = {"optimizer": "sgd", "learning_rate": 1e30, "clip": "none"}
    gradlab.run(gradlab.RunSpec(cell="rnn:activation=relu", length=12, **small, **wild), root)
    return root


@pytest.fixture(scope="module")
def written(real):
    heard = []
    return write_report(real, heard.append), heard


def test_report_of_real_runs_is_whole(real, written):
    paths, heard = written
    assert heard == []
    assert paths[0] == real / "report" / "index.html"
    assert [path.name for path in paths[2:5]] == ["curves.csv", "summaries.csv", "seeds.csv"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert {path.with_suffix("") for path in paths if path.suffix == ".svg"} == {
        path.with_suffix("") for path in paths if path.suffix == ".png"
    }
    text = paths[1].read_text()
    shown = set(re.findall(r"\((figures/[^)]+)\)", text))
    assert shown == {str(path.relative_to(real / "report")) for path in paths if path.parent.name == "figures"}
    assert [path.name for path in real.iterdir() if path.name.startswith(".report")] == []


def test_diverged_run_is_named_and_is_not_called_vanishing(written):
    text = written[0][1].read_text()
    line = next(line for line in text.splitlines() if line.startswith("- `adding-rnn-activation=relu"))
    assert "diverged" in line and "not finite at training step" in line
    statement = next(line for line in text.splitlines() if line.startswith("- **RNN activation=relu"))
    assert "at the end it is not finite (h from timestep" in statement


def test_numbers_in_sentences_equal_those_of_the_arrays(real, written):
    runs = sorted((real / "runs").glob("adding-lstm-*"))
    lost = []
    for run in runs:
        with np.load(run / "curves.npz") as arrays:
            curve = arrays["task/state/typical"][0]
        lost.append((curve - curve[0])[np.argmax(np.abs(curve - curve[0]))])
    group = next(g for g in grouped(read(real, print)) if g[0].config["cell"] == "lstm")
    word = "lost" if np.mean(lost) < 0 else "gained"
    assert findings.changes(group, "initial") == f"{abs(np.mean(lost)):.1f} decades {word}"
    text = written[0][1].read_text()
    assert f"{abs(np.mean(lost)):.1f} decades {word}) at initialisation" in text
    assert "mean over 2 seeds" in text  # no interval below three


def test_tidy_table_holds_the_stored_numbers(real):
    frame = gradlab.load(real)
    with np.load(next((real / "runs").glob("copy-*")) / "curves.npz") as arrays:
        rows = frame.query("task == 'copy' and curve == 'total' and leaf == 'h' and training_step == 0")
        assert rows["lag"].tolist() == list(range(1, 26))
        np.testing.assert_array_equal(rows["typical"], arrays["total/h/typical"][0])
        np.testing.assert_array_equal(rows["q90"], arrays["total/h/q90"][0])
    assert not frame.duplicated(["run", "training_step", "curve", "leaf", "lag"]).any()
    assert set(frame.columns) >= {"task", "cell", "length", "hidden", "seed", "run", "status", "rms", "dead"}
    assert set(frame["status"]) == {"measured", "trained", "diverged"}


def test_csv_keeps_infinities_and_nine_digits(real, written):
    frame = gradlab.load(real)
    kept = pd.read_csv(written[0][2], keep_default_na=False, na_values=["nan"])
    assert len(kept) == len(frame)
    np.testing.assert_allclose(kept["typical"], frame["typical"], rtol=1e-8)
    assert np.isneginf(kept["typical"]).sum() == np.isneginf(frame["typical"]).sum() > 0
    summary = pd.read_csv(written[0][3], keep_default_na=False, na_values=["nan"])
    assert (summary == "").sum().sum() == 0  # no blanks that have to be guessed
    assert summary.query("status == 'diverged' and final")["non_finite"].str.contains("h is not finite").all()


@pytest.mark.slow
def test_svgs_are_the_same_bytes_from_the_same_results(real, written):
    kept = (".html", ".svg", ".csv", ".md")
    first = {path: path.read_bytes() for path in written[0] if path.suffix in kept}
    again = write_report(real, print)
    assert again == written[0]
    assert {path: path.read_bytes() for path in first} == first
    svg = next(path for path in again if path.suffix == ".svg").read_text()
    assert "<text" in svg and "relative to lag 1 (decades)" in svg


def stores(tmp_path):
    """A store in which the gradient vanishes, and one in which it is held."""
    for seed in range(3):
        put(tmp_path / "vanishing", [falling(d + seed) for d in (5.0, 13.0, 9.0)], seed=seed)
        put(tmp_path / "held", [falling(d / 10) for d in (5.0, 13.0, 9.0)], seed=seed, status="solved")
    return tmp_path / "vanishing", tmp_path / "held"


def test_opposite_stores_give_opposite_sentences(tmp_path):
    vanishing, held = (read(root, print) for root in stores(tmp_path))
    lost, kept = wording(vanishing), wording(held)
    assert "the gradient vanishes in 3 of 3 seeds (6.0 [3.5, 8.5] decades lost) at initialisation" in lost
    assert "14.0 [11.5, 16.5] decades lost at worst (training step 10)" in lost
    assert "at the end it vanishes in 3 of 3 seeds (10.0 [7.5, 12.5] decades lost). Not solved by" in lost
    assert "vanishing in 3 of 3 runs before training; vanishing in 3 of 3 runs at the end of training" in lost
    assert "solved in 0 of 3" in lost
    assert "vanish" not in kept
    assert "the gradient holds in 3 of 3 seeds (0.5 [0.5, 0.5] decades lost) at initialisation" in kept
    assert "Solved in 3 of 3 seeds at training step 100" in kept
    assert "held in 3 of 3 runs before training; held in 3 of 3 runs at the end of training" in kept


def test_title_says_what_was_lost_when(tmp_path):
    put(tmp_path, [falling(d) for d in (4.4, 13.1, 0.8)], status="solved")
    (record,) = read(tmp_path, print)
    assert findings.title([record], "LSTM") == (
        "LSTM, T = 40: 4.4 decades lost at initialisation, 13.1 at worst (training step 10), 0.8 when solved"
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0.0], [2.0], [5.5]], "5.5 decades gained"),
        ([[0.0], [-6.0], [1.0]], "6.0 decades lost by lag 2"),
        ([[0.0], [-8.0], [4.0]], "8.0 decades lost by lag 2, and more than 3 gained elsewhere"),
        ([[0.0], [-1.0], [-np.inf]], "zero from lag 3"),
        ([[0.0], [np.nan], [1.0]], "not finite, first at lag 2"),
        ([[0.0], [0.0], [0.01]], "nothing lost"),
        ([[1.0]], "nothing lost"),
    ],
)
def test_change_in_words(rows, words):
    assert findings.change(GradientCurve.of({"h": rows}).summary()) == words


def test_lag_panel_draws_the_summarised_curves(tmp_path):
    put(tmp_path, [falling(d) for d in (30.0, 50.0, 2.0)])
    (record,) = read(tmp_path, print)
    drawing = curves.lag_figure("x", [[record]], ["LSTM"])
    (ax,) = drawing.figure.axes
    named = {line.get_label(): line for line in ax.get_lines()}
    assert [label for label in named if not label.startswith("_")] == [
        "initial (training step 0)", "worst (training step 10)", "final (training step 100)",
    ]  # fmt: skip
    for row, label in enumerate(list(named)[:3]):
        expected = summarised(record.arrays(), row)
        np.testing.assert_allclose(named[label].get_ydata(), expected - expected[0])
    assert ax.get_title(loc="left") == "LSTM"
    said = "LSTM, T = 40: 30.0 decades lost at initialisation, 50.0 at worst (training step 10)"
    assert drawing.caption.startswith(said)
    heights = [line.get_ydata()[0] for line in ax.get_lines() if len(line.get_ydata()) == 2]
    level = np.median([summarised(record.arrays(), row)[0] for row in range(3)])
    assert heights == pytest.approx([-19.0 - level, -37.9 - level])
    assert "10-90 % of examples" in drawing.caption
    assert all(number in drawing.caption for number in ("30.0", "50.0", "2.0"))


def test_floors_stay_out_where_no_curve_comes_near(tmp_path):
    put(tmp_path, [falling(d) for d in (1.0, 2.0, 1.0)])
    drawing = curves.lag_figure("x", [read(tmp_path, print)], ["LSTM"])
    assert not [line for line in drawing.figure.axes[0].get_lines() if len(line.get_ydata()) == 2]
    assert "float32" not in drawing.caption


def test_seeds_are_drawn_as_mean_and_range(tmp_path):
    vanishing, _ = stores(tmp_path)
    group = read(vanishing, print)
    drawing = curves.lag_figure("x", [group], ["LSTM"])
    line = drawing.figure.axes[0].get_lines()[0]
    assert line.get_ydata()[-1] == pytest.approx(-6.0)
    band = drawing.figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(-7.0)
    assert "mean over seeds of typical curves, band: their range over seeds" in drawing.caption


def test_total_curve_stands_beside_the_task_curve(tmp_path):
    put(tmp_path, [falling(20.0)] * 3, total=[falling(0.5)] * 3, task="copy")
    drawing = curves.lag_figure("x", [read(tmp_path, print)], ["LSTM"])
    titles = [ax.get_title(loc="left") for ax in drawing.figure.axes]
    assert titles == ["LSTM", "LSTM, total gradient (all outputs)"]
    assert drawing.caption.startswith("LSTM, T = 40: 20.0 decades lost")
    assert "LSTM, total curve: 0.5 decades lost" in drawing.caption


def test_zero_and_nan_are_marked_where_they_begin(tmp_path):
    dying = GradientCurve.of({"h": np.where(np.arange(40)[:, None] < 11, -np.arange(40.0)[:, None], -np.inf)})
    broken = GradientCurve.of({"h": np.where(np.arange(40)[:, None] < 5, 0.0, np.nan)})
    put(tmp_path, [falling(1.0), broken, dying])
    drawing = curves.lag_figure("x", [read(tmp_path, print)], ["LSTM"])
    (ax,) = drawing.figure.axes
    worst, final = (
        "worst (training step 10) (not finite from lag 6)",
        "final (training step 100) (zero from lag 12)",
    )
    assert {worst, final} < {text.get_text() for text in ax.get_legend().get_texts()}
    assert "zero from lag 12" in drawing.caption and "not finite from lag 6" in drawing.caption
    counts = {line.get_label(): np.isfinite(line.get_ydata()).sum() for line in ax.get_lines()}
    assert (counts[worst], counts[final]) == (5, 11)
    crosses = {tuple(line.get_xydata()[0]) for line in ax.get_lines() if line.get_marker() == "x"}
    assert crosses == {(5, 0), (11, -10)}
    shown = heat.heat_figure("y", read(tmp_path, print)[0], "LSTM")
    assert "Grey (zero or not finite): training step 10 from lag 6, 100 from lag 12" in shown.caption


def test_heat_map_has_a_row_for_each_checkpoint(tmp_path):
    put(tmp_path, [falling(d) for d in (4.0, 13.0, 1.0)])
    drawing = heat.heat_figure("x", read(tmp_path, print)[0], "LSTM")
    ax = drawing.figure.axes[0]
    (mesh,) = ax.collections
    assert mesh.get_array().shape == (3, 40) and mesh.get_rasterized()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "10", "100"]
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx((-13.0, 0.0))


def test_loss_shows_chance_and_solved(tmp_path):
    put(tmp_path, [falling(1.0)] * 3, status="solved")
    drawing = training.loss_figure("x", [read(tmp_path, print)], ["LSTM"])
    (ax,) = drawing.figure.axes
    assert ax.get_yscale() == "log"
    assert {"chance\n0.167", "solved\n0.01"} == {text.get_text() for text in ax.texts}
    assert drawing.heading == "adding, T = 40: solved at training step 100, at one setting"


def test_gates_say_what_moves(tmp_path):
    put(tmp_path, [falling(1.0)] * 3)
    drawing = training.gates_figure("x", read(tmp_path, print)[0], "LSTM")
    assert "mean 0.70 at initialisation, 0.90 at the end" in drawing.heading
    assert "saturation peaks at 30 % of units (gate f, training step 100)" in drawing.heading
    np.testing.assert_allclose(drawing.figure.axes[1].get_lines()[0].get_ydata(), [0.0, 0.1, 0.3])


def test_a_diverged_run_does_not_flatten_the_others(tmp_path):
    put(tmp_path, [falling(1.0)] * 3, status="solved")
    for seed in range(3):
        growing = np.append(0.2 * 10.0 ** np.arange(25 + seed), np.inf)
        put(tmp_path, [falling(1.0)] * 3, status="diverged", cell="rnn", seed=seed, loss=growing)
    groups = grouped(read(tmp_path, print))
    drawing = training.loss_figure("x", groups, labels(groups))
    (ax,) = drawing.figure.axes
    assert ax.get_ylim() == pytest.approx((0.005 / 1.5, 10 * 0.5))
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == 3 and all(line.get_ydata()[0] < 5 for line in crosses)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["RNN (not finite in 3 of 3 seeds from training steps 26–28)", "LSTM"]
    assert "The axis ends at a loss of 5; a curve that leaves it goes on" in drawing.caption


def test_many_settings_give_a_bounded_number_of_figures(tmp_path):
    for length in range(20, 31):
        put(tmp_path, [falling(1.0, length)], length=length, steps=0, status="measured")
    names = [drawing.name for drawing in gallery.drawings(read(tmp_path, print))]
    assert names == ["overview", "probe-lengths-adding", *(f"probe-adding-T{length}" for length in (27, 23, 20))]


def test_plot_draws_leaves_relative_to_lag_1(tmp_path):
    both = GradientCurve.of({"h": falling(3.0).log10_norm["h"] + 2, "c": falling(1.0).log10_norm["h"]})
    axes = gradlab.plot(both)
    assert [line.get_label() for line in axes.get_lines()] == ["h", "c", "state"]
    assert all(line.get_ydata()[0] == 0 for line in axes.get_lines())
    assert len({line.get_marker() for line in axes.get_lines()}) == 3
    assert axes.get_title(loc="left").startswith("T = 40: ")
    matplotlib.pyplot.close(axes.figure)
    ax = Figure().subplots()
    level = gradlab.plot(GradientCurve.of({"h": [[-5.0]]}), ax, relative=False).get_lines()[0]
    assert level.get_ydata().tolist() == [-5.0]


def test_importing_the_report_changes_no_style():
    before = dict(matplotlib.rcParams)
    with themed():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before


def test_no_finished_run_is_an_error_that_names_the_next_command(tmp_path):
    with pytest.raises(GradlabError, match="gradlab run adding") as error:
        write_report(tmp_path, print)
    assert error.value.exit_code == 2
    assert not (tmp_path / "report").exists()


def test_corrupt_runs_are_skipped_with_one_warning_each(tmp_path):
    put(tmp_path, [falling(1.0)] * 3)
    (put(tmp_path, [falling(1.0)] * 3, seed=1) / "done.json").write_text("{")
    (put(tmp_path, [falling(1.0)] * 3, seed=2) / "curves.npz").write_bytes(b"PK\x03\x04")
    heard = []
    text = write_report(tmp_path, heard.append, formats=("md",))[0].read_text()
    assert sorted(re.findall(r"s\d", " ".join(message.split(":")[0] for message in heard))) == ["s1", "s2"]
    assert "1 run, 1 finished" in text
    assert all(markdown(message) in text for message in heard) and str(tmp_path) not in text
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert gradlab.load(tmp_path)["run"].nunique() == 1
    assert len(caught) == 2


def test_unfinished_runs_are_listed(tmp_path):
    put(tmp_path, [falling(1.0)] * 3)
    put(tmp_path, [falling(1.0)] * 2, seed=1, status="interrupted")
    put(tmp_path, [falling(1.0)] * 1, seed=2, status="failed")
    dead = dead_attempt(tmp_path, "adding-lstm-T40-s3", CONFIG | {"seed": 3})
    log = (tmp_path / "runs" / "adding-lstm-T40-s0" / "log.jsonl").read_text()
    (dead / "log.jsonl").write_text(log[: len(log) // 2])  # its last line is torn
    text = write_report(tmp_path, print, formats=("md", "csv"))[0].read_text()
    assert "`adding-lstm-T40-s1` interrupted at training step 10; 2 checkpoints measured" in text
    assert "`adding-lstm-T40-s2` failed: ValueError: broken; 1 checkpoint measured" in text
    assert "`adding-lstm-T40-s3` killed, no done.json; 1 checkpoint measured" in text
    summary = pd.read_csv(tmp_path / "report" / "summaries.csv")
    assert set(summary["status"]) == {"trained", "interrupted", "failed", "killed"}


def test_commands_repeat_the_runs(tmp_path):
    for seed in (0, 1, 2):
        put(tmp_path, [falling(1.0)] * 3, seed=seed, cell="rnn:gain=0.5")
    (line,) = commands(labelled(read(tmp_path, print)))
    words = line.split()
    given = {words[i][2:].replace("-", "_"): words[i + 1] for i in range(3, len(words), 2)}
    assert given.pop("seed") == "0-2"
    spec = gradlab.RunSpec(
        task=words[2],
        length=int(given.pop("len")),
        learning_rate=float(given.pop("learning_rate")),
        **{name: int(value) if value.isdigit() else value for name, value in given.items()},
    )
    assert spec.config() == CONFIG | {"cell": "rnn:gain=0.5"}


def test_different_executions_are_said_aloud(tmp_path):
    first = put(tmp_path, [falling(1.0)] * 3)
    put(tmp_path, [falling(1.0)] * 3, seed=1)
    assert environments(read(tmp_path, print)).warning is None
    rewrite(first / "env.json", b'{"execution": {"platform": "gpu"}}')
    text = str(environments(read(tmp_path, print)).warning)
    assert "computed in 2 different ways" in text and "differ in platform" in text


def test_seed_table_has_intervals_from_three_seeds_on(tmp_path):
    vanishing, _ = stores(tmp_path)
    frame = tables.seeds(read(vanishing, print))
    row = frame.query("checkpoint == 'initial' and leaf == 'state'").iloc[0]
    assert (row["seeds"], row["span_mean"], row["verdict"]) == (3, pytest.approx(-6.0), "vanishing in 3 of 3")
    half = 4.302653 * np.std([5, 6, 7], ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom
    assert row["span_high"] - row["span_mean"] == pytest.approx(half, rel=1e-6)
    assert row["half_life"] == pytest.approx(np.log10(2) * 39 / 6)
    assert np.isnan(tables.seeds(read(vanishing, print)[:2])["span_low"]).all()


def test_labels_tell_settings_apart(tmp_path):
    put(tmp_path, [falling(1.0)] * 3, cell="gru")
    put(tmp_path, [falling(1.0)] * 3, hidden=16, seed=1)
    put(tmp_path, [falling(1.0)] * 3)
    assert labels(grouped(read(tmp_path, print))) == ["LSTM, hidden 16", "LSTM, hidden 8", "GRU"]
    assert cell_label("package.module:make:gain=2") == "package.module:make gain=2"
    assert cell_label("stacked:a/my.py:LSTM:layers=3") == "stacked:a/my.py:LSTM layers=3"
    assert cell_label("indrnn:t_max=9") == "indrnn t_max=9" and cell_label("a/my.py:LSTM") == "my.py:LSTM"


def test_a_setting_is_named_by_no_more_than_it_takes(tmp_path):
    put(tmp_path, [falling(1.0)] * 3, steps=5000, measure="checkpoints")
    put(tmp_path, [falling(1.0)] * 3, steps=100, measure="ends", seed=1)
    put(tmp_path, [falling(1.0)] * 3, cell="gru", measure="ends")
    assert labels(grouped(read(tmp_path, print))) == [
        "LSTM, 100 training steps",
        "LSTM, 5000 training steps",
        "GRU",
    ]


def test_commands_of_two_sources_do_not_look_alike(tmp_path):
    for seed, source in enumerate(("0123456789abcdef", "fedcba9876543210")):
        put(
            tmp_path,
            [falling(1.0)] * 3,
            cell="my.py:Cell",
            cell_source=source,
            seed=0,
            batch=4,
            hidden=8 + 0 * seed,
        )
        path = next((tmp_path / "runs").glob("adding-my.py-Cell-T40-s0"))
        path.rename(path.with_name(f"{path.name}-{source[:4]}"))
    first, second = commands(labelled(read(tmp_path, print)))
    assert first.partition("  # ")[0] == second.partition("  # ")[0]
    assert {text.partition("  # ")[2] for text in (first, second)} == {
        "my.py:Cell, source 01234567", "my.py:Cell, source fedcba98"
    }  # fmt: skip


def test_a_value_at_the_threshold_shows_on_which_side_it_lies(tmp_path):
    for name, decades in (("held", 2.998), ("lost", 3.004)):
        put(tmp_path / name, [falling(decades)], steps=0, status="measured")
        text = write_report(tmp_path / name, print, formats=("md",))[0].read_text()
        assert f"({decades} decades lost)" in text and f"{-decades} at lag 40" in text
        assert "3.0 decades" not in text


@pytest.mark.slow
def test_neither_load_nor_the_report_needs_jax(tmp_path):
    put(tmp_path, [falling(1.0)] * 3)
    code = (
        "import sys, gradlab; from pathlib import Path; from gradlab.report.page.write import write_report;"
        f"root = Path({str(tmp_path)!r}); gradlab.load(root); write_report(root, print); gradlab.plot;"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('jax', 'jaxlib')]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parent)
