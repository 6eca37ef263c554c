"""One number over seeds is the same in every output: CSV, Markdown, HTML, figures and the terminal."""

import html
import json
import math
import re

import matplotlib
import pandas as pd
import pytest
from adversarial import CASES, store
from studies import sweep_of

from gradlab.cli.console import Screen
from gradlab.cli.present import record_of, show_grid
from gradlab.judge.over_seeds import Interval
from gradlab.report.data.records import labelled, read
from gradlab.report.page.grid import grid
from gradlab.report.page.write import write_report

pytestmark = pytest.mark.slow

matplotlib.use("Agg")
CHOSEN = (
    "disagree", "agree", "one_not_finite", "all_not_finite", "one_missing", "one_failed", "u_shaped", "one_zero",
    "one_cut", "cut", "noise", "two",
)  # fmt: skip
COLUMNS = ("horizon", "span", "verdict", "solved")


class Outputs:
    """The report of a store, read back from its files."""

    def __init__(self, root, **options):
        paths = {path.name: path for path in write_report(root, lambda message: pytest.fail(message), **options)}
        self.page, self.text = (paths[name].read_text() for name in ("index.html", "index.md"))
        self.csv = {path.name: pd.read_csv(path) for path in paths["index.html"].parent.glob("*.csv")}

    def section(self, name):
        return self.page.partition(f'<section id="{name}"')[2].partition("</section>")[0]

    def html_rows(self, section):
        """Every row of the sortable table of a section, by the headings."""
        body = self.section(section).partition("data-sortable")[2]
        heads = [html.unescape(each) for each in re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", body)]
        for head, cells in re.findall(r"<tr><th scope=\"row\"[^>]*>(.*?)</th>(.*?)</tr>", body):
            values = [head, *re.findall(r"<td[^>]*>(.*?)</td>", cells)]
            yield dict(zip(heads, map(html.unescape, values), strict=True))

    def markdown_rows(self, heading):
        lines = [line for line in self.text.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()]
        table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        return [dict(zip(table[0], row, strict=True)) for row in table[1:]]

    def seeds(self, name, role):
        frame = self.csv["seeds.csv"].query("leaf == 'state' and curve == 'task'")
        (row,) = frame[(frame["cell"] == name) & (frame["checkpoint"] == role)].to_dict("records")
        return row


def interval(row, name):
    """The mean of a row of `seeds.csv`, as it is written everywhere else."""
    counts = [int(row[f"{name}_{kind}"]) for kind in ("zero", "not_finite")]
    mean, low, high = (row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    missing = 0 if not math.isnan(mean) or sum(counts) == row["seeds"] else row["seeds"] - sum(counts)
    return str(Interval(mean, low, high, int(row["seeds"]), *counts, int(missing)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return store(tmp_path_factory.mktemp("outputs"), *CHOSEN, steps=100)


@pytest.fixture(scope="module")
def outputs(root):
    return Outputs(root)


@pytest.mark.parametrize("name", CHOSEN)
def test_tables_of_all_formats_agree(outputs, name):
    shown = [row for row in outputs.html_rows("numbers") if row["setting"] == name]
    written = [row for row in outputs.markdown_rows("Numbers") if row["setting"] == name]
    assert shown and shown == written
    for row in shown:
        role = row["checkpoint"].partition(" ")[0].rstrip(",")
        kept = outputs.seeds(name, role)
        runs = len(CASES[name].curves) - CASES[name].curves.count(None)
        assert row["verdict"] == kept["verdict"] and int(row["seeds"]) == runs
        # after a checkpoint counts what came to an end
        ended = runs - (0 if role == "initial" else len(CASES[name].failed))
        assert row["span"] == interval(kept | {"seeds": ended}, "span"), role
        reached = int(kept["horizon_reached"])
        horizon = interval(kept | {"seeds": ended}, "horizon")
        whole, some = ">= 12", f"{horizon}; {reached} of {ended} reach T"
        assert row["horizon"] == (whole if reached == ended else some if reached else horizon)


@pytest.mark.parametrize("name", CHOSEN)
def test_figures_draw_the_numbers_of_the_tables(outputs, name):
    data = json.loads(re.search(r'id="figure-data">(.*?)</script>', outputs.page)[1])
    for panel, role in zip(data["figure-overview"], ("initial", "final"), strict=True):
        kept = outputs.seeds(name, role)["span_mean"]
        lines = [line for line in panel["lines"] if line["label"].startswith(f"{name}: ")]
        ends = [line["y"][-1] for line in lines]
        if math.isnan(kept):  # neither a mean nor a point at the last lag
            assert all(end is None for end in ends)
        else:
            assert ends == [pytest.approx(kept, abs=6e-3)]


@pytest.mark.parametrize("name", CHOSEN)
def test_the_grid_and_the_headline_have_the_horizon_of_the_tables(outputs, root, name):
    (row,) = [row for row in grid(labelled(read(root, print), without=["length"])).rows if row.label == name]
    kept = outputs.seeds(name, "initial")
    if math.isnan(kept["horizon_mean"]) or row.tiles[0].kind in ("cut", "noise", "non-finite"):
        assert row.tiles[0].reach == "–"
        return
    whole = kept["horizon_reached"] == len([curve for curve in CASES[name].curves if curve])
    expected = "all 12" if whole else f"{'≥ ' if kept['horizon_reached'] else ''}{kept['horizon_mean']:.0f}"
    assert row.tiles[0].reach == expected
    assert f'<span class="unseen">reaches </span>{expected}</span>' in outputs.page


def test_the_terminal_prints_the_numbers_of_the_tables(outputs, root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    show_grid(Screen(), [record_of(record.run) for record in read(root, print)])
    lines = capsys.readouterr().out.partition("over seeds")[2].splitlines()
    for name in CHOSEN:
        start = next(index for index, line in enumerate(lines) if line.split(",")[0].startswith(f"{name} 12"))
        for line, role in zip(lines[start : start + 3], ("initial", "worst", "final"), strict=True):
            kept = outputs.seeds(name, role)
            runs = len([curve for curve in CASES[name].curves if curve])
            ended = runs - (0 if role == "initial" else len(CASES[name].failed))
            assert role in line and f" {interval(kept | {'seeds': ended}, 'span')} " in line, (name, line)
            assert kept["verdict"] in line


def test_the_tables_of_a_sweep_agree_with_lengths_csv(root):
    outputs = Outputs(root, sweep=sweep_of(root))
    rows = {row["setting"]: row for row in outputs.html_rows("lengths")} if outputs.section("lengths") else {}
    written = {row["setting"]: row for row in outputs.markdown_rows("By length")}
    for kept in outputs.csv["lengths.csv"].to_dict("records"):
        name = kept["setting"]
        seeds = {role: outputs.seeds(name, role) for role in ("initial", "final")}
        for role, row in seeds.items():
            for number in ("span", "slope", "horizon"):
                ours = [kept[f"{role}_{number}{end}"] for end in ("", "_low", "_high")]
                theirs = [row[f"{number}_{end}"] for end in ("mean", "low", "high")]
                assert ours == pytest.approx(theirs, nan_ok=True, rel=1e-8), (name, role, number)
            assert kept[f"{role}_verdict"] == row["verdict"]
        assert written[name]["solved"] == f"{kept['solved']} of {kept['runs']}"
        mean = kept["initial_span"]
        assert math.isnan(mean) or written[name]["span at initialisation"].startswith(f"{mean:.3g}")
        assert not rows or rows[name] == written[name]
