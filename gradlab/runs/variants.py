"""Variants: from `name:option=value:option=value` to an object, and to the canonical spelling that names a run.

A name is registered, here or by an installed package, or says where custom code is: `./mycell.py:MyCell:gain=1.2`
or `package.module:attribute`. Cells of other libraries are adapted.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from gradlab.adapters import WRAPPER, cell_factory, is_made, is_own_network, kind_of, missing_parts, to_cell
from gradlab.cells import CELLS, Cell
from gradlab.cells.stacked import dropout_of
from gradlab.errors import GradlabError, described, unknown
from gradlab.runs.compositions import composed_name, is_composition, options_of, split_composition
from gradlab.runs.fields import is_number, parse_float, parse_int, spell
from gradlab.runs.plugins import plugins
from gradlab.runs.sources import is_own, load, own_name, own_path
from gradlab.tasks import TASKS, Task
from gradlab.tasks.contract import check_task
from gradlab.training.optimizers import OPTIMIZERS, Clip

_BOOLS = {"true": True, "false": False}
_ARGUMENTS = {
    "init": ("key", "input_size", "hidden_size"),
    "carry": ("params", "batch_size"),
    "step": ("params", "carry", "x_t"),
}
"""What the functions of a cell are called with, in this order."""


class Variant(NamedTuple):
    """An object, its canonical name, and a digest of its source if it is custom."""

    value: Any
    name: str
    source: str | None = None


def get_cell(text: str) -> Cell:
    """The cell of a variant.

    Args:
        text: `name:option=value`, `./file.py:Name:option=value` or `package.module:name:option=value`; layers of a
            cell as `stacked:CELL:layers=3` (`compositions.py`).

    Raises:
        GradlabError: an unknown cell or option, or a value out of range.

    Example:
        >>> get_cell("lstm:forget_bias=3").forget_bias
        3.0
    """
    if not isinstance(text, str):
        raise GradlabError(f"cell is {text!r}: give its name, such as `lstm:forget_bias=3`")
    return cell_variant(text).value


def get_task(text: str) -> Task:
    """The task of a variant.

    Raises:
        GradlabError: an unknown task or option, or a value out of range.

    Example:
        >>> get_task("copy:symbols=5").symbols
        5
    """
    return task_variant(text).value


def cell_variant(text: str) -> Variant:
    """A cell with its canonical name; defaults are left out and options sorted.

    Example:
        >>> cell_variant("lstm:gain=1:forget_bias=3.0").name
        'lstm:forget_bias=3'
    """
    variant = _resolve(text, "cell", CELLS)
    if is_own_network(variant.value) and callable(getattr(variant.value, "init", None)):
        return variant
    cell = to_cell(variant.value, {}, f"cell `{text}`")
    missing = missing_parts(cell)
    if missing:
        raise GradlabError(f"cell `{text}` has no {missing}: it is {kind_of(variant.value)}; {WRAPPER}")
    if variant.source is not None:
        _check_arguments(cell, text)
    return variant._replace(value=cell)


def _check_arguments(cell: Cell, text: str) -> None:
    """Raise a GradlabError if one of the three functions cannot be called as gradlab calls it."""
    for name, arguments in _ARGUMENTS.items():
        with suppress(ValueError):  # it does not state what it takes
            signature = inspect.signature(getattr(cell, name))
            try:
                signature.bind(*arguments)
            except TypeError as error:
                takes = f"takes ({', '.join(signature.parameters)})"
                asked = f"give it {name}({', '.join(arguments)})"
                raise GradlabError(f"{name} of cell `{text}` {takes}: {asked}") from error


def task_variant(text: str) -> Variant:
    """A task with its canonical name; the source of one on recorded data is the digest of its data."""
    variant = _resolve(text, "task", TASKS)
    check_task(variant.value)
    return variant._replace(source=variant.source or getattr(variant.value, "digest", None))


@lru_cache(maxsize=64)
def optimizer_variant(text: str, learning_rate: float) -> Variant:
    """An optimiser with its canonical name; cached, so that runs share compiled programs."""
    return _resolve(text, "optimizer", OPTIMIZERS, learning_rate)


def parse_clip(text: str) -> Clip:
    """`norm:1`, `value:0.5`, `none`, or a bare number, which means the norm.

    Example:
        >>> parse_clip("2").kind, parse_clip("value:0.5").limit
        ('norm', 0.5)
    """
    kind, colon, limit = str(text).partition(":")
    if not colon and kind != "none":
        kind, limit = ("norm", kind) if is_number(kind) else (kind, "1")
    if kind == "none" and not limit:
        return Clip("none")
    if kind not in ("norm", "value"):
        raise unknown("clip", kind, ("norm", "value", "none"))
    return Clip(kind, parse_float("clip limit", limit))  # type: ignore[arg-type]


def clip_name(clip: Clip) -> str:
    """The one spelling of a clip."""
    return "none" if clip.kind == "none" else f"{clip.kind}:{spell(clip.limit)}"


def _resolve(text: str, kind: str, registry: Mapping[str, Callable[..., Any]], *given: Any) -> Variant:
    name, *rest = text.strip().split(":")
    if kind == "cell" and is_composition(name):
        return _composed(name, rest)
    if name in registry:
        return _build(kind, name, registry[name], rest, None, *given)
    if kind == "optimizer":
        raise unknown(kind, name, registry)
    if not is_own(name):
        installed = plugins(kind, registry).found
        if name not in installed and rest and "=" not in rest[0]:
            raise GradlabError(
                f"unknown {kind} `{name}`: if `{rest[0]}` is in a file, write ./{name}.py:{rest[0]}, if in a "
                f"module, its name with a dot, package.module:{rest[0]}"
            )
        if name not in installed:
            raise unknown(kind, name, [*registry, *installed])
        return _custom(kind, name, *_load(kind, *installed[name][:2]), rest, *given)
    if not rest or "=" in rest[0]:
        raise GradlabError(f"{kind} `{text}` names a file or module: say what in it, as in `{name}:MyCell`")
    return _custom(kind, f"{own_name(name)}:{rest[0]}", *_load(kind, name, rest[0]), rest[1:], *given)


def _custom(kind: str, path: str, factory: Any, source: str, options: list[str], *given: Any) -> Variant:
    """What is in a file, a module or an installed package, made with its options."""
    if kind == "cell":
        factory = cell_factory(factory)
    if callable(factory) and not is_made(factory):
        return _build(kind, path, factory, options, source, *given)
    if options:
        raise GradlabError(f"{kind} `{path}` is an object, not a class or function: it takes no options")
    return Variant(factory, path, source)


def _composed(name: str, rest: list[str]) -> Variant:
    """A composition of the cell that `rest` names, with the options of both."""
    own, inner = split_composition(name, rest)
    try:
        cell = cell_variant(inner)
    except GradlabError as error:
        if not str(error).startswith("unknown option"):
            raise
        raise GradlabError(f"{error} (options of {name} itself: {', '.join(options_of(name))})") from error
    if is_own_network(cell.value):
        raise GradlabError(f"cell `{inner}` has no state: {name} is made of a cell that has one")
    if dropout_of(cell.value):
        raise GradlabError(f"cell `{inner}` inside {name} cannot drop: give dropout to the outermost stack alone")
    made = _build("cell", name, CELLS[name], own, None, cell.value)
    return Variant(made.value, composed_name(name, made.name.split(":")[1:], cell.name), cell.source)


def respelled(text: str) -> str:
    """A variant in one spelling, keeping options that are at their default.

    Example:
        >>> respelled(" lstm:gain=2.0:forget_bias=1e0"), respelled("./my.py:Cell:on=True")
        ('lstm:forget_bias=1:gain=2', 'my.py:Cell:on=true')
    """
    name, *rest = text.strip().split(":")
    if is_composition(name):
        own, inner = split_composition(name, rest)
        return composed_name(name, _respelt_options(own), respelled(inner))
    head = [own_name(name), *rest[:1]] if is_own(name) else [name]
    return ":".join([*head, *_respelt_options(rest[len(head) - 1 :])])


def _respelt_options(parts: list[str]) -> list[str]:
    pairs = sorted(part.partition("=") for part in parts)
    return [f"{key}{equals}{_respelt(value)}" for key, equals, value in pairs]


def _respelt(text: str) -> str:
    """A value in one spelling, its type guessed from the text."""
    for kind in (int, float):
        with suppress(ValueError, OverflowError):
            value = kind(text)
            return spell(value) if math.isfinite(value) else text
    return text.lower() if text.lower() in _BOOLS else text


def _load(kind: str, name: str, attribute: str) -> tuple[Any, str]:
    """An attribute of a file or module, and a digest of all its source."""
    if name.endswith(".py") and not own_path(name).is_file():
        raise GradlabError(f"{kind} file `{name}` does not exist: give a path to a Python file")
    try:
        module, source = load(name)
    except GradlabError:
        raise
    except ModuleNotFoundError as error:
        extra = "; the extra `torch` of gradlab-rnn installs it" if error.name == "torch" else ""
        raise GradlabError(f"{kind} module `{name}` cannot be imported: {error}{extra}") from error
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise GradlabError(f"{kind} `{name}` failed while it was loaded: {described(error)}") from error
    if not hasattr(module, attribute):
        named = [key for key in vars(module) if not key.startswith("_")]
        own = [key for key in named if getattr(getattr(module, key), "__module__", "") == module.__name__]
        # A package of classes of other modules may have hundreds of names.
        raise unknown(f"{kind} in {name}", attribute, own or get_close_matches(attribute, named))
    return getattr(module, attribute), source


@lru_cache(maxsize=256)
def _made(factory: Callable[..., Any], options: tuple[tuple[str, Any], ...]) -> Any:
    """A custom object, cached by its options, so that runs share compiled programs."""
    return factory(**dict(options))


def _build(
    kind: str, name: str, factory: Callable[..., Any], parts: list[str], source: str | None, *given: Any
) -> Variant:
    """Call a factory with options converted to the types of its signature."""
    parameters = list(_signature(kind, name, factory).parameters.values())[len(given) :]
    known = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    options: dict[str, Any] = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if not equals or not value:
            raise GradlabError(f"{kind} option `{part}` of `{name}` has no value: write option=value")
        if option not in known:
            raise unknown(f"option of {kind} {name}", option, known)
        if option in options:
            raise GradlabError(f"{kind} option `{option}` of `{name}` is given twice: give it once")
        options[option] = _convert(f"{kind} option {name}:{option}", value, known[option])
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in options]
    if missing:
        values = ":".join(f"{option}=VALUE" for option in missing)
        a_function = "" if source is None or isinstance(factory, type) else f", a function that makes a {kind}"
        raise GradlabError(f"{kind} `{name}`{a_function}, needs {', '.join(missing)}: write {name}:{values}")
    changed = {key: value for key, value in sorted(options.items()) if value != known[key].default}
    canonical = ":".join([name, *(f"{key}={spell(value)}" for key, value in changed.items())])
    try:
        value = factory(*given, **options) if source is None else _made(factory, tuple(sorted(options.items())))
        return Variant(value, canonical, source)
    except GradlabError:
        raise
    except Exception as error:
        if source is None:
            raise
        raise GradlabError(f"{kind} `{canonical}` cannot be made: {described(error)}") from error


def _signature(kind: str, name: str, factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory)
    except ValueError as error:
        raise GradlabError(f"{kind} `{name}` has no signature that could be read: give a Python class") from error


def _convert(what: str, text: str, parameter: inspect.Parameter) -> Any:
    """The text of an option in the type of its annotation, or else of its default."""
    asked: Any = parameter.annotation
    if asked is parameter.empty and parameter.default is not parameter.empty:
        asked = type(parameter.default)
    wanted = re.findall(r"\w+", asked.__name__ if isinstance(asked, type) else str(asked))
    if "bool" in wanted:
        if text.lower() not in _BOOLS:
            raise GradlabError(f"{what} is `{text}`: give true or false")
        return _BOOLS[text.lower()]
    if "float" in wanted:
        return parse_float(what, text)
    if "int" in wanted:
        return parse_int(what, text)
    return text
