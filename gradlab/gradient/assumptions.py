"""What the instrument assumes of a cell, tested at the states where it measures.

    sₜ, yₜ = step(params, sₜ₋₁, xₜ),   λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ

is the gradient of one example only where no gradient of one example reaches another, and may be carried as a
mantissa and a power of two only where the pullback is linear. Batch statistics break the first, a hand-written
backward pass that clips the second. Every float leaf of a state needs a row for each example, and keeps its dtype.

The tests evaluate `step` and its pullback and do not read its source: a breach that no state of a short forward
pass shows is missed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import is_built_in
from gradlab.errors import GradlabError, described
from gradlab.gradient.state import (
    as_arrays,
    drifting_leaves,
    leaf_names,
    leaves_without_batch,
    output_shape,
    step_of,
)
from gradlab.gradient.trial import (
    UNOPTIMISED,
    Trial,
    first_difference,
    gaussian,
    is_reached,
    masked,
    peak,
    rows_of,
    times,
    trial,
    wide,
)

PATH = 8
"""Timesteps of the forward pass along which a cell is tried."""
EXPONENTS = (-100, -60, -20, -8, -3, 3, 8, 20, 60, 100)
"""Powers of two by which a gradient is scaled."""
FACTORS = (1 / 3, 3.0, 7.0)
"""Factors that show how much rounding makes of a gradient."""
LOSSES_MEET = (
    "the loss of one example depends on the outputs of another (a mean over the batch?): return one loss for each "
    "example, (B,), that reads the outputs of this example alone"
)
_MARGIN = 10
"""The power of two by which a number that underflows may still be multiplied on its way."""


def check_cell(cell: Cell, params: Params, inputs: Array, carry: Carry) -> None:
    """Refuse a cell that breaks what the instrument assumes, at states of a short forward pass.

    Args:
        cell: anything with `step(params, carry, x_t)`.
        params: its parameters.
        inputs: (T, B, I), of which the first timesteps and examples are used.
        carry: the initial state s₀ of the B examples.

    Raises:
        GradlabError: the first of these: a leaf of the state has no row for each example, `step` does not return a
            state and an output, it changes a leaf's dtype or shape, the gradient of one example reaches another,
            the pullback is not linear.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from gradlab.cells import rnn
        >>> cell = rnn()
        >>> params = cell.init(jax.random.key(0), 2, 8)
        >>> check_cell(cell, params, jnp.ones((20, 3, 2)), cell.carry(params, 3))
    """
    carry, batch_size = as_arrays(carry), inputs.shape[1]
    if not leaf_names(carry)[0]:
        return  # the adjoint says that there is nothing to measure
    refuse(*leaves_without_batch(cell, params, batch_size, carry).values())
    output_shape(cell, params, carry, inputs[0])
    refuse(*drifting_leaves(cell, params, carry, inputs[0]).values())
    trials = _along_path(cell, params, inputs, carry)
    # Overflow at these states is no breach.
    with np.errstate(over="ignore", invalid="ignore"):
        refuse(*map(gradients_meet, trials))
        refuse(*map(not_linear, trials))


def check_custom_cell(cell: Cell, params: Params, inputs: Array, carry: Carry) -> None:
    """`check_cell` for any cell but the built-in ones, which the tests of this package check."""
    if not is_built_in(cell):
        check_cell(cell, params, inputs, carry)


def refuse(*reasons: str | None) -> None:
    """Raise the first reason there is."""
    for reason in filter(None, reasons):
        raise GradlabError(reason)


def started(cell: Cell, params: Params, inputs: Array, carry: Carry | None) -> Carry:
    """The initial state, from which one timestep was tried.

    Raises:
        GradlabError: these parameters, inputs and state do not fit the cell.
    """
    try:
        start = as_arrays(cell.carry(params, inputs.shape[1]) if carry is None else carry)
        if leaf_names(start)[0]:
            x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
            refuse(*drifting_leaves(cell, params, start, x_t).values())
    except GradlabError:
        raise
    except Exception as error:  # whatever arrays of other shapes, or None, lead to
        given = "these params" if params is not None else "params=None (give those that `init` makes)"
        raise GradlabError(
            f"{step_of(cell)} cannot be called with {given}, and inputs {inputs.dtype} {inputs.shape}: "
            f"{described(error)}"
        ) from error
    return start


def gradients_meet(at: Trial) -> str | None:
    """Why the gradient of one example reaches another, so that none has a curve of its own; None if it does not.

    Gradients of some examples alone are pulled back, at this state and at one moved away from it.
    """
    if any(map(is_reached, at.pull(at.zeros()).values())):
        return None  # what comes of a zero gradient comes from no example; `not_linear` reports it
    rng = np.random.RandomState(0)
    count = len(at.examples)
    for tried in (at, at.moved(rng, np.full(count, True))):
        for members in halves(count):
            found = tried.pull([masked(leaf, members) for leaf in tried.cotangents(rng)])
            for name, leaf in found.items():
                if is_reached(leaf[~members]):
                    return (
                        f"examples meet in {step_of(at.cell)}: the gradient of one example reaches `{name}` of "
                        "another (batch statistics?), so that no example has a curve of its own: measure with "
                        "frozen statistics (inference mode), or normalise within each example"
                    )
    return None


def not_linear(at: Trial) -> str | None:
    """Why the pullback J of `step` is not linear, J(c u) = c J(u) and J(u + v) = J(u) + J(v), or None."""
    rng = np.random.RandomState(0)
    eps, smallest = at.precision
    scaling, adding = min(0.1, 2**8 * eps), min(0.1, 2**12 * eps)
    for name, leaf in at.pull(at.zeros()).items():
        if is_reached(leaf):
            return _bent(at, "a gradient of zero comes back as something else than zero", name)
    u, v = at.cotangents(rng), at.cotangents(rng)
    pulled = at.pull(u)
    for exponent in EXPONENTS:
        found = {name: leaf * 2.0**-exponent for name, leaf in at.pull(times(u, 2.0**exponent)).items()}
        # Powers of two commute with rounding, but what is too small for the format is flushed to zero.
        floors = dict.fromkeys(pulled, 2.0 ** (smallest + _MARGIN - min(exponent, 0)))
        if name := first_difference(pulled, found, scaling, floors):
            factor = f"2^{exponent}"
            return _bent(at, f"a gradient times {factor} comes back as something else times {factor}", name)
    turned = {name: -leaf for name, leaf in at.pull(times(u, -1.0)).items()}
    if name := first_difference(pulled, turned, scaling, {}):
        return _bent(at, "a gradient of the other sign comes back as something else of the other sign", name)
    rounded = [at.pull([times([leaf], 1 + eps * rng.standard_normal(leaf.shape))[0] for leaf in u])]
    # A factor that is no power of two does not commute with rounding, as in d + d y where tanh is y = -1.
    for by in FACTORS:
        rounded.append({name: leaf / by for name, leaf in at.pull(times(u, by)).items()})
    noise = {name: 2**6 * max(peak(each[name] - leaf) for each in rounded) for name, leaf in pulled.items()}
    separate = {name: leaf + pulled[name] for name, leaf in at.pull(v).items()}
    if name := first_difference(separate, at.pull([a + b for a, b in zip(u, v, strict=True)]), adding, noise):
        return _bent(at, "the sum of two gradients comes back as something else than their sum", name)
    return None


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

    @jax.jit(compiler_options=UNOPTIMISED)
    def program(outputs: Array, d: Array) -> tuple[Array, Array]:
        losses, pullback = jax.vjp(loss, outputs)
        return losses, pullback(d)[0]

    result, rng = jax.eval_shape(loss, outputs), np.random.RandomState(0)
    tolerance = 2**5 * float(jnp.finfo(result.dtype).eps)
    for members in halves(examples):
        d = masked(gaussian(rng, result.shape, result.dtype), members)
        losses, found = map(wide, program(outputs, d))
        move = np.where(members[:, None], rng.standard_normal(outputs.shape), 0.0)
        moved, _ = map(wide, program((wide(outputs) + move).astype(outputs.dtype), d))
        before, after = losses[~members], moved[~members]
        with np.errstate(invalid="ignore"):
            differ = ~(np.abs(before - after) <= tolerance * peak(before)) & np.isfinite(before)
        if is_reached(found[:, ~members]) or differ.any():
            return LOSSES_MEET
    return None


def halves(examples: int) -> list[np.ndarray]:
    """Parts of the examples, as flags, such that of any two one part has the first and not the second.

    Example:
        >>> [[int(flag) for flag in part] for part in halves(3)]
        [[0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]]
    """
    numbers, digits = np.arange(examples), range((examples - 1).bit_length())
    ones = [(numbers >> digit) % 2 == 1 for digit in digits]
    return [part for digit in ones for part in (digit, ~digit)]


def _along_path(cell: Cell, params: Params, inputs: Array, carry: Carry) -> list[Trial]:
    """A cell at its initial state and at one some timesteps later."""
    first = last = trial(cell, params, carry, inputs[0])
    for x_t in np.asarray(inputs[1:PATH]):
        s_t, _ = last.step()
        last = last.at(s_t, rows_of(x_t, first.examples))
    return [first] if last is first else [first, last]


def _bent(at: Trial, what: str, name: str) -> str:
    return (
        f"the backward pass of {step_of(at.cell)} is not linear: {what} (in `{name}`), as where it clips or "
        "rescales gradients: measure without that, clipping belongs to the optimiser (`--clip`)"
    )
