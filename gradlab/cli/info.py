"""`gradlab cells` and `gradlab tasks`, read from their registries, and `gradlab doctor`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.errors import GradlabError
from gradlab.runs.fields import spell
from gradlab.runs.plugins import plugins


def cells(json: options.Json = False) -> None:
    """List the cells and their options.

    Those of installed packages too, by their entry points.
    """
    from gradlab.cells import CELLS

    _list("cells", CELLS, json, "gradlab probe adding --len 200 --cell lstm:forget_bias=3")


def tasks(json: options.Json = False) -> None:
    """List the tasks and their options.

    Those of installed packages too, by their entry points.
    """
    from gradlab.tasks import TASKS

    _list("tasks", TASKS, json, "gradlab run adding --len 200 --cell lstm")


def _list(kind: str, registry: Mapping[str, Callable[..., Any]], json: bool, example: str) -> None:
    screen = Screen()
    entries = {name: _describe(factory) for name, factory in registry.items()}
    installed = plugins(kind.removesuffix("s"), registry)
    for problem in installed.problems:
        screen.warn(problem)
    for name, (module, attribute, package) in installed.found.items():
        entries[name] = {"summary": f"{module}:{attribute} of {package}", "options": []}
    if json:
        screen.json({kind: entries})
        return
    for name, entry in entries.items():
        screen.line(f"{name}: {entry['summary']}")
        for option in entry["options"]:
            values = ", ".join(option["values"])
            screen.line(f"  :{option['name']}={option['default']}  ({values or option['type']})")
    screen.line(f"next: {example}")


def _values(factory: Callable[..., Any], option: str) -> list[str]:
    """The values that an option may have, if it has a list of them: the factory names it when given another."""
    try:
        factory(**{option: "?"})
    except GradlabError as error:
        return [value for value in error.known if _accepts(factory, option, value)]
    except Exception:  # it takes numbers, or needs more than this option
        pass
    return []


def _accepts(factory: Callable[..., Any], option: str, value: str) -> bool:
    """Whether a value is refused in no case: one may need a second option, or a package."""
    try:
        factory(**{option: value})
    except GradlabError as error:
        return "give t_max" in str(error) or "install" in str(error)
    return True


def _describe(factory: Callable[..., Any]) -> dict[str, Any]:
    summary = (inspect.getdoc(factory) or "").splitlines()[0]
    described = [
        {
            "name": parameter.name,
            "default": "none" if parameter.default is None else spell(parameter.default),
            "values": _values(factory, parameter.name) if isinstance(parameter.default, str) else [],
            "type": getattr(parameter.annotation, "__name__", str(parameter.annotation)),
        }
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.default is not parameter.empty  # the cell that a composition is made of
    ]
    return {"summary": summary, "options": described}


def doctor(json: options.Json = False) -> int:
    """Check versions and devices, look for faults of XLA.

    gradlab doctor
    """
    from gradlab.runs.environment import execution, versions
    from gradlab.runs.selftest import check_all

    screen = Screen()
    where, found, findings = execution("float32"), versions(), check_all()
    fit = not any(finding.harmful for finding in findings)
    if json:
        checks = [finding._asdict() for finding in findings]
        screen.json({"versions": found, "execution": where, "checks": checks, "ok": fit})
        return int(not fit)
    screen.line(", ".join(f"{package} {version}" for package, version in found.items()))
    screen.line(f"{where['platform']} {where['device']}: {where['cpu']}; XLA_FLAGS={where['xla_flags'] or 'none'}")
    screen.line()
    for finding in findings:
        mark = "FAULT" if finding.harmful else "known" if finding.reproduced else "ok"
        screen.line(f"{mark:<6} {finding.name}: {finding.seen}", "bold red" if finding.harmful else "")
        if finding.reproduced:
            screen.line(f"       {finding.advice}")
    screen.line()
    screen.line("fit to measure on" if fit else "this machine is not fit to measure on: see above")
    if fit:
        screen.line("next: gradlab run adding --len 200 --cell lstm")
    return int(not fit)
