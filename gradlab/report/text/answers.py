"""The head of the page: questions with their answers in words and numbers, and a grid of settings and lengths."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gradlab.gradient.summary import Word
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import Share
from gradlab.report.data.outcomes import outcome
from gradlab.report.data.records import Record, grouped, labels
from gradlab.report.page.html import Markup, join, prose, scroll, tag
from gradlab.report.text.findings import overall, seeds_of, statement
from gradlab.report.text.length_limit import by_length, furthest, held, relation, solved, word
from gradlab.report.text.prediction import briefly, explanation, foretold

ROWS = 40
"""Settings of a grid at most."""
TILES = 10
"""Lengths of a grid at most: the shortest, the longest and some between."""
NAMED = 5
"""Settings that an answer names; with more it gives the first of them and counts the rest."""
SIGNS: dict[Word, str] = {
    "held": "●",
    "vanishing": "▼",
    "exploding": "▲",
    "both": "◆",
    "cut": "○",
    "noise": "≈",
    "non-finite": "✕",
}


class Answer(NamedTuple):
    """A question, its answer in a few words, and the sentence with the numbers behind it."""

    question: str
    short: str
    long: str


def answers(records: Sequence[Record]) -> list[Answer]:
    """What the runs of one task say, question by question.

    Args:
        records: measured runs of one task that came to an end.
    """
    trained = [record for record in records if record.trained]
    found = []
    if trained:
        found.append(_learned(trained))
        told = foretold(trained)
        if len(told.points) > 1:
            text = f"{relation(trained)} {explanation(told)}".strip()
            found.append(Answer("Could I have known at initialisation?", briefly(told), text))
    probes = [record for record in records if not record.trained]
    if probes:
        found.append(_kept(probes))
    return found


def _learned(trained: Sequence[Record]) -> Answer:
    lines = _lines(trained)
    counts = [(label, solved(group)) for label, group in lines]
    budgets = {int(record.config["steps"]) for record in trained}
    within = f" within {max(budgets):,} training steps" if len(budgets) == 1 else ""
    ended = sum(record.run.status == "solved" for record in trained)
    long = (
        f"Learned means: every seed solved the task{within}, at that length and at every shorter one. "
        f"{ended} of {len(trained)} runs solved it."
    )
    return Answer("Up to what length does each cell learn?", _reaches(counts), long)


def _kept(probes: Sequence[Record]) -> Answer:
    counts = [(label, held(group)) for label, group in _lines(probes)]
    fresh = all(record.config["params"] == "none" for record in probes)
    when = "at initialisation" if fresh else "with these weights"
    long = (
        "Kept means: in every seed the gradient stays within 3 decades of its lag 1, at that length and at every "
        f"shorter one. In all, {overall(probes)}."
    )
    return Answer(f"Over what length is the gradient kept {when}?", _reaches(counts), long)


def _lines(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """The runs of each setting at all lengths, after its name."""
    groups = grouped(records, without=["length"])
    return list(zip(labels(groups, without=["length"]), groups, strict=True))


def _reaches(counts: Sequence[tuple[str, Mapping[int, Share]]]) -> str:
    """`LSTM, GRU up to T = 200 (the longest); RNN at none`, the furthest first."""
    order = sorted(counts, key=lambda pair: -furthest(pair[1]))
    alike: dict[str, list[str]] = {}
    for label, one in order[:NAMED]:
        alike.setdefault(_reach(furthest(one), max(one, default=0)), []).append(label)
    said = [f"{', '.join(names)} {reach}" for reach, names in alike.items()]
    more = len(order) - NAMED
    return f"{'; '.join(said)}{f'; {more} more below' if more > 0 else ''}."


def _reach(reached: int, longest: int) -> str:
    if not longest:
        return "did not come to an end"
    if not reached:
        return "at none"
    return f"up to T = {reached:,}{' (the longest)' if reached == longest else ''}"


def single(record: Record) -> list[Answer]:
    """The same for one run."""
    text = statement([record], "").split(": ", 1)[1]
    verdicts = [word(record, role) for role in (("initial", "final") if record.trained else ("initial",))]
    words = f"{_adjective(verdicts[0]).capitalize()} at initialisation"
    words += f", {_adjective(verdicts[1])} at the end of training" if record.trained else ""
    found = [Answer("Does the gradient reach back?", f"{words}.", text[0].upper() + text[1:])]
    if record.trained:
        losses = record.run.done["losses"]
        levels = f"Chance is a loss of {losses['chance']:.4g}, solved is {losses['solved']:.4g} or less"
        last = losses.get("test") if losses.get("test") is not None else losses.get("final")
        ended = f"; it ended at {float(last):.4g}" if last is not None else ""
        found.append(Answer("Was the task learned?", f"{outcome([record])}.", f"{levels}{ended}."))
    return found


def _adjective(verdict: Word) -> str:
    return "both vanishing and exploding" if verdict == "both" else verdict


def cards(found: Sequence[Answer]) -> Markup:
    """The answers side by side, in a few words."""
    shown = [
        tag("div", tag("h2", one.question), tag("p", prose(one.short), class_="short"), class_="answer")
        for one in found
    ]
    return tag("div", *shown, class_="answers")


def behind(found: Sequence[Answer]) -> Markup:
    """The sentences with the numbers behind the answers."""
    return tag("div", *(tag("p", prose(one.long)) for one in found), class_="behind")


def grid(records: Sequence[Record]) -> Markup:
    """Settings by length: how many seeds solved the task, and how the gradient at initialisation does there.

    Args:
        records: measured runs of one task, all trained or none.
    """
    lines = _lines(records)
    trained = any(record.trained for record in records)
    lengths = sorted({int(record.config["length"]) for record in records})
    shown = _spread(lengths)
    reaches = ["learned up to", "gradient kept up to"] if trained else ["gradient kept up to"]
    names = [tag("th", name, scope="col", class_="reach-name") for name in reaches]
    names += [tag("th", f"T = {at:,}", scope="col") for at in shown]
    head = tag("tr", tag("th", "cell", scope="col"), *names)
    rows = [_row(label, group, shown) for label, group in lines[:ROWS]]
    name = f"{records[0].config['task']}, {'trained' if trained else 'not trained'}: settings by length"
    caption = tag("caption", name, class_="unseen")
    body = tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="grid")
    legend = _legend(trained, len(lines) - ROWS, len(lengths) - len(shown))
    return join((scroll(body, name), tag("p", legend, class_="legend")))


def _spread(lengths: Sequence[int]) -> list[int]:
    """At most `TILES` of them, the first and the last among these."""
    count = min(TILES, len(lengths))
    return sorted({lengths[round(at)] for at in np.linspace(0, len(lengths) - 1, count)})


def _row(label: str, group: Sequence[Record], lengths: Sequence[int]) -> Markup:
    counts, holds, found = solved(group), held(group), by_length(group)
    cells = [tag("td", _up_to(counts), class_="reach")] if group[0].trained else []
    cells.append(tag("td", _up_to(holds), class_="reach"))
    cells += [_tile(found.get(at, []), counts.get(at)) for at in lengths]
    return tag("tr", tag("th", label, scope="row"), *cells)


def _up_to(counts: dict[int, Share]) -> str:
    return f"{furthest(counts):,}" if furthest(counts) else "none"


def _tile(runs: Sequence[Record], share: Share | None) -> Markup:
    """One setting at one length; its colour says what its words say."""
    if not runs:
        return tag("td", tag("span", "not run", class_="unseen"), class_="tile")
    found = seeds_of(runs, "initial")
    words = found.words
    sign, kind = (SIGNS[words[0]], words[0]) if len(set(words)) == 1 else (_counts(words), "mixed")
    decades = tag("span", f"{sign} {_decades(found)}", class_=f"decades {kind}")
    said = tag("span", f" decades at initialisation, {found.verdict}", class_="unseen")
    if share is None:
        level = "all" if set(words) == {"held"} else "some" if "held" in words else "none"
        return tag("td", decades, said, class_=f"tile {level}")
    level = "all" if share.count == share.of else "some" if share.count else "none"
    count = tag("span", f"{share.count}/{share.of}", class_="share")
    return tag("td", count, tag("span", " solved; ", class_="unseen"), decades, said, class_=f"tile {level}")


def _counts(words: Sequence[Word]) -> str:
    """`1▼ 2●`: how many seeds gave which verdict."""
    return " ".join(
        f"{words.count(word)}{SIGNS[word]}" for word in dict.fromkeys(sorted(words, key=list(SIGNS).index))
    )


def _decades(found: Seeds) -> str:
    """The median over the finite seeds, or their range where they disagree in sign."""
    values = [one.verdict.decades for one in found.finite]
    if not values:
        return "noise" if "noise" in found.words else "not finite"
    if found.disagree:
        return f"{_number(min(values))} to {_number(max(values))}"
    return _number(
        float(np.quantile(values, 0.5, method="lower")) if -math.inf in values else float(np.median(values))
    )


def _number(value: float) -> str:
    """`−4.2`, `+3.0`, `0` or `zero`."""
    if math.isinf(value):
        return "zero"
    text = f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"
    return "0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _legend(trained: bool, rows: int, columns: int) -> str:
    """What a field of the grid says, and what the grid leaves out."""
    share = "Above in each field: seeds that solved the task; below: how" if trained else "In each field: how"
    text = (
        f"{share} far the gradient at initialisation gets from its lag 1, in decades: the median over seeds, or "
        "their range where some fall and others rise; ● held within 3 decades, ▼ vanishing, ▲ exploding, ◆ both, "
        "○ cut, ≈ rounding noise, ✕ not finite, with the number of seeds before each sign where they differ."
    )
    text += f" {rows} more settings are in the tables." if rows > 0 else ""
    return text + (f" {columns} more lengths are in the tables." if columns > 0 else "")
