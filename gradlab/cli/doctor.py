"""`gradlab doctor`: is this machine fit to measure on?"""

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.runs.jsonable import dumps


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("doctor")(doctor)


def doctor(json: options.Json = False) -> int:
    """Check versions and devices, and reproduce known faults of XLA and JAX here and now.

    gradlab doctor
    """
    from gradlab.runs.environment import execution, versions
    from gradlab.runs.selftest import check_all

    screen = Screen()
    where, found, findings = execution("float32"), versions(), check_all()
    bad = [finding for finding in findings if finding.harmful]
    if json:
        checks = [finding._asdict() for finding in findings]
        screen.raw(dumps({"versions": found, "execution": where, "checks": checks, "ok": not bad}, indent=1))
        return int(bool(bad))
    screen.line(", ".join(f"{package} {version}" for package, version in found.items()))
    screen.line(f"{where['platform']} {where['device']}: {where['cpu']}; XLA_FLAGS={where['xla_flags'] or 'none'}")
    screen.line()
    for finding in findings:
        mark = "FAULT" if finding.harmful else "known" if finding.reproduced else "ok"
        screen.line(f"{mark:<6} {finding.name}: {finding.seen}", "bold red" if finding.harmful else "")
        if finding.reproduced:
            screen.line(f"       {finding.advice}")
    screen.line()
    screen.line("this machine is not fit to measure on: see above" if bad else "fit to measure on")
    if not bad:
        screen.line("next: gradlab run adding --len 200 --cell lstm")
    return int(bool(bad))
