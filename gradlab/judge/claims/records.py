"""Judged claims as plain records: what `--json` prints, and pages and figures show."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradlab.judge.claims.files import Claim, Expectation, Fields
from gradlab.judge.claims.tables import TABLES, read_rows
from gradlab.judge.claims.verdicts import ORDER, ExpectationResult, JudgedClaim, judge_claim
from gradlab.runs.fields import spell

Record = dict[str, Any]


def judge_stored(claims: Sequence[Claim], tables: Path = TABLES) -> list[JudgedClaim]:
    """Judge claims by their tables."""
    return [judge_claim(claim, read_rows(tables / f"{claim.name}.csv")) for claim in claims]


def exit_code(judged: Sequence[JudgedClaim]) -> int:
    """1 where a claim fails, 3 where one is undecided or was not run, else 0."""
    words = {one.verdict for one in judged}
    return 1 if "fails" in words else 3 if words - {"holds"} else 0


def tally(judged: Sequence[JudgedClaim]) -> str:
    """`31 claims: 20 hold, 7 fail, 1 undecided, 3 not run`."""
    counts = Counter(one.verdict for one in judged)
    words = {"holds": "hold", "fails": "fail"}
    listed = [
        f"{counts[word]} {word if counts[word] == 1 else words.get(word, word)}"
        for word in reversed(ORDER)
        if counts[word]
    ]
    return f"{len(judged)} claim{'s' if len(judged) != 1 else ''}: {', '.join(listed)}"


def record_of_claim(judged: JudgedClaim) -> Record:
    """A claim, its verdict, and what each expectation came to."""
    claim, stated = judged.claim, judged.claim.stated
    return {
        "claim": claim.name,
        "verdict": judged.verdict,
        "sentence": stated.claim,
        "source": stated.source,
        "seen": " ".join(stated.seen.split()),
        "seeds": judged.seeds,
        "runs": len(claim.points),
        "minutes": stated.minutes,
        "seconds": round(judged.seconds, 1),
        "quick": claim.is_quick,
        "file": claim.path.as_posix(),
        "expectations": [_record(result) for result in judged.results],
    }


def _record(result: ExpectationResult) -> Record:
    expectation, interval = result.expectation, result.interval
    known = [value for value in result.values if value is not None]
    return {
        "says": expectation.says or wording(expectation),
        "expected": wording(expectation),
        "setting": setting_label(result.setting),
        "verdict": result.verdict,
        "observed": result.observed,
        "value": expectation.value,
        "values": known,
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
    }


def setting_label(setting: Fields) -> str:
    """`rnn:gain=2, length 400`; cells and tasks speak for themselves.

    Example:
        >>> setting_label({"cell": "./experiments/claims/cells.py:Linear:gain=2", "length": 400})
        'Linear:gain=2, length 400'
    """
    named = ("cell", "task")
    parts = [
        (str(value).partition(".py:")[2] or str(value)) if field in named else f"{field} {spell(value)}"
        for field, value in setting.items()
    ]
    return ", ".join(parts)


def wording(expectation: Expectation) -> str:
    """`initial.slope < -0.6 in 4 seeds`.

    Example:
        >>> wording(Expectation(metric="initial.span", comparison=">", value=0, against={"cell": "rnn"}))
        'initial.span minus that of cell=rnn > 0'
    """
    wanted = expectation.value
    value = f"{wanted[0]:g} to {wanted[1]:g}" if isinstance(wanted, tuple) else f"{wanted:g}"
    others = ", ".join(f"{field}={spell(of)}" for field, of in expectation.against.items())
    against = f" {'over' if expectation.quotient else 'minus'} that of {others}" if others else ""
    metric = f"ρ({expectation.metric}, {expectation.correlate})" if expectation.correlate else expectation.metric
    quorum = f" in {expectation.quorum} seeds" if expectation.quorum and expectation.quorum > 1 else ""
    return f"{metric}{against} {expectation.comparison} {value}{quorum}"


def differences(committed: Sequence[JudgedClaim], fresh: Sequence[JudgedClaim]) -> list[str]:
    """What changed of the verdicts, a line each: of a claim, or of an expectation at a setting."""
    lines = []
    for before, after in zip(committed, fresh, strict=True):
        if before.verdict != after.verdict:
            lines.append(f"{after.claim.name}: {after.verdict}, {before.verdict} in {TABLES}")
            continue
        for old, new in zip(before.results, after.results, strict=True):
            if old.verdict != new.verdict:
                said = f"{wording(new.expectation)} at {setting_label(new.setting) or 'all runs'}"
                lines.append(
                    f"{after.claim.name}: {said}: {new.verdict} ({new.observed}), {old.verdict} ({old.observed})"
                )
    return lines
