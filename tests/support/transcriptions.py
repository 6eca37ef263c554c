"""Cells of the literature in plain NumPy, example by example and block by block, from the equations of the papers.

Each takes the parameters of gradlab's cell and inputs (T, B, I), and returns the states as dicts, and the outputs.
"""

import numpy as np


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def blocks(params, names):
    """{gate: (W, U, b)}, with U None where the cell has no recurrent matrix."""
    cut = {
        name: np.split(np.asarray(params[name], np.float64), len(names), axis=-1)
        for name in ("w_x", "w_h", "b")
        if name in params
    }
    none = [None] * len(names)
    return dict(zip(names, zip(cut["w_x"], cut.get("w_h", none), cut["b"], strict=True), strict=True))


def numbers(params):
    return {name: np.asarray(leaf) for name, leaf in params.items()}


def zeros(inputs, size, dtype=np.float64):
    return np.zeros((inputs.shape[1], size), dtype)


def peephole(params, inputs):
    gate, p = blocks(params, "ifgo"), dict(zip("ifo", np.split(np.asarray(params["p"]), 3), strict=True))
    h, c, states = *[zeros(inputs, len(p["i"]))] * 2, []
    for x in inputs:
        net = {name: x @ w + h @ u + b for name, (w, u, b) in gate.items()}
        old = c
        c = sigma(net["f"] + old * p["f"]) * old + sigma(net["i"] + old * p["i"]) * np.tanh(net["g"])
        h = sigma(net["o"] + c * p["o"]) * np.tanh(c)
        states.append({"h": h, "c": c})
    return states, [s["h"] for s in states]


def normalised(x):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def layer_normalised(params, inputs):
    p, size = numbers(params), len(params["gain_c"])
    h, c, states = zeros(inputs, size), zeros(inputs, size), []
    for x in inputs:
        net = normalised(x @ p["w_x"]) * p["gain_x"] + normalised(h @ p["w_h"]) * p["gain_h"] + p["b"]
        i, f, g, o = (net[:, k * size : (k + 1) * size] for k in range(4))
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(normalised(c) * p["gain_c"] + p["b_c"])
        states.append({"h": h, "c": c})
    return states, [s["h"] for s in states]


def coupled(params, inputs):
    gate, size = blocks(params, "fgo"), len(params["w_h"])
    h, c, states = zeros(inputs, size), zeros(inputs, size), []
    for x in inputs:
        net = {name: x @ w + h @ u + b for name, (w, u, b) in gate.items()}
        candidate = np.tanh(net["g"])
        c = candidate + sigma(net["f"]) * (c - candidate)
        h = sigma(net["o"]) * np.tanh(c)
        states.append({"h": h, "c": c})
    return states, [s["h"] for s in states]


def unstabilised(params, inputs, forget):
    """sLSTM as equations 8 to 10 of its paper have it: c and n grow as exp does."""
    gate, size = blocks(params, "ifgo"), len(params["w_h"])
    h, c, n, states = zeros(inputs, size), zeros(inputs, size), zeros(inputs, size), []
    for x in inputs:
        net = {name: x @ w + h @ u + b for name, (w, u, b) in gate.items()}
        f = sigma(net["f"]) if forget == "sigmoid" else np.exp(net["f"])
        c, n = f * c + np.exp(net["i"]) * np.tanh(net["g"]), f * n + np.exp(net["i"])
        h = sigma(net["o"]) * c / n
        states.append({"h": h, "c": c, "n": n})
    return states, [s["h"] for s in states]


def minimal_gated(params, inputs):
    gate, h, states = blocks(params, "fg"), zeros(inputs, len(params["w_h"])), []
    (w_f, u_f, b_f), (w_g, u_g, b_g) = gate["f"], gate["g"]
    for x in inputs:
        f = sigma(x @ w_f + h @ u_f + b_f)
        h = h + f * (np.tanh(x @ w_g + (h * f) @ u_g + b_g) - h)
        states.append({"h": h})
    return states, [s["h"] for s in states]


def forget_gate_alone(params, inputs, beta):
    gate, h, states = blocks(params, "fg"), zeros(inputs, len(params["w_h"])), []
    for x in inputs:
        s, g = (x @ w + h @ u + b for w, u, b in gate.values())
        h = sigma(s) * h + (1 - sigma(s - beta)) * np.tanh(g)
        states.append({"h": h})
    return states, [s["h"] for s in states]


def minimal_gru(params, inputs):
    (w_z, _, b_z), (w_g, _, b_g) = blocks(params, "zg").values()
    h, states = zeros(inputs, len(b_z)), []
    for x in inputs:
        z = sigma(x @ w_z + b_z)
        h = (1 - z) * h + z * (x @ w_g + b_g)
        states.append({"h": h})
    return states, [s["h"] for s in states]


def minimal_lstm(params, inputs):
    gate, states = blocks(params, "fig"), []
    h = zeros(inputs, len(gate["f"][2]))
    for x in inputs:
        net = {name: x @ w + b for name, (w, _, b) in gate.items()}
        f, i = sigma(net["f"]), sigma(net["i"])
        h = f / (f + i) * h + i / (f + i) * net["g"]
        states.append({"h": h})
    return states, [s["h"] for s in states]


def independent(params, inputs, phi):
    p, states = numbers(params), []
    h = zeros(inputs, len(p["u"]))
    for x in inputs:
        h = phi(x @ p["w_x"] + h * p["u"] + p["b"])
        states.append({"h": h})
    return states, [s["h"] for s in states]


def cayley(params, negative):
    """W, by the inverse of I + A that the cell does not form."""
    a = np.asarray(params["a"])
    skew = np.triu(a, 1) - np.triu(a, 1).T
    signs = np.array([-1.0] * negative + [1.0] * (len(a) - negative))
    return np.linalg.inv(np.eye(len(a)) + skew) @ (np.eye(len(a)) - skew) @ np.diag(signs)


def orthogonal(params, inputs, negative):
    p, w, states = numbers(params), cayley(params, negative), []
    h = zeros(inputs, len(w))
    for x in inputs:
        net = x @ p["w_x"] + h @ w
        h = np.sign(net) * np.maximum(np.abs(net) + p["b"], 0)
        states.append({"h": h})
    return states, [s["h"] for s in states]


def oscillators(params, inputs, dt, gamma, epsilon):
    """Explicit Euler in the velocity, then in the position with the new velocity."""
    p, states = numbers(params), []
    weights = np.concatenate([p["w_x"], p["w_h"], p["w_z"]])
    y, z = zeros(inputs, len(p["b"])), zeros(inputs, len(p["b"]))
    for x in inputs:
        force = np.tanh(np.concatenate([x, y, z], axis=1) @ weights + p["b"])
        z = z + dt * force - dt * gamma * y - dt * epsilon * z
        y = y + dt * z
        states.append({"h": y, "z": z})
    return states, [s["h"] for s in states]


def linear_recurrent(params, inputs):
    """By powers of λ and a sum over the past, not by a recurrence."""
    p = numbers(params)
    size = np.exp(-np.exp(p["nu"]))
    lam = size * (np.cos(np.exp(p["theta"])) + 1j * np.sin(np.exp(p["theta"])))
    driven = np.einsum("tbi,ij->tbj", inputs, p["w_x"]) * np.exp(p["gamma"])
    states = [{"h": sum(lam ** (t - s) * driven[s] for s in range(t + 1))} for t in range(len(inputs))]
    outputs = [
        s["h"].real @ p["w_y"].real - s["h"].imag @ p["w_y"].imag + x @ p["d"]
        for s, x in zip(states, inputs, strict=True)
    ]
    return states, outputs
