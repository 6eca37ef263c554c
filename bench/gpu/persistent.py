"""What one kernel for all timesteps would give: an LSTM in Pallas (Triton), against the scan of `unroll`.

    forward   one program an example; it keeps c and reads all of W_h from the L2 cache at every timestep
    backward  the same with W_hᵀ; the weight gradients are one matrix product at the end, as in `unroll`

Both sides compute the value and the gradient of one loss; neither records norms.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from bench import say
from bench.case import Case
from bench.gpu.record import Record
from bench.gpu.scale import Scale
from gradlab import get_cell
from gradlab.training.unroll import unroll

TILES = ((8, 16), (16, 16), (32, 8), (64, 8))
"""Rows of W_h that are read at a time, and warps of a program."""
CALLS = 20


class Launch(NamedTuple):
    """How a kernel is compiled: rows of weights at a time, warps; interpreted where there is no GPU."""

    rows: int
    warps: int
    interpreted: bool

    def call(
        self, kernel: Callable[..., None], widths: list[int], like: Array, arrays: list[Array]
    ) -> list[Array]:
        """Run one program an example on arrays (T, B, ·), (B, ·) and whole weights (2-D, first in `arrays`)."""
        steps, examples, _ = like.shape
        over_time = [pl.BlockSpec((steps, 1, width), lambda b: (0, b, 0)) for width in widths]
        inputs = [
            pl.BlockSpec(array.shape, lambda b: (0, 0))
            if index == 0
            else pl.BlockSpec((steps, 1, array.shape[-1]), lambda b: (0, b, 0))
            if array.ndim == 3
            else pl.BlockSpec((1, array.shape[-1]), lambda b: (b, 0))
            for index, array in enumerate(arrays)
        ]
        found: list[Array] = pl.pallas_call(
            kernel,
            grid=(examples,),
            out_shape=[jax.ShapeDtypeStruct((steps, examples, width), like.dtype) for width in widths],
            in_specs=inputs,
            out_specs=over_time,
            compiler_params=triton.CompilerParams(num_warps=self.warps),
            interpret=self.interpreted,
        )(*arrays)
        return found

    def wait(self) -> None:
        """Until every thread sees what the others have stored."""
        if not self.interpreted:
            triton.debug_barrier()


def product(
    launch: Launch, load: Callable[[Any], Array], tile: Callable[[Any, int], Array], rows: int
) -> list[Array]:
    """Σₖ v[k] W[k] for the four blocks of columns, a tile of rows at a time."""
    size = tile(0, 0).shape[1]

    def add(j: Any, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(one + load((j, q))[:, None] * tile(j * launch.rows, q) for q, one in enumerate(sums))

    zero = jnp.zeros((launch.rows, size), jnp.float32)
    return [one.sum(axis=0) for one in lax.fori_loop(0, rows // launch.rows, add, (zero,) * 4)]


def forward(launch: Launch, w_h: Array, z: Array, start: Array) -> list[Array]:
    """hₜ, cₜ, hₜ₋₁ (T, B, H) and the squashed gates (T, B, 4H), from z = x Wₓ + b and h₀ = c₀."""
    size = w_h.shape[0]

    def kernel(w: Any, z: Any, start: Any, h: Any, c: Any, before: Any, gates: Any) -> None:
        before[0, 0, :] = start[0, :]

        def timestep(t: Any, c_tm1: Array) -> Array:
            launch.wait()
            pre = product(
                launch,
                lambda at: before[t, 0, pl.ds(at[0] * launch.rows, launch.rows)],
                lambda row, q: w[pl.ds(row, launch.rows), pl.ds(q * size, size)],
                size,
            )
            i, f, g, o = (one + z[t, 0, pl.ds(q * size, size)] for q, one in enumerate(pre))
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            c_t = f * c_tm1 + i * g
            h_t = o * jnp.tanh(c_t)
            h[t, 0, :], c[t, 0, :] = h_t, c_t
            for q, one in enumerate((i, f, g, o)):
                gates[t, 0, pl.ds(q * size, size)] = one

            @pl.when(t + 1 < z.shape[0])
            def _() -> None:
                before[t + 1, 0, :] = h_t

            return c_t

        lax.fori_loop(0, z.shape[0], timestep, start[0, :])

    return launch.call(kernel, [size, size, size, 4 * size], z, [w_h, z, start])


def backward(launch: Launch, w_h: Array, gates: Array, c: Array, start: Array, d_y: Array) -> list[Array]:
    """δₜ (T, B, 4H) with respect to the pre-activations, from the cotangent of hₜ."""
    size = w_h.shape[0]

    def kernel(w: Any, gates: Any, c: Any, start: Any, d_y: Any, d_pre: Any) -> None:
        def timestep(n: Any, carried: tuple[Array, Array]) -> tuple[Array, Array]:
            t = gates.shape[0] - 1 - n
            d_h, d_c = carried[0] + d_y[t, 0, :], carried[1]
            i, f, g, o = (gates[t, 0, pl.ds(q * size, size)] for q in range(4))
            squashed = jnp.tanh(c[t, 0, :])
            c_tm1 = jnp.where(t > 0, c[jnp.maximum(t - 1, 0), 0, :], start[0, :])
            d_c = d_c + d_h * o * (1 - squashed * squashed)
            each = (d_c * g * i * (1 - i), d_c * c_tm1 * f * (1 - f), d_c * i * (1 - g * g))
            for q, one in enumerate((*each, d_h * squashed * o * (1 - o))):
                d_pre[t, 0, pl.ds(q * size, size)] = one
            launch.wait()
            parts = product(
                launch,
                lambda at: d_pre[t, 0, pl.ds(at[1] * size + at[0] * launch.rows, launch.rows)],
                lambda row, q: w[pl.ds(q * size + row, launch.rows), :],
                size,
            )
            return parts[0] + parts[1] + parts[2] + parts[3], d_c * f

        zero = jnp.zeros(size, jnp.float32)
        lax.fori_loop(0, gates.shape[0], timestep, (zero, zero))

    return launch.call(kernel, [4 * size], c, [w_h.T, gates, c, start, d_y])


def lstm(launch: Launch) -> Callable[[Any, Array], Array]:
    """The outputs (T, B, H) of a built-in LSTM that starts at zero, differentiable in its parameters."""

    @jax.custom_vjp
    def run(params: Any, inputs: Array) -> Array:
        return ahead(params, inputs)[0]

    def ahead(params: Any, inputs: Array) -> tuple[Array, Any]:
        start = jnp.zeros((inputs.shape[1], params["w_h"].shape[0]))
        h, *saved = forward(launch, params["w_h"], inputs @ params["w_x"] + params["b"], start)
        return h, (params, inputs, start, *saved)

    def back(saved: Any, d_y: Array) -> tuple[Any, None]:
        params, inputs, start, c, before, gates = saved
        (d_pre,) = backward(launch, params["w_h"], gates, c, start, d_y)
        flat = d_pre.reshape(-1, d_pre.shape[-1])
        rows = {name: one.reshape(len(flat), -1).T @ flat for name, one in {"w_h": before, "w_x": inputs}.items()}
        return rows | {"b": flat.sum(axis=0)}, None

    run.defvjp(ahead, back)
    return run


def run(record: Record, scale: Scale) -> None:
    """Each tiling against the scan: the largest relative error of the gradients, and both times, in turns."""
    case, interpreted = scale.cases[0], jax.default_backend() == "cpu"
    jax.config.update("jax_default_matmul_precision", "highest")
    cell, key = get_cell("lstm"), jax.random.key(0)
    params = cell.init(key, 2, case.hidden)
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (case.length, case.batch, 2))
    scan = gradient(lambda p, x: unroll(cell, p, x))
    for rows, warps in TILES:
        if case.hidden % rows:
            continue
        kernel = gradient(lstm(Launch(rows, warps, interpreted)))
        error = largest_error(scan(params, inputs), kernel(params, inputs))
        rounds = [[timed(side, params, inputs) for side in (scan, kernel)] for _ in range(scale.rounds)]
        both = {name: [one[side] for one in rounds] for side, name in enumerate(("scan", "kernel"))}
        record.put("kernel", **{f"{rows} rows, {warps} warps": {"error": error, "case": title(case)} | both})
        say(f"kernel of {rows} rows and {warps} warps: error {error:.1e}, {min(both['kernel']):.3g} ms")


def gradient(outputs: Callable[[Any, Array], Array]) -> Callable[[Any, Array], Any]:
    return jax.jit(jax.value_and_grad(lambda params, inputs: jnp.square(outputs(params, inputs)).mean()))


def largest_error(found: Any, other: Any) -> float:
    pairs = zip(map(np.asarray, jax.tree.leaves(found)), map(np.asarray, jax.tree.leaves(other)), strict=True)
    return float(max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs))


def timed(call: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    for _ in range(CALLS):
        found = call(*arguments)
    jax.block_until_ready(found)
    return 1e3 * (time.perf_counter() - began) / CALLS


def title(case: Case) -> str:
    return f"{case.cell} {case.length},{case.hidden},{case.batch}"
