"""The gradient of a loss at every state of a recurrent cell, without a floor.

The state sₜ₋₁ enters timestep t, and sₜ, yₜ = step(params, sₜ₋₁, xₜ). With gₜ = dL/dyₜ the adjoint is

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ,   λ_T = 0

and |λ_{T-k}| is the gradient at lag k. The first term alone is the direct gradient. Every leaf of λ has its own
power of two for each example (`scaled.py`), so that a small leaf does not drown beside a large one; since the
recursion is linear, each leaf is pulled back alone and the results are added with aligned exponents.

It needs `step` only, and memory for the states and outputs of the forward pass.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError
from gradlab.gradient import scaled
from gradlab.gradient.scaled import Scaled

Kind = Literal["total", "direct"]
Loss = Callable[[Array], Array]


class ScaledNorm(NamedTuple):
    """Euclidean norms by lag and example, norm · 2^exponent: `norm` (T, B) and `exponent` (T, B) int32."""

    norm: Array
    exponent: Array


class Adjoint(NamedTuple):
    """What one backward pass saw.

    Attributes:
        norms: for each float leaf of the state, the scaled norm at lags 1..T (row i is lag i + 1).
        loss: (B,), the loss of each example.
        finite_states: for each float leaf, whether it is finite where it leaves timestep t = 1..T, (T, B).
        finite_outputs: likewise for the outputs.
    """

    norms: dict[str, ScaledNorm]
    loss: Array
    finite_states: dict[str, Array]
    finite_outputs: Array


def adjoint(
    cell: Cell,
    params: Params,
    inputs: Array,
    loss: Loss,
    carry: Carry | None = None,
    *,
    kind: Kind = "total",
    at: int | None = None,
) -> Adjoint:
    """The scaled norm of dL_b/dsₜ at every lag, for each leaf and example; pure JAX, may be jitted.

    Args:
        cell: anything with `step(params, carry, x_t)`.
        params: the cell's parameters.
        inputs: (T, B, I).
        loss: maps the outputs (T, B, O) of the cell to the loss (B,) of each example.
        carry: s₀; the cell's own initial state where None.
        kind: `total` for λ, `direct` for its first term alone.
        at: start the adjoint from the output of this timestep alone (1..T); lags are then 1..at.

    Raises:
        GradlabError: the state has no float leaf, two of one name, or one without a row for each example.
    """
    start = cell.carry(params, inputs.shape[1]) if carry is None else carry
    _check_state(start, inputs.shape[1])
    with jax.default_matmul_precision("highest"):
        states, last, outputs = _forward(cell, params, inputs, start)
        losses, output_gradients = jax.vjp(loss, outputs)
        (g,) = output_gradients(jnp.ones_like(losses))
        finite = _finite(states, last)
        if at is not None:
            states, inputs, g = jax.tree.map(lambda leaf: leaf[:at], (states, inputs, g))
            g = g.at[: at - 1].set(0)
        norms = _backward(cell, params, inputs, states, g, carried=kind == "total")
    return Adjoint(norms, losses, finite, _all_finite(outputs))


def leaf_names(carry: Carry) -> tuple[list[str], list[str]]:
    """The key paths of the float leaves of a state and of the others, in the order of its leaves.

    Example:
        >>> import jax.numpy as jnp
        >>> leaf_names({"h": jnp.zeros(3), "c": (jnp.zeros(3), jnp.arange(3))})
        (['c.0', 'h'], ['c.1'])
    """
    floats: list[str] = []
    others: list[str] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        (floats if _is_float(leaf) else others).append(_name(path))
    return floats, others


def _check_state(start: Carry, batch_size: int) -> None:
    floats, others = leaf_names(start)
    twice = {name for name in floats if floats.count(name) > 1}
    if twice:
        raise GradlabError(f"two leaves of the state are both called `{min(twice)}`: give them other names")
    for name, leaf in zip(floats, split(start)[0], strict=True):
        if leaf.shape[:1] != (batch_size,):
            raise GradlabError(
                f"leaf `{name}` of the state has shape {leaf.shape}: give one row for each of the "
                f"{batch_size} examples of the inputs"
            )
    if not floats:
        raise GradlabError(f"the state has no float leaf to measure: its leaves are {', '.join(others) or 'none'}")


def _name(path: tuple[Any, ...]) -> str:
    """`c.0` for a key path; a state that is a single array is called `s`, `state` being all leaves."""
    name = jax.tree_util.keystr(path, simple=True, separator=".") or "s"
    return "state_" if name == "state" else name


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def split(carry: Carry) -> tuple[list[Array], Callable[[list[Array]], Carry]]:
    """The float leaves of a state, and the function that puts new ones in their place."""
    leaves, treedef = jax.tree.flatten(carry)
    floats = [leaf for leaf in leaves if _is_float(leaf)]

    def rebuild(new: list[Array]) -> Carry:
        remaining = iter(new)
        return jax.tree.unflatten(treedef, [next(remaining) if _is_float(leaf) else leaf for leaf in leaves])

    return floats, rebuild


def _forward(cell: Cell, params: Params, inputs: Array, start: Carry) -> tuple[Carry, Carry, Array]:
    """The states that enter timesteps 1..T stacked over time, the state that leaves T, and the outputs."""

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, tuple[Carry, Array]]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        return s_t, (s_tm1, y_t)

    last, (states, outputs) = lax.scan(timestep, start, inputs)
    return states, last, outputs


def _backward(
    cell: Cell, params: Params, inputs: Array, states: Carry, g: Array, *, carried: bool
) -> dict[str, ScaledNorm]:
    """The reverse scan of the adjoint; norms by lag."""
    first = jax.tree.map(lambda leaf: leaf[0], states)
    names, _ = leaf_names(first)

    def timestep(adjoint_t: list[Scaled], inp: tuple[Carry, Array, Array]) -> tuple[list[Scaled], Any]:
        s_tm1, x_t, g_t = inp
        floats, rebuild = split(s_tm1)

        def floats_step(new: list[Array]) -> tuple[list[Array], Array]:
            s_t, y_t = cell.step(params, rebuild(new), x_t)
            return split(s_t)[0], y_t

        _, pullback = jax.vjp(floats_step, floats)
        sources = [*(adjoint_t if carried else []), scaled.normalise(g_t)]
        terms = _pull_each(
            pullback, sources, zeros=([jnp.zeros_like(leaf) for leaf in floats], jnp.zeros_like(g_t))
        )
        adjoint_tm1 = [scaled.add(leaf_terms) for leaf_terms in terms]
        return adjoint_tm1, [ScaledNorm(_norm(leaf.mantissa), leaf.exponent) for leaf in adjoint_tm1]

    nothing = [scaled.normalise(jnp.zeros_like(leaf)) for leaf in split(first)[0]]
    _, norms = lax.scan(timestep, nothing, (states, inputs, g), reverse=True)
    return {name: jax.tree.map(lambda row: row[::-1], norm) for name, norm in zip(names, norms, strict=True)}


def _pull_each(
    pullback: Callable[..., Any], sources: list[Scaled], *, zeros: tuple[list[Array], Array]
) -> list[list[Scaled]]:
    """Pull every source back alone: for each leaf of sₜ₋₁, its term from each source.

    The sources are the last slots of (leaves of sₜ, yₜ); leaves that are not carried stay zero.
    """
    slots, treedef = jax.tree.flatten(zeros)
    skipped = len(slots) - len(sources)
    columns = [
        jnp.stack([source.mantissa if slot - skipped == i else zero for i, source in enumerate(sources)])
        for slot, zero in enumerate(slots)
    ]
    (pulled,) = jax.vmap(pullback)(jax.tree.unflatten(treedef, columns))
    return [[scaled.normalise(leaf[i], source.exponent) for i, source in enumerate(sources)] for leaf in pulled]


def _norm(mantissa: Array) -> Array:
    """Euclidean norm of each example, (B,); safe because the largest entry is in [0.5, 1)."""
    square = jnp.real(mantissa) ** 2 + jnp.imag(mantissa) ** 2 if jnp.iscomplexobj(mantissa) else mantissa**2
    return jnp.sqrt(jnp.sum(square, axis=tuple(range(1, mantissa.ndim))))


def _finite(states: Carry, last: Carry) -> dict[str, Array]:
    """Where each float leaf of sₜ is finite, t = 1..T."""
    left = jax.tree.map(lambda entered, final: jnp.concatenate([entered[1:], final[None]]), states, last)
    names, _ = leaf_names(last)
    return {name: _all_finite(leaf) for name, leaf in zip(names, split(left)[0], strict=True)}


def _all_finite(value: Array) -> Array:
    """(T, B) from (T, B, ...)."""
    return jnp.all(jnp.isfinite(value), axis=tuple(range(2, value.ndim)))
