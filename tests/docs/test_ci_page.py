"""The workflows of docs/ci.md: their `gradlab` commands are executed as they stand there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from gating import write_cell, write_suite

from gradlab.cli.app import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
WORKFLOWS = [text for kind, text in BLOCKS if kind == "yaml"]
LINE = re.compile(r"^\s*- (?:run: )?((?:gradlab|python) .*)$", re.MULTILINE)


def commands(text):
    return [shlex.split(line, comments=True) for line in LINE.findall(text)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository as the page describes it, with a suite `ci` that is quick to compile."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "experiments").mkdir()
    write_cell(folder)
    write_suite(folder, "ci", steps=0).rename(folder / "experiments" / "ci.toml")
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    return project


def test_setting_it_up_as_the_page_says(inside):
    _, text = next(block for block in BLOCKS if "gradlab bless" in block[1] and block[0] == "")
    typed = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("gradlab ")]
    assert [words[1] for words in typed] == ["bless", "check"]
    assert [main(words[1:]) for words in typed] == [0, 0]


@pytest.mark.parametrize("text", WORKFLOWS, ids=["github", "gitlab"])
def test_the_commands_of_a_workflow_run(inside, text):
    ours = [words[1:] for words in commands(text) if words[0] == "gradlab"]
    assert sorted(words[0] for words in ours) == ["check", "check", "doctor"]
    for words in ours:
        if words[0] == "check":
            assert main(words) == 0
            file = Path(words[words.index("--junit-xml") + 1])
            assert file.parts[:2] == ("results", "check") and file.exists()
    gates = [words for words in ours if "--allow-inconclusive" not in words and words[0] == "check"]
    assert len(gates) == 1, "the pinned job allows nothing"


@pytest.mark.parametrize("text", WORKFLOWS, ids=["github", "gitlab"])
def test_the_gate_pins_the_versions_of_the_baselines_and_the_other_job_does_not(text):
    import json

    folder = Path(__file__).parents[2] / "results" / "baselines" / "ci"
    versions = {
        json.loads(path.read_text())["environment"]["jax"]
        for path in folder.glob("*.json")
        if "population" not in path.name
    }
    installs = [" ".join(words) for words in commands(text) if words[0] == "python"]
    assert [f"jax=={version}" in installs[0] for version in versions] == [True]
    assert not any("==" in line for line in installs[1:]) and "--upgrade jax" in installs[-1]
    assert re.search(r"continue-on-error: true|allow_failure: true", text)


def test_the_action_and_the_hook_check(inside):
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    step = next(one for one in steps if one.get("name") == "Check gradients")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {"PATH": path, "PYTHONPATH": str(ROOT), "SUITES": "ci", "OPTIONS": "--allow-inconclusive"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], env=os.environ | given, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("unchanged"), done.stderr
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"].split()[:2] == ["gradlab", "check"] and not hook["pass_filenames"]
    for kind, text in BLOCKS:
        if kind == "yml":
            assert yaml.safe_load(text)


def test_a_failure_keeps_its_picture_where_the_workflow_collects_it(inside):
    write_cell(inside, "step")
    try:
        words = next(words[1:] for words in commands(WORKFLOWS[0]) if words[:2] == ["gradlab", "check"])
        assert main(words) == 1
        assert list(Path("results/check").glob("ci-*.svg"))
    finally:
        write_cell(inside)
        shutil.rmtree("results/check")
