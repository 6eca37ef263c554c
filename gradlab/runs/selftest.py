"""Self-test: known faults of XLA and JAX, reproduced on this machine."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.gradient import gradient_curve
from gradlab.gradient.program import product_precision


class SelfTest(NamedTuple):
    """One known fault and its reproduction.

    Attributes:
        name: of the check. seen: what was measured.
        reproduced: whether the fault occurs. harmful: whether it affects gradlab's numbers or times.
        advice: what to do, or why nothing needs to be done.
    """

    name: str
    seen: str
    reproduced: bool
    harmful: bool
    advice: str


def check_all() -> list[SelfTest]:
    """Run every reproducer; a few seconds."""
    return [wrong_sums(), rounded_products(), norms_that_read_zero(), floor_free_curve(), quadratic_scan_output()]


def wrong_sums() -> SelfTest:
    """jax#39103: jaxlib 0.10.2 on CPU, many small matrix-vector products squared and summed under jit."""
    count = 32_769  # the fault needs many rows; at 32,768 there is none
    rows = np.zeros((count, 3), np.float32)
    rows[:, 0] = np.arange(count)
    expected = np.square(rows[:, 0].astype(np.float64))
    identity = jnp.eye(3, dtype=jnp.float32)

    @jax.jit
    def squared_lengths(rows: Array) -> Array:
        return jax.vmap(lambda row: jnp.sum(jnp.square(identity @ row)))(rows)

    with jax.default_matmul_precision(product_precision()):
        got = np.asarray(squared_lengths(jnp.asarray(rows)), np.float64)
    worst = float(np.max(np.abs(got - expected) / np.maximum(expected, 1.0)))
    return SelfTest(
        "sums of squares (jax#39103)",
        f"largest relative error {worst:.1g}",
        worst > 1e-4,
        worst > 1e-4,
        "install another jaxlib (0.10.2 is at fault), or set "
        "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-reduce",
    )


def rounded_products() -> SelfTest:
    """A GPU rounds the factors of a float32 product to 11 bits unless it is asked for all of float32."""
    left, right = np.random.default_rng(0).standard_normal((2, 256, 256), np.float32)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    size = np.abs(left) @ np.abs(right)

    def error(precision: str | None) -> float:
        with jax.default_matmul_precision(precision):
            got = jax.jit(jnp.matmul)(jnp.asarray(left), jnp.asarray(right))
        return float(np.max(np.abs(np.asarray(got, np.float64) - exact) / size))

    plain, full = error(None), error("highest")
    return SelfTest(
        "matrix products",
        f"largest relative error {plain:.1g}, {full:.1g} where all of float32 is asked for",
        max(plain, full) > 1e-5,
        full > 1e-5,
        "gradlab asks for all of float32, in training unless JAX_DEFAULT_MATMUL_PRECISION says otherwise; where a "
        "device gives less even then, set JAX_PLATFORMS=cpu",
    )


def norms_that_read_zero() -> SelfTest:
    """jax#5816: in float32 a plain norm reads 0 below 1e-19; gradlab's own does not use it."""
    true = np.sqrt(128.0) * 3e-20
    read = float(jax.jit(jnp.linalg.norm)(jnp.full((128,), 3e-20, jnp.float32)))
    return SelfTest(
        "plain norms (jax#5816)",
        f"a norm of {true:.2g} reads {read:.2g}",
        read == 0.0,
        False,
        "gradlab is not affected: its norms carry an exponent; do not judge small gradients by jnp.linalg.norm",
    )


class _Halving:
    """A linear cell whose gradient halves at every timestep: the curve is known exactly."""

    def init(self, key: Array, input_size: int, hidden_size: int) -> None:
        """It has no parameters."""

    def carry(self, params: None, batch_size: int) -> Array:
        """A state of two units."""
        return jnp.zeros((batch_size, 2))

    def step(self, params: None, carry: Array, x_t: Array) -> tuple[Array, Array]:
        """Half of the state, plus the input."""
        h_t = 0.5 * carry + x_t
        return h_t, h_t


def floor_free_curve() -> SelfTest:
    """The instrument itself on this device: a gradient that halves 5,000 times ends at 1e-1505."""
    timesteps = 5000
    curve = gradient_curve(_Halving(), None, jnp.zeros((timesteps, 1, 2)), lambda y: y[-1].sum(axis=-1))
    expected = (1 - timesteps) * np.log10(2)
    error = abs(curve.span() - expected)
    return SelfTest(
        "gradient curve of a known cell",
        f"10^{curve.span():.1f} over {timesteps} timesteps, error {error:.1g} decades",
        not error < 1e-3,
        not error < 1e-3,
        "the instrument is wrong on this device: set JAX_PLATFORMS=cpu and report this",
    )


def quadratic_scan_output() -> SelfTest:
    """jax#40101: in jaxlib 0.11.1 a scan that emits a number per step takes time quadratic in its length."""

    def seconds(length: int) -> float:
        def emit(total: Array, x: Array) -> tuple[Array, Array]:
            return total + x, total

        program = jax.jit(lambda xs: lax.scan(emit, jnp.zeros(()), xs)[1])
        xs = jnp.ones((length,))
        jax.block_until_ready(program(xs))
        times = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready(program(xs))
            times.append(time.perf_counter() - started)
        return min(times)

    short, long = seconds(10_000), seconds(80_000)
    growth = long / short
    return SelfTest(
        "scan output (jax#40101)",
        f"8 times the length takes {growth:.0f} times as long",
        growth > 30,
        growth > 30,
        "install another jaxlib (0.11.1 is at fault): long sequences take far too long",
    )
