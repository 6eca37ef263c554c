"""`gradlab.testing` in another project's tests: what a user of pytest sees, and what a user of nothing pays."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gating import CELL

from gradlab.errors import GradlabError
from gradlab.testing import assert_curve

PROJECT = """
from cell import Own

def test_memory(gradient_curve):
    gradient_curve(Own(), length=10, hidden=3, batch=4, seeds=3)
"""


@pytest.fixture
def project(tmp_path):
    """A project with a cell and a test of it."""
    (tmp_path / "cell.py").write_text(CELL)
    (tmp_path / "test_cell.py").write_text(PROJECT)
    return tmp_path


def pytest_in(folder, *words):
    names = {"GRADLAB_RESULTS": str(folder / "results"), "PYTHONPATH": str(folder)}
    names["GRADLAB_CACHE"] = str(folder / "cache")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    # As a user has it: what XLA has to say of cached programs is not silenced from outside.
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(command, cwd=folder, env=inherited | names, capture_output=True, text=True, timeout=300)


def test_from_the_first_run_to_a_change_that_is_accepted(project):
    first = pytest_in(project)
    baseline = project / "gradient_baselines" / "test_cell-test_memory.json"
    assert first.returncode == 1 and baseline.exists()
    sentence = f"AssertionError: no baseline yet: {baseline} was written now; look at it, commit it and run again"
    assert sentence in first.stdout and "assert_curve(cell" not in first.stdout, "the traceback ends in the test"
    (project / "cell.py").write_text(CELL.replace('params["a"] * carry', '0.99 * params["a"] * carry'))
    changed = pytest_in(project)
    assert changed.returncode == 1 and "cpu_aot_loader" not in changed.stdout + changed.stderr
    assert re.search(
        r"regressed: test_cell-test_memory at initialisation: [+-]\S+ decades at lag \d+", changed.stdout
    )
    assert re.search(r"lag +baseline +measured +shift +tolerance", changed.stdout)
    headline = float(re.search(r"initialisation: (\S+) decades", changed.stdout)[1])
    was, now, moved = map(float, re.search(r" (\S+) +(\S+) +(\S+) +\S+ <", changed.stdout).groups())
    assert headline == pytest.approx(moved, abs=2e-4) == now - was, "one shift, three times"
    picture = re.search(r"new curve over the baseline: (\S+\.svg)", changed.stdout)[1]
    assert Path(picture).read_text().startswith("<?xml")
    before = baseline.read_text()
    assert pytest_in(project, "--gradlab-bless").returncode == 0
    assert baseline.read_text() != before


def test_the_plugin_is_inert_until_it_is_used(tmp_path):
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass")
    code = f"""
import sys, pytest
assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:jaxtyping", {str(tmp_path)!r}]) == 0
assert "gradlab.testing.plugin" in sys.modules, "the entry point is not installed: make setup"
print({{"jax", "numpy", "pandas", "matplotlib", "typer"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_variant_is_as_good_as_an_object(tmp_path):
    path = tmp_path / "rnn.json"
    options = {"length": 8, "hidden": 2, "batch": 2, "seeds": 3, "baseline": path}
    assert_curve("rnn", bless=True, **options)
    assert_curve("rnn", **options)
    # Another cell is another setting: it is told and not compared.
    with pytest.raises(AssertionError, match=r"other settings: cell rnn -> rnn:gain=0\.5"):
        assert_curve("rnn:gain=0.5", **options)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"cell": "lstn"}, "did you mean `lstm`"),
        ({"cell": object()}, "has no init, carry, step: gradlab took it for an object"),
        ({"length": 0}, "length is 0"),
        ({"baseline": "curve.csv"}, "give the path of a JSON file"),
        ({"dtype": "float16"}, "unknown dtype `float16`"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, arguments, words):
    with pytest.raises(GradlabError, match=words) as caught:
        assert_curve(**{"cell": "rnn", "length": 5, "baseline": tmp_path / "x.json"} | arguments)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_gradient_that_is_cut_passes_only_where_the_test_says_so(tmp_path):
    namespace = {}
    exec(CELL.replace('params["a"] * carry', 'jax.lax.stop_gradient(params["a"] * carry)'), namespace)
    options = {"length": 8, "hidden": 2, "batch": 2, "seeds": 3, "baseline": tmp_path / "cut.json"}
    with pytest.raises(
        GradlabError, match=r"exactly zero; a stop_gradient or an unused state\? \(initial\); allow_zero=True"
    ):
        assert_curve(namespace["Own"](), bless=True, **options)
    assert list(tmp_path.iterdir()) == []
    assert_curve(namespace["Own"](), bless=True, allow_zero=True, **options)
    assert_curve(namespace["Own"](), allow_zero=True, **options)
    with pytest.raises(
        AssertionError, match=r"cut is cut: exactly zero; .* \(initial\); allow_zero=True accepts it"
    ):
        assert_curve(namespace["Own"](), **options)
