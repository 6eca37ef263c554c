"""What TAB offers. Loads no jax: the names of cells and tasks stand here, and a test compares the registries."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

from gradlab.errors import GradlabError
from gradlab.judge.suite import FOLDER, suite_names
from gradlab.runs.store import Store
from gradlab.runs.sweeps import sweep_names

CELL_NAMES = (
    *(
        "rnn",
        "lstm",
        "gru",
        "lstm_peephole",
        "lstm_layernorm",
        "cifg",
        "slstm",
        "mgu",
        "janet",
        "mingru",
        "minlstm",
    ),
    *("indrnn", "ornn", "cornn", "lru", "stacked", "residual", "cnn", "bidirectional", "attention"),
)
TASK_NAMES = (
    *("adding", "multiplication", "delayed_xor", "latch", "temporal_order", "copy", "variable_copy"),
    *("selective_copy", "associative_recall", "mackey_glass", "language", "forecast", "digits"),
)


def complete_cells(incomplete: str) -> list[str]:
    """Cells, also after a comma: `rnn,ls` becomes `rnn,lstm`."""
    return _after_comma(CELL_NAMES, incomplete)


def complete_tasks(incomplete: str) -> list[str]:
    """Tasks."""
    return _after_comma(TASK_NAMES, incomplete)


def complete_suites(incomplete: str) -> list[str]:
    """Suites of experiments/."""
    with suppress(GradlabError, OSError):
        return _beginning(incomplete, suite_names())
    return []


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the runs in the results folder, and names of its sweeps."""
    with suppress(GradlabError, OSError):
        store = Store(ctx.params.get("results"))
        settled, attempts = store.names()
        return _beginning(incomplete, {*settled, *attempts, *sweep_names(store.root)})
    return []


def complete_sweeps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps in the results folder."""
    with suppress(OSError):
        return _beginning(incomplete, sweep_names(Store(ctx.params.get("results")).root))
    return []


def complete_files(incomplete: str) -> list[str]:
    """Folders and TOML files, of experiments/ if nothing is typed."""
    folder = Path(incomplete).parent if "/" in incomplete else Path()
    with suppress(OSError):
        found = [f"{path}/" for path in folder.iterdir() if path.is_dir()] + [*map(str, folder.glob("*.toml"))]
        return _beginning(incomplete, found if incomplete else map(str, FOLDER.glob("*.toml")))
    return []


def _after_comma(names: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
