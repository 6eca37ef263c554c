"""What kind of object somebody has given, read from its classes; no library is imported to look."""

import inspect
from typing import Any

_BASES = {
    ("flax.nnx", "Module"): "flax_nnx",
    ("flax.linen", "Module"): "flax_linen",
    ("equinox", "Module"): "equinox",
    ("haiku", "Module"): "haiku",
    ("keras", "Layer"): "keras",
    ("torch", "Module"): "torch",
}
"""The base class of all modules of a library -> the library, which is the name of its file here."""
TITLES = {
    "flax_nnx": "flax nnx module",
    "flax_linen": "flax linen module",
    "equinox": "equinox module",
    "haiku": "haiku module",
    "keras": "Keras layer",
    "torch": "PyTorch module",
}
FORMS = {
    "flax_nnx": "Cell(input_size, hidden_size, rngs=rngs), cell.initialize_carry(shape, rngs), "
    "cell(carry, x) -> (carry, y)",
    "flax_linen": "Cell(features=hidden_size), cell.initialize_carry(key, shape), "
    "cell.apply(params, carry, x) -> (carry, y)",
    "equinox": "Cell(input_size, hidden_size, key=key), cell(x, state) -> state of one example",
    "haiku": "Cell(hidden_size), cell.initial_state(batch_size), cell(x, state) -> (y, state)",
    "keras": "Cell(hidden_size), cell.get_initial_state(batch_size), cell(x, states) -> (y, states)",
}
"""How the cells of a library are made and called."""
_STEP = 3
"""Arguments of a step function: params, carry, x."""


def library_of(thing: Any) -> str | None:
    """The library that an object or a class is of, or None.

    Example:
        >>> library_of(3) is None
        True
    """
    for base in (thing if isinstance(thing, type) else type(thing)).__mro__:
        for (package, name), library in _BASES.items():
            if base.__name__ == name and f"{base.__module__}.".startswith(f"{package}."):
                return library
    return None


def kind_of(thing: Any) -> str:
    """What gradlab takes an object for, in words.

    Example:
        >>> kind_of(kind_of), kind_of(int), kind_of({})
        ('a function (thing)', 'the class int', 'a dict')
    """
    library = library_of(thing)
    if library is not None:
        article = "an" if library == "equinox" else "a"
        name = thing.__name__ if isinstance(thing, type) else type(thing).__name__
        return f"{name}, {article} {TITLES[library]}{' class' if isinstance(thing, type) else ''}"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if inspect.isroutine(thing) or hasattr(thing, "__wrapped__"):
        return f"a function ({', '.join(parameters(thing))})"
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a callable; none where it does not state them."""
    is_class = isinstance(function, type)
    called: Any = function
    try:
        # A metaclass may hide the arguments of a class.
        given = inspect.signature(called.__init__ if is_class else called).parameters
    except (TypeError, ValueError):
        return {}
    return dict(list(given.items())[1:] if is_class else given)


def is_step(thing: Any) -> bool:
    """Whether an object is a function of (params, carry, x): of three arguments, each without a default.

    Example:
        >>> is_step(lambda params, carry, x: (carry, x)), is_step(lambda x, y=1: x)
        (True, False)
    """
    if isinstance(thing, type) or not callable(thing) or library_of(thing) is not None:
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters(thing).values() if each.default is each.empty]
    return len(needed) == _STEP and all(each.kind in kinds for each in needed)


def is_factory(thing: Any) -> bool:
    """Whether an object is a function that makes a cell of a `hidden_size`."""
    return inspect.isroutine(thing) and "hidden_size" in parameters(thing) and library_of(thing) is None
