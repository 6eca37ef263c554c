"""The command line: its commands, its exit codes, and all global settings.

0 ok · 1 a regression, a failed claim, a failed run, a fault found · 2 wrong usage, bad input or nothing to do ·
3 no baseline or inconclusive · 70 a bug in gradlab · 130 interrupted. A command returns its exit code or raises.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from gradlab import __version__
from gradlab.cli import (
    check,
    check_cell,
    claims,
    import_curve,
    info,
    inspect,
    lesson,
    new,
    plot,
    reports,
    run,
    sweep,
)
from gradlab.cli.console import Screen, log_to, stdout_for_data
from gradlab.cli.interrupts import INTERRUPTED, interrupts
from gradlab.errors import GradlabError
from gradlab.runs.cache import quieten
from gradlab.runs.jsonable import printable

BUG = 70

app = typer.Typer(
    name="gradlab",
    help="Does the gradient reach back far enough? Measure vanishing and exploding gradients of recurrent cells.",
    epilog="Start with: gradlab run adding --len 200 --cell lstm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(run.run, run.probe, run.spectrum, run.credit, run.precision, sweep.sweep, reports.report, lesson.lesson),
    *(check.check, check.bless, check_cell.check_cell, claims.claims, import_curve.import_curve),
    *(plot.plot, inspect.ls, inspect.show, inspect.rm, info.cells, info.tasks, info.doctor, new.new),
):
    app.command()(stdout_for_data()(command))


def _version(wanted: bool) -> None:
    if wanted:
        Screen().line(f"gradlab {__version__}")
        raise typer.Exit


@app.callback()
def _gradlab(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no input makes a traceback.

    Args:
        arguments: the words after `gradlab`; by default those of the process.
    """
    with interrupts.handled():
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            log_to(None)


def _run(given: Sequence[str]) -> int:
    _set_up()
    try:
        return int(app(args=sweep.with_rerun_value(given), prog_name="gradlab", standalone_mode=False) or 0)
    except GradlabError as error:
        Screen().error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if interrupts.presses:  # a library turned the KeyboardInterrupt into something else
            return INTERRUPTED
        message = getattr(error, "format_message", None)
        if type(error).__name__ == "NoArgsIsHelpError" and message is not None:
            for line in message().splitlines():
                Screen().note(line)
            return 2
        if message is not None:  # a usage error of typer, whose own class has no public name in all versions
            text = " ".join(message().split()).rstrip(".?")
            Screen().error(f"{text}; `{_command(given)} --help` lists what there is")
            return 2
        sys.stderr.write(printable(traceback.format_exc(), keep="\n"))
        Screen().error("this is a bug in gradlab: please report the lines above with the command that you typed")
        return BUG


def _command(given: Sequence[str]) -> str:
    """`gradlab run` if that is the command, else `gradlab`."""
    known = {
        command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback
    }
    return " ".join(["gradlab", *(word for word in map(str, given[:1]) if word in known)])


def _set_up() -> None:
    """Settings that jax reads on import, and streams that can print any character."""
    quieten()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
