"""`results/bench-gpu.md`, from nothing but what was recorded and the notes."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu.record import NAME, Record
from bench.gpu.targets import reasons, slope_us, targets

NOTES = Path(__file__).with_name("notes.md")
ABOUT = """A training step makes its data (adding problem) and does forward, backward, clipping by global norm,
and Adam, in float32: *TF32* where it says so, all of float32 everywhere else. **gradlab** measures meanwhile, at
every training step, the norm of every leaf of the state at every timestep; *no norms* trains alone. *many* are
{runs} runs of other seeds as one program, *row* the same number one after the other. A *graph* replays a whole
captured training step of torch. Everyone is a process of its own on the same card, and all take turns."""


def write(folders: Sequence[Path], results: Path) -> str:
    """Write the page and keep what it was made from beside it; returns where it is.

    Args:
        folders: of several measurements, in their order; a part is that of the last one that has it.
        results: where both go.
    """
    found: dict[str, Any] = {}
    for folder in folders:
        later = Record(folder).read()
        card = (later.get("machine") or found.get("machine", {})).get("card", {}).get("name")
        ended = found.get("parts", {})
        ended |= {name: {"card": card} | part for name, part in later.get("parts", {}).items()}
        commands = [*found.get("about", {}).get("commands", []), later.get("about", {}).get("command")]
        found |= later | {"parts": ended, "about": {"commands": commands}}
    path = results / "bench-gpu.md"
    path.write_text(page(found, NOTES.read_text()))
    (results / NAME).write_text(json.dumps(found, indent=1) + "\n")
    return str(path)


def page(found: Mapping[str, Any], notes: str) -> str:
    """The whole report."""
    runs = found.get("speed", {}).get("runs", "many")
    parts = [
        "# Speed on a GPU",
        "",
        *heading(found),
        "",
        ABOUT.format(runs=runs),
        "",
        *section("Targets", target_lines(found)),
        *section("A training step", step_lines(found.get("speed", {}))),
        *section("Errors against float64", error_lines(found.get("speed", {}))),
        *section("Measuring without training", probe_lines(found.get("probe", {}))),
        *section("Where the time of a timestep goes", profile_lines(found.get("profile", {}))),
        *section("One kernel for all timesteps", kernel_lines(found.get("kernel", {}))),
        *section("Commands", command_lines(found.get("commands", {}))),
        *section("Tests of cells, gradient and training", science_lines(found.get("science", {}))),
        *section("Notes", [notes.strip()] if notes.strip() else []),
    ]
    return "\n".join(parts).rstrip() + "\n"


def section(title: str, lines: Sequence[str]) -> list[str]:
    """A heading with what stands below it; nothing where nothing does."""
    return [f"## {title}", "", *lines, ""] if lines else []


def heading(found: Mapping[str, Any]) -> list[str]:
    machine = found.get("machine", {})
    card, said = machine.get("card", {}), machine.get("jax", {})
    times = ", ".join(
        f"{name} {part['seconds']:.0f} s on {part.get('card')}"
        + ("" if part["exit"] == 0 else f" (exit {part['exit']})")
        for name, part in found.get("parts", {}).items()
    )
    lines = {
        "command": "; ".join(f"`{one}`" for one in found.get("about", {}).get("commands", [])),
        "date": machine.get("date"),
        "card": ", ".join(value for name, value in card.items() if name in ("name", "memory.total")),
        "driver": card.get("driver_version"),
        "processor": machine.get("processor"),
        "versions": ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items()),
        "jax": f"{said.get('device')}, {said.get('client')}; products: {said.get('products')}",
        "parts": times,
    }
    return [f"- {name}: {text}" for name, text in lines.items() if text]


def target_lines(found: Mapping[str, Any]) -> list[str]:
    judged = targets(found)
    if not judged:
        return []
    rows = [
        [one.what, f"{one.ratio:.2f}", f">= {one.goal:g}" if one.goal else "", one.verdict, one.note]
        for one in judged
    ]
    return [
        *table(["gradlab against", "times as fast", "target", "verdict", "from"], rows),
        *reasons(found, judged),
    ]


def step_lines(speed: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, times in speed.items():
        if not name.startswith("times "):
            continue
        case = name.removeprefix("times ")
        rows = []
        for key, one in times.items():
            who, _, way = key.partition(": ")
            memory = speed.get("about", {}).get(f"{case.split()[0]} {who}", {})
            of_way = memory.get(way, {}) if isinstance(memory, dict) else {}
            megabytes = of_way.get("planned_mb", of_way.get("peak_mb"))
            rows.append([who, way, ms(one["ms"]), str(len(one["ms"])), number(megabytes)])
        columns = ["", "way", "ms for all its runs, median (fastest)", "rounds", "MB"]
        lines += [f"`{case}` (T,H,B):", "", *table(columns, rows), ""]
    failed = [f"- {name}: did not work: {why}" for name, why in speed.get("failed", {}).items()]
    memory = (
        "MB: for jax what the compiler planned, arguments and results included; for torch what it had allocated "
    )
    return [*lines, memory + "at most, the weights of all runs included.", "", *failed] if lines else failed


def error_lines(speed: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, "-" if one["largest"] is None else f"{one['largest']:.1e}", " ".join(one["wrong"]) or "nothing"]
        for name, one in speed.get("errors", {}).items()
    ]
    what = (
        "The first training step: loss, gradients of all weights and norms; `wrong` is beyond 1e-4 (norms 1e-3)."
    )
    return [what, "", *table(["", "largest error", "wrong"], rows)] if rows else []


def probe_lines(probe: Mapping[str, Any]) -> list[str]:
    rows = []
    for case, one in probe.items():
        if "failed" in one:
            rows.append([case, one["failed"], "", "", ""])
            continue
        seconds = statistics.median(one["seconds"])
        steps = int(case.split()[1].split(",")[0])
        rows.append(
            [
                case,
                f"{seconds:.3g}",
                f"{1e6 * seconds / steps:.0f}",
                number(one["planned_mb"]),
                number(one["peak_mb"]),
            ]
        )
    columns = ["cell T,H,B", "s, compiled before", "µs per timestep", "MB planned", "MB held at most"]
    return table(columns, rows) if rows else []


def profile_lines(profile: Mapping[str, Any]) -> list[str]:
    if not profile:
        return []
    variants = {name: one for name, one in profile.items() if name not in ("kernels",) and "T=" not in name}
    rows = [
        [name, *([one["failed"], "", ""] if "failed" in one else [ms(one["one"]), ms(one["many"]), compiled(one)])]
        for name, one in variants.items()
    ]
    columns = ["variant", "one run: ms (fastest)", "many: ms (fastest)", "s to compile both"]
    lines = [*table(columns, rows), ""]
    for way in ("one", "many"):
        per = slope_us(profile, way)
        if per is not None:
            lines.append(
                f"- {way}: {per:.1f} µs for each timestep more, forward and backward, by the slope over T."
            )
    for way, loops in profile.get("kernels", {}).items():
        for times, kinds in dict.fromkeys((one["times"], tuple(sorted(one["kinds"].items()))) for one in loops):
            inside = ", ".join(f"{count} {kind}" for kind, count in kinds)
            lines.append(f"- {way}: a loop of {times or 'as many rounds as are asked for'}: {inside}")
    return lines


def kernel_lines(kernel: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"{one['case']}: {name}", f"{one['error']:.0e}", ms(one["scan"]), ms(one["kernel"]), ratio(one)]
        for name, one in kernel.items()
    ]
    columns = [
        "T,H,B: weights at a time",
        "error",
        "scan: ms (fastest)",
        "one kernel: ms (fastest)",
        "times as fast",
    ]
    return table(columns, rows) if rows else []


def ratio(one: Mapping[str, Any]) -> str:
    return f"{statistics.median(one['scan']) / statistics.median(one['kernel']):.2f}"


def command_lines(commands: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"`{one['command']}`", str(one["exit"]), f"{one['seconds']:.1f}"]
        for name, one in commands.items()
        if name not in ("bits", "costs")
    ]
    if not rows:
        return []
    rows = [["*timed beside the tests*", "", ""], *rows]
    bits, lines = commands.get("bits"), table(["command", "exit", "s"], rows)
    if bits:
        apart = bits["apart"]
        worst = (
            f"{len(apart)} of {bits['arrays']} arrays differ, by {max(apart.values()):.1e} at most"
            if apart
            else ""
        )
        lines += ["", f"The same run twice: {worst or 'the same bits in all ' + str(bits['arrays']) + ' arrays'}."]
    for name, one in commands.get("costs", {}).items():
        seconds = ", ".join(
            f"{kind} {one[f'{kind}_seconds']:.1f} s" for kind in ("compile", "train", "measure", "wall")
        )
        lines += ["", f"- {name}, {one['runs']} trained: {seconds}, the most that one of them says."]
    return lines


def science_lines(science: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, title in (
        ("first", "As on any machine"),
        ("again", "What failed, all of float32 asked for everywhere"),
    ):
        one = science.get(name)
        if one:
            counts = ", ".join(f"{count} {how}" for how, count in one["counts"].items())
            end = "" if one["ended"] else "; its time was over before all were done"
            lines += [f"{title}: {counts} in {one['seconds']:.0f} s{end}.", ""]
            lines += [f"- `{test}`: {why}" for test, why in one["failed"].items()]
            lines += [""] if one["failed"] else []
    return lines


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(columns), "|" + "---|" * len(columns), *(line(row) for row in rows)]


def ms(rounds: Sequence[float]) -> str:
    return f"{number(statistics.median(rounds))} ({number(min(rounds))})" if rounds else "-"


def compiled(one: Mapping[str, Any]) -> str:
    return f"{max(one['compile_s'].values()):.0f}"


def number(value: float | None) -> str:
    """Three digits, and never an exponent."""
    return "-" if value is None else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
