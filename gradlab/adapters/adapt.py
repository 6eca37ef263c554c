"""`as_cell`: from an object of another library to an object with init, carry and step."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax

from gradlab.adapters.base import AdaptedCell, LibraryCell
from gradlab.adapters.recognise import FORMS, TITLES, is_factory, is_step, kind_of, library_of, parameters
from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import is_network
from gradlab.errors import GradlabError

PARTS = ("init", "carry", "step")
WRAPPER = (
    "wrap it as `class MyCell:` with `def init(self, key, input_size, hidden_size): return params`, "
    "`def carry(self, params, batch_size): return state` and `def step(self, params, state, x): return state, y`"
)
_GIVEN = ("input_size", "hidden_size", "key", "rngs")
"""Arguments of a function that makes a cell."""


@dataclass(frozen=True)
class FunctionCell:
    """A cell of plain functions; `init` and `carry` are None where they were not given."""

    step: Callable[[Params, Carry, Any], tuple[Carry, Any]]
    init: Callable[[Any, int, int], Params] | None = None
    carry: Callable[[Params, int], Carry] | None = None


def as_cell(obj: Any, **options: Any) -> Cell:
    """A cell of another library, or a function, as a cell that gradlab measures and trains.

    Args:
        obj: a class or an object of flax nnx, flax linen, equinox or Keras, a class of haiku; a function
            `(params, carry, x) -> (carry, y)`; or a function with an argument `hidden_size` (and, where it wants
            them, `input_size` and `key`) that makes one of those. A class is constructed with the sizes and a key
            as its library does; an object keeps its weights, which `init` returns.
        options: further arguments of the constructor; of a function, `init` and `carry`.

    Returns:
        `obj` itself where it has init, carry and step.

    Raises:
        GradlabError: it is none of these; the message says what it was taken for.

    Example:
        >>> cell = as_cell(lambda params, h, x: (0.5 * h + x, h), carry=lambda params, batch: None)
        >>> type(cell).__name__
        'FunctionCell'
    """
    return to_cell(obj, options)


def to_cell(obj: Any, options: dict[str, Any], what: str = "this object") -> Cell:
    """`as_cell`, with how a message names the object."""
    if not missing_parts(obj) and not isinstance(obj, type):
        return obj
    if is_factory(obj):
        return AdaptedCell(obj, _hashable(options), False, False, partial(_of_function, obj, options))
    if is_step(obj):
        return FunctionCell(obj, **options)  # type: ignore[return-value]
    library = library_of(obj)
    if library is None or library == "torch":
        raise no_cell(obj, what)
    obj = _inner(obj)
    network = importlib.import_module(f"gradlab.adapters.{library}")
    if isinstance(obj, type):
        return AdaptedCell(obj, _hashable(options), False, False, partial(network.made, obj, options))
    if options:
        raise GradlabError(f"{kind_of(obj)} is made already: it takes no options ({', '.join(options)})")
    if library == "haiku":
        raise GradlabError(
            f"{kind_of(obj)}, exists only inside hk.transform: give its class, or a function of hidden_size"
        )
    return AdaptedCell(
        obj, (), True, library != "flax_linen", lambda input_size, _: network.given(obj, input_size)
    )


def adapted(cell: Any, params: Any, inputs: Any, carry: Any) -> tuple[Any, Any, Any]:
    """A cell, its parameters and its initial state as the instrument takes them, whatever library they are of.

    Args:
        cell: an object with `step`, which is returned as it is, or anything that `as_cell` takes.
        params: None for the weights that an object of a library has. inputs: (T, B, I).
        carry: the initial state, or None for the cell's own.

    Raises:
        GradlabError: as `as_cell`, or there are no weights or no initial state.
    """
    if not callable(getattr(cell, "step", None)):
        cell = as_cell(cell)
    if isinstance(cell, AdaptedCell):
        # An object may have changed since it was traced.
        cell = replace(cell, _layouts={}) if cell.is_object else cell
        params = cell.params(params, inputs.shape[-1])
        carry = carry if carry is None else cell.state(params, carry)
    if carry is None and not callable(getattr(cell, "carry", None)):
        raise GradlabError(f"no initial state: give carry=, for {kind_of(getattr(cell, 'step', cell))} has none")
    return cell, params, carry


def is_own_network(obj: Any) -> bool:
    """Whether an object is a network without a state; modules of libraries, which have an `apply` too, are not."""
    return not isinstance(obj, type) and is_network(obj) and library_of(obj) is None


def cell_factory(thing: Any) -> Any:
    """What a variant names as something that is called with its options: a class of a library, or a function.

    The signature that is left has the options alone. Anything else is returned as it is.

    Raises:
        GradlabError: a class of PyTorch.
    """
    library = library_of(thing) if isinstance(thing, type) else None
    if library == "torch" and missing_parts(thing):
        raise no_cell(thing, f"`{thing.__name__}`")
    return _factory(thing, library) if (library in FORMS and missing_parts(thing)) or is_factory(thing) else thing


@lru_cache(maxsize=256)
def _factory(thing: Any, library: str | None) -> Callable[..., Cell]:
    given = _GIVEN if library is None else importlib.import_module(f"gradlab.adapters.{library}").CONVENTION
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [each for each in parameters(thing).values() if each.kind in kinds]
    by_position = {"flax_nnx": 2, "equinox": 2, "haiku": 1, "keras": 1}.get(str(library), 0)
    left = [each for each in named[by_position:] if each.name not in given]

    def factory(**options: Any) -> Cell:
        return as_cell(thing, **options)

    options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in left]
    factory.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return factory


def is_made(thing: Any) -> bool:
    """Whether an object that can be called is a cell, and not something that makes one."""
    if isinstance(thing, type):
        return False
    return hasattr(thing, "step") or library_of(thing) is not None or is_step(thing)


def missing_parts(obj: Any) -> str:
    """Which of init, carry and step an object lacks.

    Example:
        >>> missing_parts(3)
        'init, carry, step'
    """
    return ", ".join(part for part in PARTS if not callable(getattr(obj, part, None)))


def no_cell(obj: Any, what: str) -> GradlabError:
    """The error for an object that is no cell: what is missing, and what it was taken for.

    Args:
        what: how the message names it, such as "cell `my.py:thing`".
    """
    text = f"{what} has no {missing_parts(obj)}: gradlab took it for {kind_of(obj)}"
    if isinstance(obj, str):
        return GradlabError(f"{text}, {obj!r}: give an object, as gradlab.get_cell({obj!r}) makes of a name")
    if library_of(obj) == "torch":
        return GradlabError(f"{text}, which JAX cannot differentiate: measure it with gradlab.torch.watch(model)")
    return GradlabError(f"{text}. A cell needs init, carry and step, or is of {_known()}; {WRAPPER}")


def _known() -> str:
    return ", ".join(title.rpartition(" ")[0] for library, title in TITLES.items() if library != "torch")


def _inner(obj: Any) -> Any:
    """The cell inside a layer that runs one over time."""
    parts = parameters(obj) if isinstance(obj, type) else vars(obj) if hasattr(obj, "__dict__") else ()
    for part in ("forward_rnn", "forward_layer"):
        if part in parts:
            names = f".{part}.cell", f".{part.replace('forward', 'backward')}.cell"
            raise GradlabError(f"{kind_of(obj)}, runs two cells, one in each direction: give {' or '.join(names)}")
    if isinstance(obj, type) and "cell" in parts:
        raise GradlabError(f"{kind_of(obj)}, runs another cell over time: give the class of that cell")
    return obj if isinstance(obj, type) else getattr(obj, "cell", obj)


def _of_function(
    function: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int
) -> LibraryCell:
    """The network of what a function makes, whichever library it is of."""

    def make(*_: Any, **others: Any) -> Any:
        given = {"input_size": input_size, "hidden_size": hidden_size, **others}
        return function(**{name: value for name, value in given.items() if name in wanted}, **options)

    wanted = parameters(function)
    try:
        found = None if "rngs" in wanted else make(key=jax.random.key(0))
        library = "flax_nnx" if found is None else library_of(found)
    except ValueError as error:
        if "hk.transform" not in str(error):
            raise
        library, found = "haiku", None
    if library is None or library == "torch":
        raise no_cell(found, f"what `{function.__name__}` returns")
    network = importlib.import_module(f"gradlab.adapters.{library}")
    if library in ("flax_linen", "keras"):
        return network.given(found, input_size)
    return network.made(make, {}, input_size, hidden_size)


def _hashable(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(options.items()))
