"""Whether an object keeps the contract of a task (`base.py`), checked before anything is measured on it."""

import math
import numbers
from typing import Any, SupportsIndex

import jax

from gradlab.errors import GradlabError, described, unknown
from gradlab.tasks.base import token_count

_SIZES = ("input_size", "output_size", "min_length")
_FUNCTIONS = ("steps", "sample", "loss", "chance", "solved", "task_curve")
_READOUTS = ("last", "all")
_EXAMPLES = 5
"""Examples whose shapes are compared with those of one more, which shows their axis."""


def check_task(task: Any) -> None:
    """Refuse an object that lacks a member of a task, or has one of the wrong kind.

    Raises:
        GradlabError: all that is missing, or the first size or readout that is none.

    Example:
        >>> class Mine:
        ...     input_size, output_size, min_length = 2, 1, 3
        >>> check_task(Mine())
        Traceback (most recent call last):
            ...
        gradlab.errors.GradlabError: task `Mine` has no readout, steps, sample, loss, chance, solved, task_curve: \
a task needs input_size, output_size, min_length, readout and the functions steps, sample, loss, chance, solved, \
task_curve (docs/own-task.md)
    """
    name = name_of(task)
    values = (*_SIZES, "readout")
    missing = [member for member in values if not hasattr(task, member)]
    missing += [member for member in _FUNCTIONS if not callable(getattr(task, member, None))]
    if missing:
        raise GradlabError(
            f"task `{name}` has no {', '.join(missing)}: a task needs {', '.join(values)} and the functions "
            f"{', '.join(_FUNCTIONS)} (docs/own-task.md)"
        )
    for size in _SIZES:
        if not _is_whole(getattr(task, size)):
            raise GradlabError(
                f"{size} of task `{name}` is {getattr(task, size)!r}: give a whole number of at least 1"
            )
    if task.readout not in _READOUTS:
        raise unknown(f"readout of task {name}", str(task.readout), _READOUTS)


def check_length(task: Any, length: int, called: str = "the task") -> None:
    """Refuse a task whose numbers for sequences of a length are invalid.

    Args:
        called: the name of the task in the message for a length that is too short.

    Raises:
        GradlabError: the length is too short; or the first of steps, chance, solved and task_curve that fails or
            does not return what it should.
    """
    if length < task.min_length:
        raise GradlabError(f"length is {length}: {called} needs at least {task.min_length}")
    name = name_of(task)
    steps = _call(task, "steps", length)
    if not _is_whole(steps):
        raise GradlabError(f"{name}.steps({length}) is {steps!r}: give a whole number of timesteps, at least 1")
    found = {}
    for member in ("chance", "solved"):
        value = found[member] = _call(task, member, length)
        if not isinstance(value, numbers.Real | jax.Array) or not _is_finite(value):
            raise GradlabError(f"{name}.{member}({length}) is {value!r}: give a loss, a finite number")
    chance, solved = float(found["chance"]), float(found["solved"])
    if solved > chance:
        raise GradlabError(
            f"{name}.solved({length}) is {solved:g}, above `chance`, {chance:g}: the loss of an answer that "
            "remembers nothing must not count as solved"
        )
    at = _call(task, "task_curve", length)
    if at is not None and (not _is_whole(at) or at > steps):
        raise GradlabError(f"{name}.task_curve({length}) is {at!r}: give None or a timestep, 1..{steps}")
    if at is not None and task.readout == "last" and at != steps:
        raise GradlabError(
            f"{name}.task_curve({length}) is {at}, but its readout is `last`: give None, or readout `all`"
        )


def check_batch(task: Any, length: int) -> None:
    """Refuse a task whose `sample` gives no batch of sequences of a length; nothing is computed.

    Raises:
        GradlabError: what it gives cannot be traced, is no `Batch`, or has other axes.
    """
    name = name_of(task)
    one, more = (_sampled(task, size, length) for size in (_EXAMPLES, _EXAMPLES + 1))
    wanted = (task.steps(length), _EXAMPLES, 1 if token_count(task) else task.input_size)
    if one.inputs.shape != wanted:
        raise GradlabError(
            f"{name}.sample of {_EXAMPLES} examples of length {length} gives inputs {one.inputs.shape}: give "
            f"{wanted}, that is (timesteps, batch, input_size)"
        )
    for few, many in zip(jax.tree.leaves(one), jax.tree.leaves(more), strict=True):
        if few.ndim != many.ndim or sum(a != b for a, b in zip(few.shape, many.shape, strict=True)) != 1:
            raise GradlabError(
                f"{name}.sample gives targets {few.shape} of {_EXAMPLES} examples and {many.shape} of "
                f"{_EXAMPLES + 1}: give every array one axis for the examples"
            )


def is_custom_task(task: Any) -> bool:
    """Whether a task is not of this package, whose own tasks its tests check."""
    return not type(task).__module__.startswith("gradlab.tasks.")


def name_of(custom: Any) -> str:
    """What an error calls a task or a cell."""
    return str(getattr(custom, "__name__", type(custom).__name__))


def _sampled(task: Any, batch_size: int, length: int) -> Any:
    name = name_of(task)
    try:
        batch: Any = jax.eval_shape(lambda key: task.sample(key, batch_size, length), jax.random.key(0))
    except jax.errors.JAXTypeError as error:
        raise GradlabError(
            f"{name}.sample reads numbers that are not known before the program runs ({type(error).__name__}): "
            "draw with jax.random from the key, and compute with jax.numpy"
        ) from error
    if not {"inputs", "targets"} <= {*getattr(batch, "_fields", ())}:
        kind = "an array" if hasattr(batch, "shape") else f"a {type(batch).__name__}"
        raise GradlabError(f"{name}.sample gives {kind}: give a gradlab.Batch(inputs, targets)")
    if not hasattr(batch.inputs, "shape"):
        raise GradlabError(f"{name}.sample gives inputs that are a {type(batch.inputs).__name__}: give one array")
    return batch


def _call(task: Any, member: str, length: int) -> Any:
    try:
        return getattr(task, member)(length)
    except GradlabError:
        raise
    except Exception as error:
        raise GradlabError(f"{name_of(task)}.{member}({length}) fails: {described(error)}") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, SupportsIndex) and not isinstance(value, bool) and value.__index__() >= 1


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False
