"""`gradlab check-cell`: what is wrong with a cell, and what it can remember."""

import shlex
from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Progress, Screen, counted
from gradlab.runs.cache import tidy_cache, use_cache

_COLUMNS = ("verdict", "examination", "number", "finding")
_ORDER = ("fault", "note", "ok")


def check_cell(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A cell, as in --cell: lstm, ./mine.py:MyCell.")],
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
    probe = shlex.join(["gradlab", "probe", "adding", "--cell", variant.name, "--len", "200"])
    again = "mend the first fault and run this again" if faults else probe
    screen.line(f"next: {again}")
    return int(bool(faults))
