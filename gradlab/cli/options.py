"""Options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from gradlab.runs.store import Store

Many = list[str] | None

Task = Annotated[str, typer.Argument(metavar="TASK", help="adding, copy, or a variant such as copy:symbols=5.")]
Cell = Annotated[
    Many,
    typer.Option(
        "--cell", help="rnn, lstm, gru, a variant such as lstm:forget_bias=3, or FILE.py:Name (default: lstm)."
    ),
]
Length = Annotated[
    Many, typer.Option("--len", help="Length of the sequences; a list 50,100 or a range 2-5 (default: 200).")
]
Seed = Annotated[
    Many, typer.Option("--seed", help="Seed of weights and data; a list, or a range 0-7 (default: 0).")
]
Hidden = Annotated[Many, typer.Option("--hidden", help="Size of the state (default: 64).")]
Dtype = Annotated[Many, typer.Option("--dtype", help="float32 or float64 (default: float32).")]
MeasureBatch = Annotated[
    Many, typer.Option("--measure-batch", help="Held-out examples that curves are measured on (default: 64).")
]
Where = Annotated[
    Many, typer.Option("--where", help="Only runs such as cell=lstm, status=solved or length>=200; may repeat.")
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Processes (default: one for each GPU, else for each core).")
]
Together = Annotated[
    int | None,
    typer.Option("--together", min=1, help="Runs of equal shape in one program (default: 64 on a GPU, else 1)."),
]
Rerun = Annotated[
    bool, typer.Option("--rerun", help="Do it although it is stored; the stored run stays until this one is done.")
]
Results = Annotated[
    Path | None,
    typer.Option("--results", help="Results folder (default: $GRADLAB_RESULTS or results)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, as in docs/json.md.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; results only.")]


def open_store(results: Path | None) -> Store:
    """The store that `--results`, `GRADLAB_RESULTS` or the default names."""
    return Store(results)
