"""Text of users is shown as it is by every output: no mathtext, Markdown, HTML, escape or formula."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from gating import write_cell, write_suite
from markdown_it import MarkdownIt
from rich.console import Console
from studies import sweep_of
from synthetic import falling, put

from gradlab.cli import ci_formats, verdicts
from gradlab.cli.console import Screen
from gradlab.cli.present import record_of, show_run
from gradlab.errors import GradlabError, described
from gradlab.gradient.curve import GradientCurve
from gradlab.judge.check import ScenarioResult, SuiteResult
from gradlab.judge.compare import Finding
from gradlab.report.data.tables import load
from gradlab.runs.jsonable import dumps, printable
from gradlab.runs.store import Store
from gradlab.runs.sweeps import Sweep, store_sweep

HOSTILE = (
    "=cmd() $\\frac_{$ $a$ `c` |p| **b** _i_ ~~s~~ [u](javascript:x) ![i](x) &lt; <script>alert(1)</script> "
    "[red]r[/] "
    "\x1b]0;t\x07 \x9b31m \r \n# h\n- i\n```\n \t \u202e \u2028 \udcff"
)
"""Ends in what turns the direction of writing, a separator of lines, and what no encoding holds."""
LONG = f"{HOSTILE} {'x' * 20_000}"
NEVER = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")
SHOWN = "$\\frac_{$ $a$ `c` |p| **b** _i_ ~~s~~ [u](javascript:x) ![i](x) &lt; <script>alert(1)</script> [red]r[/]"
LEAF = "$h$ **<b>**"


class Words(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.words, self.tags = [], set()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A results folder with trained seeds, a probe and a failed run of a cell and a task with such options."""
    folder = tmp_path_factory.mktemp("results")
    names = {"task": f"/home/ada/own.py:Task:tag={HOSTILE}", "cell": f"own.py:Cell:tag={HOSTILE}"}
    curve = GradientCurve.of({LEAF: falling(3.0).log10_norm["h"], "c": falling(1.0).log10_norm["h"] + 1})
    for length in (20, 40):
        put(folder, [curve] * 3, status="solved", length=length, **names)
    put(
        folder,
        [curve] * 3,
        status="failed",
        seed=1,
        reason=f"ValueError: {LONG} (/home/ada/a.py, line 3)",
        **names,
    )
    sweep = sweep_of(folder, title=LONG, question=HOSTILE, source=HOSTILE, file="/home/ada/s.toml")
    stated = {name: value for name, value in vars(sweep).items() if name not in ("runs", "tune")}
    path = store_sweep(folder, Sweep(**stated, minutes=None, specs=()))
    path.write_text(dumps(json.loads(path.read_text()) | {"runs": sweep.runs}))
    return folder


@pytest.fixture(scope="module")
def report(root):
    """What `gradlab report --sweep` writes."""
    from gradlab.cli.app import main

    assert main(["report", "--sweep", "adding_length", "--results", str(root)]) == 0
    return root / "report" / "sweeps" / "adding_length"


def test_a_terminal_shows_it_escaped(root, typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run = next(Store(root).each()).id
    for words in (
        ["ls"],
        ["show", run],
        ["show", "no" + HOSTILE],
        ["rm", run],
        ["ls", "--where", f"cell={HOSTILE}"],
    ):
        _, out, err = typed(*words, "--results", root)
        assert not NEVER.search(out + err), words
    out = Screen(Console(file=io.StringIO(), force_terminal=True, width=200), None).out
    show_run(Screen(out, out), record_of(Store(root).find(run)), None)
    assert not NEVER.search(re.sub("\x1b\\[[0-9;]*m", "", out.file.getvalue()))  # but for colours of gradlab
    assert "\\x1b]0;t\\x07" in typed("show", "no" + HOSTILE, "--results", root)[2]


def test_json_has_it_unchanged_behind_escapes(root, typed):
    for words in (["ls"], ["show", next(Store(root).each()).id]):
        code, out, _ = typed(*words, "--json", "--results", root)
        assert code == 0 and not NEVER.search(out)
        assert json.loads(out)["runs"][0]["spec"]["cell"] == f"own.py:Cell:tag={HOSTILE}"


@pytest.mark.slow
def test_pages_show_it_as_text(report, root, typed):
    runs = [run.id for run in Store(root).each() if run.finished]
    assert typed("report", "--compare", *runs, "--results", root)[0] == 0
    for name in (report / "index.html", root / "report" / "compare.html"):
        text = name.read_text()
        page = Words(text)
        assert SHOWN in page.text and not NEVER.search(text), name
        assert not {"b", "i", "em", "img"} & page.tags and text.count("alert(1)</script>") == 0
        assert "/home" not in text and "ada/" not in text


@pytest.mark.slow
def test_markdown_shows_it_as_text(report, root):
    for path in (report / "index.md", root / "summaries" / "adding_length" / "README.md"):
        text = path.read_text()
        page = Words(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
        assert SHOWN in page.text and not NEVER.search(text)
        assert not {"em", "s", "script", "b", "h4"} & page.tags and "/home" not in text
        assert "javascript:" not in re.findall(r'(?:href|src)="(\w+:)', page.text)


@pytest.mark.slow
def test_figures_show_it_as_text(report):
    pictures = sorted((report / "figures").glob("*.svg"))
    texts = {path: "".join(ElementTree.parse(path).getroot().itertext()) for path in pictures}
    assert len(pictures) == len(list((report / "figures").glob("*.png"))) > 5
    assert any("$\\frac_{$" in "".join(text.split()).replace("\\frac", "\\frac") for text in texts.values())
    for path, text in texts.items():
        assert not NEVER.search(text) and "mathdefault" not in text and "/home" not in text, path
        assert len(path.name.encode()) < 200 and re.fullmatch(r"[\w.=-]+", path.name, re.ASCII)


@pytest.mark.slow
def test_tables_hold_no_formulas(report, root):
    for path in report.glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not NEVER.search("".join(cells)) and "/home" not in "".join(cells), path
        for cell in cells:
            if cell[:1] in tuple("=+-@"):
                float(cell)
    frame = load(root)
    assert set(frame["cell"]) == {f"own.py:Cell:tag={HOSTILE}"}  # Python gets it as it is


@pytest.mark.parametrize(
    "text", ["=cmd()", "+1+cmd()", "-cmd()", "@cmd", "-1.5e-3", "-inf", "+2", "nan", "a=b", ""]
)
def test_a_formula_in_a_table_is_a_text(text, tmp_path):
    import pandas as pd

    from gradlab.report.data.tables import write_csv

    write_csv(tmp_path / "t.csv", [pd.DataFrame({"name": [text, "x"], "number": [-1.5, 2.0]})])
    first = (tmp_path / "t.csv").read_text().splitlines()[1]
    formula = text in ("=cmd()", "+1+cmd()", "-cmd()", "@cmd")
    assert first.removesuffix(",-1.5").strip('"') == (f"'{text}" if formula else text)


def test_formats_of_continuous_integration(tmp_path):
    finding = Finding(HOSTILE, "initial", "regressed", HOSTILE)
    results = [SuiteResult(HOSTILE, tmp_path, [ScenarioResult(HOSTILE, [finding], [HOSTILE])], [])]
    lines = [*ci_formats.annotations(results), ci_formats.summary(results)]
    assert not NEVER.search("".join(lines)) and "\n" not in lines[0]
    page = Words(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(lines[1]))
    assert SHOWN in page.text and not {"em", "s", "script", "a", "img", "strong"} & page.tags
    ci_formats.write_junit(tmp_path / "junit.xml", results)
    case = ElementTree.parse(tmp_path / "junit.xml").getroot()[0][0]
    assert "$\\frac_{$" in case.get("name") and not NEVER.search(case.get("name") + case[0].text)
    assert json.loads(dumps(verdicts.as_json(results, 1, [])))["suites"][0]["suite"] == HOSTILE


def test_long_exceptions_are_cut():
    class Rude(Exception):
        def __str__(self):
            raise ValueError

    assert len(described(ValueError(LONG * 10))) < 5000 and "\n" not in described(ValueError(LONG))
    assert described(Rude()) == "Rude: its text raises ValueError"


def test_numpy_in_a_traced_function_is_told_what_to_use():
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        jax.jit(np.asarray)(1.0)
    text = described(caught.value)
    assert text.startswith(
        "TracerArrayConversionError: what a cell or task computes is traced by jax.jit: use jax."
    )
    assert len(str(GradlabError(LONG))) < 5000
    assert printable("é 中 ± ∞") == "é 中 ± ∞"


@pytest.mark.slow
def test_what_a_cell_prints_goes_to_stderr(tmp_path, typed, monkeypatch):
    """So that stdout is one JSON object, where the cell runs in the process of the command and in another."""
    monkeypatch.chdir(tmp_path)
    path = write_cell(tmp_path)
    path.write_text(
        "print('loud')\n" + path.read_text().replace("return h_t", "print('loud')\n        return h_t")
    )
    suite = write_suite(tmp_path, steps=0)
    small = ("adding", "--cell", "cell.py:Own", "--hidden", "2", "--len", "4")
    for words in (["probe", *small, "--results", "r"], ["check", suite, "--exit-zero"]):
        path.write_text(f"{path.read_text()}\n")  # so that it is loaded again
        code, out, err = typed(*words, "--json")
        assert code == 0 and json.loads(out) and "loud" not in out, words
        assert "loud" in err, words
