"""Weights of PyTorch's recurrent modules as parameters of the built-in cells. NumPy only.

PyTorch has the same gate orders (LSTM i, f, g, o; GRU r, z, n), transposed matrices (G·H, I), and two biases.
They are one, b = b_ih + b_hh, but for the gate n of a GRU, whose second one is inside the reset: b_n.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError

Arrays = Mapping[str, NDArray]
BLOCKS = {1: "rnn", 3: "gru", 4: "lstm"}
"""The cell by the number of gate blocks."""


def kind_of(weights: Arrays) -> str:
    """`rnn`, `gru` or `lstm`, by the shape of `weight_hh` (G·H, H).

    Raises:
        GradlabError: it is none of these, or projects its state.
    """
    rows, columns = weights["weight_hh"].shape
    if "weight_hr" in weights:
        raise GradlabError(
            "an LSTM with proj_size has no counterpart among the built-in cells: watch the module itself"
        )
    if rows % columns or rows // columns not in BLOCKS:
        raise GradlabError(
            f"weight_hh has shape {(rows, columns)}: an RNN, GRU or LSTM has 1, 3 or 4 times H rows"
        )
    return BLOCKS[rows // columns]


def to_params(weights: Arrays) -> dict[str, NDArray]:
    """`w_x`, `w_h`, `b` and, of a GRU, `b_n`.

    Args:
        weights: `weight_ih` (G·H, I), `weight_hh` (G·H, H) and, if there are any, `bias_ih`, `bias_hh` (G·H,).

    Example:
        >>> weights = {"weight_ih": np.ones((6, 1)), "weight_hh": np.ones((6, 2)), "bias_hh": np.arange(6.0)}
        >>> found = to_params(weights)
        >>> found["w_x"].shape, found["b"].tolist(), found["b_n"].tolist()
        ((1, 6), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0], [4.0, 5.0])
    """
    kind, (rows, hidden) = kind_of(weights), weights["weight_hh"].shape
    zeros = np.zeros(rows, weights["weight_hh"].dtype)
    inner, outer = weights.get("bias_hh", zeros), weights.get("bias_ih", zeros)
    params = {"w_x": weights["weight_ih"].T, "w_h": weights["weight_hh"].T, "b": outer + inner}
    if kind == "gru":
        params["b"] = outer + np.where(np.arange(rows) < 2 * hidden, inner, 0)
        params["b_n"] = inner[2 * hidden :]
    return params
