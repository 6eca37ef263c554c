"""The spectrum of the chain of Jacobians: how much every direction of the state is stretched on the way back.

With Jₜ = ∂sₜ/∂sₜ₋₁, what leads from the last state that a gradient starts at to the one at lag k is

    P_k = J_{T-k+1}ᵀ ⋯ J_{T-1}ᵀ,   P_1 = 1

so that a loss at the last output has |λ_{T-k}| / |λ_{T-1}| between the smallest and the largest singular value of
P_k. The product is kept as Q · diag(2^e) · M by a QR decomposition at every timestep (Benettin et al. 1980,
"Lyapunov characteristic exponents ... part 2", Meccanica 15), and never multiplied out, so it has no floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from scipy.linalg import lapack, qr

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError
from gradlab.gradient.plain import LAGS, prepared, sampled_lags, states_and_outputs
from gradlab.gradient.reductions import Floats
from gradlab.gradient.state import split

_SEGMENT = 64
"""Timesteps whose Jacobians are in memory at a time."""
_APART = 120
"""Binades between rows from which on one does not move the singular value of the other."""


@dataclass(frozen=True)
class JacobianSpectrum:
    """What a chain of Jacobians does to the N directions of a state, in decades; B examples.

    Attributes:
        exponents: Lyapunov exponents, decades per timestep, (N, B), in falling order of their mean; the sum over N
            is the mean over timesteps 1..T-1 of log10 |det Jₜ|.
        lags: at which products were worked out, (L,), rising; 1 and T are among them.
        singular_values: log10 of the singular values of P_k at each of these lags, falling, (L, N, B).
        timestep: log10 of the largest and the smallest singular value of the Jacobian of one timestep, that which
            the state of lag k = 1..T enters, (2, T, B).
        log_det: log10 |det| of that Jacobian, (T, B).

    Example:
        >>> import jax
        >>> from gradlab.cells import rnn
        >>> cell = rnn(gain=0.5)  # 0.5 times an orthogonal matrix, and tanh' = 1 at 0
        >>> spectrum = jacobian_spectrum(cell, cell.init(jax.random.key(0), 1, 4), np.zeros((6, 2, 1)))
        >>> spectrum.exponents.round(3).T.tolist()[0], spectrum.singular_values[-1, 0].round(3).tolist()
        ([-0.301, -0.301, -0.301, -0.301], [-1.505, -1.505])
    """

    exponents: Floats
    lags: np.ndarray
    singular_values: Floats
    timestep: Floats
    log_det: Floats

    def __repr__(self) -> str:
        entries, examples = self.exponents.shape
        largest, smallest = self.exponents.mean(axis=1)[[0, -1]]
        return (
            f"<JacobianSpectrum: {entries} directions, {self.timestep.shape[1]} lags, {examples} examples, "
            f"exponents {largest:.3g} to {smallest:.3g} decades per timestep>"
        )


def jacobian_spectrum(
    cell: Any, params: Params, inputs: Any, carry: Carry | None = None, *, lags: int = LAGS
) -> JacobianSpectrum:
    """Lyapunov exponents and finite-time singular values of a cell along given inputs, without a floor.

    Jₜ = ∂sₜ/∂sₜ₋₁ of all float leaves of the state together, a complex entry as its real and imaginary part.

    Args:
        cell: as in `gradient_curve`, with a state.
        params: its parameters; None for the own weights of an object of a library.
        inputs: (T, B, I) with T and B of at least 1. The cost is T · B · N³ for N entries of a state.
        carry: the initial state s₀.
        lags: at how many lags, at least 2, evenly spread over the logarithm, singular values are worked out.

    Raises:
        GradlabError: `lags` is less than 2, the inputs have another shape, the cell has no state, or a Jacobian is
            not finite.

    Sources:
        Engelken, Wolf & Abbott (2023), "Lyapunov spectra of chaotic recurrent neural networks", section II;
        Pascanu, Mikolov & Bengio (2013), section 2.1.
    """
    cell, *given = prepared(cell, params, inputs, carry)
    chosen = sampled_lags(len(given[1]), lags)
    with jax.enable_x64(True):
        by_example = [_spectrum(jacobians, chosen) for jacobians in _by_example(cell, *given)]
    exponents, values, timestep, log_det = (np.stack(part, axis=-1) for part in zip(*by_example, strict=True))
    return JacobianSpectrum(exponents, chosen, values, timestep, log_det)


def log10_singular_values(exponent: np.ndarray, rows: Floats) -> Floats:
    """log10 of the singular values of diag(2^exponent) · rows, falling; small ones are as exact as large ones.

    LAPACK's preconditioned Jacobi method is relatively exact for graded rows (Drmač & Veselić 2008, "New fast and
    accurate Jacobi SVD algorithm I"). Rows far above a window of float64's range are taken out by projecting the
    others on what is orthogonal to them, and rows far below are left out: neither changes a singular value between
    them by more than its rounding.

    Args:
        exponent: (N,), base 2. rows: (N, N), each row of about 1; a zero row gives -inf.

    Example:
        >>> log10_singular_values(np.array([0, -10_000]), np.array([[1.0, 1.0], [0.0, 1.0]])).round(2).tolist()
        [0.15, -3010.45]
    """
    alive = np.any(rows != 0, axis=1)
    order = np.argsort(-exponent[alive], kind="stable")
    exponent, rows = exponent[alive][order], rows[alive][order]
    found = np.full(len(alive), -np.inf)
    done = 0
    while done < len(exponent):
        top = exponent[done]
        above = int(np.sum(exponent > top + _APART))
        window = slice(above, int(np.sum(exponent > top - 4 * _APART)))
        shown = slice(done, int(np.sum(exponent > top - 3 * _APART)))
        projected = rows[window] @ qr(rows[:above].T)[0][:, above:] if above else rows[window]
        scaled = np.ldexp(projected, (exponent[window] - top)[:, None])
        sva, *_, work, _, info = lapack.dgejsv(scaled.T, joba=0, jobu=3, jobv=3, jobr=0, jobp=0)
        if info:
            raise GradlabError(f"the singular values of a product of Jacobians did not converge (dgejsv: {info})")
        with np.errstate(divide="ignore"):
            values = np.log10(sva) + np.log10(work[0] / work[1]) + top * np.log10(2.0)
        found[shown] = values[shown.start - above : shown.stop - above]
        done = shown.stop
    return found


def _by_example(cell: Cell, params: Params, inputs: Array, start: Carry) -> Iterator[Iterator[Floats]]:
    """For each example the Jacobians J_T, ..., J_1."""
    states, _ = states_and_outputs(cell, params, inputs, start)
    jacobian = jax.jit(jax.vmap(lambda state, x_t: _jacobian(cell, params, state, x_t)))
    batch = inputs.shape[1]

    def backwards(example: int) -> Iterator[Floats]:
        own = slice(example, example + 1)
        rows = jax.tree.map(lambda leaf: leaf[:, own] if leaf.shape[1:2] == (batch,) else leaf, states)
        for end in range(len(inputs), 0, -_SEGMENT):
            part = slice(max(0, end - _SEGMENT), end)
            found = jacobian(jax.tree.map(lambda leaf, part=part: leaf[part], rows), inputs[part, own])
            found = np.asarray(found)
            if not np.isfinite(found).all():
                timestep = part.start + 1 + int(np.argmin(np.isfinite(found).all(axis=(1, 2))))
                raise GradlabError(f"the Jacobian of timestep {timestep} is not finite: the chain has no spectrum")
            yield from found[::-1]

    return (backwards(example) for example in range(batch))


def _jacobian(cell: Cell, params: Params, state: Carry, x_t: Array) -> Array:
    """∂sₜ/∂sₜ₋₁ (N, N) of one example."""
    floats, rebuild = split(state)
    flat, unravel = ravel_pytree(_real(floats))

    def step(flat: Array) -> Array:
        s_t, _ = cell.step(params, rebuild(_like(unravel(flat), floats)), x_t)
        return ravel_pytree(_real(split(s_t)[0]))[0]

    return jax.jacfwd(step)(flat)


def _real(floats: list[Array]) -> list[Any]:
    """Complex leaves as their real and imaginary part."""
    return [(leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else leaf for leaf in floats]


def _like(parts: list[Any], floats: list[Array]) -> list[Array]:
    """The reverse of `_real`."""
    return [
        lax.complex(*part) if jnp.iscomplexobj(leaf) else part for part, leaf in zip(parts, floats, strict=True)
    ]


def _spectrum(jacobians: Iterator[Floats], chosen: np.ndarray) -> tuple[Floats, Floats, Floats, Floats]:
    """Exponents (N,), singular values (L, N), largest and smallest by lag (2, T), log10 |det| by lag (T,)."""
    values, timestep, log_det, product = [], [], [], None
    for lag, jacobian in enumerate(jacobians, 1):
        product = product or _Product(len(jacobian))
        if lag > 1:  # J_T leads to the last state, after the one at lag 1
            product.extend(jacobian.T)
        if lag in chosen:
            values.append(log10_singular_values(product.exponent, product.rows))
        with np.errstate(divide="ignore"):
            timestep.append(np.log10(np.linalg.svd(jacobian, compute_uv=False)[[0, -1]]))
        log_det.append(np.linalg.slogdet(jacobian)[1] / np.log(10))
    assert product is not None
    exponents = np.sort(product.log10_diagonal / max(lag - 1, 1))[::-1]
    return exponents, np.stack(values), np.stack(timestep, axis=1), np.asarray(log_det)


class _Product:
    """A product of matrices as Q · diag(2^exponent) · rows · Pᵀ with orthogonal Q and a permutation P."""

    def __init__(self, size: int) -> None:
        self.orthogonal: Floats | None = None
        self.exponent = np.zeros(size, int)
        self.rows = np.eye(size)
        self.log10_diagonal = np.zeros(size)

    def extend(self, matrix: Floats) -> None:
        """Multiply by a matrix from the left."""
        if self.orthogonal is None:  # the directions of the first one, by falling size
            self.orthogonal, triangle, _ = qr(matrix, pivoting=True)
        else:
            self.orthogonal, triangle = qr(matrix @ self.orthogonal)
        diagonal = np.abs(np.diag(triangle))
        # What is left of a column that depends on those before it is rounding.
        lost = diagonal <= len(triangle) * np.finfo(float).eps * np.max(np.abs(triangle), axis=0)
        triangle[lost, lost] = 0.0
        with np.errstate(divide="ignore"):
            self.log10_diagonal += np.where(lost, -np.inf, np.log10(diagonal))
        self._combine(triangle)

    def _combine(self, triangle: Floats) -> None:
        used = (triangle != 0) & np.any(self.rows != 0, axis=1)
        top = np.max(np.where(used, self.exponent, -(2**62)), axis=1)
        powers = np.where(used, np.clip(self.exponent - top[:, None], -2000, 0), 0)
        rows = np.ldexp(triangle, powers) @ self.rows
        own = np.frexp(np.max(np.abs(rows), axis=1))[1]
        self.rows = np.ldexp(rows, -own[:, None])
        self.exponent = np.where(np.any(rows != 0, axis=1), top + own, 0)
