"""Stored runs as the report reads them: settings, checkpoints, curves. Knows no jax."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.curve import STATE, GradientCurve
from gradlab.gradient.summary import SENTENCES, Summary
from gradlab.report.data.progress import reading
from gradlab.runs.files import DamagedFile
from gradlab.runs.labels import BUILT_IN, varying
from gradlab.runs.labels import labels as setting_labels
from gradlab.runs.spec import VERSIONS, ordered_fields
from gradlab.runs.store import Store, StoredRun
from gradlab.runs.tuning import untuned

Floats = NDArray[np.float64]

ROLES = ("initial", "worst", "final")
"""The checkpoints that tables and figures show."""
CURVES = ("task", "total", "direct", "task_future", "total_future")


@dataclass(frozen=True)
class Record:
    """One run that can be read: its directory, and its checkpoints as in `log.jsonl`.

    `marks` has the index in `log` of the initial, worst and final checkpoint; it is empty if nothing was measured.
    """

    run: StoredRun
    log: list[dict[str, Any]]
    marks: dict[str, int]
    kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """What `curves.npz` holds, if it is kept in memory."""
    tuned: tuple[str, ...] = ()
    """Fields whose value its sweep chose for its cell, task and length."""
    max_params: int | None = None
    """What its hidden size follows from, if its sweep asked for that."""
    by_analyses: bool = False
    """Whether what it works out beside the curves, which changes none, is all that tells it from another run."""
    _summaries: dict[tuple[str, str, str], Summary] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def config(self) -> dict[str, Any]:
        """The fields of its spec, without what only concerns the files; `task`, `cell`, `length` first."""
        asked = ordered_fields(self.run.config)
        return asked | {"params": asked.get("params") or "none"}

    @cached_property
    def setting(self) -> dict[str, Any]:
        """What was asked but for the seed, and by which code; runs that share it are averaged over seeds.

        What the sweep tuned is not in it, and `max_params` stands for the hidden size that follows from it.
        """
        asked = untuned(self.config, self.tuned)
        if not self.by_analyses:
            asked = {name: value for name, value in asked.items() if name != "also"}
        if self.max_params is not None:
            asked = {name: value for name, value in asked.items() if name != "hidden"}
            asked["max_params"] = self.max_params
        return asked | {name: self.run.config.get(name) for name in VERSIONS}

    @cached_property
    def _setting_texts(self) -> list[tuple[str, str]]:
        """`setting` as names and texts, by which runs are grouped."""
        return sorted((name, str(value)) for name, value in self.setting.items())

    @property
    def resolved(self) -> dict[str, Any]:
        """The values of what `setting` leaves open, which are those of one cell, task and length."""
        names = (*self.tuned, *(["hidden"] if self.max_params is not None else []))
        return {name: self.config[name] for name in names}

    @property
    def seed(self) -> int:
        """Seed of weights and data."""
        return int(self.config["seed"])

    @property
    def trained(self) -> bool:
        """Whether training was asked for."""
        return bool(self.config["steps"])

    def arrays(self) -> dict[str, np.ndarray]:
        """What `curves.npz` holds; empty if it was not written, an error if it cannot be read."""
        return self.kept or (self.run.arrays() if self.has_arrays else {})

    @property
    def has_arrays(self) -> bool:
        """Whether its curves are stored."""
        return self.run.has("curves.npz")

    def step(self, role: str) -> int:
        """Training step of a checkpoint."""
        return int(self.log[self.marks[role]]["step"])

    def summary(self, role: str, curve: str = "task", leaf: str = STATE) -> Summary:
        """The numbers of one leaf of one curve at a checkpoint."""
        at = (role, curve, leaf)
        if at not in self._summaries:
            self._summaries[at] = Summary.from_dict(leaf, self.log[self.marks[role]]["curves"][curve][leaf])
        return self._summaries[at]

    def findings(self, role: str, curve: str = "task") -> list[str]:
        """Where NaN or infinity begins at a checkpoint, as sentences."""
        return list(self.log[self.marks[role]]["curves"][curve].get("non_finite", []))

    def notes(self, role: str, curve: str = "task") -> list[str]:
        """What a reader of the numbers at a checkpoint must know about them, a sentence each."""
        return list(self.log[self.marks[role]]["curves"][curve].get("notes", []))


KEPT = 200_000_000
"""Bytes of arrays that stay in memory between the figures of a report."""
Labelled = Sequence[tuple[str, Sequence[Record]]]
"""The runs of each setting after its name."""


def read(
    results: Path | str,
    warn: Callable[[str], None],
    names: Iterable[str] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Record]:
    """Every run of a results folder that can be read, by name.

    Args:
        results: the folder.
        warn: called once for each run that is skipped because it is corrupt.
        names: ids of the only runs to read. progress: called with messages on progress.

    Raises:
        GradlabError: a run was written by a newer gradlab.
    """
    records: list[Record] = []
    room = KEPT
    for run in Store(results).each(warn, names, reading(progress)):
        try:
            record = _record(run)
            arrays = record.arrays()
            if wrong := _disagreement(record, arrays):
                raise DamagedFile(run.path, "log.jsonl", wrong)
            size = sum(array.nbytes for array in arrays.values())
            if size <= room:  # the figures read the arrays of a run several times
                record.kept.update(arrays)
                room -= size
            record.run.env()
            if run.has("every.npz"):
                run.arrays("every.npz")
            records.append(record)
        except DamagedFile as error:
            warn(error.warning)
    return _told_apart(records)


def _told_apart(records: Sequence[Record]) -> list[Record]:
    """The records; of several that differ in their analyses alone all but the plainest are named by those too."""

    def alike(record: Record) -> str:
        return str({name: value for name, value in record.run.config.items() if name != "also"})

    plainest: dict[str, str] = {}
    for record in sorted(records, key=lambda record: str(record.run.config.get("also") or "")):
        plainest.setdefault(alike(record), record.run.id)
    return [replace(record, by_analyses=plainest[alike(record)] != record.run.id) for record in records]


def _record(run: StoredRun) -> Record:
    stored = run.done.get("summary") or {}
    # A line of the log that was torn is in done.json too, if it is one of the three that matter.
    lines = {line["step"]: line for line in (*stored.values(), *run.log())}
    log = [lines[step] for step in sorted(lines)]
    if not log:
        return Record(run, [], {})
    if stored:
        stored |= {role: lines[line["step"]] for role, line in stored.items()}  # once in memory
        return Record(run, log, {role: sorted(lines).index(stored[role]["step"]) for role in ROLES})
    verdicts = [Summary.from_dict(STATE, line["curves"]["task"][STATE]).verdict for line in log]
    worst = max(range(len(log)), key=lambda index: verdicts[index].severity)
    return Record(run, log, {"initial": 0, "worst": worst, "final": len(log) - 1})


def _disagreement(record: Record, arrays: Mapping[str, np.ndarray]) -> str:
    """Where the checkpoints of a run are not those of its arrays, if it has any, or not all alike."""
    alike = {curve: set(leaves) for curve in CURVES if (leaves := leaves_of(arrays, curve))}
    for line in record.log:
        found = {curve: set(parts) - {*SENTENCES} for curve, parts in line["curves"].items()}
        alike = alike or found
        if found != alike:
            return f"training step {line['step']} has other curves or leaves than curves.npz"
        if not arrays:
            continue
        if line["step"] not in arrays["step"]:
            return f"curves.npz has no training step {line['step']}"
        for curve in found:
            if line["curves"][curve][STATE]["lags"] > arrays[f"{curve}/{STATE}/typical"].shape[1]:
                return f"curves.npz has fewer lags than the {curve} curve of training step {line['step']}"
    return ""


def leaves_of(arrays: Mapping[str, np.ndarray], curve: str) -> list[str]:
    """The leaves of a stored curve, `state` last; a leaf's name may contain slashes."""
    keys = [key for key in arrays if key.startswith(f"{curve}/") and key.endswith("/typical")]
    names = [key.removeprefix(f"{curve}/").removesuffix("/typical") for key in keys]
    return sorted(names, key=lambda name: name == STATE)


def row_of(arrays: Mapping[str, np.ndarray], step: int) -> int:
    """The row of the checkpoint at a training step."""
    return int(np.argmax(arrays["step"] == step))


def summarised(arrays: Mapping[str, np.ndarray], row: int, curve: str = "task", leaf: str = STATE) -> Floats:
    """The curve that summaries summarise: typical, or the median where some examples are zero."""
    at = f"{curve}/{leaf}"
    statistic = "q50" if np.any(arrays[f"{at}/dead"][row] > 0) else "typical"
    return np.asarray(arrays[f"{at}/{statistic}"][row], np.float64)


def lags_of(arrays: Mapping[str, np.ndarray], row: int, curve: str = "task") -> int:
    """How many lags a curve has at a checkpoint: where sequences differ in length, others may have more."""
    examples = arrays.get(f"{curve}/examples")
    stored = arrays[f"{curve}/{STATE}/typical"].shape[1]
    return stored if examples is None else int(np.sum(np.asarray(examples[row], np.float64) > 0))


def noise_lags(
    arrays: Mapping[str, np.ndarray], row: int, curve: str = "task", leaf: str = STATE
) -> NDArray[np.bool_]:
    """Whether the value at each lag (T,) of a stored curve is rounding noise."""
    line = summarised(arrays, row, curve, leaf)
    stored = arrays.get(f"{curve}/{leaf}/noise")
    noise = {} if stored is None else {leaf: np.asarray(stored[row], np.float64)}
    return GradientCurve.of({leaf: line[:, None]}, noise=noise).is_noise(leaf)


def grouped(records: Iterable[Record], *, without: Sequence[str] = ()) -> list[list[Record]]:
    """Records by setting, the fields `without` left out too; seeds ascending, settings by their fields."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = tuple(pair for pair in record._setting_texts if pair[0] not in without)
        groups.setdefault(key, []).append(record)
    for group in groups.values():
        group.sort(key=lambda record: (record.config["length"], record.seed))
    return sorted(groups.values(), key=lambda group: _order(group[0]))


def _order(record: Record) -> tuple[Any, ...]:
    """Tasks, then probes after training, then built-in cells in their usual order, then lengths."""
    config = record.config
    return (config["task"], not record.trained, *place_of_cell(record), config["length"], str(record.setting))


def place_of_cell(record: Record) -> tuple[int, str]:
    """Built-in cells in their usual order, then others by name."""
    cell = str(record.config["cell"])
    name = cell.partition(":")[0]
    return BUILT_IN.index(name) if name in BUILT_IN else len(BUILT_IN), cell


def labels(groups: Sequence[Sequence[Record]], *, without: Sequence[str] = ()) -> list[str]:
    """A short name for each setting: its cell, and as few fields as tell it from others of its task and length."""
    names: dict[int, str] = {}
    fields = [name for name in ("task", "length") if name not in without]
    places = [tuple(group[0].config[name] for name in fields) for group in groups]
    for place in dict.fromkeys(places):
        mine = [index for index, other in enumerate(places) if other == place]
        settings = [groups[index][0].setting for index in mine]
        known = list(without)
        for name in reversed(varying(settings, without=without)):
            if len(set(setting_labels(settings, without=(*known, name)))) == len(settings):
                known.append(name)
        names |= dict(zip(mine, setting_labels(settings, without=known), strict=True))
    return [names[index] for index in range(len(groups))]


def labelled(records: Iterable[Record], *, without: Sequence[str] = ()) -> Labelled:
    """The runs of each setting after its name, in the order of `grouped`."""
    groups = grouped(records, without=without)
    return list(zip(labels(groups, without=without), groups, strict=True))
