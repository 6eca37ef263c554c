"""Curves and runs side by side in Python: `gradlab.compare` and `gradlab.plot`."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.notebook import LEAF_COLUMNS, NotebookTable, leaf_cells, markdown_table
from gradlab.report.data.records import ROLES, Record, labelled
from gradlab.report.figures.drawing import plot as plot_curve
from gradlab.report.figures.single import draw_runs
from gradlab.report.page.compare import side
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.runs.result import RunResult

    Compared = GradientCurve | RunResult | str


@dataclass(frozen=True)
class Comparison(NotebookTable):
    """Curves and runs side by side.

    Attributes:
        table: a row for each run and checkpoint: `setting`, `task`, `length`, `seed`, `status`, `checkpoint`,
            `training_step`, `loss`, and every number of the task curve of the state (docs/json.md).
    """

    records: list[Record] = field(repr=False)

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.records)} curves and runs>\n{self.table[list(_SHOWN)].to_string()}"

    @property
    def table(self) -> pd.DataFrame:
        """The numbers, as numbers."""
        rows = [about | record.summary(role).as_dict() for record, role, about in self._rows()]
        return pd.DataFrame(rows)

    def plot(self, ax: Axes | None = None, *, by: str | None = None, at: str = "initial") -> Axes:
        """The curves in one figure, as `gradlab.plot` draws them."""
        return draw_runs(self.records, ax, by=by, at=at)

    def _repr_markdown_(self) -> str:
        named = ("setting", "task", "length", "seed", "status", "checkpoint", "training_step")
        rows = [
            [*(about[name] for name in named), *leaf_cells("state", record.summary(role))[1:]]
            for record, role, about in self._rows()
        ]
        notes = [
            f"{about['setting']}, {role}: {note}"
            for record, role, about in self._rows()
            for note in (*record.findings(role), *record.notes(role))
        ]
        columns = [name.replace("_", " ") for name in named]
        # What is the same in every row is said above the table.
        shared = {at for at in range(1, len(named)) if len({row[at] for row in rows}) == 1}
        said = [f"{columns[at]} {rows[0][at]}" for at in sorted(shared) if rows[0][at] not in _UNSAID]
        heading = ", ".join(["Gradient of the state by lag", *said])
        kept = [[cell for at, cell in enumerate(row) if at not in shared] for row in rows]
        shown = [name for at, name in enumerate((*columns, *LEAF_COLUMNS[1:])) if at not in shared]
        return markdown_table(heading, shown, kept, notes)

    def _rows(self) -> Iterable[tuple[Record, str, dict[str, Any]]]:
        """Each checkpoint of each run that another does not repeat, with what is said of it."""
        for label, group in labelled(self.records):
            for record in group:
                seen: set[int] = set()
                for role in ROLES:
                    if (step := record.step(role)) in seen:
                        continue
                    seen.add(step)
                    about = {name: record.config[name] for name in ("task", "length", "seed")}
                    about |= {"status": record.run.status, "checkpoint": role, "training_step": step}
                    yield (
                        record,
                        role,
                        {"setting": label} | about | {"loss": record.log[record.marks[role]]["loss"]},
                    )


_SHOWN = ("setting", "length", "seed", "checkpoint", "training_step", "span", "slope", "horizon", "verdict")
_UNSAID = ("given", "measured", "initial", 0)
"""What goes without saying where it is true of every row."""


def compare(
    what: "Compared | Iterable[Compared] | Mapping[str, Compared]", results: Path | str | None = None
) -> Comparison:
    """Curves and runs side by side: a table, shown by notebooks, and a figure.

    Args:
        what: curves, results of `run`, or names of stored runs and sweeps; a mapping gives their names.
        results: the folder of stored runs; `GRADLAB_RESULTS` or `results` if None.

    Raises:
        GradlabError: nothing was measured, there is no such run, or something else was given.

    Example:
        >>> steep, flat = (GradientCurve.of({"h": [[0.0], [-d], [-2 * d]]}) for d in (2.5, 0.1))
        >>> compare({"mine": steep, "other": flat}).table[["setting", "span", "verdict"]]
          setting  span    verdict
        0    mine  -5.0  vanishing
        1   other  -0.2       held
    """
    return Comparison(_records(what, Store(results)))


def plot(
    what: "Compared | Comparison | Iterable[Compared] | Mapping[str, Compared]",
    ax: Axes | None = None,
    *,
    by: str | None = None,
    at: str = "initial",
    relative: bool = True,
    results: Path | str | None = None,
) -> Axes:
    """Draw gradient norm against lag: the leaves of one curve, or a line for each of several runs.

    Args:
        what: a curve, or what `compare` takes and gives.
        ax: where to draw; a new figure of pyplot if None.
        by: `cell`: a line for each setting; `length`: for each length; `step`: for each checkpoint, which is
            usual for a single run that was trained.
        at: the checkpoint that is drawn: `initial`, `worst` or `final`.
        relative: decades from lag 1; False draws log10 norms, of one curve.
        results: the folder of stored runs.

    Raises:
        GradlabError: nothing was measured, or there is no such run, checkpoint or way to draw.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> steep, flat = (GradientCurve.of({"h": [[0.0], [-d]]}) for d in (2.5, 0.1))
        >>> [line.get_label() for line in plot({"mine": steep, "other": flat}).get_lines()]
        ['mine', 'other']
    """
    if isinstance(ax, GradientCurve):
        raise GradlabError("two curves were given: name them, as in plot({'mine': one, 'other': two})")
    if isinstance(what, GradientCurve):
        return plot_curve(what, ax, relative=relative)
    if not relative:
        raise GradlabError("relative=False draws one curve: several are compared relative to lag 1")
    records = what.records if isinstance(what, Comparison) else _records(what, Store(results))
    return draw_runs(records, ax, by=by, at=at)


def stored_records(store: Store, names: Iterable[str], warn: Callable[[str], None]) -> list[Record]:
    """The measured runs of these names, ids of runs or names of sweeps, each once."""
    found = [record for name in names for record in side(store, name, warn).records]
    return list({record.run.id: record for record in found}.values())


def _records(what: Any, store: Store) -> list[Record]:
    """What was given, as the report reads stored runs."""
    if isinstance(what, Mapping):
        named = list(what.items())
    else:
        several = not isinstance(what, str) and isinstance(what, Iterable)
        named = [("", each) for each in (what if several else [what])]
    found: dict[str, Record] = {}
    for index, (name, each) in enumerate(named, 1):
        for record in _records_of(each, name, f"curve {index}", store):
            found[record.run.id if isinstance(each, str) else str(index)] = record
    if not found:
        raise GradlabError("there is nothing to compare: give curves, results or names of stored runs")
    return list(found.values())


def _records_of(each: Any, name: str, otherwise: str, store: Store) -> list[Record]:
    if isinstance(each, str):
        return side(store, each, lambda text: warnings.warn(text, stacklevel=4)).records
    from gradlab.runs.imported_curves import imported_config, imported_result
    from gradlab.runs.result import RunResult  # loads jax, as whoever has a result did

    if isinstance(each, GradientCurve):
        about = {"cell": name or otherwise, "task": "given", "seed": 0, "params": "imported"}
        return [_record(imported_result(each), imported_config(each, about), name or otherwise)]
    if not isinstance(each, RunResult):
        raise GradlabError(f"{type(each).__name__} is no curve, result or name of a run: give one of these")
    if not each.checkpoints:
        raise GradlabError(f"{each.spec.id} has no checkpoint, so there is nothing to compare")
    return [_record(each, each.spec.config() | ({"cell": name} if name else {}), each.spec.id)]


def _record(result: "RunResult", config: dict[str, Any], run_id: str) -> Record:
    """A result in memory as a record of a stored run."""
    from gradlab.runs.result import curve_arrays, key_checkpoints, trace_arrays

    marks = {role: result.checkpoints.index(mark) for role, mark in key_checkpoints(result.checkpoints).items()}
    arrays = curve_arrays(result.checkpoints) | trace_arrays(result.trace, result.tests)
    run = StoredRun(run_id, Path(), result.status, config, result.as_dict())
    return Record(run, [result.log_line(mark) for mark in result.checkpoints], marks, arrays)
