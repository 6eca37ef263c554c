"""What the files of the store may hold, as data: a check of each field, which says what is wrong with a value."""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, get_args

from gradlab.errors import GradlabError
from gradlab.gradient.curve import STATE
from gradlab.gradient.summary import Word
from gradlab.runs.spec import FIELDS

Check = Callable[[Any], str]
"""What is wrong with a value, after the path of the field below it; empty if nothing is."""

DONE = ("measured", "solved", "trained", "diverged")
"""Statuses of a run that need not be repeated."""
FILES = ("config.json", "env.json", "log.jsonl", "curves.npz", "every.npz", "analyses.npz", "params.npz")
"""The files of a run but for `done.json`, which has their digests."""

_NAME = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*")
_LARGEST = 2**63


def is_name(text: str) -> bool:
    """Whether a text may be the id of a run, and so the name of a folder that no reader skips."""
    return _NAME.fullmatch(text) is not None and len(text) <= 250


def shown(value: Any) -> str:
    """A value in a message: its type or its beginning, with nothing in it that a terminal obeys."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def number(value: Any) -> str:
    """A number; those that are not finite are texts."""
    kind = type(value)
    if kind is float or (kind is int and abs(value) < _LARGEST):
        return ""
    return "" if value in ("inf", "-inf", "nan") and kind is str else f" is {shown(value)}, no number"


def whole(value: Any) -> str:
    """A whole number, not negative."""
    return "" if type(value) is int and 0 <= value < _LARGEST else f" is {shown(value)}, no whole number"


def integer(value: Any) -> str:
    """A whole number of either sign."""
    return "" if type(value) is int and abs(value) < _LARGEST else f" is {shown(value)}, no whole number"


def text(value: Any) -> str:
    """A text."""
    return "" if type(value) is str else f" is {shown(value)}, no text"


def flag(value: Any) -> str:
    """True or false."""
    return "" if type(value) is bool else f" is {shown(value)}, not true or false"


def name(value: Any) -> str:
    """The name of a run or a sweep."""
    return "" if type(value) is str and is_name(value) else f" is {shown(value)}, no name of a run or sweep"


def scalar(value: Any) -> str:
    """A text, a number, true, false or null."""
    return "" if value is None or type(value) is bool or not number(value) else text(value)


def anything(value: Any) -> str:
    """Nothing is wrong."""
    return ""


_SURE: dict[Check, frozenset[type]] = {number: frozenset({float}), flag: frozenset({bool})}
"""Types of which no value is wrong for a check, which then need not be called."""


def either(one: Check, other: Check) -> Check:
    """What one of two checks accepts."""
    return lambda value: (wrong := one(value)) and other(value) and wrong


def null_or(check: Check) -> Check:
    """Null, or what the other check wants."""

    def found(value: Any) -> str:
        return "" if value is None else check(value)

    _SURE[found] = _SURE.get(check, frozenset()) | {type(None)}
    return found


def one_of(*words: str) -> Check:
    """One of these texts."""
    known = frozenset(words)
    return lambda value: "" if type(value) is str and value in known else f" is {shown(value)}, none of {words}"


def list_of(check: Check) -> Check:
    """A list of what the other check wants."""

    def found(value: Any) -> str:
        if type(value) is not list:
            return f" is {shown(value)}, no list"
        return next((f"[{at}]{wrong}" for at, item in enumerate(value) if (wrong := check(item))), "")

    return found


def record(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, other: Check = anything
) -> Check:
    """An object with the required fields, perhaps the optional ones, and of any others what `other` wants."""
    known = {
        key: (check, _SURE.get(check, frozenset())) for key, check in {**required, **(optional or {})}.items()
    }
    rest = other, _SURE.get(other, frozenset())

    def found(value: Any) -> str:
        """What is wrong with an object."""
        if type(value) is not dict:
            return f" is {shown(value)}, no object"
        for key in required:
            if key not in value:
                return f".{key} is missing"
        for key, item in value.items():
            check, sure = known.get(key, rest)
            if type(item) not in sure and (wrong := check(item)):
                return f".{key if is_name(key) else shown(key)}{wrong}"
        return ""

    return found


def _field(key: str) -> Check:
    """A field of a spec, as it says of itself."""
    field = FIELDS[key]
    kind = null_or({float: number, int: whole}.get(field.kind, text))

    @lru_cache(maxsize=1024)
    def refused(value: Any) -> str:
        try:
            field.checked(value)
        except GradlabError as error:
            return str(error).removeprefix(key)
        return ""

    return lambda value: kind(value) or refused(value)


_LATER = {key for key, field in FIELDS.items() if field.later or field.derived}
CONFIG = record(
    {"store": whole} | {key: _field(key) for key in FIELDS if key not in _LATER},
    {"numerics": whole} | {key: _field(key) for key in _LATER} | {"params": null_or(name)},
    scalar,
)

_NUMBER, _WHOLE = null_or(number), null_or(whole)
_TEXTS = list_of(text)
_SUMMARY = record(
    {"lags": whole, "statistic": text, "span": number}
    | dict.fromkeys(("slope", "slope_error", "r2", "half_life", "half_life_low", "half_life_high"), _NUMBER)
    | {"zero_from": _WHOLE, "horizon": whole, "horizon_reached": flag, "float32_horizon": whole}
    | {"float32_horizon_reached": flag, "verdict": one_of(*get_args(Word)), "verdict_decades": number}
    | {"verdict_lag": whole, "dead": number, "saturated_from": _WHOLE},
    {"noise_from": _WHOLE, "noise": number},
    _NUMBER,
)
_CURVE = record({STATE: _SUMMARY}, {"non_finite": _TEXTS, "notes": _TEXTS}, _SUMMARY)
_MARK = {"step": whole, "loss": number, "curves": record({"task": _CURVE}, other=_CURVE)}
_GATES = record({}, other=record({}, other=number))
LINE = record(_MARK, {"log10_grad_norm": _NUMBER, "clipped": _NUMBER, "gates": _GATES})
"""A line of `log.jsonl`: a checkpoint."""

_LOSSES = record(dict.fromkeys(("final", "test", "chance", "solved"), _NUMBER), {}, _NUMBER)
_EVERY = record({"training_step": whole, "span": number, "zero": whole})
_BY_NAME = record({}, other=number)
_ANALYSES: dict[str, Check] = {
    "spectrum": record(
        {"exponents": list_of(number), "singular_values": list_of(number), "entries": whole, "examples": whole}
    ),
    "credit": record(
        {"window": whole, "truncated_at": whole, "agreement": list_of(number)}
        | dict.fromkeys(("share", "cosine", "missing"), _BY_NAME)
    ),
    "paths": record(dict.fromkeys(("share", "alone_share", "alone"), _BY_NAME)),
    "precision": record(
        {},
        other=record(
            {"loss_scale": null_or(integer)}
            | dict.fromkeys(("carried_leaves_at", "plain_leaves_at", "plain_zero_from"), null_or(whole))
        ),
    ),
    "remembrance": record(
        {"change": list_of(number), "horizon": whole, "horizon_reached": flag}, {"lags": list_of(whole)}
    ),
}
ANALYSED = {name: either(check, record({"failed": text})) for name, check in _ANALYSES.items()}
_ANALYSED = record({}, ANALYSED)
"""What `also` asked for, of the weights at one checkpoint."""
_ENDED = record(
    {
        "status": one_of(*DONE, "interrupted", "failed"),
        "reason": null_or(text),
        "training_steps": whole,
        "solved_at": _WHOLE,
        "diverged": null_or(record({"step": whole, "what": text})),
        "losses": _LOSSES,
        "digests": record({}, dict.fromkeys(FILES, text), lambda value: " is no file of a run"),
        "summary": record(
            {}, dict.fromkeys(("initial", "worst", "final"), LINE), lambda value: " is no checkpoint"
        ),
    },
    {
        "id": name,
        "parameters": whole,
        "score": null_or(text),
        "window": _WHOLE,
        "every": null_or(record({}, other=_EVERY)),
        "analyses": null_or(record({}, other=_ANALYSED)),
        "training_bytes": _WHOLE,
    }
    | dict.fromkeys(
        ("wall_seconds", "train_seconds", "compile_seconds", "measure_seconds", "train_steps_per_second"), _NUMBER
    ),
)


def ended(value: Any) -> str:
    """What is wrong with the object of `done.json`."""
    if wrong := _ENDED(value):
        return wrong
    if len(value["summary"]) not in ((3,) if value["status"] in DONE else (0, 3)):
        return f".summary has {len(value['summary'])} checkpoints, not initial, worst and final"
    marks = [
        {curve: set(leaves) for curve, leaves in mark["curves"].items()} for mark in value["summary"].values()
    ]
    if any(mark != marks[0] for mark in marks):
        return ".summary has other curves or leaves at one checkpoint than at another"
    if value["status"] == "solved" and value.get("solved_at") is None:
        return ".solved_at is missing"
    return ""


ENV = record(
    {},
    {
        "execution": record({}, {"jax_settings": record({}, other=text)}, scalar),
        "versions": record({}, other=text),
        "command": _TEXTS,
        "git": null_or(record({"commit": text, "dirty": flag})),
    }
    | dict.fromkeys(("python", "system", "started"), text),
)
_SCALARS = record({}, other=scalar)
_CANDIDATE = record(
    {"values": _SCALARS, "runs": list_of(name), "steps": number, "loss": number}
    | dict.fromkeys(("solved", "not_finite", "failed"), whole)
)
_CHOICE = record({"setting": _SCALARS, "values": _SCALARS, "edges": _TEXTS, "candidates": list_of(_CANDIDATE)})
SWEEP = record(
    {"sweep": whole, "name": name, "title": text, "question": text, "source": null_or(text), "file": text}
    | {"overrides": _TEXTS, "runs": list_of(record({"id": name, "config": CONFIG}, {"max_params": whole}))},
    {"tune": record({}, other=list_of(scalar)), "choices": list_of(_CHOICE)},
)
