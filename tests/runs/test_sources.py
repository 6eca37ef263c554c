"""No number is stale: the id of a run follows all the code that its cell and its task come from, as it is now."""

import json
import os
import subprocess
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.runs.execute import run
from gradlab.runs.origins import origins
from gradlab.runs.sources import load, own_name, working_in
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.variants import cell_variant, get_cell, task_variant

pytestmark = pytest.mark.slow

CELL = """
import jax.numpy as jnp
{imports}
class Cell:
    def init(self, key, input_size, hidden_size): return {{"w": jnp.ones((input_size, hidden_size))}}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t):
        {inside}
        h = {rate} * carry + x_t @ params["w"]
        return h, h
"""
TASK = """
import jax
import jax.numpy as jnp
from gradlab.tasks import Batch
from weights import WEIGHT
class Task:
    input_size = output_size = min_length = 1
    readout = "last"
    def steps(self, length): return length
    def sample(self, key, batch_size, length):
        return Batch(jax.random.normal(key, (length, batch_size, 1)), jnp.zeros(batch_size))
    def loss(self, outputs, batch): return (WEIGHT * outputs[-1, :, 0] - batch.targets) ** 2
    def chance(self, length): return 1.0
    def solved(self, length): return 0.1
    def task_curve(self, length): return None
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A working directory of the user's, from which modules are imported; they are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    own = {path.stem for path in tmp_path.iterdir()}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in own:
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_cell(path, imports="", rate="helper.RATE", inside="pass"):
    write(path, CELL.format(imports=imports, rate=rate, inside=inside))


def rate_of(text):
    """The id of a run of a linear cell, and the rate with which that cell forgets, as its code has it."""
    spec = RunSpec(cell=text, length=4, hidden=2, measure_batch=2, steps=0)
    h_t, _ = spec.build_cell().step({"w": np.zeros((2, 2))}, np.ones((1, 2)), np.zeros((1, 2)))
    return spec.id, h_t[0, 0]


# ---------------------------------------------------------------- what belongs to the code of a cell

IMPORTS = {
    "import helper": {},
    "from helper import RATE": {"rate": "RATE"},
    "from helper import *": {"rate": "RATE"},
    "import helper as other": {"rate": "other.RATE"},
    "from helper import rate": {"rate": "rate()"},
    "import importlib; other = importlib.import_module('helper')": {"rate": "other.RATE"},
    "import between": {"rate": "between.value()"},
    "from between import value": {"rate": "value()"},
    "from package import part": {"rate": "part.value()"},
    "from package.part import value": {"rate": "value()"},
    "import package.deep.inner": {"rate": "package.deep.inner.value()"},
    "": {"inside": "import helper", "rate": "helper.RATE"},
    "import sys  # late": {"inside": "from package.deep import inner", "rate": "inner.value()"},
    "import loader": {"rate": "loader.helper.RATE"},
}


@pytest.mark.parametrize("imports", IMPORTS)
def test_an_edit_of_what_a_cell_imports_is_another_run_with_another_number(project, imports):
    """In one process, as in a notebook or a worker that lives for long, and within one second."""
    write_cell(project / "a.py", imports, **{"rate": "helper.RATE"} | IMPORTS[imports])
    write(project / "between.py", "import helper\ndef value(): return helper.RATE\n")
    write(project / "package" / "__init__.py", "")
    write(project / "package" / "part.py", "from helper import RATE as OWN\ndef value(): return OWN\n")
    write(project / "package" / "deep" / "inner.py", "from ..part import value\n")
    write(project / "loader.py", "name = 'hel' + 'per'\nhelper = __import__(name)\n")
    names = set()
    for rate in (0.5, 0.8, 0.5, 0.3):
        write(project / "helper.py", f"RATE = {rate}\ndef rate(): return RATE\n")
        name, measured = rate_of("a.py:Cell")
        np.testing.assert_allclose(measured, rate, rtol=1e-5)
        names.add(name)
        assert rate_of("a.py:Cell")[0] == name
    assert len(names) == 3


def test_an_edit_of_what_a_module_imports_is_another_run_with_another_number(project):
    write(project / "own" / "__init__.py", "")
    write(project / "own" / "again.py", "from own.cells import Cell\n")
    write_cell(project / "own" / "cells.py", "from .rates import RATE", rate="RATE")
    names = set()
    for rate in (0.5, 0.8):
        write(project / "own" / "rates.py", f"RATE = {rate}\n")
        for text in ("own.cells:Cell", "own.again:Cell"):
            name, measured = rate_of(text)
            np.testing.assert_allclose(measured, rate, rtol=1e-5)
            names.add(name)
    assert len(names) == 4


def test_what_somebody_else_imported_before_an_edit_is_imported_again(project, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(project / "helper.py", "RATE = 0.5\n")
    import helper

    assert helper.RATE == 0.5
    write(project / "helper.py", "RATE = 0.25  # of another size\n")
    write_cell(project / "a.py", "import helper")
    np.testing.assert_allclose(rate_of("a.py:Cell")[1], 0.25, rtol=1e-5)


def test_two_cells_with_one_helper_both_see_its_edit(project):
    for name in ("a.py", "b.py"):
        write_cell(project / name, "import helper")
    for rate in (0.5, 0.8):
        write(project / "helper.py", f"RATE = {rate}\n")
        for name in ("a.py:Cell", "b.py:Cell"):
            np.testing.assert_allclose(rate_of(name)[1], rate, rtol=1e-5)
    # A third one, first loaded after an edit that nobody has looked at.
    write(project / "helper.py", "RATE = 0.3\n")
    write_cell(project / "c.py", "import helper")
    np.testing.assert_allclose(rate_of("c.py:Cell")[1], 0.3, rtol=1e-5)
    np.testing.assert_allclose(rate_of("a.py:Cell")[1], 0.3, rtol=1e-5)


def test_a_helper_that_cannot_be_read_any_more_is_one_line_and_then_mended(project):
    write_cell(project / "a.py", "import helper")
    write(project / "helper.py", "RATE = 0.5\n")
    rate_of("a.py:Cell")
    write(project / "helper.py", "RATE = (\n")
    with pytest.raises(GradlabError, match=r"cell `a.py` failed while it was loaded: SyntaxError"):
        get_cell("a.py:Cell")
    (project / "helper.py").unlink()
    with pytest.raises(GradlabError, match=r"No module named 'helper'"):
        get_cell("a.py:Cell")
    write(project / "helper.py", "RATE = 0.8\n")
    np.testing.assert_allclose(rate_of("a.py:Cell")[1], 0.8, rtol=1e-5)


def test_nothing_is_loaded_again_while_nothing_changes(project):
    write_cell(project / "a.py", "import helper")
    write(project / "helper.py", "RATE = 0.5\n")
    assert get_cell("a.py:Cell") is get_cell("a.py:Cell")
    write(project / "unrelated.py", "RATE = 0.7\n")
    first = cell_variant("a.py:Cell")
    write(project / "unrelated.py", "RATE = 0.8\n")
    assert cell_variant("a.py:Cell") == first


def test_a_file_that_imports_nothing_of_ones_own_has_the_digest_of_its_bytes(project):
    """So no run of such a cell is renamed, and what every cell stands on is left to env.json."""
    import hashlib

    write_cell(project / "a.py", "import os, jax, numpy, gradlab", rate="0.5")
    expected = hashlib.blake2b((project / "a.py").read_bytes(), digest_size=8).hexdigest()
    assert cell_variant("a.py:Cell").source == expected


# ---------------------------------------------------------------- installed packages


def install(folder, version, rate, commit=None, files=None):
    """A package as pip leaves it."""
    site = folder / "venv" / "lib" / "site-packages"
    for name, text in (files or {"__init__.py": f"RATE = {rate}\n"}).items():
        write(site / "library" / name, text)
    for old in site.glob("Library_Of_Cells-*"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = site / f"Library_Of_Cells-{version}.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: library-of-cells\nVersion: {version}\n")
    write(info / "top_level.txt", "library\n")
    if commit is not None:
        found = {"url": "https://example.org/library.git", "vcs_info": {"vcs": "git", "commit_id": commit}}
        write(info / "direct_url.json", json.dumps(found))
    return site


FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
sys.path.append("")
from gradlab.runs.origins import origins
from gradlab.runs.variants import cell_variant
print(cell_variant(sys.argv[2]).source)
"""


def in_a_process_of_its_own(site, text):
    words = [sys.executable, "-c", FRESH, str(site), text]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["used by a file", "used when called", "named itself"])
def test_an_upgraded_library_is_another_source(project, kind):
    text = "a.py:Cell"
    if kind == "used by a file":
        write_cell(project / "a.py", "from library import RATE", rate="RATE")
    elif kind == "used when called":
        write_cell(project / "a.py", inside="from library import RATE", rate="RATE")
    else:
        text = "library.cells:Cell"

    def installed(version, commit=None):
        files = {"__init__.py": "RATE = 0.5\n", "cells.py": CELL.format(imports="", rate="0.5", inside="pass")}
        return in_a_process_of_its_own(install(project, version, 0.5, commit, files), text)

    first, again = installed("1.0"), installed("1.0")
    assert first == again
    assert len({first, installed("1.1"), installed("1.1", "aaaa"), installed("1.1", "bbbb")}) == 4


class Deprecated:
    """An object that warns when it is looked at, as some of PyTorch's do."""

    def __getattribute__(self, name):
        warnings.warn("an old name", FutureWarning, stacklevel=2)
        return object.__getattribute__(self, name)


def test_what_a_library_warns_of_when_it_is_looked_at_is_not_shown(monkeypatch):
    module = ModuleType("warning_module")
    module.old, module.__file__ = Deprecated(), __file__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.warns(FutureWarning, match="an old name"):
        assert module.old.__module__ == __name__
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        origins(module.__name__)
    assert not seen


def test_packages_are_named_with_their_version_and_not_looked_into(project):
    import typer

    write_cell(project / "a.py", "import typer\nfrom typer import main", rate="0.5")
    module, _ = load("a.py")
    found = origins(module.__name__)
    assert list(found.files) == [module.__name__]
    assert found.packages == (f"typer=={typer.__version__}",)


# ---------------------------------------------------------------- tasks


def test_the_source_of_an_own_task_is_part_of_the_id_too(project):
    write(project / "own.py", TASK)
    ids, levels = [], []
    for weight in (1.0, 10.0):
        write(project / "weights.py", f"WEIGHT = {weight}\n")
        spec = RunSpec(task="own.py:Task", cell="rnn", length=3, hidden=2, measure_batch=2, steps=0)
        ids.append(spec.id)
        levels.append(run(spec).curve().typical()[0])
        assert spec.config()["task_source"] == task_variant("own.py:Task").source
    assert ids[0] != ids[1]
    np.testing.assert_allclose(levels[1] - levels[0], 2.0, atol=1e-4)  # the loss is 100 times as large
    write(project / "weights.py", "WEIGHT = 2.0\n")
    with pytest.raises(GradlabError, match=r"the source of own\.py:Task changed while this run was waiting"):
        spec.build_task()


def test_a_helper_that_is_edited_while_a_run_waits_is_refused(project):
    write_cell(project / "a.py", "import helper")
    write(project / "helper.py", "RATE = 0.5\n")
    spec = RunSpec(cell="a.py:Cell", length=3, hidden=2)
    write(project / "helper.py", "RATE = 0.8\n")
    with pytest.raises(GradlabError, match=r"the source of a\.py:Cell changed while this run was waiting"):
        spec.build_cell()
    write(project / "helper.py", "RATE = 0.5\n")
    assert spec.build_cell() is not None


# ---------------------------------------------------------------- one name


def test_one_file_has_one_name_and_two_files_have_two(project, monkeypatch):
    write_cell(project / "a.py", rate="0.5")
    write_cell(project / "sub" / "a.py", rate="0.5")
    same = ["a.py:Cell", "./a.py:Cell", f"{project}/a.py:Cell", "sub/../a.py:Cell", f"../{project.name}/a.py:Cell"]
    specs = [RunSpec(cell=text, length=3) for text in same]
    assert {spec.cell for spec in specs} == {"a.py:Cell"} and len({spec.id for spec in specs}) == 1
    other = RunSpec(cell="sub/a.py:Cell", length=3)
    assert other.cell == "sub/a.py:Cell" and other.id != specs[0].id
    assert specs[0].id.startswith("adding-a.cell-T3-s0-")
    monkeypatch.chdir(project / "sub")
    assert own_name("a.py") == "a.py" and own_name("../a.py") == f"{project}/a.py"


def test_a_worker_elsewhere_reads_names_as_the_command_meant_them(project, tmp_path_factory, monkeypatch):
    write_cell(project / "a.py", "import helper")
    write(project / "helper.py", "RATE = 0.5\n")
    spec = RunSpec(cell=f"{project}/a.py:Cell", length=3)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert RunSpec(cell=f"{project}/a.py:Cell", length=3).id != spec.id
    with working_in(str(project)):
        assert RunSpec(cell=spec.cell, length=3).id == spec.id
    with pytest.raises(GradlabError, match=r"`a\.py` does not exist"):
        RunSpec(cell=spec.cell, length=3)


# ---------------------------------------------------------------- the command line


def probe(typed, *more):
    words = ["probe", "adding", "--cell", "a.py:Cell", "--len", "4", "--hidden", "2", "--measure-batch", "2"]
    return typed(*words, "--results", "results", *more)


def span(out):
    return json.loads(out)["runs"][0]["summary"]["initial"]["curves"]["task"]["state"]["span"]


def test_a_command_after_an_edit_measures_again(project, typed):
    write_cell(project / "a.py", "import helper")
    for rate in (0.1, 1.0):
        write(project / "helper.py", f"RATE = {rate}\n")
        code, out, err = probe(typed, "--json")
        assert code == 0 and "already" not in err
        np.testing.assert_allclose(span(out), 3 * np.log10(rate), atol=1e-5)
        assert "already measured" in probe(typed)[2]
    assert len(list(Store("results").each())) == 2


def test_trained_weights_of_code_that_has_changed_since_are_told(project, typed):
    """A page about both would mix two cells; a probe may well be meant, so it is only told."""
    write_cell(project / "a.py", "import helper")
    write(project / "helper.py", "RATE = 0.5\n")
    words = [
        "--cell",
        "a.py:Cell",
        "--len",
        "3",
        "--hidden",
        "2",
        "--measure-batch",
        "2",
        "--results",
        "results",
        "-q",
    ]
    assert typed("run", "adding", *words, "--steps", "1", "--batch", "2")[0] == 0
    (run_id,) = [stored.id for stored in Store("results").each()]
    probed = [
        "probe",
        "adding",
        "--params",
        run_id,
        "--len",
        "4",
        "--measure-batch",
        "2",
        "--results",
        "results",
        "-q",
    ]
    assert typed(*probed)[::2] == (0, "")
    write(project / "helper.py", "RATE = 0.8\n")
    code, _, err = typed(*probed)
    assert code == 0 and f"{run_id} was trained before the source of a.py:Cell changed" in err
    code, out, err = typed("lesson", "--run", run_id, "--len", "3", "--results", "results")
    assert (code, out) == (2, "") and "train it again, gradlab run adding --cell a.py:Cell" in err
    assert len(err.splitlines()) == 1


def test_rerun_does_a_stored_run_again_and_what_goes_wrong_leaves_it(project, typed):
    """What the cell reads of a file is beyond what a digest can know."""
    write(project / "rate.txt", "0.1")
    write_cell(
        project / "a.py", "from pathlib import Path\nREAD = Path('rate.txt')", rate="float(READ.read_text())"
    )

    def now(*more):
        return probe(typed, "--json", *more)

    assert span(now()[1]) == pytest.approx(-3, abs=1e-5)
    write(project / "rate.txt", "1.0")
    code, out, err = now()
    assert span(out) == pytest.approx(-3, abs=1e-5) and "--rerun does it again" in err
    code, out, err = now("--rerun")
    assert code == 0 and span(out) == pytest.approx(0, abs=1e-5) and "already" not in err
    write(project / "rate.txt", "no number")
    code, out, err = now("--rerun")
    assert code == 1 and json.loads(out)["runs"][0]["status"] == "failed"
    assert "could not convert string to float" in err and "the stored run stays" in err
    (stored,) = list(Store("results").each())
    assert (
        stored.status == "measured" and stored.done["summary"]["initial"]["curves"]["task"]["state"]["span"] > -1
    )
    write(project / "rate.txt", "0.1")
    code, out, err = now()  # the run is still to be done again
    assert code == 0 and span(out) == pytest.approx(-3, abs=1e-5)
    assert "already measured" in now()[2]
