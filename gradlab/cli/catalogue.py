"""`gradlab cells` and `gradlab tasks`: what there is, read from the registries themselves."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.runs.jsonable import dumps


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("cells")(cells)
    app.command("tasks")(tasks)


def cells(json: options.Json = False) -> None:
    """List the built-in cells and their options."""
    from gradlab.cells import CELLS

    _list("cells", CELLS, json, "gradlab probe adding --len 200 --cell lstm:forget_bias=3")


def tasks(json: options.Json = False) -> None:
    """List the tasks and their options."""
    from gradlab.tasks import TASKS

    _list("tasks", TASKS, json, "gradlab run adding --len 200 --cell lstm")


def _list(kind: str, registry: Mapping[str, Callable[..., Any]], json: bool, example: str) -> None:
    screen = Screen()
    entries = {name: _describe(factory) for name, factory in registry.items()}
    if json:
        screen.raw(dumps({kind: entries}, indent=1))
        return
    for name, entry in entries.items():
        screen.line(f"{name}: {entry['summary']}")
        for option in entry["options"]:
            screen.line(f"  :{option['name']}={option['default']}  ({option['type']})")
    screen.line(f"next: {example}")


def _describe(factory: Callable[..., Any]) -> dict[str, Any]:
    from gradlab.runs.fields import spell

    summary = (inspect.getdoc(factory) or "").splitlines()[0]
    options_ = [
        {
            "name": parameter.name,
            "default": "none" if parameter.default is None else spell(parameter.default),
            "type": getattr(parameter.annotation, "__name__", str(parameter.annotation)),
        }
        for parameter in inspect.signature(factory).parameters.values()
    ]
    return {"summary": summary, "options": options_}
