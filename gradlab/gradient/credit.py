"""Where the gradient of the weights comes from, by lag.

The weights W are used at every timestep, so their gradient is a sum over timesteps; with λₜ as in `adjoint.py`

    dL/dW = Σ_k G_k,   G_k = Σ_b (∂sₜ/∂W)ᵀ λₜ + (∂yₜ/∂W)ᵀ gₜ   at timestep t = T-k+1

and S_k = G_1 + ... + G_k is what truncated backpropagation over the last k timesteps would have found. Float64
arrays with one power of two beside them, so that no gradient is too large or too small.

Source: Werbos (1990), "Backpropagation through time: what it does and how to do it", Proc. IEEE 78, section III;
truncation: Williams & Peng (1990), Neural Computation 2.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError
from gradlab.gradient.adjoint import Loss
from gradlab.gradient.losses import with_gradient
from gradlab.gradient.plain import prepared, states_and_outputs
from gradlab.gradient.reductions import Floats
from gradlab.gradient.scaled import ZERO_EXPONENT, exponents, magnitude, norm, times_power_of_two
from gradlab.gradient.state import as_arrays, is_float, split

ALL = "all"
NEAR = 0.1
"""A truncated gradient is near the whole one where it is off by at most this share of its norm."""


@dataclass(frozen=True)
class WeightCredit:
    """The gradient of the weights by lag k = 1..T, summed over the examples.

    Attributes:
        log10_norm: of each leaf of the parameters and of `all` together, log10 |G_k|, (T,); -inf is zero.
        share: ⟨S_k, dL/dW⟩ / |dL/dW|², (T,): how much of the gradient the last k lags give; 1 at lag T.
        cosine: between S_k and dL/dW, (T,).
        missing: |dL/dW - S_k| / |dL/dW|, (T,): what truncation after k timesteps is off by.
        agreement: the mean cosine between the gradients of two different examples at the state of lag k, (T,);
            NaN for one example.
        log10_total: log10 |dL/dW|, of the sum over examples.

    Example:
        >>> rows = np.array([[0.5, 0.95, 1], [1, 1, 1], [0.5, 0.05, 0], [0, 0, 0]])
        >>> WeightCredit({ALL: np.zeros(3)}, *rows, 0.0).window()
        2
    """

    log10_norm: dict[str, Floats]
    share: Floats
    cosine: Floats
    missing: Floats
    agreement: Floats
    log10_total: float

    def __repr__(self) -> str:
        leaves = ", ".join(self.log10_norm)
        return f"<WeightCredit of {leaves}: {len(self.share)} lags, window {self.window()}>"

    def window(self, near: float = NEAR) -> int:
        """The fewest lags from which on the truncated gradient is off by at most `near` of its norm; 0 of 0."""
        if self.log10_total == -np.inf:
            return 0
        far = np.flatnonzero(~(self.missing <= near))
        return int(far[-1]) + 2 if len(far) else 1


def weight_credit(cell: Any, params: Params, inputs: Any, loss: Loss, carry: Carry | None = None) -> WeightCredit:
    """Which timesteps the gradient of a cell's weights comes from, in float64.

    G_k = Σ_b (∂sₜ/∂W)ᵀ λₜ + (∂yₜ/∂W)ᵀ gₜ at timestep t = T-k+1, and its running sum beside dL/dW.

    Args:
        cell, params, inputs, loss: as in `gradient_curve`; the cell needs a state.
        carry: the initial state; where it is the cell's own, what its weights get through it belongs to lag T.

    Raises:
        GradlabError: the inputs have another shape, the cell has no state or no weights, or its gradient is not
            finite.

    Example:
        >>> import jax
        >>> from gradlab.cells import rnn
        >>> cell = rnn(gain=0.5)
        >>> params, inputs = cell.init(jax.random.key(0), 1, 4), jax.random.normal(jax.random.key(1), (50, 3, 1))
        >>> weight_credit(cell, params, inputs, lambda outputs: outputs[-1].sum(axis=-1)).window()
        3
    """
    if params is not None:  # else those of an object of a library
        _refuse_without_weights(as_arrays(params))
    cell, params, inputs, start = prepared(cell, params, inputs, carry)
    _refuse_without_weights(params)
    with jax.enable_x64(True):
        states, outputs = states_and_outputs(cell, params, inputs, start)
        g = with_gradient(loss)(outputs)[1]
        if not bool(jnp.isfinite(g).all()):
            raise GradlabError("the gradient of the loss is not finite: it has no parts")
        passes = jax.jit(_Pass(cell, own_start=carry is None).back)
        whole, rows = passes(params, states, inputs, g, None)
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in whole.tree):
            raise GradlabError("the gradient of the weights is not finite: it has no parts")
        _, sums = passes(params, states, inputs, g, whole)
    return _credit(params, rows, sums)


def _refuse_without_weights(params: Params) -> None:
    if not split(params)[0]:
        raise GradlabError("the cell has no weights of floats: there is no gradient to give credit for")


class _Sum(NamedTuple):
    """A tree · 2^exponent, the largest entry of the tree about 1."""

    tree: Any
    exponent: Array


class _CreditRow(NamedTuple):
    norms: Array
    agreement: Array
    inner: Array
    own: Array


def _zero(tree: Any) -> _Sum:
    return _Sum(jax.tree.map(jnp.zeros_like, tree), jnp.int32(ZERO_EXPONENT))


def _normalised(tree: Any, exponent: Array) -> _Sum:
    largest = jnp.max(jnp.stack([jnp.max(magnitude(leaf), initial=0.0) for leaf in jax.tree.leaves(tree)]))
    own = exponents(largest)
    scaled = jax.tree.map(lambda leaf: times_power_of_two(leaf, jnp.where(own == ZERO_EXPONENT, 0, -own)), tree)
    return _Sum(scaled, jnp.where(own == ZERO_EXPONENT, ZERO_EXPONENT, exponent + own))


def _aligned(first: _Sum, second: _Sum) -> tuple[Any, Any, Array]:
    """Both trees beside the larger of the two exponents."""
    top = jnp.maximum(first.exponent, second.exponent)
    moved = [
        jax.tree.map(lambda leaf, by=each.exponent - top: times_power_of_two(leaf, by), each.tree)
        for each in (first, second)
    ]
    return *moved, top


class _Pass:
    """The way back over all timesteps; `own_start` where the cell's weights make the initial state."""

    def __init__(self, cell: Cell, *, own_start: bool) -> None:
        self.cell, self.own_start = cell, own_start

    def back(
        self, params: Params, states: Carry, inputs: Array, g: Array, whole: _Sum | None
    ) -> tuple[_Sum, _CreditRow]:
        """The sum of all G_k, and rows by timestep; with `whole`, inner products with it."""
        weights, with_weights = split(params)

        def timestep(loop: tuple[_Sum, _Sum], given: tuple[Carry, Array, Array], first: bool = False) -> Any:
            adjoint, total = loop
            s_tm1, x_t, g_t = given
            floats, rebuild = split(s_tm1)

            def step(weights: list[Array], floats: list[Array]) -> tuple[list[Array], Array]:
                s_t, y_t = self.cell.step(with_weights(weights), rebuild(floats), x_t)
                return split(s_t)[0], y_t

            def start(weights: list[Array]) -> list[Array]:
                own = as_arrays(self.cell.carry(with_weights(weights), x_t.shape[0]))
                return [leaf.astype(like.dtype) for leaf, like in zip(split(own)[0], floats, strict=True)]

            _, pullback = jax.vjp(step, weights, floats)
            carried, source, top = _aligned(adjoint, _normalised(g_t, jnp.int32(0)))
            of_weights, of_state = pullback((carried, source))
            if first and self.own_start:
                of_weights = jax.tree.map(jnp.add, of_weights, jax.vjp(start, weights)[1](of_state)[0])
            part = _normalised(of_weights, top)
            summed, new, top_of_sum = _aligned(total, part)
            total = _normalised(jax.tree.map(jnp.add, summed, new), top_of_sum)
            inner = jnp.nan if whole is None else _inner(total, whole)
            row = _CreditRow(_log10_norms(part), _agreement(of_state), jnp.asarray(inner), _log10_norms(total)[-1])
            return (_normalised(of_state, top), total), row

        given = states, inputs, g
        first, later = (jax.tree.map(lambda rows, part=part: rows[part], given) for part in (0, slice(1, None)))
        loop, rows = lax.scan(timestep, (_zero(split(first[0])[0]), _zero(weights)), later, reverse=True)
        (_, total), row = timestep(loop, first, first=True)
        return total, jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), row, rows)


def _inner(part: _Sum, whole: _Sum) -> Array:
    """⟨part, whole⟩ / |whole|²."""
    pairs = zip(jax.tree.leaves(part.tree), jax.tree.leaves(whole.tree), strict=True)
    products = sum(jnp.vdot(first, second).real for first, second in pairs)
    square = sum(jnp.vdot(leaf, leaf).real for leaf in jax.tree.leaves(whole.tree))
    return times_power_of_two(jnp.asarray(products / square)[None], (part.exponent - whole.exponent)[None])[0]


def _log10_norms(total: _Sum) -> Array:
    """log10 of the norm of each leaf, and of all."""
    leaves = [_normalised(leaf, total.exponent) for leaf in jax.tree.leaves(total.tree)]
    sizes = [jnp.log10(norm(each.tree[None])[0]) for each in leaves]
    values = [size + each.exponent * jnp.log10(2.0) for size, each in zip(sizes, leaves, strict=True)]
    top = jnp.max(jnp.stack(values))
    squares = sum(10.0 ** (2 * (value - top)) for value in values)
    whole = jnp.where(jnp.isneginf(top), top, top + jnp.log10(squares) / 2)
    return jnp.stack([*values, whole])


def _agreement(of_state: list[Array]) -> Array:
    """The mean cosine between the gradients of two different examples, of those that are not zero."""
    flat = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in of_state], axis=1)
    power = exponents(jnp.max(magnitude(flat), axis=1))
    alive = power != ZERO_EXPONENT
    unit = times_power_of_two(flat, jnp.where(alive, -power, 0))
    unit = unit / jnp.maximum(norm(unit), 0.1)[:, None]
    count = jnp.sum(alive)
    return (jnp.sum(jnp.abs(jnp.sum(unit, axis=0)) ** 2) - count) / (count * (count - 1))


def _credit(params: Params, rows: _CreditRow, sums: _CreditRow) -> WeightCredit:
    """From rows by timestep to numbers by lag."""
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".") or "params"
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if is_float(leaf)
    ]
    norms, agreement, inner, own = (np.asarray(part, np.float64)[::-1] for part in (*rows[:2], *sums[2:]))
    total = float(own[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = 10.0 ** np.minimum(own - total, 150.0)
        missing = np.sqrt(np.maximum(1 - 2 * inner + ratio**2, 0))
        cosine = inner / ratio
    log10_norm = dict(zip([*names, ALL], norms.T, strict=True))
    return WeightCredit(log10_norm, inner, cosine, missing, agreement, total)
