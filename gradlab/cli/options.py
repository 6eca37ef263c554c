"""Options that several commands share, each declared once."""

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from gradlab.cli.completion import complete_cells, complete_runs, complete_tasks
from gradlab.cli.console import log_to
from gradlab.runs.fields import SpecField, spell
from gradlab.runs.grids import ASKED
from gradlab.runs.store import Store

Many = list[str] | None
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_COMPLETED: dict[str, Callable[..., list[str]]] = {
    "task": complete_tasks,
    "cell": complete_cells,
    "params": complete_runs,
}

Where = Annotated[Many, typer.Option("--where", help="Only runs such as cell=lstm or length>=200; may repeat.")]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Processes (default: one per GPU or core).")]
Together = Annotated[
    int | None,
    typer.Option("--together", min=1, help="Runs of equal shape in one program (default: 64 on a GPU, else 1)."),
]
Rerun = Annotated[bool, typer.Option("--rerun", help="Do stored runs again; each stays until it is replaced.")]
Results = Annotated[Path | None, typer.Option("--results", help="Folder (default: $GRADLAB_RESULTS or results).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, as in docs/json.md.")]
LogFile = Annotated[
    Path | None,
    typer.Option("--log-file", callback=log_to, help="Append progress and warnings, with times; also if --quiet."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; results only.")]


def open_store(results: Path | None) -> Store:
    """The store that `--results`, `GRADLAB_RESULTS` or the default names."""
    return Store(results)


def with_fields(command: str, without: Collection[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a function with `**fields` an option for each field that a command takes.

    A parameter that the function has itself stays as it is; fields `without` an option are left to it. The
    options come first in `--help`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function, eval_str=True).parameters
        taken = [each for name, each in ASKED.items() if command in each.commands and name not in {*own, *without}]
        added = [_parameter(each, listed=each.default is not None and command != "lesson") for each in taken]
        kept = [each.replace(kind=_KEYWORD) for each in own.values() if each.kind is not each.VAR_KEYWORD]
        function.__signature__ = inspect.Signature([*added, *kept])  # type: ignore[attr-defined]
        return function

    return decorate


def _parameter(each: SpecField, *, listed: bool) -> inspect.Parameter:
    """The parameter of a command from which typer makes the option of a field."""
    if each.option == "TASK":
        argument = typer.Argument(metavar=each.option, help=f"{each.help}.", autocompletion=complete_tasks)
        return inspect.Parameter(each.name, _KEYWORD, annotation=Annotated[str, argument])
    default = "" if each.default is None else f" (default: {spell(each.default)})"
    text = each.help if listed else each.help.partition(";")[0]
    kind: Any = Many if listed else str | None
    option = typer.Option(each.option, help=f"{text}{default}.", autocompletion=_COMPLETED.get(each.name))
    annotation = Annotated[kind, option]
    return inspect.Parameter(each.name, _KEYWORD, default=None, annotation=annotation)
