"""Fields of stored runs: values, conditions such as `cell=lstm` or `length>=200`, and order. Loads no jax."""

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from gradlab.errors import GradlabError, nearest
from gradlab.gradient.summary import Word
from gradlab.runs.fields import is_number
from gradlab.runs.jsonable import number
from gradlab.runs.schema import DONE
from gradlab.runs.spec import FIELDS as SPEC_FIELDS
from gradlab.runs.store import StoredRun

SPEC_TEXTS = tuple(name for name, each in SPEC_FIELDS.items() if each.kind is str)
SPEC_NUMBERS = tuple(name for name, each in SPEC_FIELDS.items() if each.kind is not str)
RUN_NUMBERS = ("training_steps", "solved_at", "parameters", "loss", "wall_seconds", "train_seconds")
CURVE_NUMBERS = ("span", "slope", "r2", "half_life", "horizon", "float32_horizon", "dead")
"""Of the state's task curve at the last checkpoint; `initial.span` and `worst.span` are of the other ones."""

_WORDS = {
    "status": (*DONE, "interrupted", "failed", "killed", "running"),
    "verdict": get_args(Word),
}
_EARLIER = ("initial", "worst")
_TEXTS = ("id", "status", *SPEC_TEXTS, "verdict", *(f"{when}.verdict" for when in _EARLIER))
FIELDS = (
    *_TEXTS,
    *SPEC_NUMBERS,
    *RUN_NUMBERS,
    *CURVE_NUMBERS,
    *(f"{when}.{name}" for when in _EARLIER for name in CURVE_NUMBERS),
)
"""Every name that a condition or an order may use."""

_OPTIONS = {each.option.lstrip("-").replace("-", "_"): name for name, each in SPEC_FIELDS.items()}
_CONDITION = re.compile(r"\s*([^=<>!\s]+)\s*(<=|>=|!=|==|=|<|>)(.*)")
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def field_name(text: str) -> str:
    """The field of a name as typed.

    Example:
        >>> field_name("learning-rate"), field_name("len"), field_name("final.span")
        ('learning_rate', 'length', 'span')
    """
    name = text.strip().lower().replace("-", "_").removeprefix("final.")
    name = _OPTIONS.get(name, name)
    if name not in FIELDS:
        hint = nearest(name, FIELDS) or f": there are {', '.join(FIELDS)}"
        raise GradlabError(f"runs have no field `{text.strip()}`{hint}")
    return name


def value(run: StoredRun, name: str) -> Any:
    """The value of one of `FIELDS`: a text, a number, or None if it does not apply or is not known yet."""
    if name in ("id", "status"):
        return getattr(run, name)
    if name in SPEC_FIELDS:
        return run.config.get(name, SPEC_FIELDS[name].default)
    try:
        if name == "loss":
            return _plain(run.done["losses"]["final"])
        if name in RUN_NUMBERS:
            return _plain(run.done[name])
        when, _, short = name.rpartition(".")
        return _plain(run.done["summary"][when or "final"]["curves"]["task"]["state"][short])
    except (KeyError, TypeError):
        return None


def _plain(stored: Any) -> Any:
    """A stored non-finite number as a number; verdicts stay texts."""
    return number(stored) if stored in ("inf", "-inf", "nan") else stored


@dataclass(frozen=True)
class Condition:
    """A condition on one of `FIELDS`; with several values, `=` accepts any of them and `!=` none."""

    field: str
    sign: str
    values: tuple[str, ...]

    def holds(self, run: StoredRun) -> bool:
        """Whether it is true of a run; a missing value equals only `none`."""
        found = value(run, self.field)
        if self.sign in _ORDERS:
            return found is not None and _ORDERS[self.sign](float(found), float(self.values[0]))
        return any(self._equal(found, wanted) for wanted in self.values) == (self.sign == "=")

    def _equal(self, found: Any, wanted: str) -> bool:
        if found is None or wanted == "none":
            return (found in (None, "none")) and wanted == "none"
        if self.field in _TEXTS:
            # Only a star is special: paths of custom cells may contain brackets.
            return fnmatch.fnmatchcase(str(found), wanted.replace("[", "[[]").replace("?", "[?]"))
        both = float(found), float(wanted)
        return both[0] == both[1] or all(map(math.isnan, both))


def condition(text: str) -> Condition:
    """The condition in a text.

    Example:
        >>> condition("length>=200")
        Condition(field='length', sign='>=', values=('200',))
        >>> condition("cell=lstm:forget_bias=3,gru").values
        ('lstm:forget_bias=3', 'gru')
    """
    match = _CONDITION.fullmatch(text)
    values = tuple(part.strip() for part in match[3].split(",")) if match else ()
    if match is None or not all(values) or (match[2] in _ORDERS and len(values) > 1):
        raise GradlabError(f"condition `{text}` is not understood: write it as cell=lstm or length>=200")
    name, sign = field_name(match[1]), match[2].replace("==", "=")
    known = _WORDS.get(name.rpartition(".")[2])
    for each in values:
        if name not in _TEXTS:
            if not is_number(each) and (each != "none" or sign in _ORDERS):
                raise GradlabError(f"condition `{text}`: `{each}` is no number")
        elif sign in _ORDERS:
            raise GradlabError(f"condition `{text}`: {name} is a text, compare it with = or !=")
        elif known and "*" not in each and each not in (*known, "none"):
            hint = nearest(each, known)
            raise GradlabError(f"condition `{text}`: {name} is one of {', '.join(known)}{hint}")
    return Condition(name, sign, values)


def chosen(runs: Iterable[StoredRun], conditions: Sequence[Condition]) -> Iterable[StoredRun]:
    """The runs for which every condition is true."""
    return (run for run in runs if all(each.holds(run) for each in conditions))


def position(found: Any) -> tuple[bool, Any]:
    """Sort key of a value; missing values and NaN come last.

    Example:
        >>> sorted([3.0, None, float("-inf"), float("nan")], key=position)[:2]
        [-inf, 3.0]
    """
    missing = found is None or (isinstance(found, float) and math.isnan(found))
    return missing, 0 if missing else found
