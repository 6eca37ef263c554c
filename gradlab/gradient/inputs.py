"""The inputs of a cell as a leaf of its state, so that the instrument measures them as it does states."""

from collections.abc import Iterable
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError

INPUT = "x"
"""The leaf that is measured at the inputs."""
_STATE = "state"
Found = TypeVar("Found", bound=Any)


class InputsAsState:
    """A cell whose state has a leaf `x` that is added to the input of a timestep and is zero.

    The gradient with respect to that leaf, where it enters timestep t, is the one with respect to xₜ.
    """

    measured_leaves = (INPUT,)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def start(self, state: Carry, x_t: Any) -> Carry:
        """A state of the cell with that leaf."""
        return {_STATE: state, INPUT: jnp.zeros_like(x_t)}

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        s_t, y_t = self.cell.step(params, carry[_STATE], x_t + carry[INPUT])
        return self.start(s_t, x_t), y_t


def check_inputs(dtype: Any, names: Iterable[str] = ()) -> None:
    """Refuse inputs that have no gradient, and a state with a leaf of their name.

    Args:
        dtype: of the inputs. names: of the leaves of the state.
    """
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise GradlabError(f"inputs are of {dtype}: only floats have a gradient")
    if INPUT in names:
        raise GradlabError(f"the state has a leaf called {INPUT}, the name of the inputs: give it another name")


def with_own_names(found: Found) -> Found:
    """An `Adjoint` or `Reverse` of `InputsAsState` with the leaves named as those of the cell itself, and `x`."""
    fields = {field: getattr(found, field) for field in ("norms", "finite_states") if field in found._fields}
    return found._replace(
        **{field: {_own(name): each for name, each in leaves.items()} for field, leaves in fields.items()}
    )


def _own(name: str) -> str:
    if name == INPUT:
        return name
    prefix, _, own = name.partition(".")
    # As `named_leaves` calls a state that is one array, and a leaf of that name.
    return "s" if prefix != _STATE else "state_" if own == _STATE else own
