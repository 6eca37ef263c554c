"""What every contender is compared with: loss, gradients and norms in float64, by `jax.grad` of a plain scan.

Written without gradlab's cells, unrolling or training; only the data come from there, the first batch of a run.
`python -m bench.reference CASE FILE` writes them for a case given as JSON, with initial weights and batch.
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bench.case import LEAVES, Case, Weights, initial_weights
from gradlab.tasks.adding import adding
from gradlab.training.keys import stream

SEED = 0
State = dict[str, Array]


def lstm_step(w: Any, s: State, x_t: Array) -> State:
    i, f, g, o = jnp.split(x_t @ w["w_x"] + s["h"] @ w["w_h"] + w["b"], 4, axis=1)
    c = jax.nn.sigmoid(f) * s["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}


def gru_step(w: Any, s: State, x_t: Array) -> State:
    """The reset gate after the product, and no bias inside it."""
    of_x = jnp.split(x_t @ w["w_x"] + w["b"], 3, axis=1)
    of_h = jnp.split(s["h"] @ w["w_h"], 3, axis=1)
    r, z = jax.nn.sigmoid(of_x[0] + of_h[0]), jax.nn.sigmoid(of_x[1] + of_h[1])
    return {"h": (1 - z) * jnp.tanh(of_x[2] + r * of_h[2]) + z * s["h"]}


def rnn_step(w: Any, s: State, x_t: Array) -> State:
    return {"h": jnp.tanh(x_t @ w["w_x"] + s["h"] @ w["w_h"] + w["b"])}


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


def loss_with_taps(cell: str, w: Any, taps: State, inputs: Array, targets: Array) -> Array:
    """The mean squared error of the last output; `taps` (T, B, H) are added to states entering a timestep."""

    def timestep(s: State, given: tuple[Array, State]) -> tuple[State, None]:
        x_t, taps_t = given
        return STEPS[cell](w, jax.tree.map(jnp.add, s, taps_t), x_t), None

    start = jax.tree.map(lambda tap: jnp.zeros_like(tap[0]), taps)
    final, _ = lax.scan(timestep, start, (inputs, taps))
    return jnp.mean(((final["h"] @ w["out_w"] + w["out_b"])[:, 0] - targets) ** 2)


def zero_taps(case: Case, dtype: Any) -> State:
    return {leaf: jnp.zeros((case.length, case.batch, case.hidden), dtype) for leaf in LEAVES[case.cell]}


def timestep_norms(d_taps: State) -> State:
    """By leaf of the state, the norm (T,) over examples and units of what entered each timestep."""
    return {f"norm_{leaf}": jnp.sqrt(jnp.sum(d**2, axis=(1, 2))) for leaf, d in d_taps.items()}


def first_batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (T, B, I) and targets (B,) of the first training step of a gradlab run of seed 0, in float32."""
    batch = adding().sample(jax.random.fold_in(stream(SEED, "train"), 0), case.batch, case.length)
    return np.asarray(batch.inputs), np.asarray(batch.targets)


def reference(case: Case, weights: Weights, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """`loss`, the gradient of each weight by its name, and `norm_h` (and `norm_c`), all in float64."""
    with jax.enable_x64(True):
        w = {name: jnp.asarray(value, jnp.float64) for name, value in weights.items()}
        taps = zero_taps(case, jnp.float64)

        def loss(w: Any, taps: State) -> Array:
            return loss_with_taps(case.cell, w, taps, jnp.asarray(inputs, jnp.float64), jnp.asarray(targets))

        value, (d_w, d_taps) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(w, taps)
        found = {"loss": value} | d_w | timestep_norms(d_taps)
        return {name: np.asarray(number, np.float64) for name, number in found.items()}


def main() -> None:
    case, path = Case(**json.loads(sys.argv[1])), sys.argv[2]
    weights = initial_weights(case)
    inputs, targets = first_batch(case)
    truth = {f"truth/{name}": value for name, value in reference(case, weights, inputs, targets).items()}
    given: dict[str, Any] = {f"weights/{name}": value for name, value in weights.items()}
    np.savez(path, allow_pickle=False, inputs=inputs, targets=targets, **given, **truth)


if __name__ == "__main__":
    main()
