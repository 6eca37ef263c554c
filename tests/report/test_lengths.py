"""What a sweep over lengths says: figures, sentences, tables, and the small files that are committed."""

import math
import re

import matplotlib
import pandas as pd
import pytest
from scipy import stats
from studies import LENGTHS, sweep_of, trained
from synthetic import falling, put
from wording import wording

from gradlab.errors import GradlabError
from gradlab.judge.statistics import share
from gradlab.report.data import by_length, study
from gradlab.report.data.records import grouped, labelled, read
from gradlab.report.figures import gallery, lengths
from gradlab.report.page.tables import lengths_table
from gradlab.report.page.write import write_report
from gradlab.report.text import length_limit
from gradlab.runs.sweeps import StoredSweep

matplotlib.use("Agg")


@pytest.mark.parametrize("count, of", [(0, 1), (0, 3), (1, 3), (3, 3), (7, 20), (20, 20)])
def test_share_has_wilsons_interval(count, of):
    expected = stats.binomtest(count, of).proportion_ci(method="wilson")
    found = share(count, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert str(found) == f"{count} of {of}" and found.rate == count / of


def test_no_seed_has_no_share():
    assert math.isnan(share(0, 0).rate) and math.isnan(share(0, 0).low)


@pytest.mark.parametrize(
    "counts, words",
    [
        ((3, 3, 0), "solved T = 40 in 3 of 3 seeds and T = 80 in 0 of 3: it solves up to T = 40"),
        ((3, 3, 3), "in every seed (3 of 3 there): it solves at least T = 80"),
        ((0, 0, 0), "solves no tested length (0 of 3 seeds at T = 20)"),
        ((3, 1, 2), "and T = 40 in 1 of 3: it solves up to T = 20; beyond that T = 80 in 2 of 3"),
        ((2, 0, 0), "solved T = 20 in 2 of 3 seeds, so not even the shortest length in every seed"),
    ],
)
def test_length_limit_in_words(counts, words):
    found = length_limit.length_limit(
        {at: share(count, 3) for at, count in zip(LENGTHS, counts, strict=True)}, "solved", "solves"
    )
    assert found.endswith(words)


def test_opposite_stores_give_opposite_answers(tmp_path):
    trained(tmp_path / "short", lambda cell, length, seed: length <= 20, lost=0.1)
    trained(tmp_path / "long", lambda cell, length, seed: True, lost=0.001)
    short, long = (wording(read(tmp_path / name, print)) for name in ("short", "long"))
    assert (
        "**LSTM on adding** solved T = 20 in 3 of 3 seeds and T = 40 in 0 of 3: it solves up to T = 20, at one "
        "setting." in short
    )
    assert "is held over T = 20 in 3 of 3 seeds and T = 40 in 0 of 3: it holds up to T = 20" in short
    assert "(2.0 [2.0, 2.0] decades lost over T = 20, 4.0 [4.0, 4.0] decades lost over T = 40)" in short
    assert "where it vanished, 0 of 6 runs solved the task; where it was held, 3 of 3 runs solved" in short
    assert "Solved runs lost up to 2.0 decades there, unsolved ones from 4.0 on." in short
    assert "it solves at least T = 80" in long and "it holds at least T = 80" in long
    assert "where it was held, 9 of 9 runs solved the task." in long and "does within 100 training steps" in long
    assert "vanish" not in long and "unsolved" not in long


def test_what_holds_at_no_length_is_named_by_what_it_does(tmp_path):
    trained(tmp_path, lambda cell, length, seed: False, lost=0.5)
    text = wording(read(tmp_path, print))
    assert "vanishes at every tested length (held in 0 of 3 seeds at T = 20)" in text
    assert "**LSTM on adding** solves no tested length (0 of 3 seeds at T = 20), at one setting." in text
    assert (
        "At T = 80 the gradient at initialisation reaches 6 of 80 timesteps; no cell solved any length, at" in text
    )


def test_settings_that_were_not_trained_are_told_from_those_that_were(tmp_path):
    put(tmp_path, [falling(1.0, 40)] * 2, cell="lstm", length=40)
    for cell, lost, length in (("gru", 12, 40), ("rnn", 30, 40), ("gru", 120, 400)):
        put(tmp_path, [falling(lost, length)], cell=cell, length=length, steps=0, status="measured")
    text = wording(read(tmp_path, print))
    assert (
        "At T = 40 the gradient at initialisation reaches all 40 timesteps in LSTM, 10 in GRU and 4 in RNN. Only "
        "LSTM was trained: it solved no length, at one setting." in text
    ), text[:600]


def test_longer_probes_beside_a_trained_cell_come_first(tmp_path):
    """Of the trained LSTM and the probe of an LSTM, which begin alike, one is shown."""
    put(tmp_path, [falling(1.0, 20)] * 2, cell="lstm", length=20)
    for cell, lost in (("lstm", 4), ("gru", 12), ("rnn", 30)):
        for length in (20, 50):
            put(tmp_path, [falling(lost, length)], cell=cell, length=length, steps=0, status="measured")
    records = read(tmp_path, print)
    assert (
        "At T = 50 the gradient at initialisation reaches 37 of 50 timesteps in LSTM, 13 in GRU and 5 in RNN. "
        "Only LSTM was trained, at T = 20: it solved no length, at one setting." in wording(records)
    ), wording(records)[:600]
    ((drawn,),) = [list(plan.drawn()) for plan in gallery.first_pictures(records)]
    start, end = drawn.figure.axes
    named = [[text.split(":")[0] for text in ax.get_legend_handles_labels()[1]] for ax in (start, end)]
    assert named == [["RNN", "LSTM", "GRU"], ["LSTM"]]
    assert [ax.get_title(loc="left") for ax in (start, end)] == [
        "at initialisation, T = 50",
        "at the end of training, T = 20",
    ]
    colours = [
        {line.get_label().split(":")[0]: line.get_color() for line in ax.get_lines()} for ax in (start, end)
    ]
    assert colours[0]["LSTM"] == colours[1]["LSTM"], "one cell has one colour"


def test_longer_probes_of_other_cells_hide_no_trained_cell(tmp_path):
    """Without a length that they share, both pictures are of what was trained."""
    put(tmp_path, [falling(1.0, 20)] * 2, cell="lstm", length=20)
    for cell in ("gru", "rnn"):
        put(tmp_path, [falling(30, 50)], cell=cell, length=50, steps=0, status="measured")
    said = "At T = 20 the gradient at initialisation reaches all 20 timesteps. Only LSTM was trained: it"
    assert said in wording(read(tmp_path, print)), wording(read(tmp_path, print))[:600]


def test_figure_of_solving(tmp_path):
    trained(
        tmp_path,
        lambda cell, length, seed: length == 20 or (cell, length, seed) == ("gru", 40, 0),
        cells=("rnn", "gru"),
    )
    lines = lengths.lines_of(read(tmp_path, print), 10)
    drawing = lengths.solving_figure("x", lines)
    rate, horizon = drawing.figure.axes
    assert rate.get_xlim() == pytest.approx(horizon.get_xlim(), abs=0.01)
    drawn = {line.get_label(): line.get_ydata().tolist() for line in rate.get_lines()}
    assert (drawn["RNN"], drawn["GRU"]) == ([1, 0, 0], pytest.approx([1, 1 / 3, 0]))
    low, high = rate.collections[1].get_segments()[1][:, 1]  # of the GRU at T = 40
    assert (low, high) == pytest.approx((share(1, 3).low, share(1, 3).high))
    filled = {line.get_gid(): line.get_xdata().tolist() for line in rate.get_lines()}
    rnn, gru = ({"a0-s0-line": [20, 40, 80], "a0-s0-empty": [40, 80]}, {"a0-s1-empty": [80], "a0-s1-half": [40]})
    assert filled == rnn | gru | {"a0-s1-line": [20, 40, 80]}
    horizons = next(line for line in horizon.get_lines() if line.get_label() == "RNN")
    assert horizons.get_ydata().tolist() == [20, 40, 60]  # 4 decades over 79 lags: three of them by lag 60
    assert horizons.get_xdata().tolist() == [20, 40, 80]
    assert drawing.heading == "adding: solved in every seed by RNN and GRU up to T = 20, at one setting"
    step = "(median training step 100)"
    assert f"GRU: solved T = 20 in 3 of 3 {step}, T = 40 in 1 of 3 {step}, T = 80 in 0 of 3." in drawing.caption
    (legend,) = drawing.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["RNN", "GRU"]


def test_figure_of_lengths(tmp_path):
    for length in (20, 40):
        put(tmp_path, [falling(length / 2, length)] * 3, length=length, status="solved")
        put(tmp_path, [falling(0.5, length)] * 3, length=length, cell="gru")
    drawing = lengths.lengths_figure("x", lengths.lines_of(read(tmp_path, print), 10))
    titles = [ax.get_title(loc="left") for ax in drawing.figure.axes]
    assert titles[::2] == [f"{name} at initialisation" for name in ("span", "slope", "half-life", "horizon")]
    assert titles[1::2] == [f"{name} at the end of training" for name in ("span", "slope", "half-life", "horizon")]
    values = [{line.get_label(): line.get_ydata() for line in ax.get_lines()} for ax in drawing.figure.axes]
    assert values[0]["LSTM"] == pytest.approx([-10, -20])
    assert values[2]["LSTM"] == pytest.approx([-10 / 19, -20 / 39])
    assert values[4]["LSTM"] == pytest.approx([math.log10(2) * 19 / 10, math.log10(2) * 39 / 20])
    assert values[6]["GRU"] == pytest.approx([20, 40])
    assert drawing.heading == "adding: at T = 40 GRU held the gradient at the end of training, 1 other does not"


def test_ten_initialisations_are_named_and_told_apart(tmp_path):
    for bias in range(10):
        for length in (20, 40):
            curves = [falling(length / 2**bias, length)]
            put(tmp_path, curves, status="measured", steps=0, length=length, cell=f"lstm:forget_bias={bias}")
    ((drawing,),) = (plan.drawn() for plan in gallery.against_length(read(tmp_path, print)))
    assert drawing.heading.startswith("adding: at T = 40 6 of 10 settings held the gradient")
    for ax in drawing.figure.axes:
        named = [line for line in ax.get_lines() if line.get_label()[0] != "_"]
        assert len({line.get_color() for line in named}) == 10
        assert len({(line.get_linestyle(), line.get_marker()) for line in named}) == 8
    (legend,) = drawing.figure.legends
    assert len({text.get_text() for text in legend.get_texts()}) == 10
    drawing.figure.draw_without_rendering()
    lowest = min(ax.get_tightbbox().y0 for ax in drawing.figure.axes)
    assert 0 <= legend.get_window_extent().y0 and legend.get_window_extent().y1 <= lowest


def test_lines_that_differ_in_training_steps_say_so(tmp_path):
    for length, steps in ((20, 100), (40, 200), (80, 200)):
        put(tmp_path, [falling(1.0, length)] * 3, length=length, steps=steps)
    lines = lengths.lines_of(read(tmp_path, print), 10)
    assert [line.label for line in lines] == ["LSTM, 100 training steps", "LSTM, 200 training steps"]
    assert "differ in steps are drawn apart" in lengths.lengths_figure("x", lines).caption


def test_table_by_length(tmp_path):
    trained(tmp_path, lambda cell, length, seed: length < 80 and seed < 2, lost=0.1)
    found = by_length.rows(read(tmp_path, print))
    assert [row["length"] for row in found] == list(LENGTHS)
    first = found[0]
    assert (first["runs"], first["solved"], first["median_step_solved"]) == (3, 2, 100)
    assert first["initial_span"] == pytest.approx(-2) and first["initial_slope"] == pytest.approx(-2 / 19)
    assert first["initial_half_life"] == pytest.approx(math.log10(2) * 19 / 2)
    assert math.isnan(found[-1]["median_step_solved"]) and found[-1]["final_horizon_reached"] == 3
    shown = lengths_table(labelled(read(tmp_path, print)))
    assert shown.rows[0][:7] == ["LSTM", "adding", "20", "3", "2 of 3", "[0.21, 0.94]", "100"]
    assert [cell for row in shown.rows for cell in row].count(">= 80") == 1


@pytest.mark.slow
def test_report_of_a_sweep_is_about_its_runs_alone(tmp_path):
    trained(tmp_path, lambda cell, length, seed: length <= 40)
    sweep = sweep_of(tmp_path)
    put(tmp_path, [falling(1.0)] * 3, cell="gru")
    paths = write_report(tmp_path, print, sweep=sweep, formats=("md",))
    text = paths[0].read_text()
    assert text.startswith(
        "# Which cell remembers?\n\nAt T = 80 the gradient at initialisation reaches 60 of 80 timesteps; "
        "solved in every seed by LSTM up to T = 40, at one setting.\n\nTo which T?\n\n9 of 9 runs complete: "
        "6 solved, 3 trained.\n\nAt one setting: nothing was tuned for any cell (learning rate 0.01). "
        "At equal hidden size: 8. Initialisation: orthogonal. Clipping: norm:1.\n"
    )
    assert "GRU" not in text and "gradlab sweep experiments/adding_length.toml" in text
    shown = set(re.findall(r"\((figures/[^)]+)\)", text))
    assert shown == {str(path.relative_to(paths[0].parent)) for path in paths if path.parent.name == "figures"}
    assert shown >= {"figures/solving-adding.svg", "figures/lengths-adding.svg"}
    assert all(path.exists() for path in paths)


@pytest.mark.slow
def test_what_is_kept_of_a_sweep_is_small_and_the_same_again(tmp_path):
    trained(tmp_path, lambda cell, length, seed: length <= 40)
    sweep = sweep_of(tmp_path)
    kept = [path for path in write_report(tmp_path, print, sweep=sweep) if "summaries" in path.parts]
    assert {path.parent for path in kept} == {tmp_path / "summaries" / "adding_length"}
    names = ["README.md", "lengths.csv", "solving-adding.svg", "lengths-adding.svg"]
    assert [path.name for path in kept] == names
    assert all(0 < path.stat().st_size < 200_000 for path in kept)
    readme = kept[0].read_text()
    assert "it solves up to T = 40, at one setting" in readme and "(solving-adding.svg)" in readme
    assert "gradlab sweep experiments/adding_length.toml\ngradlab report --sweep adding_length" in readme
    table = pd.read_csv(kept[1])
    assert table["length"].tolist() == list(LENGTHS) and table["solved"].tolist() == [3, 3, 0]
    before = {path: path.read_bytes() for path in kept}
    write_report(tmp_path, print, sweep=sweep)
    assert {path: path.read_bytes() for path in kept} == before


@pytest.mark.slow
def test_runs_that_are_not_there_are_counted_and_named(tmp_path):
    trained(tmp_path, lambda cell, length, seed: True)
    put(tmp_path, [falling(1.0)] * 2, status="interrupted", cell="rnn")
    put(tmp_path, [falling(1.0)], status="failed", cell="rnn", seed=1)
    sweep = sweep_of(tmp_path, absent=(0, 1))
    text = write_report(tmp_path, print, sweep=sweep, formats=("md",))[0].read_text()
    assert "**9 of 13 runs complete: 9 solved. Not complete: 2 missing, 1 interrupted, 1 failed.**" in text
    for words in (
        "`adding-gru-T20-s0` is missing",
        "`adding-rnn-T40-s0` interrupted at",
        "failed: ValueError: broken",
    ):
        assert words in text
    assert "RNN on adding" not in text


def test_a_run_of_another_config_is_not_the_one_that_was_asked_for(tmp_path):
    trained(tmp_path, lambda cell, length, seed: True)
    sweep = sweep_of(tmp_path)
    changed = [run | {"config": run["config"] | {"batch": 5}} for run in sweep.runs[:1]]
    assert study.study_of(sweep, read(tmp_path, print)).absent == {}
    other = StoredSweep(**vars(sweep) | {"runs": (*changed, *sweep.runs[1:])})
    found = study.study_of(other, read(tmp_path, print))
    assert found.absent == {sweep.ids[0]: "missing"} and len(found.finished) == 8


def test_a_sweep_without_a_finished_run_names_its_command(tmp_path):
    put(tmp_path, [falling(1.0)] * 2, status="interrupted")
    sweep = sweep_of(tmp_path, name="mine", file="a b.toml", overrides=("length=20,40",))
    with pytest.raises(GradlabError, match="none of the 1 runs of sweep mine is finished") as error:
        write_report(tmp_path, print, sweep=sweep)
    assert "`gradlab sweep 'a b.toml' --set length=20,40 --name mine`" in str(error.value)
    assert not (tmp_path / "report").exists() and not (tmp_path / "summaries").exists()


@pytest.mark.slow
def test_progress_is_told(tmp_path):
    trained(tmp_path, lambda cell, length, seed: True, seeds=1)
    heard = []
    write_report(tmp_path, print, progress=heard.append)
    assert (
        heard[0] == f"report: [{'':24}] 0 of 3 runs read"
        and f"report: [{'':24}] 0 of 25 figures, overview" in heard
    )


def test_headings_count_settings_that_are_not_drawn(tmp_path):
    for bias in range(15):
        for length in (20, 40):
            curves = [falling(length / (1 + bias), length)]
            put(tmp_path, curves, status="measured", steps=0, length=length, cell=f"lstm:forget_bias={bias}")
    ((drawing,),) = (plan.drawn() for plan in gallery.against_length(read(tmp_path, print)))
    names = [line.get_label() for line in drawing.figure.axes[0].get_lines() if line.get_label()[0] != "_"]
    assert drawing.heading.endswith(" held the gradient at initialisation, 13 others do not")
    assert len(names) == gallery.SETTINGS == 12


def test_borrowed_weights_have_no_line(tmp_path):
    for length in LENGTHS:
        put(tmp_path, [falling(1.0, length)], steps=0, status="measured", length=length, params="some-run")
    records = read(tmp_path, print)
    assert list(gallery.against_length(records)) == []
    (group,) = grouped(records, without=["length"])
    assert "with the weights of some-run its gradient is held" in str(length_limit.sentence(group, "LSTM"))
