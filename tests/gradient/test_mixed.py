"""Against NumPy: operands rounded by hand, sums in float32."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from gradlab.gradient.mixed import MixedPrecision
from gradlab.gradient.precision import precision_curves

HIDDEN, BATCH = 4, 3


def rounded(values):
    return np.asarray(values, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


@jax.custom_jvp
def product_with_jvp(h, w):
    return h @ w


@product_with_jvp.defjvp
def _(primals, tangents):
    return product_with_jvp(*primals), tangents[0] @ primals[1] + primals[0] @ tangents[1]


@jax.custom_vjp
def product_with_vjp(h, w):
    return h @ w


product_with_vjp.defvjp(lambda h, w: (h @ w, (h, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))


def looped(h, w):
    rows = lax.scan(lambda _, row: (None, row @ w), None, h)[1]
    return lax.cond(h.sum() > 1e9, lambda: h, lambda: rows)


PRODUCTS = {
    "plain": lambda h, w: h @ w,
    "jit": jax.jit(lambda h, w: h @ w),
    "checkpoint": jax.checkpoint(lambda h, w: h @ w),
    "custom jvp": product_with_jvp,
    "custom vjp": product_with_vjp,
    "scan and cond": looped,
}


class Tanh:
    def __init__(self, product):
        self.product = product

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, HIDDEN), params["w"].dtype)}

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(self.product(carry["h"], params["w"]) + x_t)
        return {"h": h_t}, h_t


@pytest.fixture(scope="module")
def given():
    draws = np.random.default_rng(0).standard_normal
    return {name: draws(shape).astype(np.float32) for name, shape in SHAPES.items()}


SHAPES = {"w": (HIDDEN, HIDDEN), "h": (BATCH, HIDDEN), "x": (BATCH, HIDDEN), "g": (BATCH, HIDDEN)}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_operands_are_rounded_in_both_passes_however_a_timestep_is_written(given, kind):
    w, h, x, g = given.values()
    cell = MixedPrecision(Tanh(PRODUCTS[kind]))

    @jax.jit
    def timestep(w, h):
        y_t, pullback = jax.vjp(lambda w, h: cell.step({"w": w}, {"h": h}, x)[1], w, h)
        return y_t, *pullback(g)

    y_t, dw, dh = timestep(w, h)
    expected = np.tanh(rounded(h) @ rounded(w) + x)
    before = g * (1 - expected**2)
    np.testing.assert_allclose(y_t, expected, atol=1e-6)
    # A float32 that lies between two numbers of bfloat16 may go either way after another rounding of tanh.
    np.testing.assert_allclose(dh, rounded(before) @ rounded(w).T, atol=2e-6)
    np.testing.assert_allclose(dw, rounded(h).T @ rounded(before), atol=2e-6)
    assert np.abs(dh - before @ w.T).max() > 1e-3


def test_the_curve_of_a_linear_network_is_that_of_rounded_vectors(given):
    """λ_{t-1} = round(W) round(λ_t), loop by loop."""

    class Linear(Tanh):
        def step(self, params, carry, x_t):
            h_t = carry["h"] @ params["w"] + x_t
            return {"h": h_t}, h_t

    inputs = np.zeros((60, 1, HIDDEN), np.float32)
    (found,) = precision_curves(
        Linear(None), {"w": given["w"]}, inputs, lambda y: y[-1].sum(axis=-1), dtypes=["mixed"]
    )
    adjoint, norms = np.ones(HIDDEN, np.float32), []
    for _ in range(60):
        adjoint = (rounded(given["w"]) @ rounded(adjoint)).astype(np.float32)
        norms.append(np.log10(np.linalg.norm(adjoint.astype(np.float64))))
    np.testing.assert_allclose(found.plain[:, 0], norms, atol=1e-3)
    assert np.abs(found.exact[:, 0] - norms).max() > 3e-3
