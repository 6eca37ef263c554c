"""How runs ended, in words: whether and when the task was solved, and what did not come to an end."""

from collections import Counter
from collections.abc import Sequence

from gradlab.report.data.records import Record
from gradlab.runs.jsonable import number


def at_steps(values: Sequence[float]) -> str:
    """`training step 10`, or `training steps 10–50` where values differ.

    Example:
        >>> at_steps([10, 50, 20]), at_steps([5, 5])
        ('training steps 10–50', 'training step 5')
    """
    low, high = min(values), max(values)
    return f"training step {low:,.0f}" if low == high else f"training steps {low:,.0f}–{high:,.0f}"


def bad_step(record: Record) -> int:
    """The training step at which a run diverged."""
    return int((record.run.done.get("diverged") or {}).get("step", record.step("final") + 1))


def unended(group: Sequence[Record], before: str, after: str = "") -> str:
    """`1 failed`, or nothing where every run came to an end."""
    odd = Counter(record.run.status for record in group if not record.run.finished)
    said = ", ".join(f"{many} {status}" for status, many in odd.most_common())
    return f"{before}{said}{after}" if said else ""


def outcome(group: Sequence[Record]) -> str:
    """Whether a task was solved, and when: `Solved in 3 of 3 seeds at training steps 150–200`.

    Of the runs that came to an end; the others are counted after them.
    """
    ended = [record for record in group if record.run.finished]
    by = {status: [record for record in ended if record.run.status == status] for status in ("solved", "diverged")}
    rest = [record for record in ended if record.run.status not in by]
    parts = []
    if by["solved"]:
        steps = at_steps([number(record.run.done["solved_at"]) for record in by["solved"]])
        parts.append(f"solved{_share(by['solved'], ended)} at {steps}")
    if by["diverged"]:
        steps = at_steps([bad_step(record) for record in by["diverged"]])
        parts.append(f"diverged{_share(by['diverged'], ended)} at {steps}")
    if rest and not by["solved"]:
        steps = at_steps([number(each.run.done.get("training_steps", each.step("final"))) for each in rest])
        parts.append(f"not solved{_share(rest, ended) if by['diverged'] else ''} by {steps}")
    text = ", ".join(parts) if ended else "no run came to an end"
    return f"{text[0].upper()}{text[1:]}{unended(group, '; ' if ended else ': ')}"


def solved_of(group: Sequence[Record]) -> str:
    """`2 of 3` seeds solved the task, of those that came to an end; the others are counted after them."""
    ended = [record for record in group if record.run.finished]
    solved = sum(record.run.status == "solved" for record in ended)
    return f"{solved} of {len(ended)}{unended(group, ', ')}"


def _share(some: Sequence[Record], every: Sequence[Record]) -> str:
    return "" if len(every) == 1 else f" in {len(some)} of {len(every)} seeds"


def ending(record: Record) -> str:
    """How a run ended, with the numbers that matter."""
    done = record.run.done
    count = f"{len(record.log)} checkpoint{'' if len(record.log) == 1 else 's'}"
    measured = f"{count} measured" if record.log else "nothing measured"
    if record.run.status == "diverged":
        bad = done.get("diverged") or {}
        return f"diverged: the {bad.get('what')} was not finite at training step {bad.get('step')}; {measured}"
    if record.run.status == "failed":
        return f"failed: {done.get('reason')}; {measured}"
    if record.run.status == "interrupted":
        return f"interrupted at training step {done.get('training_steps')}; {measured}"
    return f"{record.run.status}, no done.json; {measured}"
