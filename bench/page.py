"""The report in Markdown, from nothing but rows, a heading and the notes."""

from collections.abc import Callable, Mapping, Sequence

from bench import anatomy, engine, length, memory, seeds, startup, sweep, training
from bench.case import Case
from bench.contenders import EVERYONE, PLAIN, PRODUCT
from bench.rows import Row, select, verdict
from bench.targets import GROUPS

ABOUT = """A training step makes its data (adding problem), and does forward, backward, clipping by global norm,
and Adam, in float32. **gradlab** measures meanwhile, at every training step, the norm of every leaf of the state
at every timestep; *gradlab, no norms* trains alone. torch's loop and augmented input give the norms of h, the
naive scan those of every leaf; plain torch, flax and equinox give none. Every contender was first compared with
float64, then lived in a process of its own and took turns with the others. Everything that is compiled does 10 to
50 training steps in a call. A ratio is of medians; above 1 gradlab is the faster one."""
OTHERS = {
    anatomy.SECTION: (
        "Where the time goes",
        "Forward and backward pass of an LSTM on one core, with the batch that a core has at the sizes above; the "
        "ratio is to all of it.",
    ),
    sweep.SECTION: (
        "Sweeps: many runs",
        "One pinned process with one thread on each core, gradlab measuring every training step. The ratio of two "
        "processes is to one, that of torch to two processes of gradlab.",
    ),
    engine.SECTION: (
        "Sweeps: the engine",
        "`gradlab sweep` from the shell to its end, compiled programs in the cache. The ratio is of one process "
        "to two workers; the overhead of a run is all but training and measuring, the command's start included.",
    ),
    memory.SECTION: (
        "Memory",
        "One forward and backward pass; memory beyond the parameters and the data.",
    ),
    length.SECTION: (
        "Long sequences",
        "Measuring without training. Ratios of time are per timestep, to the first row; ratios of memory are to "
        "the next shorter sequence.",
    ),
    startup.SECTION: ("Start-up", "From the shell, compiled programs in the cache."),
    seeds.SECTION: (
        "From the shell to `solved`",
        "`gradlab run adding --len 200 --cell lstm --seed N`, with the defaults.",
    ),
    seeds.CHECKPOINTS: ("Measuring at checkpoints", "`measure_seconds / wall_seconds` of the same runs, median."),
}


def page(rows: Sequence[Row], heading: Mapping[str, str], notes: str) -> str:
    """The whole report."""
    parts = ["# Speed, side by side", *(f"- {name}: {text}" for name, text in heading.items()), "", ABOUT, ""]
    if select(rows, training.SECTION):
        parts += ["## A training step: ms, median (fastest round)", "", *times_table(rows), ""]
        parts += ["## Ratios to gradlab, and targets", "", *ratio_table(rows), ""]
        parts += ["## Correctness", "", *check_lines(rows), ""]
    for section, (title, text) in OTHERS.items():
        chosen = select(rows, section)
        if chosen:
            parts += [f"## {title}", "", text, "", *plain_table(chosen), ""]
    parts += ["## Targets", "", *summary_lines(rows), "", "## Notes", "", notes.strip()]
    return "\n".join(parts) + "\n"


def times_table(rows: Sequence[Row]) -> list[str]:
    """A line for each size, a column for each contender."""
    timed = select(rows, training.SECTION)
    names = [
        one.name for one in EVERYONE if one is not PRODUCT and any(row.contender == one.name for row in timed)
    ]

    def cells(of: Sequence[Row]) -> list[str]:
        by_name = {row.contender: row for row in of}
        return [_ms(by_name[name]) if name in by_name else "-" for name in names]

    return _by_case(timed, names, cells)


def ratio_table(rows: Sequence[Row]) -> list[str]:
    """A line for each size: the best of each column, what measuring costs, and the share of the floor."""
    sections = (training.TARGETS, training.MEASURE, training.FLOOR)
    judged = [row for row in rows if row.section in sections]
    titles = [*GROUPS, "measuring / " + PLAIN.name.removeprefix("gradlab, "), "share of the matrix-product floor"]

    def cells(of: Sequence[Row]) -> list[str]:
        found = {row.contender if row.section == training.TARGETS else row.section: row for row in of}
        keys = (*GROUPS, training.MEASURE, training.FLOOR)
        return [_judged(found[key]) if key in found else "-" for key in keys]

    return _by_case(judged, titles, cells) + _remarks(judged)


def check_lines(rows: Sequence[Row]) -> list[str]:
    """The largest error of each contender over all sizes, and what is wrong."""
    checks = select(rows, training.CHECK)
    names = list(dict.fromkeys(row.contender for row in checks if row.contender != PRODUCT.name))
    lines = ["| contender | largest error against float64 | wrong |", "|---|---|---|"]
    for name in names:
        own = [row for row in checks if row.contender == name]
        faults = "; ".join(f"{_case(row)}: {row.note}" for row in own if row.note) or "none"
        lines.append(f"| {name} | {max(row.value or 0.0 for row in own):.1e} | {faults} |")
    return [
        "Loss, gradients of all weights (relative to the largest entry, at most 1e-4) and norms at every timestep",
        "(relative, at most 1e-3 wherever the norm is above 1e-12), from equal weights and one equal batch.",
        "",
        *lines,
    ]


def plain_table(rows: Sequence[Row]) -> list[str]:
    """A line for each row; columns that nothing stands in are left out."""
    columns: dict[str, Callable[[Row], str]] = {
        "": lambda row: row.contender,
        "cell T,H,B": lambda row: _case(row) if row.cell else "",
        "ms, median (fastest)": lambda row: _ms(row) if row.median_ms is not None else "",
        "value": lambda row: f"{_number(row.value)} {row.unit}" if row.value is not None else "",
        "ratio": lambda row: f"{row.ratio:.2f}" if row.ratio is not None else "",
        "target": lambda row: str(row.goal) if row.goal else "",
        "verdict": verdict,
        "note": lambda row: row.note,
    }
    kept = {title: text for title, text in columns.items() if not title or any(text(row) for row in rows)}
    body = [_line([text(row) for text in kept.values()]) for row in rows]
    return [_line(list(kept)), "|" + "---|" * len(kept), *body]


def summary_lines(rows: Sequence[Row]) -> list[str]:
    """How many targets were met, and each that was missed."""
    aimed = [row for row in rows if row.met is not None]
    missed = [row for row in aimed if not row.met]
    lines = [f"{len(aimed) - len(missed)} of {len(aimed)} targets met."]
    lines += ["", "Missed:", ""] if missed else []
    for row in missed:
        where = f"{_case(row)}, " if row.cell else ""
        lines.append(f"- {where}{row.section}, {row.contender}: {_number(row.judged)} against {row.goal}")
    return lines


def _by_case(rows: Sequence[Row], titles: Sequence[str], cells: Callable[[Sequence[Row]], list[str]]) -> list[str]:
    cases = list(dict.fromkeys(_case(row) for row in rows))
    body = [_line([case, *cells([row for row in rows if _case(row) == case])]) for case in cases]
    return [_line(["cell T,H,B", *titles]), "|" + "---|" * (len(titles) + 1), *body]


def _remarks(rows: Sequence[Row]) -> list[str]:
    names = {name for group in GROUPS.values() for name in group}
    remarks = [f"{_case(row)}, {row.contender}: {row.note}." for row in rows if row.note and row.note not in names]
    return ["", *remarks] if remarks else []


def _case(row: Row) -> str:
    return str(Case(row.cell, row.T or 0, row.H or 0, row.B or 0))


def _judged(row: Row) -> str:
    number = f"{row.ratio:.0%}" if row.section == training.FLOOR else f"{row.ratio:.2f}"
    return f"{number} ({row.goal}, {verdict(row)})" if row.goal else number


def _ms(row: Row) -> str:
    return f"{_number(row.median_ms)} ({_number(row.min_ms)})"


def _number(value: float | None) -> str:
    """Three digits, and never an exponent."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
