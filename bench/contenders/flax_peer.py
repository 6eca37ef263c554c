"""flax.nnx.RNN over the cells of flax: OptimizedLSTMCell, GRUCell, SimpleCell.

OptimizedLSTMCell computes what LSTMCell does with one product for all gates. GRUCell has no bias inside the reset
gate, which is gradlab's GRU at `b_n` = 0.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from bench.case import INPUT, Case, initial_weights
from bench.contenders.jax_training import JaxPeer

CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}


class Model(nnx.Module):
    def __init__(self, case: Case) -> None:
        rngs = nnx.Rngs(0)
        self.rnn = nnx.RNN(CELLS[case.cell](INPUT, case.hidden, rngs=rngs), time_major=True, rngs=False)
        self.readout = nnx.Linear(case.hidden, 1, rngs=rngs)

    def __call__(self, inputs: Any, carry: Any) -> Any:
        return self.readout(self.rnn(inputs, initial_carry=carry)[-1])[:, 0]


def make(case: Case, problem: str) -> JaxPeer:
    model = Model(case)
    weights = initial_weights(case)
    cell = model.rnn.cell
    cell.dense_i.kernel[...] = jnp.asarray(weights["w_x"])
    cell.dense_h.kernel[...] = jnp.asarray(weights["w_h"])
    (cell.dense_h if case.cell == "lstm" else cell.dense_i).bias[...] = jnp.asarray(weights["b"])
    model.readout.kernel[...] = jnp.asarray(weights["out_w"])
    model.readout.bias[...] = jnp.asarray(weights["out_b"])
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params: Any, taps: Any, inputs: Any, targets: Any) -> Any:
        zeros = jnp.zeros((case.batch, case.hidden))
        carry = (zeros, zeros) if case.cell == "lstm" else zeros
        return jnp.mean((nnx.merge(graph, params, rest)(inputs, carry) - targets) ** 2)

    def weights_of(grads: Any) -> Any:
        pure = nnx.to_pure_dict(grads)
        cell, readout = pure["rnn"]["cell"], pure["readout"]
        bias = cell["dense_h" if case.cell == "lstm" else "dense_i"]["bias"]
        found = {"w_x": cell["dense_i"]["kernel"], "w_h": cell["dense_h"]["kernel"], "b": bias}
        return found | {"out_w": readout["kernel"], "out_b": readout["bias"]}

    return JaxPeer(case, problem, params, loss, weights_of, {})
