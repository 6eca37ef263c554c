"""A report is not made twice: what is kept has the bytes of a full build, whatever happened to runs and files."""

import io
import json
import shutil
import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from studies import sweep_of
from synthetic import CONFIG as CONFIG_OF
from synthetic import falling, put

from gradlab.cli.app import main
from gradlab.report import made
from gradlab.report.figures import kept
from gradlab.report.page.write import write_page, write_report
from gradlab.runs.store import Store

CONFIG = {"steps": 0, "status": "measured"}


def probe(root, cell, length, decades):
    put(root, [falling(decades, length)], cell=cell, length=length, **CONFIG)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Probes of two cells at two lengths with their report, a copy of all, and what the report gave."""
    root = tmp_path_factory.mktemp("store") / "results"
    for length in (20, 40):
        for cell, decades in (("lstm", 1.0), ("gru", 5.0)):
            probe(root, cell, length, decades)
    found = report(root)
    return root, shutil.copytree(root, root.with_name("copy")), found


@pytest.fixture
def root(first):
    """The store as it was with its report, which has three figures: one is about the shorter length alone."""
    root, copy, _ = first
    shutil.rmtree(root)
    return shutil.copytree(copy, root)


@pytest.fixture
def drawn(monkeypatch):
    """The names of the figures that are drawn."""
    names, embedded = [], kept.embedded
    monkeypatch.setattr(kept, "embedded", lambda drawing: names.append(drawing.name) or embedded(drawing))
    return names


def report(root, **options):
    """Every file of a report, with what was warned about and returned."""
    heard = []
    paths = write_report(root, heard.append, **options)
    files = {path.relative_to(root): path.read_bytes() for path in (root / "report").rglob("*") if path.is_file()}
    return files, heard, paths


def change(root):
    shutil.rmtree(root / "runs" / "adding-lstm-T20-s0-probe")
    probe(root, "lstm", 20, 2.0)


def damage(root):
    path = root / "runs" / "adding-gru-T20-s0-probe" / "curves.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def shorten(name):
    def act(root):
        path = root / "report" / name
        path.write_bytes(path.read_bytes()[:-1])

    return act


def other_figure(root):
    """`made.json` says, in the right form, that a figure was made of what another was made of."""
    path = root / "report" / made.MADE
    stored = json.loads(path.read_text())
    keys = list(stored["made"]["figures"])
    stored["made"]["figures"] = dict(zip(keys, reversed(stored["made"]["figures"].values()), strict=True))
    path.write_text(json.dumps(stored))


SHORT, LONG = "probe-adding-T20", "overview"
EVENTS = {
    "nothing": (lambda root: None, set()),
    "a run changed": (change, {SHORT, "probe-lengths-adding"}),
    "a run was added": (lambda root: probe(root, "rnn", 20, 3.0), {SHORT, "probe-lengths-adding"}),
    "a run was removed": (
        lambda root: shutil.rmtree(root / "runs" / "adding-gru-T20-s0-probe"),
        {SHORT, "probe-lengths-adding"},
    ),
    "a run was damaged": (damage, {SHORT, "probe-lengths-adding"}),
    "the page was damaged": (shorten("index.html"), set()),
    "a table was removed": (lambda root: (root / "report" / "seeds.csv").unlink(), set()),
    "a picture was damaged": (shorten(f"figures/{LONG}.png"), {LONG}),
    "a picture was removed": (lambda root: (root / "report" / "figures" / f"{SHORT}.svg").unlink(), {SHORT}),
    "a part of the page was damaged": (shorten(f"parts/{LONG}.json"), {LONG}),
    "what was made is not known": (shorten(made.MADE), {LONG, SHORT, "probe-lengths-adding"}),
    "what was made is wrong": (other_figure, {LONG, SHORT, "probe-lengths-adding"}),
}


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_kept_is_what_a_full_build_gives(first, root, drawn, event):
    act, expected = EVENTS[event]
    act(root)
    second = report(root)
    assert set(drawn) == expected
    assert report(root) == second and set(drawn) == expected, "a third one makes nothing"
    assert bool(second[1]) == (event == "a run was damaged")
    if event.startswith("a run"):
        shutil.rmtree(root / "report")
        assert report(root) == second != first[2]
    else:
        assert second == first[2]


def test_a_run_that_is_killed_is_no_longer_said_to_be_running(root):
    attempt = Store(root).begin("adding-rnn-T40-s9", CONFIG_OF | {"seed": 9})
    first = report(root, formats=("md",))[2][0].read_text()
    assert report(root, formats=("md",))[2][0].read_text() == first
    attempt.lock.release()
    second = report(root, formats=("md",))[2][0].read_text()
    assert "running, no done.json" in first and "killed, no done.json" in second


def test_another_gradlab_draws_everything_again(root, drawn, monkeypatch):
    monkeypatch.setattr(made, "_installed", lambda: "another")
    report(root)
    assert set(drawn) == {LONG, "probe-lengths-adding", SHORT}


def test_other_formats_are_another_report(root, drawn):
    files, _, _ = report(root, formats=("html", "csv"))
    assert not drawn, "the pictures of the page are kept"
    report(root)
    assert set(drawn) == {LONG, "probe-lengths-adding", SHORT}, "they have no files yet"
    shutil.rmtree(root / "report")
    assert report(root, formats=("html", "csv"))[0] == files


def test_a_page_alone_takes_the_figures_of_the_report(root, drawn, tmp_path):
    target = tmp_path / "alone" / "page.html"
    first = write_page(root, print, target).read_bytes()
    assert not drawn
    shutil.rmtree(root / "report")
    assert write_page(root, print, target).read_bytes() == first and drawn


def test_the_report_of_a_sweep_or_a_run_leaves_that_of_everything_alone(first, root):
    everything, _, _ = first[2]
    (root / "report" / "compare.html").write_text("two runs")
    sweep = sweep_of(root)
    swept = write_report(root, print, sweep=sweep)
    alone = write_report(root, print, run="adding-gru-T40-s0-probe", formats=("html",))
    assert swept[0] == root / "report" / "sweeps" / "adding_length" / "index.html"
    assert alone == [root / "report" / "runs" / "adding-gru-T40-s0-probe" / "index.html"]
    assert everything.items() <= report(root)[0].items()
    change(root)
    page = swept[0].read_bytes()
    assert report(root)[0].items() & everything.items() != everything.items()
    assert swept[0].read_bytes() == page and alone[0].exists()
    assert (root / "report" / "compare.html").read_text() == "two runs"


def test_a_summary_that_was_removed_is_written_again(root):
    sweep = sweep_of(root)
    *_, last = write_report(root, print, sweep=sweep)
    before = last.read_bytes()
    last.unlink()
    write_report(root, print, sweep=sweep)
    assert last.read_bytes() == before


def test_an_unchanged_report_is_there_before_anything_that_draws_is_imported(root):
    words = (
        f"import sys; from gradlab.cli.app import main; assert main(['report', '--results', {str(root)!r}]) == 0"
    )
    check = "; assert not {'pandas', 'matplotlib', 'jax'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", words + check], capture_output=True, text=True)
    assert done.returncode == 0 and "3 figures (SVG and PNG)" in done.stdout, done.stderr


def test_a_figure_is_drawn_once_for_each_of_its_formats(root, monkeypatch):
    """Drawing is what a report costs: once as SVG, which the page has too, and once as PNG."""
    shutil.rmtree(root / "report")
    drawings, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: drawings.append(figure) or draw(figure, renderer))
    report(root)
    assert len(drawings) == 2 * 3


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("words, seen", [([], True), (["-q"], False), (["--json"], False)])
def test_a_terminal_shows_how_far_it_is(root, monkeypatch, words, seen):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert main(["report", "--results", str(root), "--format", "html", *words]) == 0
    told = sys.stderr.getvalue()
    assert ("report: " in told) == seen
    assert not seen or ("] 0 of 4 runs read" in told and "figures, probe-lengths" in told)
