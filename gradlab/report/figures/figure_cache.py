"""Figures that an earlier report drew of the same sources are kept; the others are drawn."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from gradlab.report.data.records import Record
from gradlab.report.figures.embed import EmbeddedFigure, FigureTable, embedded
from gradlab.report.figures.gallery import PlannedFigure
from gradlab.report.figures.length_axes import LengthLine
from gradlab.report.figures.save import save
from gradlab.report.made import Manifest, Sources, hashed, named
from gradlab.runs.files import OTHERS, digest, regular_bytes

FIGURES, PARTS = "figures", "parts"
"""The folder of SVG and PNG, and that of what the page has of each figure, for the next report."""


class Earlier(NamedTuple):
    """An earlier report, and the results folder that it is in."""

    results: Path
    folder: Path
    made: Manifest

    def files(self, names: Sequence[str]) -> dict[str, bytes] | None:
        """The content of these files of it, None if one is not as it was written."""
        found = {}
        for name in names:
            path = self.folder / name
            try:
                found[name] = regular_bytes(path, OTHERS)
            except (OSError, ValueError):
                return None
            if digest(found[name]) != self.made.files.get(named(path, self.results)):
                return None
        return found


class Drawer:
    """Gives the figures of plans.

    Args:
        sources: of the report. earlier: where figures may be taken from.
        folder: where the files of figures are written, if anywhere. files: whether SVG and PNG are among them.

    Attributes:
        names: of figures, by the digest of their sources. written: paths of SVG and PNG in the folder.
    """

    def __init__(self, sources: Sources, earlier: Earlier, folder: Path | None = None, *, files: bool = False):
        self._sources, self._earlier, self._folder, self._files = sources, earlier, folder, files
        self.names: dict[str, list[str]] = {}
        self.written: list[Path] = []

    def figures(self, plan: PlannedFigure) -> Iterator[EmbeddedFigure]:
        """The figures of a plan, with their files; none is drawn that is kept."""
        if self._folder:
            for folder in (PARTS, *([FIGURES] if self._files else [])):
                (self._folder / folder).mkdir(exist_ok=True)
        key = plan_digest(plan, self._sources)
        names = self._earlier.made.figures.get(key)
        kept = None if names is None else [self._earlier.files(self._paths(name)) for name in names]
        found = []
        if names is not None and kept is not None and None not in kept:
            for name, files in zip(names, kept, strict=True):
                found.append(name)
                yield self._take(name, files or {})
        else:
            for drawing in plan.drawn():
                found.append(drawing.name)
                if self._folder and self._files:
                    save(drawing, self._folder / FIGURES)
                yield self._put(drawing.name, embedded(drawing))
        if key:
            self.names[key] = found

    def _paths(self, name: str) -> list[str]:
        pictures = [f"{FIGURES}/{name}.svg", f"{FIGURES}/{name}.png"]
        return [f"{PARTS}/{name}.json", *(pictures if self._files else [])]

    def _take(self, name: str, files: Mapping[str, bytes]) -> EmbeddedFigure:
        if self._folder:
            for path, data in files.items():
                (self._folder / path).write_bytes(data)
        self._note(name)
        return _from_json(json.loads(files[f"{PARTS}/{name}.json"]))

    def _put(self, name: str, figure: EmbeddedFigure) -> EmbeddedFigure:
        if self._folder:
            (self._folder / PARTS / f"{name}.json").write_text(json.dumps(figure._asdict()), encoding="utf-8")
        self._note(name)
        return figure

    def _note(self, name: str) -> None:
        if self._files:
            self.written += [Path(path) for path in self._paths(name)[1:]]


def plan_digest(plan: PlannedFigure, sources: Sources) -> str:
    """The digest of what the figures of a plan are made from; "" if a run of it is not among the sources."""
    try:
        arguments = _described(plan.arguments, sources.runs)
    except KeyError:  # it came between the digests and the reading
        return ""
    return hashed([sources.code, plan.draw.__module__, plan.draw.__qualname__, plan.section, arguments])


def _described(value: Any, runs: Mapping[str, str]) -> Any:
    """An argument of a plan as JSON, with the digest of each run and what its sweep says of it."""
    if isinstance(value, Record):
        return [value.run.id, runs[value.run.id], value.tuned, value.max_params]
    if isinstance(value, LengthLine):
        return _described((value.label, value.style, value.group), runs)
    if isinstance(value, (list, tuple)):
        return [_described(item, runs) for item in value]
    return value


def _from_json(stored: Mapping[str, Any]) -> EmbeddedFigure:
    tables = [FigureTable(*table) for table in stored["tables"]]
    return EmbeddedFigure(**{**stored, "svg": Markup(stored["svg"]), "tables": tables})
