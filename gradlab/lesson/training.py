"""Sections six and seven: what training does to a curve, and the floor of float32."""

import numpy as np

from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR, STATE
from gradlab.lesson.equations import setting
from gradlab.lesson.pictures import behind, decades_chart
from gradlab.lesson.words import noise, power, signed
from gradlab.report.text.outcomes import outcome
from gradlab.report.data.records import ROLES, Record, lags_of, noise_lags, row_of, summarised
from gradlab.report.figures.chart import Level, Line
from gradlab.report.page.html import Markup, command_block, section, table, tag
from gradlab.report.text.findings import changes, when
from gradlab.runs.commands import command as again
from gradlab.runs.lesson import Floor, Lesson


def training_section(lesson: Lesson, record: Record | None) -> Markup:
    """What training did to the curve of one run, or how to make such a run."""
    heading = "6. What training does to it"
    if record is not None:
        return section("training", heading, *_trained(record))
    words = (
        "Everything above was measured before training. Training moves the weights, and with them every factor of "
        "the chain: the curve can fall by many decades and come back."
    )
    train, then = (
        command_block("train-command", lesson.commands["train"], "Train a network, in a few minutes"),
        command_block("then-command", lesson.commands["then"], "Then write this lesson with it"),
    )
    return section("training", heading, tag("p", words), train, then)


def _trained(record: Record) -> list[Markup]:
    arrays = record.arrays()
    roles: dict[int, list[str]] = {}
    for role in ROLES:
        roles.setdefault(record.step(role), []).append(role)
    lines = []
    for index, (step, names) in enumerate(sorted(roles.items())):
        row = row_of(arrays, step)
        curve = summarised(arrays, row)[: lags_of(arrays, row)]
        lags, unsure = np.arange(1.0, len(curve) + 1), noise_lags(arrays, row)[: len(curve)]
        with np.errstate(invalid="ignore"):
            beside = curve - curve[0]
        lines.append(Line(f"training step {step:,}: {', '.join(names)}", lags, beside, f"l{index}", unsure))
    said = "; ".join(f"{changes([record], role)} {when([record], role)}" for role in dict.fromkeys(ROLES))
    rows = []
    for line in record.log:
        state = line["curves"]["task"][STATE]
        rows.append(
            [
                f"{line['step']:,}",
                f"{float(line['loss']):.4g}",
                signed(float(state["span"])),
                state["verdict"],
                f"{state['horizon']}",
            ]
        )
    columns = ("training step", "held-out loss", "decades to lag T", "verdict", "horizon")
    done = record.config
    words = (
        f"Run {record.run.id}: {done['cell']} on {done['task']}, T = {done['length']}. {outcome([record])}. "
        "Before training, at its "
        f"worst, and at the end: {said}."
    )
    return [
        tag("p", words),
        decades_chart(
            "training-chart", lines, "lag", "gradient, decades from lag 1", f"{said[0].upper()}{said[1:]}."
        ),
        tag(
            "details",
            tag("summary", "Every checkpoint as a table"),
            table(columns, rows, caption="Checkpoints of the run", right=columns[1:3]),
        ),
        command_block("training-command", again(record.run.config), "This run again"),
        command_block(
            "training-probe",
            f"gradlab probe {done['task']} --params {record.run.id} --len {done['length']}",
            "Its final weights, measured again",
        ),
    ]


_FLOOR_WORDS = (
    "Training computes in float32, whose smallest number is about 10⁻³⁸. A gradient below that is not small: it "
    "is 0, "
    "and nothing says so. A norm that squares its entries first reads 0 even below 10⁻¹⁹. The curves on this page "
    "carry an exponent of their own and have no floor."
)
_NO_FLOOR = (
    "At no position of the sliders does the curve leave what float32 can hold, so there is nothing to show for "
    "this "
    "cell. A curve that falls gets there in a longer sequence: multiply its slope by the length."
)


def floor_section(lesson: Lesson) -> Markup:
    """What plain float32 sees of a curve that has no floor."""
    heading, found = "7. The floor of float32", lesson.floor
    if found is None:
        return section("floor", heading, tag("p", _FLOOR_WORDS), tag("p", lesson.missing.get("floor", _NO_FLOOR)))
    leaf = "c" if "c" in found.seen else next(iter(found.seen))
    lags = found.position.curve.lags.astype(float)
    lines = [
        Line("gradlab's instrument", lags, found.position.curve.rms(leaf), "l0", noise(found.position, leaf)),
        Line("one training step in float32", lags, found.seen[leaf], "l3 wide"),
    ]
    levels = [Level(FLOAT32_FLOOR, "entries read 0 below"), Level(NAIVE_FLOOR, "squared norms read 0 below")]
    where = f"{setting(lesson.knob.option, found.position.value)}, T = {found.position.length}"
    return section(
        "floor",
        heading,
        tag("p", _FLOOR_WORDS),
        tag("p", _floor_told(found, leaf, where)),
        decades_chart("floor-chart", lines, "lag", "log10 gradient", _floor_said(lines, where), levels=levels),
        behind(lines, "lag", "log10 gradient norm"),
        command_block("floor-probe", found.position.command, "The curve of the instrument again"),
        command_block(
            "floor-command", found.command, "The training step again; near its end it says how often lag T read 0"
        ),
    )


def _floor_told(found: Floor, leaf: str, where: str) -> str:
    mean = (
        f"A training step takes the mean over its batch of {found.batch}, which makes every entry as many times "
        "smaller still. "
    )
    return (
        f"To see it, one real training step was taken with {where}. The second line is the gradient with respect "
        "to "
        f"{leaf} as the backward pass of that training step saw it, beside the measurement of the same weights on "
        f"held-out examples (root mean square over examples in both). {mean if found.batch > 1 else ''}No "
        "optimiser "
        "can bring back what was read as 0."
    )


def _floor_said(lines: list[Line], where: str) -> str:
    whole, seen = lines[0].y, lines[1].y
    zero, start = np.isneginf(seen), f"{where[0].upper()}{where[1:]}"
    if not zero.any():
        return f"{start}: the training pass reads {power(float(seen[-1]))} at the last lag."
    first = int(np.argmax(zero)) + 1
    return (
        f"{start}: the training pass reads exactly 0 from lag {first} on, at {int(zero.sum())} of {len(zero)} "
        "lags; "
        f"the instrument reads {power(float(whole[-1]))} at the last."
    )
