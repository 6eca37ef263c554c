"""What is known of the built-in cells: their equations, their Jacobians, and what the gate alone would do."""

import math as m
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.runs.lesson import PLAIN

Floats = NDArray[np.float64]
Line = tuple[str, str]
"""An equation in the notation of `mathml.py`, and what it says in words."""


class Known(NamedTuple):
    """The equations of a cell, the Jacobian of its timestep, and the sentences between them."""

    equations: tuple[Line, ...]
    jacobian: tuple[Line, ...]
    flow: tuple[str, ...]


_SLOPES = {
    "tanh": ("1 - h_t^2", "1 − h², which is at most 1 and nearly 0 where a unit is saturated"),
    "relu": ("relu' ( a_t )", "of its units, 1 where a unit is active and 0 where it is not"),
    "sigmoid": ("h_t ⊙ ( 1 - h_t )", "h (1 − h), which is at most 1/4"),
}


def known(family: str, traits: Mapping[str, Any]) -> Known | None:
    """The equations of a built-in cell; None for a cell of one's own.

    Args:
        family: rnn, lstm, gru, or anything else. traits: `activation`, `forget_gate`.
    """
    if family == "rnn":
        return _rnn(traits["activation"])
    if family == "lstm":
        return _lstm(traits["forget_gate"])
    return _GRU if family == "gru" else None


def _rnn(activation: str) -> Known:
    diagonal, words = _SLOPES[activation]
    name = "σ" if activation == "sigmoid" else activation
    return Known(
        (
            ("a_t = W_h h_{t - 1} + W_x x_t + b", "the old state and the new input, mixed"),
            (f"h_t = {name} ( a_t )", "squashed: this is the new state, and the output"),
        ),
        ((f"J_t = ∂h_t/∂h_{{t-1}} = diag ( {diagonal} ) W_h", "one slope per unit, then the recurrent weights"),),
        (
            f"Every timestep multiplies the gradient by the recurrent weights and by the slope {words}.",
            "There is no second path: whatever reaches the past has passed through the recurrent weights at every "
            "timestep.",
        ),
    )


def _lstm(forget_gate: bool) -> Known:
    kept, diagonal = ("f_t ⊙ c_{t - 1}", "f_t") if forget_gate else ("c_{t - 1}", "1")
    gates = "i_t , f_t , o_t" if forget_gate else "i_t , o_t"
    f_words = (
        "forget part of the old memory, write some of the proposal"
        if forget_gate
        else "the old memory stays; some of the proposal is written"
    )
    alone = (
        "The direct path of the memory c is multiplied by the forget gate and by nothing else."
        if forget_gate
        else "The direct path of the memory c is multiplied by exactly 1: the constant error carousel of 1997."
    )
    return Known(
        (
            (
                f"{gates} = σ ( W_h h_{{t - 1}} + W_x x_t + b )",
                "gates between 0 and 1, each with weights of its own",
            ),
            ("g_t = tanh ( W_g h_{t - 1} + V_g x_t + b_g )", "what could be written"),
            (f"c_t = {kept} + i_t ⊙ g_t", f_words),
            ("h_t = o_t ⊙ tanh ( c_t )", "what is shown: the output"),
        ),
        (
            (f"∂c_t/∂c_{{t-1}} = diag ( {diagonal} )", "with h held fixed: memory to memory"),
            ("∂h_t/∂c_{t-1} = diag ( o_t ⊙ ( 1 - tanh^2 ( c_t ) ) ) ∂c_t/∂c_{t-1}", "memory to output"),
            ("∂c_t/∂h_{t-1} , ∂h_t/∂h_{t-1}", "output to both: through the recurrent weights of every gate"),
        ),
        (
            alone,
            "The state is the pair of h and c, so the Jacobian of a timestep has four blocks. The gradient takes "
            "all "
            "of them, and what it loses on one path can arrive on another.",
        ),
    )


_GRU = Known(
    (
        ("r_t , z_t = σ ( W_h h_{t - 1} + W_x x_t + b )", "gates between 0 and 1, each with weights of its own"),
        ("n_t = tanh ( W_n x_t + b_n + r_t ⊙ ( U_n h_{t - 1} + d_n ) )", "what could be written"),
        ("h_t = ( 1 - z_t ) ⊙ n_t + z_t ⊙ h_{t - 1}", "keep a share z of the old state, replace the rest"),
    ),
    (
        (
            "∂h_t/∂h_{t-1} = diag ( z_t ) + diag ( 1 - z_t ) ∂n_t/∂h_{t-1} + diag ( h_{t - 1} - n_t ) "
            "∂z_t/∂h_{t-1}",
            "kept, rewritten, and the gate itself",
        ),
    ),
    (
        "The first term is the direct path: what is kept is multiplied by the update gate z and by nothing else.",
        "The other two pass through the recurrent weights.",
    ),
)


class Alone(NamedTuple):
    """A line that theory draws beside a measured curve: its name, and its values by lag from lag 1."""

    name: str
    decades: Floats


def alone(family: str, traits: Mapping[str, Any], cell: str, lags: int) -> Alone | None:
    """What one factor of the Jacobian would do were it the only one, in decades from lag 1; None where unknown.

    Args:
        family, traits: of the cell that was asked for. cell: the variant at hand. lags: T.
    """
    k = np.arange(lags, dtype=float)
    own = dict(part.split("=", 1) for part in cell.split(":")[1:]) if family else {}
    if family == "rnn" and own.get("init", "orthogonal") in ("orthogonal", "identity"):
        bound = float(own.get("gain", 1)) * (0.25 if traits["activation"] == "sigmoid" else 1.0)
        return Alone("upper bound", k * m.log10(abs(bound))) if bound else None
    if family == "lstm" and not traits["forget_gate"]:
        return Alone("memory path alone", 0 * k)
    if family not in ("lstm", "gru"):
        return None
    name = "forget gate alone" if family == "lstm" else "update gate alone"
    if "t_max" in own:
        return Alone(name, _chrono(int(own["t_max"]), lags))
    bias = float(own.get("forget_bias", 1)) if family == "lstm" else 0.0
    return Alone(name, k * -m.log10(1 + m.exp(-bias)))


def _chrono(t_max: int, lags: int) -> Floats:
    """log10 √(mean over u of (u / (1 + u))²ᵏ), u spread evenly over 1..t_max - 1: every unit has its own gate."""
    u = 1 + (np.arange(512) + 0.5) / 512 * (t_max - 2)
    powers = 2 * np.arange(lags)[:, None] * np.log10(u / (1 + u))
    top = powers.max(axis=1)
    return np.asarray(0.5 * (top + np.log10(np.mean(10 ** (powers - top[:, None]), axis=1))))


KNOBS = {
    "forget_bias": ("forget bias", "the bias that the forget gate starts with: σ(bias) is the share it keeps"),
    "gain": ("recurrent gain", "the number that the recurrent weights are multiplied by at the start"),
    "t_max": (
        "chrono lag",
        "the longest lag of chrono initialisation, which starts the biases of the gates so that units forget over "
        "1 to so many timesteps",
    ),
}


def knob_words(option: str) -> tuple[str, str]:
    """What a knob is called, and what it is."""
    return KNOBS.get(option, (option.replace("_", " "), f"the option {option} of the cell"))


def setting(option: str, value: str) -> str:
    """`forget bias 1`, or `as it is` for a knob that is not set."""
    if not option:
        return "as it is"
    name = knob_words(option)[0]
    return f"no {name}" if value == PLAIN else f"{name} {value.replace('-', '−')}"
