"""`gradlab check` and `gradlab bless` as they are typed: exit codes, first line, JSON, JUnit, GitHub, pictures."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from gating import write_cell, write_suite

from gradlab.cli import ci_formats, verdicts
from gradlab.cli.app import main
from gradlab.judge.check import ScenarioResult, SuiteResult
from gradlab.judge.compare import Finding

pytestmark = pytest.mark.slow

NASTY = "<a & b> \"c\" 'd' \x00\x1b[31m ]]> \u2028 é \ud800 %0A::error::"


@pytest.fixture(scope="module")
def blessed(tmp_path_factory):
    """A folder with the cell, its suite and its baselines, and the words that name them."""
    folder = tmp_path_factory.mktemp("gate")
    write_cell(folder)
    suite = write_suite(folder, steps=0)
    assert main(["bless", str(suite), "--baseline", str(folder / "baselines"), "--reason", "first"]) == 0
    return folder


@pytest.fixture
def project(blessed, tmp_path, monkeypatch):
    """That folder with its own copy of the baselines; the cell is as it was blessed."""
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(blessed / "baselines", tmp_path / "baselines")
    write_cell(blessed)
    yield blessed
    write_cell(blessed)


@pytest.fixture
def typed(project, tmp_path, capsys):
    def type_(command, *words):
        capsys.readouterr()
        code = main(
            [command, str(project / "small.toml"), "--baseline", str(tmp_path / "baselines"), *map(str, words)]
        )
        return code, *capsys.readouterr()

    return type_


def baseline_file(tmp_path):
    return next(
        path for path in (tmp_path / "baselines" / "small").glob("*.json") if "population" not in path.name
    )


# ---------------------------------------------------------------- exit codes and the first line


def test_unchanged(typed, tmp_path):
    code, out, err = typed("check")
    assert code == 0 and out.startswith("unchanged: 1 scenario of small, at most ") and err == ""
    assert "next: OK to commit" in out and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "fault, what",
    [
        ("weights", r"initial weights changed \(cell/a by 1 %\); [+-]0\.\d+ decades at lag \d+ \("),
        ("step", r"at initialisation: [+-]0\.\d+ decades at lag \d+ \(tolerance 0\.0001\)"),
        ("nan", r"at initialisation: nan decades at lag \d+, the first that is not finite"),
    ],
)
def test_a_fault_is_named_with_scenario_lag_and_decades(typed, project, tmp_path, fault, what):
    write_cell(project, fault)
    code, out, _ = typed("check")
    first = out.splitlines()[0]
    assert code == 1 and first.startswith("regressed: ") and baseline_file(tmp_path).stem in first
    assert re.search(what, first)
    pictures = [Path(line.rpartition(": ")[2]) for line in out.splitlines() if line.startswith("new curves over")]
    assert pictures and all(path.read_text().startswith("<?xml") for path in pictures)
    # What it says accepts the curve as it stands there.
    accept = shlex.split(out.splitlines()[-1].partition("gradlab ")[2])
    assert typed("check", "--exit-zero")[0] == 0
    if fault != "weights":
        assert main(accept) == (1 if fault == "nan" else 0), "NaN is not to be blessed"
        assert typed("check")[0] == (1 if fault == "nan" else 0)


def test_a_mistake_in_the_cell_is_a_finding_and_no_bug_of_gradlab(typed, project, tmp_path, monkeypatch):
    cell = next(project.glob("*.py"))
    cell.write_text(cell.read_text() + "\n\ndef _broken(*_):\n    return missing_name\n\n\nOwn.step = _broken\n")
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = typed("check", "--junit-xml", tmp_path / "gate.xml")
    assert code == 1 and err == "" and "NameError: name 'missing_name' is not defined (" in out.splitlines()[0]
    assert (
        f"{cell.name}, line " in " ".join(out.split())
        and "it fails: NameError" in (tmp_path / "gate.xml").read_text()
    )
    assert out.splitlines()[-1].startswith("next: mend what fails") and "gradlab bless" not in out
    code, out, err = typed("bless", "--reason", "none")
    assert (code, out) == (1, "") and "fails: NameError" in err and "bug in gradlab" not in err


def test_a_deleted_baseline(typed, tmp_path):
    baseline_file(tmp_path).unlink()
    code, out, _ = typed("check")
    assert code == 3 and out.startswith("no baseline: ")
    assert typed("check", "--allow-missing")[0] == 0
    assert typed("check", "--allow-inconclusive")[0] == 3
    (hint,) = [line for line in out.splitlines() if line.startswith("next: ")]
    assert f"git restore {tmp_path / 'baselines' / 'small'}; if it never was, gradlab bless" in hint


def test_a_deleted_population(typed, tmp_path):
    (path,) = (tmp_path / "baselines" / "small").glob("*.population.json")
    path.unlink()
    code, out, _ = typed("check")
    assert code == 3 and out.startswith("no baseline: ") and f"{path} is missing, which another jax" in out
    assert typed("check", "--allow-missing")[0] == 0


def test_a_corrupt_baseline(typed, tmp_path):
    baseline_file(tmp_path).write_text('{"baseline": 1, "lags": [1')
    code, out, _ = typed("check", "--allow-missing")
    assert code == 3 and out.startswith("baseline unreadable: ") and "cannot be read" in out


def test_wrong_usage(typed, capsys):
    for words in (["--output-format", "json"], ["--reason", "x"]):
        code, out, err = typed("check", *words)
        assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert main(["check", "nonsense"]) == 2
    assert "suite `nonsense` does not exist" in capsys.readouterr().err


def test_a_baseline_of_no_scenario_is_told(typed, tmp_path):
    file = baseline_file(tmp_path)
    shutil.copy(file, file.with_name("old.json"))
    code, _, err = typed("check")
    assert code == 0 and "old.json is of no scenario of small: delete it" in err


def test_bless_shows_what_it_changes_and_accepts_it(typed, project, tmp_path):
    before = baseline_file(tmp_path).read_text()
    write_cell(project, "step")
    code, out, _ = typed("bless", "--dry-run")
    assert code == 0 and "regressed" in out and "nothing was written" in out
    assert baseline_file(tmp_path).read_text() == before
    code, out, _ = typed("bless", "--reason", "a stronger step", "--json")
    value = json.loads(out)
    assert code == 0 and len(value["written"]) == 2 and value["verdict"] == "regressed"
    assert '"reason": "a stronger step"' in baseline_file(tmp_path).read_text()
    assert typed("check")[0] == 0


def test_bless_of_a_cut_cell_names_its_option_and_exits_2(typed, project, tmp_path):
    before = baseline_file(tmp_path).read_text()
    write_cell(project, "detached")
    code, out, err = typed("bless")
    assert (
        (code, out) == (2, "") and err.startswith("gradlab: --reason is missing") and not err.rstrip().count("\n")
    )
    code, out, err = typed("bless", "--reason", "as meant")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("(initial); --allow-zero accepts it\n") and "allow_zero" not in err
    assert baseline_file(tmp_path).read_text() == before
    assert typed("bless", "--allow-zero", "--reason", "as meant")[0] == 0 and typed("check")[0] == 0


# ---------------------------------------------------------------- JSON, JUnit, GitHub


def test_json_says_the_same(typed, project, tmp_path):
    write_cell(project, "step")
    code, out, _ = typed("check", "--json")
    value = json.loads(out)
    assert code == value["exit_code"] == 1 and value["verdict"] == "regressed"
    (scenario,) = value["suites"][0]["scenarios"]
    worst = scenario["findings"][0]
    assert (worst["status"], worst["tier"]) == ("regressed", "A") and abs(worst["decades"]) > worst["tolerance"]
    assert value["headline"] == typed("check")[1].splitlines()[0]
    assert scenario["bits"] != scenario["baseline_bits"] and Path(value["overlays"][0]).exists()
    assert set(value) == {"verdict", "headline", "exit_code", "suites", "overlays", "accept"}
    clean = json.loads((write_cell(project), typed("check", "--json")[1])[1])
    assert clean["exit_code"] == 0 and clean["accept"] is None and clean["overlays"] == []


def verdict_of(*statuses, label="s"):
    judged = [
        ScenarioResult(
            f"{label}{i}", [Finding(f"{label}{i}", "initial", status, f"says {label}", 3, 0.1 * i, 1e-4, "A")]
        )
        for i, status in enumerate(statuses)
    ]
    return SuiteResult(label, Path("base:lines,%"), judged, [])


def test_junit_is_read_by_a_standard_parser_whatever_the_labels(tmp_path):
    verdict = verdict_of("regressed", "missing", "inconclusive", "unchanged", label=NASTY)
    ci_formats.write_junit(tmp_path / "deep" / "gate.xml", [verdict], allowed=["inconclusive"])
    root = ElementTree.parse(tmp_path / "deep" / "gate.xml").getroot()
    (suite,) = root.findall("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = suite.findall("testcase")
    assert len({case.get("name") for case in cases}) == 4
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["error"], ["skipped"], []]
    assert cases[0].find("failure").get("message").startswith("regressed: <a & b> \"c\" 'd' \\x00\\x1b[31m ]]>")


def test_junit_of_a_command(typed, project, tmp_path):
    write_cell(project, "step")
    assert typed("check", "--junit-xml", tmp_path / "gate.xml")[0] == 1
    (case,) = ElementTree.parse(tmp_path / "gate.xml").getroot().iter("testcase")
    assert case.get("classname") == "gradlab.small" and case.find("failure").get("type") == "regressed"


def test_github_gets_at_most_ten_annotations_worst_first():
    verdict = verdict_of(*["inconclusive"] * 3, *["regressed"] * 12, "unchanged")
    lines = ci_formats.annotations([verdict])
    assert len(lines) == 10 and all("regressed" in line for line in lines)
    assert all(line.startswith("::error file=base%3Alines%2C%25/s") for line in lines)
    assert "s14 at initialisation" in lines[0], "the largest change comes first"
    few = ci_formats.annotations([verdict_of("missing", label=NASTY + "\n")], allowed=["missing"])
    assert len(few) == 1 and few[0].startswith("::warning ") and "\n" not in few[0] and "%250A::error::" in few[0]


def test_the_step_summary_stays_below_its_limit():
    text = ci_formats.summary([verdict_of("regressed", "unchanged", label="a|b<c>")])
    assert "a\\|b&lt;c&gt;0" in text and text.count("\n| ") == 3
    long = ci_formats.summary([verdict_of(*["regressed"] * 4000, label="x" * 200)])
    assert len(long.encode()) < 2**20 and " more" in long.splitlines()[-1]


def test_github_is_chosen_by_itself(typed, project, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert typed("check")[1].startswith("unchanged: ")
    write_cell(project, "step")
    code, out, _ = typed("check")
    assert code == 1 and out.startswith("regressed: ") and out.splitlines()[-1].startswith("::error file=")
    assert summary.read_text().count("### ") == 2 and "| regressed |" in summary.read_text()
    assert "::error" not in typed("check", "--json")[1]


# ---------------------------------------------------------------- words


def test_the_first_line_counts_scenarios_that_share_its_verdict():
    line = verdicts.headline([verdict_of("regressed", "regressed", "unchanged")])
    assert line == "regressed: s1 at initialisation: says s (and 1 more of 3 scenarios)"
    assert verdicts.accept_command([verdict_of("unchanged")]) is None


def test_the_first_line_says_how_what_is_unchanged_was_compared():
    def of(*findings):
        return verdicts.headline(
            [SuiteResult("ci", Path(), [ScenarioResult(one.scenario, [one]) for one in findings], [])]
        )

    one = Finding("a", "initial", "unchanged", "", 3, 1e-6, 1e-4, "A", largest=0.02)
    many = Finding("b", "initial", "unchanged", "", 3, 0.1, 0.3, "B")
    assert of(one) == "unchanged: 1 scenario of ci, at most 0.02 decades apart in any curve"
    assert of(many) == "unchanged: 1 scenario of ci, 1 of them alike as samples, within 0.3 decades on average"
    assert of(one, many).startswith(
        "unchanged: 2 scenarios of ci, at most 0.02 decades apart in any curve, 1 of them alike"
    )


def test_rows_speak_of_chaos_and_of_what_is_not_finite():
    finding = Finding("s", "trained", "regressed", "m", 3, np.nan, 0.5, "A", chaotic=(4, 5))
    row = verdicts.cells(finding)
    assert row[:6] == ("regressed", "s", "after training", "nan", "3", "0.5")
    assert row[-1] == "m; 2 chaotic lags from 4 on not compared"


def test_without_suite_all_of_the_folder_are_checked(tmp_path, monkeypatch, capsys):
    shutil.copytree(Path(__file__).parents[2] / "experiments", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradlab.judge.check.measure", lambda scenario: pytest.fail("there is no baseline"))
    assert main(["check"]) == 3
    assert main(["check", "--allow-missing"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no baseline: ") and "(and 8 more of 9 scenarios)" in out
    assert os.listdir() == ["experiments"]
    monkeypatch.chdir(tmp_path / "experiments")
    assert main(["check"]) == 2


@pytest.mark.parametrize("text", ["[[scenarios]]", "", "not toml"])
def test_a_suite_that_no_longer_reads_as_one_does_not_switch_off_its_check(tmp_path, monkeypatch, capsys, text):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mini.toml").write_text(text)
    (tmp_path / "results" / "baselines" / "mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    write_cell(tmp_path)
    shutil.copy(write_suite(tmp_path), tmp_path / "experiments" / "other.toml")
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert "mini has baselines, but experiments/mini.toml has no [[scenario]] table" in error
    (tmp_path / "experiments" / "mini.toml").unlink()
    monkeypatch.setattr("gradlab.judge.check.measure", lambda scenario: pytest.fail("there is no baseline"))
    assert main(["check"]) == 3
