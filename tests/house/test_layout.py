"""The rooms of the house and their order, read from the source; and what the public names promise."""

import ast
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradlab

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gradlab"
ROOMS = (
    "errors",
    "tasks",
    "cells",
    "adapters",
    "gradient",
    "training",
    "runs",
    "judge",
    "report",
    "lesson",
    "cli",
)
SCIENCE = ("tasks", "cells", "adapters", "gradient", "training")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def room(module):
    return module.split(".")[1] if "." in module else ""


def source(module):
    path = ROOT / Path(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


@functools.cache
def imports(module):
    """Every module that is imported anywhere in the source, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which this test cannot follow"
            for alias in node.names:
                if (node.module, alias.name) == ("gradlab", "__version__"):
                    continue  # a number, not a room
                inner = f"{node.module}.{alias.name}"
                found.append(inner if inner in MODULES else node.module)
    return found


def python(code, tmp_path, **environment):
    """What a fresh process prints that is told nothing by this one."""
    names = {"GRADLAB_RESULTS": str(tmp_path / "results"), "COLUMNS": "80", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | names, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_no_other_room():
    known = {*ROOMS, "", "__main__", "testing", "torch"}
    assert {room(module) for module in MODULES} <= known


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in ROOMS])
def test_imports_only_run_downwards(module):
    own = ROOMS.index(room(module))
    for other in imports(module):
        assert other != "gradlab", f"{module} imports the public names, which stand above every room"
        if other.startswith("gradlab."):
            assert ROOMS.index(room(other)) <= own, f"{module} imports {other}, which stands above it"
            if room(module) == "report" and room(other) == "judge":
                known = ("gradlab.judge", "gradlab.judge.over_seeds", "gradlab.judge.statistics")
                assert other in known, f"{module} imports {other}"


def test_no_two_classes_share_a_name():
    places = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(source(module))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_deferred_import_is_seen():
    assert "gradlab.runs.cluster" in set(imports("gradlab.runs.engine"))


def test_no_two_files_import_each_other():
    """No cycle of imports between files, however long, deferred imports included."""
    targets = {module: {other for other in imports(module) if other in MODULES} - {module} for module in MODULES}
    assert cycle_in(targets) == []


def cycle_in(targets):
    """The modules of a cycle of a graph, in their order; empty if there is none."""
    done = set()

    def follow(module, path):
        if module in path:
            return path[path.index(module) :]
        if module not in done:
            for other in sorted(targets.get(module, ())):
                if found := follow(other, [*path, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in sorted(targets) if (found := follow(module, []))), [])


def test_a_cycle_is_found():
    assert cycle_in({"a": {"b", "x"}, "b": {"c"}, "c": {"b"}, "x": set()}) == ["b", "c"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in SCIENCE])
def test_science_does_no_input_or_output(module):
    # Text is read where installed packages bring it along; nothing is written.
    reads = {"pathlib"} if module == "gradlab.tasks.data.text" else set()
    assert not {"pathlib", "io", "os", "shutil", "tempfile", "json", "logging"} & set(imports(module)) - reads
    called = {node.func.id for node in ast.walk(ast.parse(source(module))) if _calls_name(node)}
    assert not called & {"open", "print", "input"}


def _calls_name(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("name", ["store", "report", "judge"])
def test_no_jax_in_what_only_reads(name, tmp_path):
    names = ("store", "jsonable", "spec", "labels", "listing", "sweeps", "jobs")
    rooms = {"store": [f"gradlab.runs.{module}" for module in names]}
    modules = rooms.get(name) or [module for module in MODULES if room(module) == name]
    lines = "".join(f"import {module}\n" for module in modules)
    assert python(f"import sys\n{lines}print('jax' in sys.modules)", tmp_path) == "False\n"


def test_importing_gradlab_is_cheap(tmp_path):
    code = "import sys, gradlab; dir(gradlab); print({'jax', 'pandas', 'seaborn', 'numpy'} & set(sys.modules))"
    assert python(code, tmp_path) == "set()\n"


def test_public_names_are_sorted_and_there():
    assert gradlab.__all__ == sorted(gradlab.__all__)
    for name in gradlab.__all__:
        assert getattr(gradlab, name).__name__ in (name, name.lower())
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gradlab.nothing  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_says_what_it_is(module):
    if room(module) == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    loaded = importlib.import_module(module)
    assert inspect.getdoc(loaded), f"{module} has no docstring"
    for name, thing in vars(loaded).items():
        own = getattr(thing, "__module__", None) == module
        if name.startswith("_") or not own or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert thing.__doc__ and not thing.__doc__.startswith(f"{name}("), f"{module}.{name} has no docstring"
        for method, function in vars(thing).items() if inspect.isclass(thing) else ():
            if inspect.isfunction(function) and not method.startswith("_"):
                assert inspect.getdoc(function), f"{module}.{name}.{method} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_norms_that_underflow_are_not_used(module):
    text, used = source(module), re.compile(r"\blinalg\.norm\b|\bglobal_norm\(|clip_by_global_norm")
    if module != "gradlab.runs.selftest" and used.search(text):
        assert not used.search(_code(text))


def _code(text):
    """The source without its docstrings and comments, where such a name may be spoken of."""
    return ast.unparse(_without_docstrings(ast.parse(text)))


def _without_docstrings(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
            node.body = kept or [ast.Pass()]
    return tree


def test_click_is_not_imported():
    users = [module for module in MODULES for other in imports(module) if other.split(".")[0] == "click"]
    assert users == []


@pytest.mark.parametrize(
    "owner, library", [("gradlab.cli.console", "rich"), ("gradlab.report.figures.drawing", "seaborn")]
)
def test_one_file_knows_the_library(library, owner):
    users = {module for module in MODULES for other in imports(module) if other.split(".")[0] == library}
    assert users <= {owner}


def test_nobody_is_told_to_install_a_stranger():
    # The name `gradlab` belongs to another project on the package index; ours is gradlab-rnn.
    pages = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]
    for page in pages:
        found = re.search(
            r"(?:pip|pipx|uv|uvx)\b[^\n]*\b(?:install|add|run)\s+[^\n]*\bgradlab(?![\w-])", page.read_text()
        )
        assert not found, f"{page.name}: {found.group()}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_imports_from_a_test(path):
    shared = {file.stem for file in (ROOT / "tests" / "support").glob("*.py")}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name in shared or not name.startswith(("test_", "tests")), f"{path.name} imports {name}"
