"""What the instrument assumes of a cell, tested at the states where it measures.

    sₜ, yₜ = step(params, sₜ₋₁, xₜ),   λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ

has a meaning for each example alone where no example enters the step of another, and may be carried as a mantissa
and a power of two where the pullback is linear. Any pure function of one example is so; batch statistics break the
first, and a hand-written backward pass that clips breaks the second. A state whose leaves have no row for each
example, or whose dtype `step` changes, is no sₜ.

The tests are answers of `step` and of its pullback, not a reading of its source: what no state on the way shows is
missed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import is_built_in
from gradlab.errors import GradlabError
from gradlab.gradient.adjoint import leaf_names
from gradlab.gradient.cotangents import (
    Cotangent,
    differ,
    gaussian,
    halves,
    masked,
    nudged,
    peak,
    plus,
    reached,
    times,
    unlike,
    wide,
)
from gradlab.gradient.shapes import (
    arrays,
    drifting_leaves,
    leaves_without_batch,
    output_shape,
    step_of,
)
from gradlab.gradient.trial import CURSORY, Trial, moved, rows_of, trial

PATH = 8
"""Timesteps of the forward pass along which a cell is tried."""
EXPONENTS = (-100, -60, -20, -8, -3, 3, 8, 20, 60, 100)
"""Powers of two by which a gradient is scaled."""
_FREEZE = "measure with frozen statistics (inference mode), or normalise within each example"
_MARGIN = 10
"""The power of two by which a number that is lost to its format may still be multiplied on its way."""


def check_cell(cell: Cell, params: Params, inputs: Array, carry: Carry) -> None:
    """Refuse a cell that breaks what the instrument assumes, at states of a short forward pass.

    Args:
        cell: anything with `step(params, carry, x_t)`.
        params: its parameters.
        inputs: (T, B, I), of which the first timesteps and examples are used.
        carry: the initial state s₀ of the B examples.

    Raises:
        GradlabError: the first of these that is so: a leaf of the state has no row for each example,
            `step` does not return a state and an output, it changes a leaf's dtype or shape, the gradient of one
            example reaches another, the pullback is not linear.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from gradlab.cells import rnn
        >>> cell = rnn()
        >>> params = cell.init(jax.random.key(0), 2, 8)
        >>> check_cell(cell, params, jnp.ones((20, 3, 2)), cell.carry(params, 3))
    """
    carry, batch_size = arrays(carry), inputs.shape[1]
    if not leaf_names(carry)[0]:
        return  # there is nothing to measure, which the adjoint says
    refuse(*leaves_without_batch(cell, params, batch_size, carry).values())
    output_shape(cell, params, carry, inputs[0])
    refuse(*drifting_leaves(cell, params, carry, inputs[0]).values())
    places = _path(cell, params, inputs, carry)
    # What overflows at these states is no number, which says nothing of the cell.
    with np.errstate(over="ignore", invalid="ignore"):
        refuse(*map(_gradients_meet, places))
        refuse(*map(_not_linear, places))


def check_own_cell(cell: Cell, params: Params, inputs: Array, carry: Carry) -> None:
    """`check_cell`, but for the built-in cells, of which tests ask it once and for all."""
    if not is_built_in(cell):
        check_cell(cell, params, inputs, carry)


def refuse(*reasons: str | None) -> None:
    """Raise the first reason there is."""
    for reason in reasons:
        if reason:
            raise GradlabError(reason)


def examples_meet(cell: Cell, params: Params, carry: Carry, x_t: Array) -> str | None:
    """Why the next state or output of one example depends on another, or None; the text says if by a gradient.

    Args:
        carry: a state (B, ...); of one example, two are made.
        x_t: (B, I).

    Example:
        >>> import jax.numpy as jnp
        >>> class Centred:
        ...     def step(self, params, s, x_t):
        ...         return s - s.mean(axis=0) + x_t, s
        >>> examples_meet(Centred(), None, jnp.ones((3, 2)), jnp.ones((3, 2)))[:30]
        'examples meet in Centred.step:'
    """
    return gradients_meet(cell, params, carry, x_t) or values_meet(cell, params, carry, x_t)


def gradients_meet(cell: Cell, params: Params, carry: Carry, x_t: Array) -> str | None:
    """Why the gradient of one example reaches another, or None: then there is no curve of one example."""
    found = trial(cell, params, carry, x_t)
    return None if found is None else _gradients_meet(found)


def values_meet(cell: Cell, params: Params, carry: Carry, x_t: Array) -> str | None:
    """Why the values of one example depend on another, or None.

    Behind a `stop_gradient` no gradient does so and the curves are right, but the network is another one for every
    batch size and for every number of devices that share a batch.
    """
    found = trial(cell, params, carry, x_t)
    return None if found is None else _values_meet(found)


def not_linear(cell: Cell, params: Params, carry: Carry, x_t: Array) -> str | None:
    """Why the pullback J of `step` is not linear, or None: J(c u) = c J(u), J(u + v) = J(u) + J(v) up to rounding.

    Args:
        carry: a state (B, ...).
        x_t: (B, I).
    """
    found = trial(cell, params, carry, x_t)
    return None if found is None else _not_linear(found)


def losses_meet(loss: Callable[[Array], Array], outputs: Array) -> str | None:
    """Why the loss of one example depends on the outputs of another, or None.

    Args:
        loss: outputs (T, B, O) -> losses (B,).
        outputs: (T, B, O), at which it is tried.

    Example:
        >>> import jax.numpy as jnp
        >>> losses_meet(lambda outputs: outputs[-1].sum(axis=-1), jnp.ones((5, 3, 2)))
        >>> losses_meet(lambda outputs: outputs[-1].sum(axis=-1) - outputs.mean(), jnp.ones((5, 3, 2)))[:30]
        'the loss of one example depend'
    """
    examples = outputs.shape[1]
    if examples < 2:
        return None

    @jax.jit(compiler_options=CURSORY)
    def program(outputs: Array, d: Array) -> tuple[Array, Array]:
        losses, pullback = jax.vjp(loss, outputs)
        return losses, pullback(d)[0]

    result, rng = jax.eval_shape(loss, outputs), np.random.RandomState(0)
    tolerance = 2**5 * float(jnp.finfo(result.dtype).eps)
    for members in halves(examples):
        d = masked(gaussian(rng, result.shape, result.dtype), members)
        losses, found = map(wide, program(outputs, d))
        move = np.where(members[:, None], rng.standard_normal(outputs.shape), 0.0)
        others, _ = map(wide, program((wide(outputs) + move).astype(outputs.dtype), d))
        if reached(found[:, ~members]) or differ(losses[~members], others[~members], tolerance):
            return (
                "the loss of one example depends on the outputs of another (a mean over the batch?): return one "
                "loss for each example, (B,), that reads the outputs of this example alone"
            )
    return None


def _path(cell: Cell, params: Params, inputs: Array, carry: Carry) -> list[Trial]:
    """A cell at its initial state and at one some timesteps later."""
    first = trial(cell, params, carry, inputs[0])
    if first is None:
        return []
    last = first
    for x_t in np.asarray(inputs[1:PATH]):
        s_t, _ = last.step()
        last = last.at(s_t, rows_of(x_t, first.examples))
    return [first] if last is first else [first, last]


def _gradients_meet(at: Trial) -> str | None:
    """Pull back gradients of some examples alone, at this state and at one moved away, and look at the others."""
    if any(map(reached, at.pull(at.zeros()).values())):
        return None  # what comes of nothing comes from nowhere; `_not_linear` says so
    rng = np.random.RandomState(0)
    everyone = np.full(len(at.examples), True)
    for here in (at, at.at(*moved(at, rng, everyone))):
        for members in halves(len(at.examples)):
            if name := _others_reached(here, here.cotangents(rng), members):
                return (
                    f"examples meet in {step_of(at.cell)}: the gradient of one example reaches `{name}` of "
                    f"another (batch statistics?), so that no example has a curve of its own: {_FREEZE}"
                )
    return None


def _others_reached(at: Trial, cotangent: Cotangent, members: np.ndarray) -> str:
    """The first leaf in which a gradient of the members alone reaches other examples, or nothing."""
    own = [
        masked(leaf, members) if row else np.zeros_like(leaf)
        for leaf, row in zip(cotangent, [*at.of_floats, True], strict=True)
    ]
    found = at.pull(own)
    shared = [name for name, row in zip(at.names, at.of_floats, strict=True) if not row]
    direct = _outsiders(found, shared, members)
    if direct or not any(reached(found[name]) for name in shared):
        return direct
    # What reaches a leaf without a batch is pulled back once more: by it examples meet in the timestep before.
    names = [*at.names, None]
    again = [
        found[name].astype(leaf.dtype) if name in shared else np.zeros_like(leaf)
        for name, leaf in zip(names, own, strict=True)
    ]
    return _outsiders(at.pull(again), shared, members)


def _outsiders(found: dict[str, np.ndarray], shared: list[str], members: np.ndarray) -> str:
    return next((name for name, leaf in found.items() if name not in shared and reached(leaf[~members])), "")


def _values_meet(at: Trial) -> str | None:
    """Move the states and inputs of some examples, and look at the others for two timesteps."""
    rng = np.random.RandomState(0)
    tolerance = 2**5 * at.precision()[0]
    for members in halves(len(at.examples)):
        one, other = at, at.at(*moved(at, rng, members))
        for _ in range(2):  # by a leaf without a batch, examples meet in the second timestep
            results = one.step(), other.step()
            if any(differ(a[~members], b[~members], tolerance) for a, b in _with_rows(at, *results)):
                return (
                    f"examples meet in {step_of(at.cell)}: the state or output of one changes with those of "
                    f"another, though no gradient need (batch statistics behind a stop_gradient?): {_FREEZE}"
                )
            one, other = (at.at(s_t, at.x_t) for s_t, _ in results)
    return None


def _not_linear(at: Trial) -> str | None:
    """Scale, turn round and add random gradients, and compare what comes back."""
    rng = np.random.RandomState(0)
    eps, smallest = at.precision()
    scaling, adding = min(0.1, 2**8 * eps), min(0.1, 2**12 * eps)
    for name, leaf in at.pull(at.zeros()).items():
        if reached(leaf):
            return _bent(at, "a gradient of zero comes back as something else than zero", name)
    u, v = at.cotangents(rng), at.cotangents(rng)
    pulled = at.pull(u)
    for exponent in EXPONENTS:
        found = {name: leaf * 2.0**-exponent for name, leaf in at.pull(times(u, 2.0**exponent)).items()}
        # Powers of two commute with rounding, but what is too small for the format is flushed to zero.
        floors = dict.fromkeys(pulled, 2.0 ** (smallest + _MARGIN - min(exponent, 0)))
        if name := unlike(pulled, found, scaling, floors):
            factor = f"2^{exponent}"
            return _bent(at, f"a gradient times {factor} comes back as something else times {factor}", name)
    turned = {name: -leaf for name, leaf in at.pull(times(u, -1.0)).items()}
    if name := unlike(pulled, turned, scaling, {}):
        return _bent(at, "a gradient of the other sign comes back as something else of the other sign", name)
    moved_u = at.pull(nudged(u, rng, eps))
    noise = {name: 2**6 * peak(moved_u[name] - leaf) for name, leaf in pulled.items()}
    apart = {name: leaf + pulled[name] for name, leaf in at.pull(v).items()}
    if name := unlike(apart, at.pull(plus(u, v)), adding, noise):
        return _bent(at, "the sum of two gradients comes back as something else than their sum", name)
    return None


def _bent(at: Trial, what: str, name: str) -> str:
    return (
        f"the backward pass of {step_of(at.cell)} is not linear: {what} (in `{name}`), as where it clips or "
        "rescales gradients: measure without that, clipping belongs to the optimiser (`--clip`)"
    )


def _with_rows(at: Trial, *results: tuple[Any, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of the arrays of two results that have a row for each example, and are no random keys."""
    one, other = ([*jax.tree.leaves(s_t), y_t] for s_t, y_t in results)
    return [
        (wide(a), wide(b))
        for a, b, flag in zip(one, other, [*at.flags, True], strict=True)
        if flag and not jax.dtypes.issubdtype(a.dtype, jax.dtypes.extended)
    ]
