"""A scan over eqx.nn.LSTMCell or GRUCell, mapped over examples as equinox means it; there is no plain RNN cell."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from bench.case import INPUT, Case, initial_weights
from bench.contenders.jax_training import JaxPeer

CELLS = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}


class Model(eqx.Module):
    cell: Any
    readout: eqx.nn.Linear

    def __init__(self, case: Case) -> None:
        key = jax.random.key(0)
        self.cell = CELLS[case.cell](INPUT, case.hidden, key=key)
        self.readout = eqx.nn.Linear(case.hidden, 1, key=key)

    def __call__(self, inputs: Any) -> Any:
        def timestep(state: Any, x_t: Any) -> tuple[Any, None]:
            return jax.vmap(self.cell)(x_t, state), None

        zeros = jnp.zeros((inputs.shape[1], self.cell.hidden_size))
        gated = isinstance(self.cell, eqx.nn.LSTMCell)
        final, _ = jax.lax.scan(timestep, (zeros, zeros) if gated else zeros, inputs)
        return jax.vmap(self.readout)(final[0] if gated else final)[:, 0]


def make(case: Case, problem: str) -> JaxPeer:
    weights = {name: jnp.asarray(value) for name, value in initial_weights(case).items()}

    def parts(model: Any) -> tuple[Any, ...]:
        cell, readout = model.cell, model.readout
        return cell.weight_ih, cell.weight_hh, cell.bias, readout.weight, readout.bias

    own = (weights["w_x"].T, weights["w_h"].T, weights["b"], weights["out_w"].T, weights["out_b"])
    model = eqx.tree_at(parts, Model(case), own)
    if case.cell == "gru":
        model = eqx.tree_at(lambda model: model.cell.bias_n, model, jnp.zeros(case.hidden))
    params, rest = eqx.partition(model, eqx.is_array)

    def loss(params: Any, taps: Any, inputs: Any, targets: Any) -> Any:
        return jnp.mean((eqx.combine(params, rest)(inputs) - targets) ** 2)

    def weights_of(grads: Any) -> Any:
        w_x, w_h, b, out_w, out_b = parts(grads)
        return {"w_x": w_x.T, "w_h": w_h.T, "b": b, "out_w": out_w.T, "out_b": out_b}

    return JaxPeer(case, problem, params, loss, weights_of, {})
