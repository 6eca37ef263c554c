"""Nothing of the working folder is executed but what the user named, and what that imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradlab.runs.own_modules import OwnModuleFinder
from gradlab.runs.variants import get_cell, get_task

ROOT = Path(__file__).parents[2]
POISONED = ("pyarrow", "zstandard", "libtpu", "xxhash", "jax_plugins", "numexpr", "bottleneck", "typer", "jax")
"""Optional modules that libraries look for, and two that are installed."""
POISON = "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"
CELL = """
import jax.numpy as jnp
class Cell:
    def init(self, key, input_size, hidden_size): return {"w": jnp.ones((input_size, hidden_size))}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t):
        h = 0.5 * carry + x_t @ params["w"]
        return h, h
"""
SMALL = ("--len", "4", "--hidden", "2", "--measure-batch", "2")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def python(folder, *words):
    """A fresh process in a folder: its exit code is 0, and it did not execute what was not named."""
    env = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    env |= {"PYTHONPATH": str(ROOT), "GRADLAB_CACHE": str(folder.parent / "cache"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path for path in folder.rglob("executed")) == []
    return done.stdout


@pytest.fixture
def poisoned(tmp_path):
    """A folder with modules that must not be executed, and something to measure."""
    folder = tmp_path / "project"
    for name in POISONED:
        write(folder / f"{name}.py", POISON)
    write(folder / "evil-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    write(folder / "evil-1.0.dist-info" / "entry_points.txt", "[jax_plugins]\nevil = xxhash\n")
    write(folder / "own.py", CELL)
    head = 'title = "Two"\nquestion = "Which?"\n[base]\nsteps = 0\nlength = 4\nhidden = 2\nmeasure_batch = 2\n'
    write(
        folder / "experiments" / "two.toml", f'{head}task = "adding"\nseed = 2\n[grid]\ncell = ["own.py:Cell"]\n'
    )
    write(folder / "suite.toml", f'{head}[[scenario]]\ntask = ["adding"]\ncell = ["own.py:Cell"]\n')
    return folder


@pytest.mark.slow
def test_no_command_executes_modules_of_the_folder(poisoned, tmp_path):
    """The `gradlab` script, whose commands are typed one after the other in one process."""
    commands = [
        ["doctor"],
        ["probe", "adding", "--cell", "own.py:Cell", *SMALL],
        ["run", "adding", "--cell", "own.py:Cell", "--steps", "0", "--seed", "1", *SMALL],
        ["sweep", "experiments/two.toml", "--jobs", "1"],
        ["ls"],
        ["report"],
        ["check", "suite.toml", "--exit-zero"],
    ]
    script = f"""
from gradlab.cli.app import main
if __name__ == "__main__":
    for words in {commands}:
        code = main(words)
        assert code == 0, (words, code)
"""
    write(tmp_path / "bin" / "gradlab", script)
    python(poisoned, tmp_path / "bin" / "gradlab")


@pytest.mark.slow
def test_python_m_gradlab_executes_no_modules_of_the_folder(poisoned):
    """For it Python puts the folder first on the path; plug-ins of jax may be a namespace of packages too."""
    (poisoned / "jax_plugins.py").unlink()
    write(poisoned / "jax_plugins" / "evil" / "__init__.py", POISON)
    out = python(poisoned, "-m", "gradlab", "probe", "adding", "--cell", "own.py:Cell", *SMALL, "--json")
    assert json.loads(out)["runs"][0]["status"] == "measured"
    python(poisoned, "-m", "gradlab", "report")


# ---------------------------------------------------------------- what is found all the same


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder that is not on the path; what was imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    own = {path.stem for path in tmp_path.iterdir()}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in own:
            del sys.modules[name]


def test_a_named_module_and_what_it_imports_are_found(project):
    write(project / "part" / "cells.py", f"{CELL}\nfrom .rates import RATE\nimport sibling\nimport space.inner\n")
    write(project / "part" / "rates.py", "RATE = 0.5\n")
    write(project / "sibling.py", "from part.rates import RATE\n")
    write(project / "space" / "inner.py", "import importlib\nmodule = importlib.import_module('sibling')\n")
    assert get_cell("part.cells:Cell") is not None
    assert sys.modules["space.inner"].module.RATE == 0.5


def test_what_a_function_imports_when_it_is_called_is_found(project, tmp_path_factory):
    """Of a file in the folder, and of a named file elsewhere."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for folder in (project, elsewhere):
        write(folder / "late.py", CELL.replace("h = 0.5", "import rates_of_late\n        h = rates_of_late.RATE"))
    write(project / "rates_of_late.py", "RATE = 0.25\n")
    for name in ("late.py", f"{elsewhere}/late.py"):
        h, _ = get_cell(f"{name}:Cell").step({"w": np.zeros((1, 1))}, np.ones((1, 1)), np.zeros((1, 1)))
        assert float(h[0, 0]) == 0.25
        del sys.modules["rates_of_late"]


def test_a_library_finds_nothing_in_the_folder(project):
    """Also a library that a virtual environment in the folder holds, and one that own code calls."""
    write(project / "library_wants.py", POISON)
    site = project / "venv" / "lib" / "site-packages"
    write(site / "library_here.py", "try:\n    import library_wants\nexcept ImportError:\n    pass\n")
    write(project / "own_task.py", f"import sys\nsys.path.append({str(site)!r})\nimport library_here\nTask = 1\n")
    try:
        with pytest.raises(Exception, match="`int` has no"):
            get_task("own_task.py:Task")
    finally:
        sys.path.remove(str(site))
    assert "library_here" in sys.modules and not (project / "executed").exists()
    sys.modules.pop("library_here")
    with pytest.raises(ModuleNotFoundError):
        import library_wants  # noqa: F401 - this file lies elsewhere
    assert OwnModuleFinder in sys.meta_path
