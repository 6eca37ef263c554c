"""`gradlab check-cell`: what is wrong with a cell, and what it can remember."""

import os
import shlex
import signal
import subprocess
import sys
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_cells
from gradlab.cli.console import Progress, Screen, counted
from gradlab.errors import GradlabError
from gradlab.runs.cache import tidy_cache, use_cache
from gradlab.runs.jsonable import dumps
from gradlab.runs.sources import is_own

_ENDED = "GRADLAB_EXAMINED"
"""In a process of its own, where it says that it came to an end: a file descriptor."""
_COLUMNS = ("verdict", "examination", "number", "finding")
_ORDER = ("fault", "note", "ok")


def check_cell(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A cell, as in --cell: lstm, ./mine.py:MyCell.", autocompletion=complete_cells
        ),
    ],
    input_size: Annotated[int, typer.Option("--input-size", min=1, help="Size of the inputs.")] = 3,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="Units.")] = 8,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Examples.")] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of parameters and inputs.")] = 0,
    like: Annotated[
        str | None, typer.Option("--like", metavar="NAME", help="Compare with this cell at equal weights.")
    ] = None,
    json: options.Json = False,
) -> int:
    """Examine a cell: shapes, derivatives, examples, memory.

    The exit code is 1 if a fault is found. docs/check-cell.md says what is examined.

    gradlab check-cell ./mine.py:MyCell
    """
    apart = os.environ.pop(_ENDED, None)
    if apart is None and any(is_own(part.partition("=")[0]) for part in f"{spec}:{like or ''}".split(":")):
        sizes = {"--input-size": input_size, "--hidden": hidden, "--batch": batch, "--seed": seed}
        words = ["check-cell", spec, *(str(word) for pair in sizes.items() for word in pair)]
        return _in_a_process([*words, *(["--like", like] if like else []), *(["--json"] if json else [])])
    try:
        return _examined(spec, input_size, hidden, batch, seed, like, json)
    finally:
        if apart is not None:
            os.write(int(apart), b".")


def _in_a_process(words: list[str]) -> int:
    """The command in a process of its own, because code of the user's may end it."""
    read, ended = os.pipe()
    code = "import json, sys; sys.path[:], words = json.loads(sys.argv[1]); "
    code += "from gradlab.cli.app import main; sys.exit(main(words))"
    streams: dict[str, Any] = {
        name: None if stream.isatty() else subprocess.PIPE
        for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr))
    }
    command = [sys.executable, "-c", code, dumps([sys.path, words])]
    marked = os.environ | {_ENDED: str(ended)}
    done = subprocess.run(command, pass_fds=[ended], env=marked, encoding="utf-8", **streams)
    os.close(ended)
    whole = os.read(read, 1)
    os.close(read)
    Screen().out.file.write(done.stdout or "")
    sys.stderr.write(done.stderr or "")
    if not whole:
        number = done.returncode
        how = signal.Signals(-number).name if number < 0 else f"exit code {number}"
        raise GradlabError(f"{words[1]} ended the process in which it was examined ({how})", exit_code=1)
    return done.returncode


def _examined(spec: str, input_size: int, hidden: int, batch: int, seed: int, like: str | None, json: bool) -> int:
    """Examine a cell in this process."""
    from gradlab.runs.variants import cell_variant  # imports jax, as the cell does

    screen, variant = Screen(), cell_variant(spec)
    other = None if like is None else cell_variant(like)
    tidy_cache()
    use_cache()
    from gradlab.gradient.examination.examine import check_cell as examined

    with Progress(screen) as live:
        found = examined(
            variant.value,
            input_size=input_size,
            hidden_size=hidden,
            batch_size=batch,
            seed=seed,
            like=other and other.value,
            like_name=other.name if other else "",
            on_finding=live.show,
        )
    faults = [one for one in found if one.verdict == "fault"]
    if json:
        sizes = {"input_size": input_size, "hidden": hidden, "batch": batch, "seed": seed}
        about = {"cell": variant.name, "like": other and other.name, "sizes": sizes, "ok": not faults}
        screen.json(about | {"findings": [one._asdict() for one in found]})
        return int(bool(faults))
    total = f"in {counted(len(found), 'finding')}"
    if faults:
        screen.line(f"{variant.name}: {counted(len(faults), 'fault')} {total}", "bold red")
    else:
        screen.line(f"{variant.name}: no fault {total}", "bold")
    screen.line()
    ordered = sorted(found, key=lambda one: _ORDER.index(one.verdict))
    rows = [
        (one.verdict, one.name, "-" if one.number is None else f"{one.number:.2g}", one.text) for one in ordered
    ]
    screen.table(_COLUMNS, rows, right=("number",), fold=("finding",))
    screen.line()
    screen.prose(
        f"with {counted(input_size, 'Gaussian input')} and {counted(hidden, 'unit')}: growth and memory are of "
        "these, and other than in a task",
        "dim",
    )
    probe = shlex.join(["gradlab", "probe", "adding", "--cell", variant.name, "--len", "200"])
    again = "mend the first fault and run this again" if faults else probe
    screen.line(f"next: {again}")
    return int(bool(faults))
