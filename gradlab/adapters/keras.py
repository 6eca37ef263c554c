"""Cells of Keras 3 on the JAX backend: `Cell(hidden_size)`, `cell.stateless_call(...) -> ((y, states), ...)`.

States are a list [h, c]. Initialisers draw from seeds of their own, which here come from the key. A cell is made
for one dtype and casts its inputs to it, so the float64 pass has a clone of float64; `keras.ops.tanh` on the JAX
backend rounds float64 to float32 (3.15), so the clone has jax's own in its place.
Source: https://keras.io/api/layers/recurrent_layers/
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import Array

from gradlab.adapters.base import LibraryCell
from gradlab.errors import GradlabError

CONVENTION = ("units",)


def made(factory: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int) -> LibraryCell:
    """The network of a class."""
    _check_backend()
    return _network(lambda: factory(hidden_size, **options), input_size, None)


def given(cell: Any, input_size: int) -> LibraryCell:
    """The network of an object: with its weights where it is built."""
    _check_backend()
    own = _named(cell, [each.value for each in cell.trainable_variables]) if cell.built else None
    return _network(lambda: type(cell).from_config(cell.get_config()), input_size, own)


def _network(build: Callable[[], Any], input_size: int, own: dict[str, Array] | None) -> LibraryCell:
    @lru_cache
    def cell_in(dtype: str) -> Any:
        with jax.ensure_compile_time_eval():
            return _built(build(), dtype, None, input_size)

    def init(key: Array) -> dict[str, Array]:
        if own is not None:
            return own
        with (
            jax.ensure_compile_time_eval()
        ):  # the seed of its dropout is random, and would be a constant of the trace
            cell = build()
        cell = _built(cell, str(jnp.result_type(float)), key, input_size)
        return _named(cell, [each.value for each in cell.trainable_variables])

    def cell_of(weights: dict[str, Array]) -> Any:
        return cell_in(str(jnp.result_type(*weights.values())))

    def carry(weights: dict[str, Array], batch_size: int) -> Any:
        return cell_of(weights).get_initial_state(batch_size)

    def step(weights: dict[str, Array], state: Any, x_t: Array) -> tuple[Any, Array]:
        cell = cell_of(weights)
        trained = [weights[name] for name in _named(cell, cell.trainable_variables)]
        fixed = [each.value for each in cell.non_trainable_variables]
        (y_t, state), _ = cell.stateless_call(trained, fixed, x_t, state)
        return state, y_t

    return LibraryCell(init, carry, step, ("h", "c"))


def _built(cell: Any, dtype: str, key: Array | None, input_size: int) -> Any:
    """A cell with weights of a dtype, drawn from a key."""
    layers = list(cell._flatten_layers())
    drawing = [each for layer in layers for each in vars(layer).values() if hasattr(each, "_init_seed")]
    for index, initializer in enumerate(drawing):
        initializer.seed = index if key is None else jax.random.fold_in(key, index)
    for layer in layers:
        if layer.variable_dtype != dtype:
            layer.dtype_policy = dtype
        for name, value in list(vars(layer).items()):
            if value is keras.activations.tanh and dtype == "float64":
                setattr(layer, name, jnp.tanh)
    cell.build((None, input_size))
    return cell


def _named(cell: Any, values: list[Any]) -> dict[str, Any]:
    """Values of the weights by name, with the number of the layer where there are several.

    The name of a layer counts the layers of the process, and does not serve.
    """
    paths = [str(each.path).rpartition("/") for each in cell.trainable_variables]
    layers = list(dict.fromkeys(layer for layer, _, _ in paths))
    prefix = {layer: f"layer{index}." if len(layers) > 1 else "" for index, layer in enumerate(layers)}
    return {prefix[layer] + name: value for (layer, _, name), value in zip(paths, values, strict=True)}


def _check_backend() -> None:
    if keras.backend.backend() != "jax":
        raise GradlabError(
            f"Keras computes with {keras.backend.backend()} here: set KERAS_BACKEND=jax before keras is imported"
        )
