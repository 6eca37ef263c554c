"""A second route to the gradients at the states of torch's recurrent modules: unrolled, with zeros added to them.

The cells are torch's own functions; `torch.autograd.grad` with respect to the zeros is the gradient at the states.
"""

import numpy as np
import torch

CELLS = {
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
}


def unrolled(module, x, start):
    """Outputs (T, B, ·), final states, and {(layer, side, leaf): [zeros that were added, by timestep]}."""
    added, finals, inputs = {}, [], x
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        sides = []
        for side in range(directions):
            suffix = f"_l{layer}" + "_reverse" * side
            state = [each[layer * directions + side] for each in start]
            rows = range(len(x)) if side == 0 else range(len(x) - 1, -1, -1)
            outputs = {}
            for t in rows:
                for leaf, each in enumerate(state):
                    zero = torch.zeros_like(each, requires_grad=True)
                    added.setdefault((layer, side, "hc"[leaf]), []).append(zero)
                    state[leaf] = each + zero
                state = step(module, suffix, inputs[t], state)
                outputs[t] = state[0]
            finals.append(state)
            sides.append(torch.stack([outputs[t] for t in range(len(x))]))
        inputs = torch.cat(sides, dim=-1)
    return inputs, [torch.stack(each) for each in zip(*finals, strict=True)], added


def step(module, suffix, x_t, state):
    weights = [getattr(module, name + suffix, None) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    if not module.proj_size:
        given = tuple(state) if module.mode == "LSTM" else state[0]
        found = CELLS[module.mode](x_t, given, *weights)
        return list(found) if module.mode == "LSTM" else [found]
    pre = x_t @ weights[0].T + weights[2] + state[0] @ weights[1].T + weights[3]
    i, f, g, o = pre.chunk(4, dim=1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return [(torch.sigmoid(o) * torch.tanh(c)) @ getattr(module, "weight_hr" + suffix).T, c]


def state_gradients(loss, added):
    """{(layer, side, leaf): log10 norms (T, B), row t is of the state that enters timestep t + 1}."""
    zeros = [zero for rows in added.values() for zero in rows]
    found = iter(torch.autograd.grad(loss, zeros, allow_unused=True))
    norms = {}
    for key, rows in added.items():
        values = [
            torch.zeros_like(zero) if each is None else each for zero, each in zip(rows, found, strict=False)
        ]
        rows = torch.stack(values).numpy()
        top = np.abs(rows).max(axis=-1, keepdims=True)  # its square would underflow
        with np.errstate(divide="ignore", invalid="ignore"):
            norms[key] = np.log10(top[..., 0]) + 0.5 * np.log10(np.sum((rows / top) ** 2, axis=-1))
    return norms
