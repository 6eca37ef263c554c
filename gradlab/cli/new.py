"""`gradlab new`: a file to start from."""

import importlib.util
import keyword
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from gradlab.cli.console import Screen
from gradlab.errors import GradlabError, unknown

KINDS = ("cell",)


def new(
    kind: Annotated[str, typer.Argument(help="cell", metavar="cell")],
    name: Annotated[
        str, typer.Argument(help="Of the file and, in capitals, of the class: leaky_unit", metavar="NAME")
    ],
) -> None:
    """Write a runnable cell, NAME.py, and its test, test_NAME.py.

    gradlab new cell leaky_unit
    """
    if kind not in KINDS:
        raise unknown("kind of file", kind, KINDS)
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise GradlabError(f"name is `{name}`: give small letters, digits and _, such as leaky_unit")
    if importlib.util.find_spec(name) is not None:
        raise GradlabError(f"name is `{name}`, which Python has a module of: give another one")
    written = {Path(f"{name}.py"): "cell.py.txt", Path(f"test_{name}.py"): "test_cell.py.txt"}
    for path in written:
        if path.exists():
            raise GradlabError(f"`{path}` exists: give another name, or remove it")
    cell = "".join(part.capitalize() for part in name.split("_"))
    for path, template in written.items():
        text = files("gradlab.cli").joinpath("templates", template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(name=name, cell=cell), encoding="utf-8")
    screen = Screen()
    screen.line(f"written: {', '.join(map(str, written))}")
    screen.line(f"next: gradlab probe adding --cell ./{name}.py:{cell} --len 200; pytest test_{name}.py")
