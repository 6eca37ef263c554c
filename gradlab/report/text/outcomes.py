"""How runs ended, in words: whether and when the task was solved, and which failed or diverged."""

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


def diverged_at(record: Record) -> int:
    """The training step at which a run diverged."""
    return int((record.run.done.get("diverged") or {}).get("step", record.step("final") + 1))


def unfinished(group: Sequence[Record]) -> str:
    """`1 failed, 1 interrupted`; "" if every run came to an end."""
    statuses = Counter(record.run.status for record in group if not record.run.finished)
    return ", ".join(f"{count} {status}" for status, count in statuses.most_common())


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
        steps = at_steps([diverged_at(record) for record in by["diverged"]])
        parts.append(f"diverged{_share(by['diverged'], ended)} at {steps}")
    if rest and not by["solved"]:
        steps = at_steps([number(each.run.done.get("training_steps", each.step("final"))) for each in rest])
        words = f"trained to a {test_loss(rest)}" if has_no_solved_level(rest) else "not solved"
        parts.append(f"{words}{_share(rest, ended) if by['diverged'] else ''} by {steps}")
    text = ", ".join(parts) if ended else "no run finished"
    more = unfinished(group)
    return f"{text[0].upper()}{text[1:]}{('; ' if ended else ': ') + more if more else ''}"


def has_no_solved_level(records: Sequence[Record]) -> bool:
    """Whether no loss of the task counts as solved, as of a language model: then the loss itself is said."""
    marks = {record.run.done.get("losses", {}).get("solved") for record in records if record.run.finished}
    return marks == {0}


def test_loss(group: Sequence[Record]) -> str:
    """`test loss of 2.21 (3.188 bits per character)`, and over seeds the highest too."""
    losses = {number(each.run.done["losses"]["test"]): each.run.done.get("score") for each in group}
    words = {loss: f"{loss:.4g}{f' ({score})' if score else ''}" for loss, score in losses.items()}
    return f"test loss of {' to '.join(dict.fromkeys((words[min(words)], words[max(words)])))}"


def solved_of(group: Sequence[Record]) -> str:
    """`2 of 3` seeds solved the task, of those that came to an end; the others are counted after them."""
    ended = [record for record in group if record.run.finished]
    solved = sum(record.run.status == "solved" for record in ended)
    return ", ".join(filter(None, [f"{solved} of {len(ended)}", unfinished(group)]))


def _share(some: Sequence[Record], all_: Sequence[Record]) -> str:
    return "" if len(all_) == 1 else f" in {len(some)} of {len(all_)} seeds"


def ending(record: Record) -> str:
    """How a run ended that failed or diverged, with the numbers that matter."""
    done, status = record.run.done, record.run.status
    bad = done.get("diverged") or {}
    how = {
        "diverged": f"diverged: the {bad.get('what')} was not finite at training step {bad.get('step')}",
        "failed": f"failed: {done.get('reason')}",
        "interrupted": f"interrupted at training step {done.get('training_steps')}",
    }
    count = f"{len(record.log)} checkpoint{'' if len(record.log) == 1 else 's'}"
    measured = f"{count} measured" if record.log else "nothing measured"
    return f"{how.get(status, f'{status}, no done.json')}; {measured}"
